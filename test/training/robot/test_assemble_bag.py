"""A recording with its clouds as the node's network gets them: other LiDARs in, motion out."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import street_scene as scene
from hypothesis import given, settings
from hypothesis import strategies as st

from haskd_ros.clouds.pointcloud import read_points
from haskd_ros.errors import InputError
from haskd_ros.taxonomy import UNLABELLED
from haskd_training.data.caches.cache import Cache
from haskd_training.data.preparing.prepare import prepare
from haskd_training.recordings.readers.bag import POINT_CLOUD, open_bag, stamp_ns
from haskd_training.robot.offline.assemble_bag import PARAMETERS, assemble_bag
from haskd_training.robot.offline.lidar_pairs import Gap, Times
from haskd_training.robot.offline.segment_bag import parse, segment_bag
from recorded_bags import write_bag

REAR = "/rear/points"
HALF_TURN = (0.0, 0.0, 1.0, 0.0)
MERGE = f"merge.topics=[{REAR}]"
LATER_NS = 20_000_000
"""The rear LiDAR measures so much after the front one."""
TIMED = np.dtype([*((name, "<f4") for name in ("x", "y", "z", "intensity", "t")), ("label", "u1")])


def rows(*points: tuple[float, ...], dtype: np.dtype = scene.POINT) -> np.ndarray:
    return np.array(list(points), dtype)


def two_lidars(folder: Path, *, rear_misses: int = -1, later_ns: int = LATER_NS) -> Path:
    """A front LiDAR, and a rear one 3 m behind it, looking back, whose intensities go up to 255
    where the front one's go up to 1."""
    mounts = (*scene.MOUNTS, ("base_link", "rear", (-3, 0, 2), HALF_TURN))
    messages = [scene.static(*mounts), *scene.motion(6), *scene.camera(5)]
    for number, ns in enumerate(scene.times(5)):
        front = rows((*scene.MARK, 0.5, 13), (5, 0, -2, 1.0, 7))
        messages.append((ns, "/points", scene.cloud(ns, points=front)))
        rear = rows((4, 1, -1, 51, 41), (2, 0, -2, 255, 7), (6, 2, 0, 102, 0))
        if number != rear_misses:
            at = ns + later_ns
            messages.append((at, REAR, scene.cloud(at, "rear", rear)))
    return scene.write(folder / "drive", messages)


def assembled(bag: Path, out: Path, *assignments: str, topic: str | None = None):
    """What was written, and its clouds."""
    found = assemble_bag(bag, out, parse(assignments, PARAMETERS), topic)
    with open_bag(out) as opened:
        return found, [cloud for _, cloud in opened.messages([found.topic])]


def test_points_of_the_rear_lidar_are_in_the_front_one_s_frame_and_unit(tmp_path):
    found, clouds = assembled(two_lidars(tmp_path), tmp_path / "out", MERGE)
    assert (found.topic, found.clouds, len(clouds)) == ("/points", 5, 5)
    for ns, cloud in zip(scene.times(5), clouds):
        assert (stamp_ns(cloud), cloud.header.frame_id) == (ns, "lidar")
        points = read_points(cloud)
        # Turned by 180 degrees: 4 m ahead of it and 1 m to its left is at (-3 - 4, -1)
        assert points["x"] == pytest.approx([8, 5, -7, -5, -9])
        assert points["y"] == pytest.approx([2, 0, -1, 0, -2], abs=1e-5)
        assert points["z"] == pytest.approx([-1, -2, -1, -2, 0])
        assert points["intensity"] == pytest.approx([0.5, 1, 0.2, 1, 0.4])
        assert points["label"].tolist() == [13, 7, 41, 7, 0]
    assert [(each.code, each.subject, each.message) for each in found.findings] == [
        ("lidar-merged", REAR, "its points are in 5 clouds")
    ]


