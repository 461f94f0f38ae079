"""Camera models from CameraInfo; transforms over time."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from rosbags.typesys import Stores, get_typestore
from scipy.spatial.transform import Rotation

from haskd_training.recordings.camera_model import CalibrationError, calibration
from haskd_training.recordings.transform_tree import (
    NoTransform,
    TransformTree,
    invert,
    transform_matrix,
)

TYPES = get_typestore(Stores.ROS2_HUMBLE).types
SECOND = 1_000_000_000
HALF_TURN = (0.0, 0.0, 1.0, 0.0)
QUARTER_TURN = (0.0, 0.0, np.sqrt(0.5), np.sqrt(0.5))
NO_TURN = (0.0, 0.0, 0.0, 1.0)


def tree_of(*edges: tuple, tolerance_s: float = 0.0, max_gap_s: float = 10.0) -> TransformTree:
    """edges: (parent, child, stamp in s or None where static, xyz, quaternion xyzw)."""
    tree = TransformTree(round(tolerance_s * SECOND), round(max_gap_s * SECOND))
    for parent, child, stamp_s, xyz, quaternion in edges:
        stamp_ns = round((stamp_s or 0.0) * SECOND)
        stamp = TYPES["builtin_interfaces/msg/Time"](stamp_ns // SECOND, stamp_ns % SECOND)
        transform = TYPES["geometry_msgs/msg/TransformStamped"](
            TYPES["std_msgs/msg/Header"](stamp, parent),
            child,
            TYPES["geometry_msgs/msg/Transform"](
                TYPES["geometry_msgs/msg/Vector3"](*xyz),
                TYPES["geometry_msgs/msg/Quaternion"](*quaternion),
            ),
        )
        tree.add(TYPES["tf2_msgs/msg/TFMessage"]([transform]), static=stamp_s is None)
    return tree


def moved(transform: np.ndarray, x: float, y: float, z: float) -> list[float]:
    return np.round(transform @ [x, y, z, 1.0], 9)[:3].tolist()


def test_half_way_between_two_poses_is_half_the_way_and_half_the_turn() -> None:
    tree = tree_of(
        ("map", "base", 1.0, (0, 0, 0), NO_TURN), ("map", "base", 2.0, (4, 0, 0), QUARTER_TURN)
    )
    # At 1.5 s: at x = 2, turned by 45 degrees; a point 1 m ahead is at 2 + cos 45, sin 45.
    expected = [2 + np.sqrt(0.5), np.sqrt(0.5), 0]
    assert moved(tree.lookup("map", "base", 1_500_000_000), 1, 0, 0) == pytest.approx(expected)
    # At 1 + 1/3 s: x = 4/3, turned by 30 degrees.
    third = tree.lookup("map", "base", SECOND + SECOND // 3)
    assert moved(third, 1, 0, 0) == pytest.approx([4 / 3 + np.cos(np.pi / 6), 0.5, 0], abs=1e-6)


def test_rotation_takes_the_short_way_round() -> None:
    # q and -q are the same rotation: between them nothing turns.
    turned_sign = tuple(-value for value in QUARTER_TURN)
    tree = tree_of(
        ("map", "base", 1.0, (0, 0, 0), QUARTER_TURN), ("map", "base", 2.0, (0, 0, 0), turned_sign)
    )
    assert moved(tree.lookup("map", "base", 1_400_000_000), 1, 0, 0) == pytest.approx([0, 1, 0])


def test_a_chain_goes_up_to_the_common_ancestor_and_down_again() -> None:
    tree = tree_of(
        ("map", "base", 1.0, (100, 0, 0), NO_TURN),
        ("base", "lidar", None, (0, 0, 2), HALF_TURN),
        ("base", "mount", None, (1, 0, 0), NO_TURN),
        ("mount", "camera", None, (0, 0, 1), QUARTER_TURN),
    )
    # Lidar (1, 0, 0) -> base (-1, 0, 2) -> mount (-2, 0, 2) -> less (0, 0, 1): (-2, 0, 1) ->
    # turned back by 90 degrees: x' = y = 0, y' = -x = 2. At a time without a pose of the map.
    assert moved(tree.lookup("camera", "lidar", 0), 1, 0, 0) == pytest.approx([0, 2, 1])
    assert not tree.moves("camera", "lidar")
    assert tree.moves("map", "lidar")
    assert tree.root("camera") == "map"
    with pytest.raises(NoTransform, match="no transform map -> base at that time"):
        tree.lookup("map", "lidar", 0)


def test_transforms_hold_for_the_tolerance_beyond_their_ends_and_no_longer() -> None:
    tree = tree_of(
        ("map", "base", 1.0, (1, 0, 0), NO_TURN),
        ("map", "base", 2.0, (2, 0, 0), NO_TURN),
        tolerance_s=0.1,
    )
    assert tree.lookup("map", "base", 900_000_000)[0, 3] == 1
    assert tree.lookup("map", "base", 2_100_000_000)[0, 3] == 2
    for outside in (899_999_999, 2_100_000_001):
        with pytest.raises(NoTransform, match="at that time"):
            tree.lookup("map", "base", outside)


def test_a_long_gap_is_not_interpolated_over() -> None:
    tree = tree_of(
        ("map", "base", 1.0, (1, 0, 0), NO_TURN),
        ("map", "base", 3.0, (3, 0, 0), NO_TURN),
        max_gap_s=1.0,
    )
    assert tree.lookup("map", "base", 3 * SECOND)[0, 3] == 3
    with pytest.raises(NoTransform, match="at that time"):
        tree.lookup("map", "base", 2 * SECOND)


def test_many_times_are_looked_up_as_each_alone() -> None:
    tree = tree_of(
        ("map", "base", 1, (1, 0, 0), NO_TURN),
        ("map", "base", 2, (3, 0, 0), QUARTER_TURN),
        ("map", "base", 4, (4, 0, 0), NO_TURN),
        ("base", "lidar", None, (0, 0, 2), NO_TURN),
        max_gap_s=1.5,
    )
    stamps = [SECOND, 2 * SECOND, SECOND // 2, 3 * SECOND, SECOND + SECOND // 2, 5 * SECOND]
    found, reasons = tree.lookups("map", "lidar", stamps)
    missing = "no transform map -> base at that time"
    assert reasons == [None, None, missing, missing, None, missing]
    for k in (0, 1, 4):
        assert (found[k] == tree.lookup("map", "lidar", stamps[k])).all()
    assert found[4] @ [1.0, 0, 0, 1] == pytest.approx([2 + np.sqrt(0.5), np.sqrt(0.5), 2, 1])


def test_a_message_that_is_added_again_changes_nothing() -> None:
    pose = ("map", "base", 1, (1, 0, 0), NO_TURN)
    assert tree_of(pose, pose).lookup("map", "base", SECOND)[0, 3] == 1


def test_samples_may_come_in_any_order() -> None:
    poses = [("map", "base", float(t), (t, 0, 0), NO_TURN) for t in (3, 1, 2)]
    assert tree_of(*poses).lookup("map", "base", 2_500_000_000)[0, 3] == 2.5


def test_frames_that_are_not_connected_say_so() -> None:
    tree = tree_of(
        ("map", "base", None, (0, 0, 0), NO_TURN), ("world", "drone", None, (0, 0, 0), NO_TURN)
    )
    with pytest.raises(NoTransform, match="TF does not connect drone to base"):
        tree.lookup("base", "drone", 0)
    with pytest.raises(NoTransform, match="TF does not connect nobody to base"):
        tree.lookup("base", "nobody", 0)


def test_a_loop_in_tf_is_found() -> None:
    tree = tree_of(("a", "b", None, (0, 0, 0), NO_TURN), ("b", "a", None, (0, 0, 0), NO_TURN))
    with pytest.raises(NoTransform, match="loop"):
        tree.lookup("a", "b", 0)


def test_the_first_parent_of_a_frame_counts() -> None:
    tree = tree_of(
        ("odom", "base", 1.0, (1, 0, 0), NO_TURN), ("map", "base", 1.0, (9, 0, 0), NO_TURN)
    )
    assert tree.root("base") == "odom"
    assert tree.lookup("odom", "base", SECOND)[0, 3] == 1


def test_a_transform_without_a_rotation_is_left_out() -> None:
    tree = tree_of(("map", "base", None, (0, 0, 0), (0.0, 0.0, 0.0, 0.0)))
    with pytest.raises(NoTransform):
        tree.lookup("map", "base", 0)


coordinates = arrays(np.float64, 3, elements=st.floats(-1e4, 1e4))
quaternions = arrays(np.float64, 4, elements=st.floats(-1, 1)).filter(
    lambda q: np.linalg.norm(q) > 1e-3
)


@given(coordinates, quaternions, coordinates)
def test_a_transform_and_its_inverse_cancel(
    translation: np.ndarray, quaternion: np.ndarray, point: np.ndarray
) -> None:
    transform = transform_matrix(translation, quaternion)
    there = transform @ [*point, 1.0]
    assert invert(transform) @ there == pytest.approx([*point, 1.0], abs=1e-8)
    assert np.linalg.det(transform[:3, :3]) == pytest.approx(1.0)


@given(st.floats(0, 1), quaternions, quaternions)
def test_interpolation_turns_at_an_even_rate(
    fraction: float, first: np.ndarray, last: np.ndarray
) -> None:
    tree = tree_of(("map", "base", 1.0, (0, 0, 0), first), ("map", "base", 2.0, (0, 0, 0), last))
    pose = tree.lookup("map", "base", SECOND + round(fraction * SECOND))
    start, end = Rotation.from_quat(first), Rotation.from_quat(last)
    whole = (start.inv() * end).magnitude()
    part = (start.inv() * Rotation.from_matrix(pose[:3, :3])).magnitude()
    assert part == pytest.approx(fraction * whole, abs=1e-6)


def info(
    model: str = "plumb_bob", d: tuple = (0.0,) * 5, fx: float = 100.0, r: tuple = ()
) -> object:
    header = TYPES["std_msgs/msg/Header"](TYPES["builtin_interfaces/msg/Time"](0, 0), "camera")
    rectification = np.array(r or np.eye(3).reshape(-1))
    return TYPES["sensor_msgs/msg/CameraInfo"](
        header, 80, 100, model, np.array(d),
        np.array([fx, 0, 50, 0, fx, 40, 0, 0, 1]), rectification,
        np.array([90.0, 0, 48, 0, 0, 90, 38, 0, 0, 0, 1, 0]), 0, 0,
        TYPES["sensor_msgs/msg/RegionOfInterest"](0, 0, 0, 0, False),
    )  # fmt: skip


def test_camera_info_becomes_a_model() -> None:
    model = calibration(info("rational_polynomial", tuple(range(8)))).model
    assert model.distortion_model == "rational_polynomial"
    assert model.D.tolist() == list(range(8))
    assert model.K.tolist() == [[100, 0, 50], [0, 100, 40], [0, 0, 1]]
    assert (model.width, model.height) == (100, 80)


def test_missing_coefficients_are_zero() -> None:
    assert calibration(info("plumb_bob", (0.1, 0.2, 0.3, 0.4))).model.D.tolist() == [
        0.1, 0.2, 0.3, 0.4, 0.0
    ]  # fmt: skip
    assert calibration(info("", ())).model.D.tolist() == [0.0] * 5
    assert calibration(info("fisheye", ())).model.distortion_model == "equidistant"


def test_a_rectified_image_uses_the_projection_matrix() -> None:
    model = calibration(info("plumb_bob", (0.5,) * 5), rectified=True).model
    assert model.K.tolist() == [[90, 0, 48], [0, 90, 38], [0, 0, 1]]
    assert not model.D.any()


def test_calibrations_that_cannot_be_used_are_refused() -> None:
    with pytest.raises(CalibrationError, match="'double_sphere' is unknown; known are plumb_bob"):
        calibration(info("double_sphere"))
    with pytest.raises(CalibrationError, match="not calibrated"):
        calibration(info(fx=0.0))
    with pytest.raises(CalibrationError, match="plumb_bob has 5 coefficients, CameraInfo gives 8"):
        calibration(info("plumb_bob", (0.1,) * 8))
    with pytest.raises(CalibrationError, match="R of its CameraInfo is not a rotation"):
        calibration(info(r=(0, -2, 0, 1, 0, 0, 0, 0, 1)), rectified=True)
    with pytest.raises(CalibrationError, match="NaN"):
        calibration(info(fx=float("nan")))
