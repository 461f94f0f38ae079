"""The hooks call what `make lint` calls, and a commit's subject is short."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

REPOSITORY = Path(__file__).resolve().parents[2]
SUBJECT = REPOSITORY / ".ci" / "commit_subject.py"


def hooks() -> list[dict]:
    document = yaml.safe_load((REPOSITORY / ".pre-commit-config.yaml").read_text())
    return [hook for repository in document["repos"] for hook in repository["hooks"]]


def test_the_hooks_and_make_lint_call_the_same_tools_in_the_same_way():
    recipe = re.search(r"^lint:.*\n((?:\t.*\n)+)", (REPOSITORY / "Makefile").read_text(), re.M)
    assert recipe is not None
    in_make = [line.strip().removesuffix(" .") for line in recipe[1].splitlines()]
    by_hooks = [hook["entry"] for hook in hooks() if hook.get("stages") != ["commit-msg"]]
    assert [line.replace("$(BIN)", ".venv/bin") for line in in_make] == by_hooks


def test_the_versions_of_the_tools_stand_in_one_place():
    setup = (REPOSITORY / "setup.py").read_text()
    for hook in hooks():
        assert hook["language"] == "system"
        tool = Path(hook["entry"].split()[0]).name
        assert tool == "python" or len(re.findall(rf'"{tool}==[\d.]+"', setup)) == 1


@pytest.mark.parametrize(
    ("message", "code"),
    [
        ("x" * 72 + "\n\nA body\n", 0),
        ("x" * 73 + "\n", 1),
        # Comments and empty lines are not the subject; letters count, not bytes.
        (
            f"\n# {'x' * 73}\nok\n",
            0,
        ),
        ("ü" * 72 + "\n", 0),
    ],
    ids=["72", "73", "after a comment", "letters"],
)
def test_subjects_of_more_than_72_characters_are_refused(message, code, tmp_path):
    path = tmp_path / "COMMIT_EDITMSG"
    path.write_text(message, encoding="utf-8")
    done = subprocess.run([sys.executable, SUBJECT, path], capture_output=True, text=True)
    assert done.returncode == code
    assert ("at most 72" in done.stderr) == bool(code)
