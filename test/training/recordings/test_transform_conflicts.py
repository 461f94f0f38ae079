"""Transforms that contradict each other: which one counts, and what is told."""

from __future__ import annotations

from itertools import pairwise

import pytest
from street_scene import NO_TURN, transforms

from haskd_training.recordings.findings import Finding
from haskd_training.recordings.transform_tree import NoTransform, TransformTree

SECOND = 10**9


def tree_of(*samples: tuple[float | None, str, str, float], gap_s: float = 1.0) -> TransformTree:
    """samples: stamp in s (None: on /tf_static), parent, child, x in m, as they were recorded."""
    tree = TransformTree(round(0.02 * SECOND), round(gap_s * SECOND))
    for stamp_s, parent, child, x in samples:
        edge = (parent, child, (x, 0, 0), NO_TURN)
        tree.add(transforms(round((stamp_s or 0) * SECOND), edge), static=stamp_s is None)
    return tree


def told(tree: TransformTree) -> dict[str, Finding]:
    return {finding.code: finding for finding in tree.findings()}


def x_of(tree: TransformTree, target: str, source: str, stamp_s: float) -> float:
    return float(tree.lookup(target, source, round(stamp_s * SECOND))[0, 3])


SAMPLE, STATIC = (1.0, "base", "camera", 9.0), (None, "base", "camera", 0.5)


@pytest.mark.parametrize("order", [(SAMPLE, STATIC), (STATIC, SAMPLE)])
def test_tf_static_counts_more_than_tf(order: tuple) -> None:
    tree = tree_of(*order)
    assert x_of(tree, "base", "camera", 50) == 0.5
    assert not tree.moves("base", "camera")
    assert told(tree)["tf-static-on-both"].outcome == "repaired"


def test_tf_static_counts_more_than_an_old_sample_under_another_parent() -> None:
    tree = tree_of((1.0, "map", "camera", 9.0), STATIC)
    assert x_of(tree, "base", "camera", 50) == 0.5


def test_motion_that_came_first_counts_more_than_a_mount_under_another_parent() -> None:
    moving = [(0.1 * k, "odom", "base", 0.1 * k) for k in range(5)]
    tree = tree_of(*moving, (None, "map", "base", 7.0))
    assert x_of(tree, "odom", "base", 0.2) == pytest.approx(0.2)
    assert told(tree)["tf-static-on-both"].outcome == "doubtful"


def test_two_parents_are_named() -> None:
    tree = tree_of((1, "odom", "base", 1), (1, "map", "base", 9), (2, "map", "base", 9))
    assert tree.root("base") == "odom"
    finding = told(tree)["tf-two-parents"]
    assert finding.outcome == "doubtful"
    assert "base is published under odom and under map (2 x)" in finding.message


def test_poses_that_share_a_stamp_are_counted() -> None:
    # A clock that began again: the same stamps at another place.
    passes = [(0.1 * k, "odom", "base", x + 0.1 * k) for x in (0, 100) for k in range(5)]
    tree = tree_of(*passes)
    assert x_of(tree, "odom", "base", 0.4) == pytest.approx(0.4)
    assert "5 transforms have the stamp of an earlier one" in told(tree)["tf-clashes"].message
    again = [(0.1 * k, "odom", "base", 0.1 * k) for _ in range(2) for k in range(5)]
    assert told(tree_of(*again)) == {}


def test_a_loop_is_named_and_what_hangs_below_it_is_used() -> None:
    tree = tree_of(
        (None, "base", "lidar", 0), (None, "lidar", "base", 0), (None, "lidar", "camera", 0.5)
    )
    assert x_of(tree, "lidar", "camera", 0) == 0.5
    finding = told(tree)["tf-loop"]
    assert finding.outcome == "doubtful"
    assert "has a loop: lidar -> base -> lidar" in finding.message
    for target, source in (("base", "lidar"), ("base", "camera")):
        with pytest.raises(NoTransform, match="TF has a loop: "):
            tree.lookup(target, source, 0)
    assert tree.fixed_frame("lidar") == (None, None)
    with pytest.raises(NoTransform, match="loop"):
        tree.root("camera")


def test_a_loop_of_three_is_named_from_parent_to_child() -> None:
    tree = tree_of((None, "a", "b", 0), (None, "b", "c", 0), (None, "c", "a", 0))
    assert told(tree)["tf-loop"].message.startswith("has a loop: ")
    loop = told(tree)["tf-loop"].message.split(": ")[1].split(";")[0].split(" -> ")
    assert len(loop) == 4 and loop[0] == loop[-1]
    assert all(pair in {("a", "b"), ("b", "c"), ("c", "a")} for pair in pairwise(loop))


def drive(every_s: float, until_s: float = 6.0) -> list[tuple[float, str, str, float]]:
    """map -> odom that often, odom -> base at 20 Hz."""
    odometry = [(0.05 * k, "odom", "base", 0.25 * k) for k in range(round(20 * until_s))]
    steps = range(int(until_s / every_s) + 1)
    return [*((every_s * k, "map", "odom", 0.0) for k in steps), *odometry]


def test_a_root_with_gaps_gives_way_to_the_frame_below_it() -> None:
    frame, finding = tree_of(*drive(every_s=2)).fixed_frame("base")
    assert frame == "odom"
    assert finding is not None and finding.outcome == "repaired"
    assert "odom at 100 %" in finding.message and "gaps of more than 1 s" in finding.message


def test_a_root_without_gaps_is_the_fixed_frame() -> None:
    assert tree_of(*drive(every_s=0.5)).fixed_frame("base") == ("map", None)
    # The same corrections, where longer gaps are allowed.
    assert tree_of(*drive(every_s=2), gap_s=2.5).fixed_frame("base") == ("map", None)


def test_a_root_whose_only_motion_has_gaps_is_still_the_fixed_frame() -> None:
    sparse = [(2.0 * k, "map", "base", 10.0 * k) for k in range(4)]
    assert tree_of(*sparse).fixed_frame("base") == ("map", None)


def test_a_sensor_that_stands_still_has_no_fixed_frame() -> None:
    assert tree_of((None, "base", "lidar", 0)).fixed_frame("lidar") == (None, None)
    assert tree_of().fixed_frame("lidar") == (None, None)


def test_transforms_that_are_not_rigid_are_counted() -> None:
    tree = TransformTree(0, SECOND)
    tree.add(transforms(0, ("map", "base", (0, 0, 0), (0, 0, 0, 0))), static=True)
    tree.add(transforms(0, ("map", "base", (float("nan"), 0, 0), NO_TURN)), static=True)
    assert told(tree)["tf-not-rigid"].message.startswith("2 transforms are no rigid ones")
    assert told(tree)["tf-not-rigid"].outcome == "left out"
