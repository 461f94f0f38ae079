"""README.md and docs/: what stands there is so.

Each command is run here, or by a test that is named here, or the page says that it is not; names of
options, settings, parameters, arguments, files and links are those that exist.
"""

from __future__ import annotations

import ast
import re
import runpy
import shlex
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import typer.main
import yaml
from network_packages import EXAMPLE, fake_package
from test_rooms import ROWS

from haskd_ros.models import packages
from haskd_training.commands import settings_page
from haskd_training.commands.app import app, main
from haskd_training.core.settings import load_settings

REPOSITORY = Path(__file__).resolve().parents[2]
DOCS = REPOSITORY / "docs"
PAGES = [REPOSITORY / "README.md", *sorted(DOCS.glob("*.md")), REPOSITORY / "CONTRIBUTING.md"]
RESULTS = sorted((DOCS / "results").glob("*.md"))
"""Records of what was measured: their commands stay as they were run, at the state of the code of
that time. Only their links are checked."""

HASKD = typer.main.get_command(app)

NOT_RUN = "not run by the tests"
"""Stands between the heading and the end of a block that nothing runs."""

WALK = "training.md"
"""The page whose block `haskd simulate ...` is run here, line by line."""

COMMAND_LINE = "test/house/test_command_line.py"

TRIED = {
    "haskd simulate": "here",
    "haskd inspect": "here",
    "haskd prepare": "here",
    "haskd baseline": "here",
    "haskd evaluate": "here",
    "haskd select": "here",
    "haskd suggest": (
        "test/house/test_suggest_page.py::test_suggested_sweeps_go_out_and_come_back_with_labels"
    ),
    "haskd segment": "here",
    "haskd view": "here",
    "haskd submit": (
        "test/training/experiments/test_protocol.py::"
        "test_a_submission_has_an_id_for_every_point_and_its_check_tells_what_is_wrong"
    ),
    "haskd --help": f"{COMMAND_LINE}::test_what_needs_no_network_imports_none",
    "haskd --version": f"{COMMAND_LINE}::test_what_needs_no_network_imports_none",
    "haskd run --help": f"{COMMAND_LINE}::test_what_needs_no_network_imports_none",
    "source <(_HASKD_COMPLETE=source_bash haskd)": (
        f"{COMMAND_LINE}::test_bash_completes_commands_and_options"
    ),
    "make demo": (
        "test/training/experiments/test_demo.py::"
        "test_the_simulated_demo_needs_nothing_and_can_be_run_again"
    ),
    "haskd label-images": (
        "test/training/commands/test_label_images.py::test_networks_are_named_with_their_digest"
    ),
    "haskd run": (
        "test/house/test_no_labels_page.py::"
        "test_three_commands_lead_from_a_bag_without_labels_to_a_model_for_the_robot"
    ),
    "make test": "these tests",
    "make lint": "make test",
    "make not-live": "make test",
    "make live": "make test",
    ".venv/bin/python -m pytest": "these tests",
}
"""How a command is tried: the longest of these that it begins with."""


class Block:
    """A fenced block of a page.

    Attributes:
        context: the text from the heading above it to its end.
        commands: its lines without comments, those that go on in the next one joined.
    """

    def __init__(self, page: Path, context: str, text: str) -> None:
        self.page, self.context = page, context
        lines = text.replace("\\\n", " ").splitlines()
        stripped = (re.sub(r"(^|\s)#.*", "", line).strip() for line in lines)
        self.commands = [" ".join(line.split()) for line in stripped if line]

    @property
    def is_run(self) -> bool:
        return NOT_RUN not in " ".join(self.context.lower().split())


def blocks(page: Path, language: str) -> Iterator[Block]:
    text = page.read_text(encoding="utf-8")
    for match in re.finditer(rf"^```{language}\n(.*?)^```", text, re.MULTILINE | re.DOTALL):
        start = max(text.rfind("\n#", 0, match.start()), text.rfind("\n```\n", 0, match.start()), 0)
        yield Block(page, text[start : match.end()], match[1])


def shell_commands() -> Iterator[tuple[Block, str]]:
    for page in PAGES:
        for block in blocks(page, "sh"):
            for line in block.commands:
                for command in re.split(r"\s*&&\s*", line):
                    yield block, command


def inline_code(page: Path) -> list[str]:
    text = re.sub(r"^```.*?^```", "", page.read_text(encoding="utf-8"), flags=re.M | re.S)
    return [" ".join(code.split()) for code in re.findall(r"`([^`]+)`", text)]


