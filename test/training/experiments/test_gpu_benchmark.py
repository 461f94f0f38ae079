"""`benchmarks/gpu.sh` on a CPU: parts run, small, and none makes up a figure of a GPU.

Those that call what other tests run anyway and that takes long, an export to ONNX and `haskd run`,
are left out: `benchmarks/gpu.sh --device cpu` runs them too."""

from __future__ import annotations

import importlib
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from haskd_ros.models.blocks import fold_batch_norm
from haskd_ros.models.sparse_unet import SparseUNet

REPOSITORY = Path(__file__).resolve().parents[3]
MARKED = REPOSITORY / "docs" / "results" / "gpu.md"


@pytest.fixture(autouse=True)
def benchmarks(monkeypatch):
    monkeypatch.syspath_prepend(REPOSITORY / "benchmarks")


def rows_of(name: str, tmp_path: Path, **case: object) -> list[dict]:
    """What a part writes, on a CPU."""
    part = importlib.import_module("gpu.part")
    path = tmp_path / "rows.json"
    importlib.import_module(f"gpu.{name}").run(part.Case("cpu", **case), part.Rows(path))
    return json.loads(path.read_text())


def test_backends_are_compared_with_the_cpu(drive, tmp_path):
    rows = rows_of("parity", tmp_path, bag=str(drive))
    plain, half = (row for row in rows if row["backend"] == "torch")
    assert plain["largest difference of a logit"] < 1e-4 * plain["largest logit"]
    assert plain["same labels"] > 0.999
    # 11 bits of a float16 after a dozen layers
    difference = half["largest difference of a logit"]
    assert 0 < difference < 0.02 * half["largest logit"]
    assert [row["missing"] for row in rows if row["backend"] == "triton"] == 2 * ["needs a GPU"]


def test_latency_has_percentiles_of_the_cpu_and_no_memory_of_a_gpu(tmp_path):
    rows = rows_of("latency", tmp_path)
    (torch_row,) = (row for row in rows if row.get("backend") == "torch")
    assert 0 < torch_row["p50 ms"] <= torch_row["p95 ms"] <= torch_row["max ms"]
    assert torch_row["peak MiB"] == "needs a GPU"
    others = [row for row in rows if row is not torch_row]
    assert len(others) == 4 and all("p50 ms" not in row and row["missing"] for row in others)


def test_training_is_timed_in_each_precision(tmp_path):
    rows = [row for row in rows_of("training", tmp_path) if row["backend"] == "torch"]
    assert [row["precision"] for row in rows] == ["fp32", "bf16", "fp16"]
    assert all(row["steps a second"] > 0 for row in rows)


def test_what_would_be_installed_is_what_setup_py_lists():
    groups = importlib.import_module("gpu.install").groups()
    assert "rosbags>=0.10" in groups["training"] and "ros-rclpy" in groups["ROS"]


def test_a_street_has_as_many_points_as_asked_for_on_road_walls_and_cars():
    street = importlib.import_module("gpu.clouds").street(10_000, 0)
    assert street.shape == (10_000, 4)
    # Between the walls, on the road or above it, but for 2 cm of noise.
    assert abs(street[:, 1]).max() < 12.2 and street[:, 2].min() > -1.95
    on_road = abs(street[:, 2] + 1.8) < 0.1
    at_wall = abs(abs(street[:, 1]) - 12) < 0.1
    assert 0.3 < on_road.mean() < 0.7 and at_wall.mean() > 0.2
    assert (~on_road & ~at_wall & (abs(street[:, 0]) < 62)).mean() > 0.02


CHILD = "import subprocess; subprocess.run(['sleep', '9'])"
SCRIPTS = {
    "fine": "import sys; open(sys.argv[1], 'w').write('[{\"a\": 1}]')",
    "broken": "print('so far'); raise ValueError('no such thing')",
    "slow": f"import sys; open(sys.argv[1], 'w').write('[{{\"b\": 2}}]'); {CHILD}",
    "late": "",
}


