"""The tables of nuScenes: the files of a scene's keyframes, and where they were taken.

ROOT/v1.0-trainval/*.json, each a list of records that point to each other by tokens. Those of
sample_data and ego_pose have 2.6 million; of them only the keyframes' are kept.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np

from haskd_ros.errors import InputError
from haskd_ros.text import listed, quoted
from haskd_training.data.readers.interface import Shortfalls
from haskd_training.data.readers.nuscenes.json_rows import Row, read_rows
from haskd_training.recordings.transform_tree import transform_matrix

LIDAR = "LIDAR_TOP"
CAMERAS = (
    "CAM_FRONT", "CAM_FRONT_RIGHT", "CAM_BACK_RIGHT", "CAM_BACK", "CAM_BACK_LEFT", "CAM_FRONT_LEFT"
)  # fmt: skip

TABLES = ("scene", "sample", "sample_data", "ego_pose", "calibrated_sensor", "sensor")
CATEGORIES = "category"

CATEGORY_NAMES = (
    "noise", "animal", "human.pedestrian.adult", "human.pedestrian.child",
    "human.pedestrian.construction_worker", "human.pedestrian.personal_mobility",
    "human.pedestrian.police_officer", "human.pedestrian.stroller", "human.pedestrian.wheelchair",
    "movable_object.barrier", "movable_object.debris", "movable_object.pushable_pullable",
    "movable_object.trafficcone", "static_object.bicycle_rack", "vehicle.bicycle",
    "vehicle.bus.bendy", "vehicle.bus.rigid", "vehicle.car", "vehicle.construction",
    "vehicle.emergency.ambulance", "vehicle.emergency.police", "vehicle.motorcycle",
    "vehicle.trailer", "vehicle.truck", "flat.driveable_surface", "flat.other", "flat.sidewalk",
    "flat.terrain", "static.manmade", "static.other", "static.vegetation", "vehicle.ego",
)  # fmt: skip
"""By the index that they have in the published category.json."""

NO_CATEGORY = -1


class Sensor(NamedTuple):
    """A sensor on its vehicle: [4, 4] T_ego_sensor, and [3, 3] K of a camera."""

    channel: str
    T_ego_sensor: np.ndarray
    K: np.ndarray | None


class Shot(NamedTuple):
    """What a sensor took for a keyframe.

    Attributes:
        file: its path in the data set's folder.
        width, height: of an image in px; else 0.
        pose: its row in `Scenes.poses`.
    """

    token: str
    stamp_ns: int
    file: str
    sensor: Sensor
    width: int
    height: int
    pose: int


class Keyframe(NamedTuple):
    """A sweep with the images that belong to it, in the order of `CAMERAS`."""

    lidar: Shot
    images: tuple[Shot, ...]


@dataclass(frozen=True)
class Scenes:
    """Keyframes of scenes in time order, by the scene's name; poses: [n, 7] float64 of the vehicle
    in the world, x y z in m and a quaternion x y z w."""

    keyframes: Mapping[str, Sequence[Keyframe]]
    poses: np.ndarray


def read_scenes(folder: Path, names: Sequence[str], missing: Shortfalls) -> Scenes:
    """The keyframes of scenes.

    Args:
        folder: of the tables.
        missing: receives what the tables lack.

    Raises:
        InputError: a table can't be read, or holds a wrong value.
    """
    samples = _samples(folder, names, missing)
    shots, pose_rows = _shots(folder, samples)
    found: dict[str, list[Keyframe]] = {name: [] for name in names}
    incomplete = []
    for sample, name in samples.items():
        taken = shots.get(sample, {})
        if len(taken) < 1 + len(CAMERAS):
            lacking = [channel for channel in (LIDAR, *CAMERAS) if channel not in taken]
            incomplete.append(f"{sample} of {name} has no {listed(lacking)}")
            continue
        found[name].append(Keyframe(taken[LIDAR], tuple(taken[camera] for camera in CAMERAS)))
    missing.add_files(
        f"{folder.name}/sample_data.json: {len(incomplete)} of {len(samples)} keyframes are not "
        "whole",
        incomplete,
    )
    for keyframes in found.values():
        keyframes.sort(key=lambda keyframe: keyframe.lidar.stamp_ns)
    return Scenes(found, _poses(folder, pose_rows, missing))


def _samples(folder: Path, names: Sequence[str], missing: Shortfalls) -> dict[str, str]:
    """Tokens of the keyframes -> names of their scenes."""
    wanted, scenes, expected = set(names), {}, {}
    for row in read_rows(folder / "scene.json"):
        if (name := row.text("name")) in wanted:
            scenes[row.text("token")] = name
            expected[name] = row.whole("nbr_samples")
    unknown = [name for name in names if name not in expected]
    missing.add_files(f"{folder.name}/scene.json lacks {len(unknown)} of {len(names)}", unknown)
    samples = {}
    counts = dict.fromkeys(expected, 0)
    for row in read_rows(folder / "sample.json"):
        if (scene := scenes.get(row.text("scene_token"))) is not None:
            samples[row.text("token")] = scene
            counts[scene] += 1
    missing.add_files(
        f"{folder.name}/sample.json: another number of keyframes than the scene's",
        [
            f"{name} has {counts[name]}, {number} expected"
            for name, number in expected.items()
            if counts[name] != number
        ],
    )
    return samples


def _shots(
    folder: Path, samples: Mapping[str, str]
) -> tuple[dict[str, dict[str, Shot]], dict[str, int]]:
    """What was taken for each keyframe, by its token and the sensor's channel; and the rows that
    the poses have, by their tokens."""
    sensors = _sensors(folder)
    shots: dict[str, dict[str, Shot]] = {}
    pose_rows: dict[str, int] = {}
    for row in read_rows(folder / "sample_data.json"):
        if row.values.get("is_key_frame") is not True or row.text("sample_token") not in samples:
            continue
        sensor = sensors.get(row.text("calibrated_sensor_token"))
        if sensor is None:  # a radar
            continue
        token, file = row.text("token"), row.text("filename")
        if not token.isalnum():
            raise row.error("token", "letters and digits")
        if not file.startswith(f"samples/{sensor.channel}/"):
            raise row.error("filename", f"samples/{sensor.channel}/...")
        size = (0, 0) if sensor.K is None else (row.whole("width"), row.whole("height"))
        pose = pose_rows.setdefault(row.text("ego_pose_token"), len(pose_rows))
        stamp_ns = 1000 * row.whole("timestamp")
        shot = Shot(token, stamp_ns, file, sensor, *size, pose)
        shots.setdefault(row.text("sample_token"), {})[sensor.channel] = shot
    return shots, pose_rows


def _sensors(folder: Path) -> dict[str, Sensor]:
    """The LiDARs and cameras by the tokens of their calibrations."""
    channels = {row.text("token"): row.text("channel") for row in read_rows(folder / "sensor.json")}
    sensors = {}
    for row in read_rows(folder / "calibrated_sensor.json"):
        channel = channels.get(row.text("sensor_token"))
        if channel == LIDAR or channel in CAMERAS:
            pose = _pose(row)
            K = None if channel == LIDAR else row.numbers("camera_intrinsic", 3, 3)
            sensors[row.text("token")] = Sensor(channel, transform_matrix(pose[:3], pose[3:]), K)
    return sensors


def _poses(folder: Path, pose_rows: Mapping[str, int], missing: Shortfalls) -> np.ndarray:
    poses = np.full((len(pose_rows), 7), np.nan)
    for row in read_rows(folder / "ego_pose.json"):
        number = pose_rows.get(row.text("token"))
        if number is not None:
            poses[number] = _pose(row)
    lost = [token for token, number in pose_rows.items() if np.isnan(poses[number, 0])]
    missing.add_files(f"{folder.name}/ego_pose.json lacks {len(lost)} of {len(poses)}", lost)
    return poses


def _pose(row: Row) -> np.ndarray:
    """x y z, and a quaternion x y z w; the table's begins with w."""
    w, x, y, z = row.numbers("rotation", 4)
    if not any((w, x, y, z)):
        raise row.error("rotation", "a quaternion w x y z")
    return np.array([*row.numbers("translation", 3), x, y, z, w])


