"""docs/suggest.md: its commands, in order, from a bag without labels to one with some."""

from __future__ import annotations

import json
import shlex
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
from test_docs import DOCS, blocks

from haskd_training.commands.app import main
from haskd_training.core.checked_json import write_json
from haskd_training.data.caches.cache import Cache
from haskd_training.data.splits import SplitConfig, make_split


def run(command: str, monkeypatch, capsys) -> tuple[int, str]:
    """Exit code, and what it says."""
    monkeypatch.setattr(sys, "argv", shlex.split(command))
    with pytest.raises(SystemExit) as ended:
        main()
    return int(ended.value.code or 0), " ".join("".join(capsys.readouterr()).split())


def stamps(document: Path) -> list[int]:
    return [entry["stamp_ns"] for entry in json.loads(document.read_text())["suggestions"]]


@pytest.fixture
def bench(drive, tiny_model, tmp_path, monkeypatch):
    """The files of the page in a folder, as the working directory."""
    monkeypatch.chdir(tmp_path)
    shutil.copytree(drive, tmp_path / "drive")
    shutil.copy(tiny_model, tmp_path / "model.safetensors")
    return tmp_path


def test_suggested_sweeps_go_out_and_come_back_with_labels(bench, monkeypatch, capsys):
    commands = [
        command for block in blocks(DOCS / "suggest.md", "sh") for command in block.commands
    ]
    assert len(commands) == 5
    for command in commands:
        code, said = run(command, monkeypatch, capsys)
        assert code == 0, f"{command}: {said}"
    suggested = stamps(bench / "next" / "suggest.json")
    assert len(set(suggested)) == 2
    # Only the suggested sweeps went out ...
    files = sorted(file.stem for file in (bench / "to_label" / "labels").iterdir())
    assert files == sorted(str(stamp) for stamp in suggested)
    # ... and came back; the others are there without labels, for the run to learn from.
    cache = Cache.open(bench / "labelled")
    labelled = {row.stamp_ns for row in cache.sweeps if any(row.class_counts)}
    assert (labelled, len(cache)) == (set(suggested), 20)
    nothing_held_out = SplitConfig(calibration=0, validation=0, test=0)
    split = make_split([cache], nothing_held_out)
    assert (len(split.train), len(split.unlabelled)) == (2, 18)
    # What has labels counts as covered in the next round.
    again = json.loads((bench / "next_round" / "suggest.json").read_text())
    assert again["labelled"] == 2 and again["covered_by_labels"] > 0.2
    assert not labelled & set(stamps(bench / "next_round" / "suggest.json"))
    gains = [entry["gain"] for entry in again["suggestions"]]
    assert again["suggestions"][-1]["covered"] == pytest.approx(
        again["covered_by_labels"] + sum(gains), abs=1e-5
    )


def test_a_suggestion_says_why_and_where(bench, monkeypatch, capsys):
    assert run("haskd prepare drive --out cache", monkeypatch, capsys)[0] == 0
    command = "haskd suggest cache --model model.safetensors --out next --set regions=2 --n"
    code, said = run(f"{command} 1", monkeypatch, capsys)
    assert code == 0 and "1 of 20 sweeps without labels; 0 with labels cover 0.0 %" in said
    (first,) = json.loads((bench / "next" / "suggest.json").read_text())["suggestions"]
    assert sum(first["classes"].values()) == pytest.approx(1)
    sweep = Cache.open(bench / "cache").sweeps[first["sweep"]]
    for region in first["regions"]:
        middle = [*np.add(region["low_m"], region["high_m"]) / 2, 1]
        expected = (np.array(sweep.T_world_lidar) @ middle)[:3]
        assert region["map_m"] == pytest.approx(expected, abs=1e-4)
    page = (bench / "next" / "report.html").read_text()
    # From above, and the image of the drive's one camera
    assert (page.count("data:image/png"), page.count("data:image/jpeg")) == (1, 1)
    # Another number takes no second look, and begins alike.
    looked = {file: file.stat().st_mtime_ns for file in (bench / "next").glob("*.safetensors")}
    assert len(looked) == 21
    assert run(f"{command} 2", monkeypatch, capsys)[0] == 0
    assert looked == {file: file.stat().st_mtime_ns for file in looked}
    longer = json.loads((bench / "next" / "suggest.json").read_text())["suggestions"]
    assert longer[0] == first and longer[1]["gain"] <= first["gain"]


def test_what_can_not_be_suggested_or_exported_is_said(bench, drive_cache, monkeypatch, capsys):
    suggest = f"haskd suggest {drive_cache} --model model.safetensors --out next"
    code, said = run(suggest, monkeypatch, capsys)
    assert code == 2 and "all 20 sweeps have labels: there is none to suggest" in said
    export = "haskd segment model.safetensors drive --out labels --only suggest.json"
    code, said = run(export, monkeypatch, capsys)
    assert code == 2 and "--only chooses the sweeps to export: add --export labels" in said
    for suggestions, answer in (
        ([{"recording": "other", "stamp_ns": 1}], "none of the clouds of drive; sweeps by"),
        ([{"recording": "drive"}], "suggest.json holds no suggestions of `haskd suggest`"),
    ):
        write_json(bench / "suggest.json", {"suggestions": suggestions})
        code, said = run(f"{export} --export labels", monkeypatch, capsys)
        assert code == 2 and answer in said
    (bench / "suggest.json").write_text("{}")
    code, said = run(f"{export} --export labels", monkeypatch, capsys)
    assert code == 2 and "run `haskd suggest` again" in said
    assert not (bench / "labels").exists()
