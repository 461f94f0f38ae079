"""The live node timed over real DDS, two candidates in one run."""

from __future__ import annotations

import json

import numpy as np
import pytest
from rosbags.typesys import Stores, get_typestore
from small_run import quiet

from haskd_ros.errors import InputError
from haskd_training.recordings.readers.bag import POINT_CLOUD
from haskd_training.robot.live.benchmark import (
    BenchmarkCase,
    BenchmarkResult,
    benchmark,
    draw_points,
    tables,
)
from haskd_training.robot.live.node_client import STAGES
from haskd_training.robot.live.replay import Replay, Reply


def test_candidates_take_turns_and_their_figures_are_kept(drive, tiny_model, tmp_path):
    pytest.importorskip("rclpy", reason="needs ROS 2 (pip install '.[ros-wheels]')")
    titles = []

    def steps(title):
        titles.append(title)
        return quiet(title)

    benchmark(
        drive, [tiny_model], ["auto", "torch"], rates_hz=[20.0], frames=10, rounds=2,
        out=tmp_path / "out", topic=None, steps=steps,
    )  # fmt: skip
    assert titles == [
        "tiny, 20 Hz, round 1 of 2", "tiny, torch, 20 Hz, round 1 of 2",
        "tiny, 20 Hz, round 2 of 2", "tiny, torch, 20 Hz, round 2 of 2",
    ]  # fmt: skip
    document = json.loads((tmp_path / "out/benchmark.json").read_text())
    assert document["bag"] == "drive"
    for facts in document["candidates"].values():
        assert (facts["sent"], facts["rate_hz"]) == (20, 20.0)
        assert facts["labelled"] + facts["replaced"] + facts["never seen"] >= 20
        times = facts["milliseconds"]["message in to message out"]
        assert 0 < times["p50"] <= times["p95"] <= times["p99"] <= times["max"]
        assert 0 < facts["throughput_hz"] < 25 and facts["memory_mib"] > 50
        assert 0 < facts["busy_cores"] < 64
        assert len(facts["p50_by_round"]) == 2
    assert (tmp_path / "out/benchmark.png").read_bytes().startswith(b"\x89PNG")
    logs = {path.name: path.read_text() for path in (tmp_path / "out").glob("*.log")}
    assert set(logs) == {f"node-tiny{b}-20-Hz-{n}.log" for b in ("", "-torch") for n in (1, 2)}
    assert "on cpu by plain torch" in logs["node-tiny-torch-20-Hz-1.log"]
    assert "on cpu by libhaskd" in logs["node-tiny-20-Hz-1.log"]


def round_of(latencies, seconds, busy, memory, replaced=0):
    replies = [Reply(k, value, np.empty(0)) for k, value in enumerate(latencies)]
    stages = {stage: [value / 2 for value in latencies] for stage in STAGES}
    counts = {"replaced by a newer one": replaced, "sent and never seen": 1}
    return Replay(len(latencies) + replaced + 1, replies, stages, counts, seconds, busy, memory)


def test_the_figures_are_those_worked_out_by_hand(tmp_path):
    one = BenchmarkResult(
        BenchmarkCase(tmp_path / "small.safetensors", "auto", 10.0),
        [round_of([10.0, 20.0, 30.0], 1.0, 2.0, 100.0), round_of([40.0], 3.0, 1.0, 200.0, 2)],
    )
    facts = one.to_json()
    assert (facts["sent"], facts["labelled"], facts["replaced"]) == (8, 4, 2)
    assert facts["never seen"] == 2
    # 4 clouds in 4 s; (2 cores x 1 s + 1 core x 3 s) / 4 s
    assert (facts["throughput_hz"], facts["busy_cores"], facts["memory_mib"]) == (1.0, 1.25, 200.0)
    assert facts["milliseconds"]["message in to message out"] == {
        "p50": 25.0, "p95": pytest.approx(38.5), "p99": pytest.approx(39.7), "max": 40.0,
    }  # fmt: skip
    assert facts["milliseconds"]["inference"]["max"] == 20.0
    assert facts["p50_by_round"] == [20.0, 40.0]
    assert [table.row_count for table in tables([one])] == [5, 1]


def test_a_node_that_answers_nothing_has_no_times(tmp_path):
    silent = BenchmarkResult(
        BenchmarkCase(tmp_path / "m.safetensors", "torch", 2.0), [round_of([], 2.0, 0, 9, 3)]
    )
    facts = silent.to_json()
    assert facts["labelled"] == 0 and facts["p50_by_round"] == [None]
    assert facts["milliseconds"]["message in to message out"]["p50"] is None
    assert len(tables([silent])) == 2


def test_a_smaller_sensor_sees_some_of_the_points_in_their_order():
    types = get_typestore(Stores.ROS2_HUMBLE)
    # 2 x 3 points of 4 bytes, rows padded by 2: the points are 0..5, four bytes of each
    values = np.repeat(np.arange(6, dtype=np.uint8), 4).reshape(2, 12)
    data = np.concatenate([values, np.full((2, 2), 99, np.uint8)], 1)
    header = types.types["std_msgs/msg/Header"](
        types.types["builtin_interfaces/msg/Time"](1, 2), "lidar"
    )
    cloud = types.types[POINT_CLOUD](header, 2, 3, [], False, 4, 14, data.reshape(-1), True)
    cdr = types.serialize_cdr(draw_points(cloud, 4), POINT_CLOUD)
    drawn = types.deserialize_cdr(cdr, POINT_CLOUD)
    assert (drawn.height, drawn.width, drawn.row_step, drawn.point_step) == (1, 4, 16, 4)
    points = drawn.data.reshape(4, 4)
    assert (points == points[:, :1]).all()
    assert len(set(points[:, 0])) == 4 and (np.diff(points[:, 0].astype(int)) > 0).all()
    assert drawn.header.frame_id == "lidar"


def test_what_can_not_be_compared_is_refused_before_anything_is_started(
    drive, tiny_model, tmp_path
):
    arguments = {
        "rates_hz": [10.0], "frames": 1, "rounds": 1, "out": tmp_path / "out", "topic": None,
        "steps": quiet,
    }  # fmt: skip
    with pytest.raises(InputError, match="no backend tensorrt; there are auto, fp32, torch"):
        benchmark(drive, [tiny_model], ["tensorrt"], **arguments)
    with pytest.raises(InputError, match="candidates of one name: tiny, 10 Hz, tiny, 10 Hz"):
        benchmark(drive, [tiny_model, tiny_model], ["auto"], **arguments)
    with pytest.raises(InputError, match=r"a cloud has \d+ points, fewer than 10000000"):
        benchmark(drive, [tiny_model], ["auto"], **arguments, points=10_000_000)
    assert not (tmp_path / "out").exists()
