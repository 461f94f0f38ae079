"""`benchmarks/public.sh`: a public benchmark in one command, on small files in published form."""

from __future__ import annotations

import json
import os
import runpy
import signal
import subprocess
import time
from pathlib import Path

import pytest
from semantickitti_files import street, write_sequence

pytestmark = pytest.mark.long

REPOSITORY = Path(__file__).resolve().parents[3]

TRAIN = ("00", "01", "02", "03", "04", "05", "06", "07", "09", "10")

RECIPE = "voxel_size: 1.0\nloop: {epochs: 1, device: cpu}\nsplit: {calibration: 0, validation: 0}\n"

PATIENCE_S = 900


@pytest.fixture
def kitti(tmp_path) -> Path:
    for number, name in enumerate(TRAIN):
        write_sequence(tmp_path / "kitti", name, 1, lambda scan, of=number: street(10 * of + scan))
    write_sequence(tmp_path / "kitti", "08", 2, lambda scan: street(100 + scan))
    (tmp_path / "tiny.yaml").write_text(RECIPE)
    return tmp_path / "kitti"


def command(root: Path, *options: str) -> list[str]:
    script = str(REPOSITORY / "benchmarks" / "public.sh")
    return [script, str(root), "--reader", "semantickitti", *options]


def test_one_command_adds_a_row_goes_on_where_it_was_and_does_nothing_twice(kitti, warm_python):
    environment = os.environ | {"PYTHON": warm_python}

    def public(root: Path, *options: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            command(root, *options),
            cwd=root.parent,
            env=environment,
            capture_output=True,
            text=True,
            timeout=PATIENCE_S,
        )

    folder = kitti.parent / "public"
    options = ("--recipe", "tiny.yaml")
    # The check looks at names and sizes; that a label is of no class shows when it is read.
    label = kitti / "sequences" / "08" / "labels" / "000000.label"
    right, time_ns = label.read_bytes(), label.stat().st_mtime_ns
    label.write_bytes(b"\xff\x7f\x00\x00" * 400)
    os.utime(label, ns=(time_ns, time_ns))
    failed = public(kitti, *options)
    assert failed.returncode == 2
    last = failed.stderr.splitlines()[-1]
    assert last.startswith("error: prepare-val ended with 2: ") and "32767" in last
    label.write_bytes(right)
    os.utime(label, ns=(time_ns, time_ns))  # a file that changed would be another data set

    with subprocess.Popen(
        command(kitti, *options), cwd=kitti.parent, env=environment, stderr=subprocess.PIPE
    ) as interrupted:
        deadline = time.monotonic() + PATIENCE_S
        while " train: begins" not in (folder / "public.log").read_text():
            assert interrupted.poll() is None and time.monotonic() < deadline
            time.sleep(0.05)
        interrupted.send_signal(signal.SIGTERM)
        assert interrupted.wait(PATIENCE_S) == 143
        said = interrupted.stderr.read().decode()
        assert "prepare-train: skipped" in said and "the same command goes on" in said
    assert not (folder / "results.jsonl").exists()

    done = public(kitti, *options)
    assert done.returncode == 0, done.stderr
    for step in ("prepare-train", "prepare-val"):
        assert f"{step}: skipped" in done.stderr
    for step in ("train", "evaluate-labels-labels", "row-labels-labels"):
        assert f"{step}: done in" in done.stderr

    (row,) = map(json.loads, (folder / "results.jsonl").read_text().splitlines())
    (scores,) = folder.glob("semantickitti-*/tiny-*/scores-labels-labels/evaluation.json")
    protocol = json.loads(scores.read_text())["protocol"]
    assert row["miou"] == protocol["miou"] and row["iou"] == protocol["iou"]
    assert row["is_whole_split"] is False and row["sweeps"] == 2
    assert row["trained_on"] == {
        "split": "train", "drives": 10, "labelled_sweeps": 10, "is_whole": False
    }  # fmt: skip
    assert row["network"] == "S" and row["settings"]["voxel_size"] == 1.0
    assert set(row["seconds"]) == {
        "prepare-train", "prepare-val", "train", "evaluate-labels-labels"
    }  # fmt: skip
    head = subprocess.check_output(["git", "rev-parse", "HEAD"], cwd=REPOSITORY, text=True)
    assert all(head.startswith(commit.removesuffix("-changed")) for commit in row["commits"])
    table = (folder / "results.md").read_text().splitlines()
    assert len(table) == 3
    cells = [cell.strip() for cell in table[2].strip("|").split("|")]
    assert cells[:6] == [
        "SemanticKITTI",
        "val",
        "NO, 2 of 4071 sweeps; NOT all of train learned from",
        "S, 1.0 m",
        "tiny.yaml",
        "labels",
    ]
    assert cells[6] == f"{100 * protocol['miou']:.1f}"

    again = public(kitti, *options)
    assert again.returncode == 0, again.stderr
    assert "begins" not in again.stderr and "nothing to do: all of it was done" in again.stderr
    assert (folder / "results.md").read_text().splitlines() == table


def refusal(root: Path, capsys: pytest.CaptureFixture[str], *options: str) -> list[str]:
    """What is said where the script refuses to begin: it asks `public_rows.py` first of all."""
    check = runpy.run_path(str(REPOSITORY / "benchmarks" / "public_rows.py"))["main"]
    with pytest.raises(SystemExit) as ended:
        check(["check", str(root), "--reader", "semantickitti", *options])
    assert ended.value.code == 2
    said = capsys.readouterr()
    assert said.out == ""  # no plan, and the script goes no further
    return said.err.splitlines()


def test_what_is_missing_is_told_before_any_work(kitti, capsys):
    (kitti / "sequences" / "08" / "labels" / "000001.label").unlink()
    (kitti / "sequences" / "04").rename(kitti / "04")
    (line,) = refusal(kitti, capsys, "--method", "labels", "--recipe", "tiny.yaml")
    assert line.startswith("error: ") and "sequence 04 is missing (271 scans)" in line
    assert "08/labels lacks 1 of 2: 000001.label" in line


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--recipe", "absent.yaml"), "absent.yaml"),
        (("--set", "loop.epoch=3"), "loop.epoch"),
        (("--splits", "train,train"), "would be learned from and scored"),
        (("--splits", "train,test"), "sequence 11 is missing"),
        (("--method", "has-kd"), "has-kd learns from images, and split train has none"),
    ],
)
def test_wrong_settings_are_told_before_any_work(kitti, capsys, options, message):
    method = () if "--method" in options else ("--method", "labels")
    line = refusal(kitti, capsys, *method, *options)[-1]
    assert line.startswith("error: ") and message in line
