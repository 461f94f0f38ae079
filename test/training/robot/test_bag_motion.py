"""Clouds of a recording, moved to their stamps by its TF, and remembered by place."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import street_scene as scene

from haskd_ros.clouds.point_times import NO_FIELD, point_times
from haskd_ros.clouds.pointcloud import read_points, read_xyz_intensity, valid_returns
from haskd_ros.errors import InputError
from haskd_ros.node.parameters.values import Parameters
from haskd_training.recordings.readers.bag import POINT_CLOUD, open_bag, stamp_ns
from haskd_training.robot.offline.segment_bag import SEGMENTATION, parse, segment_bag

POINT = np.dtype([*[(name, "<f4") for name in ("x", "y", "z", "intensity")], ("t", "<u4")])
TIMES_S = np.array([0.0, 0.03, 0.05, 0.08])


def drive(folder: Path, name: str = "t") -> Path:
    """5 m/s along x, and a wall 40 m ahead of the start, that each cloud measures at four times.

    Of the five clouds the last one ends after the last transform, at 0.45 s.
    """
    messages = [scene.static(), *scene.motion(5)]
    for number, ns in enumerate(scene.times(5)):
        rows = np.zeros(len(TIMES_S), POINT)
        rows["x"], rows["y"] = 40 - 5 * (0.1 * number + TIMES_S), [-1, 0, 1, 2]
        rows["t"] = np.round(TIMES_S * 1e9)
        dtype = np.dtype([(name if each == "t" else each, POINT[each]) for each in POINT.names])
        messages.append((ns, "/points", scene.cloud(ns, points=rows.astype(dtype))))
    return scene.write(folder / "drive", messages)


def labelled(out: Path) -> list[np.ndarray]:
    with open_bag(out) as bag:
        return [read_points(message) for _, message in bag.messages([SEGMENTATION])]


def test_segment_moves_the_points_as_the_node_does(tmp_path, tiny_model):
    bag, out = drive(tmp_path), tmp_path / "out"
    parameters = parse(["motion.compensation=true"])
    found = segment_bag(tiny_model, bag, out, device="cpu", parameters=parameters)
    *moved, last = labelled(out)
    for number, points in enumerate(moved):
        assert points["x"] == pytest.approx([40 - 0.5 * number] * 4, abs=1e-4)
        assert points["y"].tolist() == [-1, 0, 1, 2]
    assert last["x"] == pytest.approx(40 - 5 * (0.4 + TIMES_S))
    told = {each.code: each.message for each in found.findings}
    assert told["motion-compensated"] == "the points of 4 clouds are moved to their stamps"
    assert told["motion-not-compensated"].startswith(
        "1 clouds stay as they were measured: no transform odom -> base_link at that time"
    )


def test_without_times_or_the_frame_it_says_why_points_stay(tmp_path, tiny_model):
    bag = drive(tmp_path, "ring")
    for settings, said in (
        (["motion.compensation=true"], "no field with the time of each point"),
        (["motion.compensation=true", "motion.time_field=ring", "motion.time_unit=us"],
         "goes from 0 to 80000000, in us a sweep of 0.001 to 1 s"),
    ):  # fmt: skip
        out = tmp_path / f"out {len(list(tmp_path.iterdir()))}"
        found = segment_bag(tiny_model, bag, out, device="cpu", parameters=parse(settings))
        (message,) = [e.message for e in found.findings if e.code == "motion-not-compensated"]
        assert message.startswith("5 clouds stay as they were measured") and said in message
        assert labelled(out)[0]["x"] == pytest.approx(40 - 5 * TIMES_S)


def test_odometry_is_for_the_node(tmp_path, tiny_model):
    bag, out = drive(tmp_path), tmp_path / "out"
    with pytest.raises(InputError, match="recordings have their poses by TF, take tf"):
        segment_bag(
            tiny_model, bag, out, device="cpu",
            parameters=Parameters(motion_compensation=True, poses_source="odometry"),
        )  # fmt: skip


def test_segment_remembers_as_the_node_does(tmp_path, tiny_model):
    bag = drive(tmp_path)
    outs = {}
    for half_life in (0.0, 5.0):
        parameters = parse(["motion.compensation=true", f"memory.half_life={half_life}"])
        outs[half_life] = tmp_path / f"out {half_life}"
        found = segment_bag(tiny_model, bag, outs[half_life], device="cpu", parameters=parameters)
    alone, remembering = (labelled(out) for out in outs.values())
    # Four points of a wall that the robot comes nearer to: the same four voxels every time.
    assert alone[0]["probability"] == pytest.approx(remembering[0]["probability"], abs=1e-6)
    for cloud, with_memory in zip(alone[1:4], remembering[1:4], strict=True):
        assert abs(cloud["probability"] - with_memory["probability"]).max() > 3e-5
    told = {each.code: each.message for each in found.findings}
    assert "labelled-without-memory" not in told
    assert told["labelled-with-memory"].startswith("5 clouds are labelled with what those before")


@pytest.mark.parametrize(
    ("frame", "message"),
    [
        ("map", "TF does not connect lidar to it; frames of the recording's TF: base_link, "),
        ("base_link", "it moves with lidar"),
        ("lidar", "it moves with lidar"),
    ],
)
@pytest.mark.parametrize("setting", ["memory.half_life=1", "motion.compensation=true"])
def test_a_frame_that_does_not_stand_still_is_refused(
    tmp_path, tiny_model, frame, message, setting
):
    parameters = parse([setting, f"poses.fixed_frame={frame}"])
    out = tmp_path / "out"
    with pytest.raises(InputError, match=f"poses.fixed_frame={frame}: {message}"):
        segment_bag(tiny_model, drive(tmp_path), out, device="cpu", parameters=parameters)
    assert not out.exists()


REAL = {
    "pandaset_002_train": 56, "pandaset_002_val": 20,
    **{f"semantickitti_{drive:02}": 10 for drive in (1, 2, 3, 4, 5, 6, 7, 9)},
}  # fmt: skip


@pytest.mark.parametrize("name", REAL)
def test_the_times_of_the_real_recordings(real_bags, name):
    if not (real_bags / name).is_dir():
        pytest.skip(f"{name} is not at {real_bags}")
    found: Counter[tuple[str, str | None]] = Counter()
    with open_bag(real_bags / name) as bag:
        for _, cloud in bag.messages(bag.topics_of(POINT_CLOUD)):
            valid = valid_returns(read_xyz_intensity(cloud)[0])
            times = point_times(cloud, stamp_ns(cloud), valid)
            found[str(times), times.problem and times.problem.reason] += 1
            if times.problem is None:
                # A sweep of 10 Hz that ends at its stamp, and a little more
                assert times.span_s == pytest.approx((-0.1, 0.0), abs=3e-3)
    pandaset = ("time (float32) in s since the stamp", None)
    assert found == {pandaset if name.startswith("pandaset") else ("", NO_FIELD): REAL[name]}
