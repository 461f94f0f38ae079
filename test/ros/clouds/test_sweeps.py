"""Sweeps on top of each other."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from haskd_ros.clouds.sweeps import Moment, PlacedSweep, SweepHistory, before, stack

MS = 1_000_000
NOW_NS = 1_700_000_000_000_000_000


def pose(x: float = 0.0, y: float = 0.0, degrees: float = 0.0) -> np.ndarray:
    """T_fixed_sensor of a sensor at x, y that looks so far to the left."""
    matrix = np.eye(4)
    matrix[:3, :3] = Rotation.from_euler("z", degrees, degrees=True).as_matrix()
    matrix[:2, 3] = x, y
    return matrix


def points(*rows: tuple[float, float, float, float]) -> np.ndarray:
    return np.array(rows, np.float32)


def test_earlier_points_are_moved_into_the_newest_frame_with_their_age():
    newest = points((5, 0, 0, 10), (1, 1, 1, 20))
    # The sensor was 2 m behind, and looked to the left: what was ahead of it is to the left now.
    one_before = PlacedSweep(NOW_NS - 100 * MS, pose(1, 0, 90), points((3, 0, 0.5, 30)), 255.0)
    # Four metres behind, in the same direction: nearer by 4 m now.
    two_before = PlacedSweep(NOW_NS - 250 * MS, pose(-1, 0), points((9, 1, 0, 40)), 255.0)
    moment = Moment(NOW_NS, pose(3, 0), [one_before, two_before])
    cloud, channels = stack(newest, 255.0, {}, moment)
    # (3, 0) turned by 90 degrees is (0, 3), seen from 2 m further on (-2, 3).
    expected = [(5, 0, 0, 10), (1, 1, 1, 20), (-2, 3, 0.5, 30), (5, 1, 0, 40)]
    np.testing.assert_allclose(cloud, expected, atol=1e-6)
    np.testing.assert_array_equal(cloud[:2], newest)
    age = channels["sweep_age"]
    assert age.dtype == np.float32
    np.testing.assert_allclose(age[:, 0], [0, 0, 0.1, 0.25], atol=1e-7)


def test_a_cloud_by_itself_is_its_own_stack():
    newest = points((5, 0, 0, 10))
    cloud, channels = stack(newest, 255.0, {"echo": None})
    assert cloud is newest
    assert channels["echo"] is None and channels["sweep_age"].tolist() == [[0.0]]


def test_intensities_and_channels_are_in_the_newest_clouds_unit_or_no_numbers():
    newest = points((5, 0, 0, 10))
    of_16_bits = PlacedSweep(NOW_NS - MS, pose(), points((1, 0, 0, 1000)), 65535.0)
    without = PlacedSweep(
        NOW_NS - 2 * MS, pose(), points((1, 0, 0, 7)), None, {"echo": np.uint8([[3]])}
    )
    moment = Moment(NOW_NS, pose(), [of_16_bits, without])
    cloud, channels = stack(newest, 255.0, {"echo": np.uint8([[1]]), "rgb": None}, moment)
    # 1000 of 65535 is 3.891 of 255
    np.testing.assert_allclose(cloud[:, 3], [10, 1000 * 255 / 65535, np.nan], rtol=1e-6)
    np.testing.assert_array_equal(channels["echo"], np.float32([[1], [np.nan], [3]]))
    # What the newest cloud lacks, the stack lacks.
    assert channels["rgb"] is None
    assert stack(newest[:, :3], None, {}, moment).points.shape == (3, 3)
    assert np.isnan(stack(newest, None, {}, moment).points[1:, 3]).all()


finite = st.floats(-1e5, 1e5)
angle = st.floats(-180, 180)


@given(place=st.tuples(finite, finite), turns=st.tuples(angle, angle), step=st.floats(-3, 3))
def test_a_world_that_stands_still_gives_coincident_points(place, turns, step):
    x, y = place
    now, then = pose(x, y, turns[0]), pose(x + step, y - step, turns[1])
    world = np.array([(x + 4, y + 1, 0.5), (x - 20, y + 30, -2), (x + 50, y, 3)])

    def seen(of: np.ndarray) -> np.ndarray:
        own = (world - of[:3, 3]) @ of[:3, :3]
        return np.column_stack([own, np.zeros(3)]).astype(np.float32)

    earlier = PlacedSweep(NOW_NS - 100 * MS, then, seen(then), 1.0)
    cloud, _ = stack(seen(now), 1.0, {}, Moment(NOW_NS, now, [earlier]))
    np.testing.assert_allclose(cloud[3:, :3], cloud[:3, :3], atol=1e-4)


def test_poses_that_differ_in_the_last_bits_give_the_same_bits():
    seen = np.random.default_rng(0).normal(0, 30, (1000, 4)).astype(np.float32)
    now, then = pose(1e4, 2e4, 30), pose(1e4 + 0.7, 2e4, 31)
    stacks = [
        stack(seen, 1.0, {}, Moment(NOW_NS, now, [PlacedSweep(NOW_NS - MS, other, seen, 1.0)]))
        for other in (then, then * (1 + 1e-16))
    ]
    np.testing.assert_array_equal(stacks[0].points, stacks[1].points)


def test_the_sweeps_before_are_those_without_a_long_gap():
    stamps = [NOW_NS - ms * MS for ms in (0, 100, 1050, 2100)]
    candidates = [(stamp, number) for number, stamp in enumerate(stamps)]
    # The cloud itself is not before it; from 100 to 1050 ms is no gap, 1050 ms is one.
    assert before(NOW_NS, candidates, 5) == [1, 2]
    assert before(NOW_NS, candidates, 1) == [1]
    assert before(NOW_NS + 1001 * MS, candidates, 5) == []


def test_a_history_holds_the_last_sweeps_and_says_why_there_are_fewer():
    history = SweepHistory(3)

    def label(ms: int) -> tuple[list[int], str]:
        """Ages in ms of what is stacked below a cloud at that time."""
        stamp_ns = NOW_NS + ms * MS
        found, reason = history.before(stamp_ns)
        history.keep(PlacedSweep(stamp_ns, np.eye(4), np.zeros((5, 4), np.float32), 1.0))
        return [(stamp_ns - each.stamp_ns) // MS for each in found], reason

    assert label(0) == ([], "first clouds")
    assert label(100) == ([100], "first clouds")
    assert label(200) == ([100, 200], "")
    assert label(200) == ([100, 200], "")  # the same cloud once more
    assert label(300) == ([100, 200], "")
    assert label(250) == ([50, 150], "")  # a little late
    assert label(400) == ([100, 150], "")
    assert (len(history), history.points) == (3, 15)
    assert label(1900) == ([], "gap before it")
    assert label(2000) == ([100], "gap before it")
    assert label(2100) == ([100, 200], "")
    # A bag that starts again.
    assert label(0) == ([], "time went back")
    assert label(100) == ([100], "first clouds")
    history.forget()
    assert label(200) == ([], "first clouds")