def test_a_part_that_fails_or_takes_too_long_ends_alone_and_is_told(tmp_path):
    run = importlib.import_module("gpu.run")
    (tmp_path / "fine.json").write_text("[1]")  # of an earlier run
    document = run.run_parts(
        list(SCRIPTS),
        lambda name, rows: [sys.executable, "-c", SCRIPTS[name], str(rows)],
        tmp_path,
        limits={"fine": 60.0, "broken": 60.0, "slow": 2.0, "late": 60.0},
        seconds=run.FEWEST_S + 1.9,
        facts={"commit": "abc"},
    )
    assert json.loads((tmp_path / "gpu.json").read_text()) == document
    parts = document["parts"]
    assert (parts["fine"]["state"], parts["fine"]["rows"]) == ("done", [{"a": 1}])
    assert (parts["broken"]["state"], parts["broken"]["rows"]) == ("failed", [])
    assert parts["broken"]["error"] == "ValueError: no such thing"
    assert (parts["slow"]["state"], parts["slow"]["rows"]) == ("out of time", [{"b": 2}])
    assert parts["slow"]["seconds"] < 8  # its child did not keep it
    assert parts["late"] == {"state": "not started", "rows": []}


def test_one_command_writes_the_figures_and_the_page_takes_them(tmp_path):
    command = [REPOSITORY / "benchmarks" / "gpu.sh", "--device", "cpu", "--out", tmp_path / "out"]
    ended = subprocess.run(
        [*command, "--parts", "parity", "--minutes", "4"],
        env=os.environ | {"PYTHON": sys.executable},
        capture_output=True,
        text=True,
    )
    assert ended.returncode == 0 and "parity: done" in ended.stderr, ended.stderr
    page = tmp_path / "gpu.md"
    page.write_text(MARKED.read_text())
    table = [sys.executable, REPOSITORY / "benchmarks" / "gpu" / "table.py"]
    subprocess.run([*table, tmp_path / "out" / "gpu.json", "--into", page], check=True)
    text = page.read_text()
    assert "on a CPU, small: no figures of a GPU; clouds of a simulated street" in text
    assert "| triton | fp16 | 2000 | 1 |  |  |  | needs a GPU |" in text
    before, _, after = MARKED.read_text().partition("<!-- figures -->")
    assert text.startswith(before) and text.endswith(after.partition("<!-- end -->")[2])


def test_operations_and_bytes_are_those_of_the_pairs_that_there_are():
    roofline = importlib.import_module("gpu.roofline")
    # Two voxels side by side along x, children of one.
    points = torch.tensor([[0.5, 0.5, 0.5, 0.0], [1.5, 0.5, 0.5, 0.0]])
    network = fold_batch_norm(SparseUNet(classes=3, voxel_size=1.0, channels=(2, 4)))
    found = {cost.layer: cost for cost in roofline.costs(network, points)}
    # 2 rows of 5 inputs and 4 outputs in 2 bytes, weights in 4: 2 * 5 * 2 + 2 * 4 * 2 + 5 * 4 * 4
    assert vars(found["point_encoder.0"]) == {
        "layer": "point_encoder.0", "flops": 2 * 2 * 5 * 4, "computed": 2 * 64 * 5 * 4,
        "least": 116, "gathered": 116,
    }  # fmt: skip
    # Each meets itself and the other one: 4 pairs, under 3 of the 27 taps; the table has 27 sources
    # and a place in the order for each row.
    fixed = 2 * 2 * 2 + 4 * 2 * 27 * 2 + 4 * 28 * 2
    assert vars(found["stem"]) == {
        "layer": "stem", "flops": 2 * 2 * 2 * 4, "computed": 2 * 2 * 2 * 3 * 64,
        "least": fixed + 2 * 2 * 2, "gathered": fixed + 2 * 4 * 2,
    }  # fmt: skip
    # The residual is read too.
    assert found["encoder.0.second"].least == found["encoder.0.first"].least + 2 * 2 * 2
    # Two children in two octants, one pair each.
    for step in ("down.0", "up.0"):
        assert (found[step].flops, found[step].computed) == (2 * 2 * 4 * 2, 2 * 2 * 4 * 2 * 64)
    # At 1 operation and 1 byte a second: the longer of the two of each layer.
    slow = roofline.Chip(1.0, 1.0)
    longer = sum(max(cost.flops, cost.least) for cost in found.values())
    assert roofline.bound_ms(found.values(), slow, as_computed=False) == 1e3 * longer


@pytest.mark.live
def test_the_live_node_is_timed(tmp_path):
    pytest.importorskip("rclpy", reason="starts the node (pip install '.[ros-wheels]')")
    (row,) = rows_of("node", tmp_path)
    assert row["sent"] == 5 and row["labelled"] > 0 and row["p50 ms"] > 0