def read_label_files(table: Path, tokens: Set[str]) -> dict[str, str]:
    """Label files of sweeps, by the sweep's token; raises as `read_scenes` does."""
    return {
        token: row.text("filename")
        for row in read_rows(table)
        if (token := row.text("sample_data_token")) in tokens
    }


def read_categories(table: Path) -> np.ndarray:
    """[256] int64: index of a category in this file -> in `CATEGORY_NAMES`, by its name;
    `NO_CATEGORY` where the file has none.

    Raises:
        InputError: it has no indices, or names that are none of nuScenes' categories.
    """
    indices = np.full(256, NO_CATEGORY)
    for row in read_rows(table):
        if "index" not in row.values:
            raise InputError(
                f"{table} has no index of categories: it is nuScenes' own; needed is the one that "
                "comes with nuScenes-lidarseg"
            )
        index, name = row.whole("index"), row.text("name")
        if name not in CATEGORY_NAMES:
            raise row.error("name", f"one of {len(CATEGORY_NAMES)}, such as {CATEGORY_NAMES[2]}")
        if not 0 <= index < len(indices):
            raise row.error("index", "0 to 255")
        if indices[index] != NO_CATEGORY:
            other = CATEGORY_NAMES[indices[index]]
            raise InputError(
                f"{table}: index {index} is that of {quoted(other)} and {quoted(name)}"
            )
        indices[index] = CATEGORY_NAMES.index(name)
    return indices