def test_all_else_is_taken_over_to_the_byte_in_its_order(tmp_path):
    bag, out = two_lidars(tmp_path), tmp_path / "out"
    assembled(bag, out, MERGE)

    def recorded(path):
        with open_bag(path) as opened:
            return [
                (connection.topic, connection.msgtype, time_ns, raw)
                for connection, time_ns, raw, _ in opened.recorded()
                if connection.topic != REAR
            ]

    before, after = recorded(bag), recorded(out)
    assert [each[:3] for each in after] == [each[:3] for each in before]
    assert [each[3] for each in after if each[1] != POINT_CLOUD] == [
        each[3] for each in before if each[1] != POINT_CLOUD
    ]


def test_what_is_assembled_can_be_trained_on_and_labelled(tmp_path, tiny_model):
    out = tmp_path / "out"
    assembled(two_lidars(tmp_path), out, MERGE)
    prepare([out], "pandaset", tmp_path / "cache")
    cache = Cache.open(tmp_path / "cache")
    names = cache.taxonomy.names
    # Of PandaSet's ids, 0 is not labelled
    expected = [*map(names.index, ("car", "road", "building", "road")), UNLABELLED]
    assert cache.sweep(0).label.tolist() == expected
    assert segment_bag(tiny_model, out, tmp_path / "labelled", device="cpu").labelled == 5


def test_motion_is_taken_out_of_each_lidar_by_its_own_times(tmp_path):
    """5 m/s towards a wall 40 m ahead of the front LiDAR's start, and away from one 43 m behind
    that: from what each measures at four times of its own, both walls are flat at the stamp."""
    mounts = (*scene.MOUNTS, ("base_link", "rear", (-3, 0, 2), HALF_TURN))
    messages = [scene.static(*mounts), *scene.motion(6)]
    seconds = np.array([0.0, 0.03, 0.05, 0.08])
    for number, ns in enumerate(scene.times(5)):
        for topic, frame, later, wall, sign in (
            ("/points", "lidar", 0.0, 40.0, -1), (REAR, "rear", 0.02, 40.0, 1),
        ):  # fmt: skip
            points = np.zeros(4, TIMED)
            driven = 5 * (0.1 * number + later + seconds)
            points["x"], points["y"], points["t"] = wall + sign * driven, [-1, 0, 1, 2], seconds
            at = ns + round(1e9 * later)
            messages.append((at, topic, scene.cloud(at, frame, points)))
    bag = scene.write(tmp_path / "drive", messages)
    found, clouds = assembled(
        bag, tmp_path / "out", MERGE, "motion.compensation=true", "poses.fixed_frame=odom"
    )
    for number, cloud in enumerate(clouds):
        points = read_points(cloud)
        assert points["x"][:4] == pytest.approx([40 - 0.5 * number] * 4, abs=1e-4)
        assert points["x"][4:] == pytest.approx([-43 - 0.5 * number] * 4, abs=1e-4)
        assert points["t"] == pytest.approx(0, abs=1e-6)
    codes = {each.code: each.message for each in found.findings}
    assert codes == {
        "motion-compensated": "the points of 5 clouds are moved to their stamps",
        "lidar-merged": "its points are in 5 clouds",
    }


def test_a_lidar_that_is_silent_or_nowhere_is_told_of(tmp_path):
    found, clouds = assembled(two_lidars(tmp_path, rear_misses=2), tmp_path / "out", MERGE)
    # The rear clouds beside the gap are 0.08 and 0.12 s from it
    assert [cloud.width for cloud in clouds] == [5, 5, 2, 5, 5]
    texts = {each.code: each.message for each in found.findings}
    assert texts["lidar-not-merged"] == (
        "1 clouds are without its points: the nearest cloud is -0.080 s from the main one, "
        "merge.max_gap is 0.06 s"
    )
    messages = [scene.static(), *scene.motion(3), *scene.clouds(2)]
    messages += [(ns, REAR, scene.cloud(ns, "moon")) for ns in scene.times(2)]
    unplaced = scene.write(tmp_path / "unplaced", messages)
    found, clouds = assembled(unplaced, tmp_path / "as it was", MERGE, topic="/points")
    assert [cloud.width for cloud in clouds] == [3, 3]
    (finding,) = found.findings
    assert finding.is_warning and "moon" in finding.message
    with pytest.raises(InputError, match="moon"):
        assemble_bag(
            unplaced, tmp_path / "strict", parse([MERGE], PARAMETERS), "/points", strict=True
        )
    assert not (tmp_path / "strict").exists()