def haskd_arguments(command: str) -> list[str] | None:
    """Of `haskd ...` or `... -m haskd_training ...`; None of another command."""
    if "<(" in command:
        return None
    words = shlex.split(command)
    if words[0] == "haskd":
        return words[1:]
    return words[words.index("haskd_training") + 1 :] if "haskd_training" in words else None


def how(command: str) -> str | None:
    """How a command is tried, by `TRIED`."""
    fitting = [prefix for prefix in TRIED if f"{command} ".startswith(f"{prefix} ")]
    return TRIED[max(fitting, key=len)] if fitting else None


def test_every_command_is_tried_or_its_page_says_that_it_is_not():
    silent = [
        f"{block.page.name}: {command}"
        for block, command in shell_commands()
        if block.is_run and how(command) is None
    ]
    assert silent == [], "try them in a test, or say beside the block why they are not"


def test_the_tests_that_try_commands_exist():
    for by in TRIED.values():
        file, named, test = by.partition("::")
        assert not named or f"\ndef {test}(" in (REPOSITORY / file).read_text(), by


@pytest.fixture
def example_network(monkeypatch, tmp_path):
    """The package that docs/networks.md installs, installed."""
    entry_point = "voxel_context = voxel_context:ARCHITECTURE"
    monkeypatch.syspath_prepend(EXAMPLE)
    monkeypatch.syspath_prepend(fake_package(tmp_path, "example", entry_point))
    packages._installed.cache_clear()
    yield
    packages._installed.cache_clear()


def test_commands_parse(example_network):
    parsed = 0
    for block, command in shell_commands():
        arguments = haskd_arguments(command)
        if not arguments or arguments[0].startswith("-") or arguments[-1] == "--help":
            continue
        parse(block, arguments)
        parsed += 1
    assert parsed > 10


def parse(block: Block, arguments: list[str]) -> None:
    """By the real command line, settings included."""
    name, *rest = arguments
    assert name in HASKD.commands, f"{block.page.name}: haskd {name} does not exist"
    context = HASKD.commands[name].make_context(name, rest)
    assignments = context.params.get("set_") or ()
    with_reader = f"{name} --reader {context.params.get('reader')}"
    name = with_reader if with_reader in settings_page.COMMANDS else name
    name += " --indoor" if context.params.get("indoor") else ""
    if name in settings_page.COMMANDS:
        load_settings(settings_page.COMMANDS[name], None, assignments)
    else:
        assert {text.partition("=")[0] for text in assignments} <= parameters()


def parameters() -> set[str]:
    """Names of the node's parameters."""
    document = yaml.safe_load((REPOSITORY / "config" / "segment.yaml").read_text())
    return set(document["/**"]["ros__parameters"])


def test_options_in_the_text_exist():
    for page in PAGES:
        for code in inline_code(page):
            words = code.replace("...", "").split()
            if words[0] != "haskd" or len(words) == 1 or words[1] in ("COMMAND", "--help"):
                continue
            assert words[1] in HASKD.commands, f"{page.name}: `{code}`"
            options = {option for p in HASKD.commands[words[1]].params for option in p.opts}
            used = {word for word in words if word.startswith("--")} - {"--help"}
            assert used <= options, f"{page.name}: `{code}`"


def test_settings_in_the_text_exist():
    run = set(settings_page.names(settings_page.COMMANDS["run"]))
    known = run | {f"method.{name}" for name in run}
    for model in settings_page.COMMANDS.values():
        known |= set(settings_page.names(model))
    groups = {name.partition(".")[0] for name in run}
    for page in PAGES:
        for code in inline_code(page):
            for name in re.findall(r"^(?:--set |SET=)?\"?([a-z_]+(?:\.[a-z_]+)+)(?:=|$)", code):
                if name.partition(".")[0] in groups:
                    part = any(setting.startswith(f"{name}.") for setting in known)
                    assert name in known or part, f"{page.name}: no setting {name}"


def launch_arguments(files: str) -> set[str]:
    """Names that launch files declare."""
    trees = [ast.parse(path.read_text()) for path in (REPOSITORY / "launch").glob(files)]
    return {
        ast.literal_eval(node.args[0])
        for tree in trees
        for node in ast.walk(tree)
        if isinstance(node, ast.Call) and ast.unparse(node.func) == "argument"
    }


def test_launch_arguments_and_parameters_in_the_text_exist():
    declared, settable = launch_arguments("*.launch.py"), parameters()
    for page in PAGES:
        text = page.read_text(encoding="utf-8")
        assert set(re.findall(r"\b([a-z_]+):=", text)) <= declared, page.name
        for name in re.findall(r"ros2 param (?:describe|set|get) /segment (\S+)", text):
            assert name.startswith("<") or name.strip("`") in settable, f"{page.name}: {name}"
    table = re.findall(r"^\| `(\w+)` \| [^|]+ \|", (DOCS / "node.md").read_text(), re.MULTILINE)
    assert set(table) == launch_arguments("segment.launch.py")
    table = re.findall(r"^\| `(\w+)` \| [^|]+ \|", (DOCS / "nav2.md").read_text(), re.MULTILINE)
    assert set(table) == launch_arguments("nav2_obstacles.launch.py")