@pytest.mark.parametrize(
    ("assignments", "topic", "message"),
    [
        ((), None, "nothing to do"),
        (("merge.topics=[/left/points]",), None, "has /left/points, which is not in the bag"),
        ((MERGE,), REAR, f"has {REAR}, which is another LiDAR's already"),
        ((f"merge.topics=[{REAR}, {REAR}]",), None, "another LiDAR's already"),
        (("motion.compensation=true",), None, "several PointCloud2 topics: /points, /rear/points"),
        ((MERGE, "motion.compensation=true", "poses.fixed_frame=moon"), None,
         "TF does not connect lidar to it"),
    ],
)  # fmt: skip
def test_what_can_not_be_assembled_is_refused(tmp_path, assignments, topic, message):
    bag = two_lidars(tmp_path)
    with pytest.raises(InputError, match=message):
        assembled(bag, tmp_path / "out", *assignments, topic=topic)
    assert not (tmp_path / "out").exists()


def test_a_parameter_without_effect_on_clouds_is_refused():
    with pytest.raises(InputError, match=r"range\.max=1.*merge\.topics"):
        parse(["range.max=1"], PARAMETERS)


def test_a_ros_1_bag_is_refused(tmp_path):
    bag = write_bag(tmp_path, kind="ros1")
    with pytest.raises(InputError, match="is a ROS 1 bag"):
        assembled(bag, tmp_path / "out", "motion.compensation=true")


@settings(max_examples=100)
@given(
    stamps=st.lists(st.integers(0, 10**9), min_size=1, max_size=20),
    stamp=st.integers(0, 10**9),
    max_gap=st.floats(0, 1),
)
def test_the_nearest_stamp_is_taken_or_none(stamps, stamp, max_gap):
    times = Times()
    for one in stamps:
        times.add(one, one)
    found = times.nearest(stamp, stamp, max_gap)
    least = min(abs(one - stamp) for one in stamps)
    if isinstance(found, Gap):
        assert abs(found.seconds) == pytest.approx(least * 1e-9) and least * 1e-9 > max_gap
    else:
        assert abs(stamps[found] - stamp) == least and least * 1e-9 <= max_gap


def test_after_a_restart_of_the_clock_clouds_of_the_same_turn_are_paired():
    times = Times()
    # The same stamps twice, recorded 10 s apart
    for recorded_s in (0, 10):
        for k in range(3):
            times.add(k * 10**8, recorded_s * 10**9 + k * 10**8)
    assert times.nearest(10**8, 10**8, 0.06) == 1
    assert times.nearest(10**8, 10 * 10**9 + 10**8, 0.06) == 4
    assert times.nearest(10**8, 5 * 10**9, 0.06) == Gap(None)


def test_a_real_recording_keeps_its_labels_and_has_one_time_a_cloud(real_bags, tmp_path):
    """Somebody has moved its points already and left their times: this says nothing of streets."""
    bag = real_bags / "pandaset_002_val"
    out = tmp_path / "out"
    found, clouds = assembled(bag, out, "motion.compensation=true", "poses.fixed_frame=map")
    assert found.clouds == len(clouds) == 20
    with open_bag(bag) as opened:
        before = [cloud for _, cloud in opened.messages([found.topic])]
    for old, new in zip(map(read_points, before), map(read_points, clouds)):
        assert (new["label"] == old["label"]).all() and abs(new["time"]).max() < 1e-6
        moved = np.hypot(new["x"] - old["x"], new["y"] - old["y"])
        # 5 to 6 m/s over the tenth of a second that a sweep takes, and some turning
        assert 0.2 < np.nanmax(moved) < 1.5