def anchors(page: Path) -> set[str]:
    """Those that GitHub makes of a page's headings."""
    headings = re.findall(r"^#+ (.+)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in headings}


@pytest.mark.parametrize("page", [*PAGES, *RESULTS], ids=lambda path: path.name)
def test_links_lead_somewhere(page):
    for target in re.findall(r"\]\(([^)\s]+)\)", page.read_text(encoding="utf-8")):
        file, _, anchor = target.partition("#")
        if file.startswith("http"):
            continue
        path = (page.parent / file).resolve() if file else page
        assert path.exists(), f"{page.name}: {target}"
        assert not anchor or anchor in anchors(path), f"{page.name}: {target}"


def test_files_in_the_text_exist():
    folders = {path.name for path in REPOSITORY.iterdir() if path.is_dir()}
    folders -= {"demo", "build", "install", "log"}  # what commands make
    for page in PAGES:
        for code in inline_code(page):
            folder, slash, _ = code.partition("/")
            if slash and folder in folders and re.fullmatch(r"[\w./]+", code):
                assert (REPOSITORY / code).exists(), f"{page.name}: {code}"


def test_make_has_the_targets_in_the_text():
    targets = set(re.findall(r"^(\w+):", (REPOSITORY / "Makefile").read_text(), re.MULTILINE))
    for page in PAGES:
        assert set(re.findall(r"`?make (demo|test|lint|clean|\w+)`", page.read_text())) <= targets


def test_the_index_lists_every_page():
    index = (DOCS / "README.md").read_text()
    for page in DOCS.glob("*.md"):
        assert page.name == "README.md" or f"]({page.name})" in index


def test_the_page_of_the_settings_is_written_from_their_models():
    assert (DOCS / "settings.md").read_text() == settings_page.page(), (
        "run python -m haskd_training.commands.settings_page > docs/settings.md"
    )
    for model in settings_page.COMMANDS.values():
        for name, field in model.model_fields.items():
            part = isinstance(field.annotation, type) and field.default is not None
            assert part or field.description, f"{model.__name__}.{name} has no description"


@pytest.mark.parametrize("package", ROWS)
def test_the_page_of_the_architecture_lists_the_packages_in_their_rows(package):
    lines = (DOCS / "architecture.md").read_text().splitlines()
    start = lines.index(f"| `{package}` | what it holds |") + 2
    rows = []
    for line in lines[start:]:
        if not line.startswith("|"):
            break
        rows.append(tuple(re.findall(r"`(\w+)`", line.split("|")[1])))
    assert [set(row) for row in rows] == [set(row) for row in ROWS[package]]


def test_the_readme_is_short():
    assert len((REPOSITORY / "README.md").read_text().split()) <= 1500


def test_the_documented_steps_work_one_after_the_other(drive, tmp_path, monkeypatch, capsys):
    for name in ("DISPLAY", "WAYLAND_DISPLAY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.chdir(tmp_path)
    (walk,) = (
        block.commands
        for block in blocks(DOCS / WALK, "sh")
        if block.commands[0].startswith("haskd simulate")
    )
    # The drive that it writes is the one that the tests have already.
    shutil.copytree(drive, tmp_path / "drive")
    for command in walk[1:]:
        monkeypatch.setattr(sys, "argv", shlex.split(command))
        with pytest.raises(SystemExit) as ended:
            main()
        assert not ended.value.code, f"{command}: {capsys.readouterr().err}"
    for made in ("scores/evaluation.json", "chosen/report.html", "labelled", "sweep.png"):
        assert (tmp_path / made).exists(), made


def test_the_drive_of_the_tests_is_the_documented_one():
    from small_run import DRIVE

    (command,) = (
        block.commands[0]
        for block in blocks(DOCS / WALK, "sh")
        if block.commands[0].startswith("haskd simulate")
    )
    context = HASKD.commands["simulate"].make_context("simulate", shlex.split(command)[2:])
    assert load_settings(settings_page.SimulationConfig, None, context.params["set_"]) == DRIVE


def test_the_generator_prints_the_page(capsys):
    runpy.run_path(settings_page.__file__, run_name="__main__")
    assert capsys.readouterr().out == (DOCS / "settings.md").read_text()
