"""Scenes in the published form of nuScenes with lidarseg, a few small keyframes each; the official
development kit opens them, too."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import cv2
import numpy as np

CATEGORIES = (
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

Sweep = tuple[np.ndarray, Sequence[str]]
"""Points [N, 5] x y z intensity ring, and the names of their categories."""

HALF = 0.5**0.5
TO_THE_RIGHT = (HALF, 0, 0, -HALF)
"""w x y z of the LiDAR: its x points to the vehicle's right, its y ahead."""
AHEAD = (0.5, -0.5, 0.5, -0.5)
"""w x y z of a camera that looks along the vehicle's x: its x is -y there, its y -z."""

TO_THE_LEFT = {
    "CAM_FRONT": 0, "CAM_FRONT_RIGHT": -60, "CAM_BACK_RIGHT": -120, "CAM_BACK": 180,
    "CAM_BACK_LEFT": 120, "CAM_FRONT_LEFT": 60,
}  # fmt: skip
"""Degrees from ahead."""

START_US = 1_532_402_927_647_951


def by_hand(number: int) -> Sweep:
    """A car, a road, a child, noise, and a return of the vehicle itself."""
    points = [
        [4, 21, -0.5, 51, 3], [0, 8, -1.8, 255, 9], [-2, 5, -1, 0, 7], [0, 1, 9, 1, 30],
        [0, 0, -0.4, 102, 0],
    ]  # fmt: skip
    names = ["vehicle.car", "flat.driveable_surface", "human.pedestrian.child"]
    return np.array(points), [*names, "noise", "vehicle.ego"]


def street(number: int, count: int = 400) -> Sweep:
    """A road ahead and behind, a wall on its left, a car on it, and points that are ignored."""
    random = np.random.default_rng(number)
    points = random.uniform([-8, -30, -1.8, 0, 0], [8, 30, -1.6, 255, 31], (count, 5))
    names = np.full(count, "flat.driveable_surface", object)
    wall, car = slice(count // 2, 3 * count // 4), slice(3 * count // 4, 7 * count // 8)
    points[wall, 0] = random.uniform(-8.3, -8, count // 4)
    points[wall, 2] = random.uniform(-1.6, 4, count // 4)
    names[wall] = "static.manmade"
    points[car, :3] = random.uniform([0, 4, -1.6], [2, 8, -0.2], (count // 8, 3))
    names[car] = "vehicle.car"
    names[7 * count // 8 :] = random.choice(["noise", "vehicle.ego"], count - 7 * count // 8)
    return points, names.tolist()


def token(*parts: object) -> str:
    return hashlib.md5("/".join(map(str, parts)).encode()).hexdigest()


def write_nuscenes(
    root: Path,
    version: str,
    scenes: Mapping[str, int],
    sweep: Callable[[int], Sweep] = by_hand,
    *,
    labels: str | None = "lidarseg",
    categories: Sequence[str] = CATEGORIES,
    images: bool = False,
) -> Path:
    """`ROOT/VERSION` with all tables, and the files of as many keyframes of each scene.

    The vehicle heads along the world's y with 4 m/s, and a keyframe comes each 0.5 s. Camera k (in
    the order of `TO_THE_LEFT`) takes its image (50 - 10 k) ms before it.

    Args:
        labels: lidarseg or panoptic; None: there are none.
        categories: by their index.
    """
    tables = Tables(root, version, labels, categories, images)
    for name, keyframes in scenes.items():
        tables.add_scene(name, keyframes, sweep)
    return tables.write()


class Tables:
    """What `write_nuscenes` collects for the tables while it writes the other files."""

    def __init__(
        self, root: Path, version: str, labels: str | None, categories: Sequence[str], images: bool
    ) -> None:
        self.root, self.version, self.labels, self.images = root, version, labels, images
        self.index = {name: index for index, name in enumerate(categories)}
        names = (
            "category", "attribute", "visibility", "instance", "sensor", "calibrated_sensor",
            "ego_pose", "log", "scene", "sample", "sample_data", "sample_annotation", "map",
        )  # fmt: skip
        self.rows: dict[str, list[dict]] = {name: [] for name in (*names, labels or "lidarseg")}
        for name, index in self.index.items():
            row = {"token": token(name), "name": name, "description": "", "index": index}
            self.rows["category"].append(row)
        kinds = {
            "LIDAR_TOP": "lidar",
            "RADAR_FRONT": "radar",
            **dict.fromkeys(TO_THE_LEFT, "camera"),
        }
        for channel, modality in kinds.items():
            row = {"token": token(channel), "channel": channel, "modality": modality}
            self.rows["sensor"].append(row)
        log = {"logfile": "", "vehicle": "n015", "date_captured": "", "location": "singapore"}
        self.rows["log"].append({"token": token("log"), **log})
        chart = self.path(f"maps/{token('map')}.png")
        cv2.imwrite(str(chart), np.zeros((8, 8), np.uint8))
        row = {"category": "semantic_prior", "filename": f"maps/{token('map')}.png"}
        self.rows["map"].append({"token": token("map"), "log_tokens": [token("log")], **row})

    def path(self, name: str) -> Path:
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        return path

    def write(self) -> Path:
        if self.labels is None:  # the published tables of the test split have an empty one
            self.path(f"lidarseg/{self.version}/none").parent.mkdir(exist_ok=True)
        for name, rows in self.rows.items():
            self.path(f"{self.version}/{name}.json").write_text(json.dumps(rows, indent=0))
        return self.root / self.version

    def add_scene(self, name: str, keyframes: int, sweep: Callable[[int], Sweep]) -> None:
        samples = [token(name, number) for number in range(keyframes)]
        self.rows["scene"].append({
            "token": token(name), "log_token": token("log"), "nbr_samples": keyframes,
            "first_sample_token": samples[0], "last_sample_token": samples[-1], "name": name,
            "description": "Turn left, \"peds\" [2], {night}",
        })  # fmt: skip
        self.add_calibrations(name)
        for number, sample in enumerate(samples):
            start = START_US + int(name[6:]) * 20_000_000 + number * 500_000
            self.rows["sample"].append({
                "token": sample, "timestamp": start, "scene_token": token(name),
                "prev": samples[number - 1] if number else "",
                "next": samples[number + 1] if number + 1 < keyframes else "",
            })  # fmt: skip
            points, names = sweep(number)
            file = self.add_data(name, number, "LIDAR_TOP", start)
            points.astype("<f4").tofile(file)
            self.add_data(name, number, "LIDAR_TOP", start - 50_000, key=False)
            self.add_data(name, number, "RADAR_FRONT", start + 20_000)
            for camera, channel in enumerate(TO_THE_LEFT):
                file = self.add_data(name, number, channel, start - 50_000 + 10_000 * camera)
                if self.images:
                    picture = np.full((80, 120, 3), 40 * camera + 10 * (number % 5), np.uint8)
                    cv2.imwrite(str(self.path(file.relative_to(self.root))), picture)
            if self.labels is not None:
                self.add_labels(token(name, number, "LIDAR_TOP", start), names)

    def add_calibrations(self, scene: str) -> None:
        """Where the sensors of the vehicle are, as the files have it for each scene anew."""
        poses = {
            "LIDAR_TOP": ((1, 0, 2), (HALF, 0, 0, -HALF)),
            "RADAR_FRONT": ((3, 0, 0), (1, 0, 0, 0)),
        }
        for camera, degrees in TO_THE_LEFT.items():
            c, s = np.cos(np.radians(degrees) / 2), np.sin(np.radians(degrees) / 2)
            w, x, y, z = AHEAD
            turned = (c * w - s * z, c * x - s * y, c * y + s * x, c * z + s * w)
            poses[camera] = ((2 if camera == "CAM_FRONT" else 0, 0, 1.5), turned)
        for channel, (translation, rotation) in poses.items():
            intrinsic = [[100, 0, 60], [0, 100, 40], [0, 0, 1]] if channel in TO_THE_LEFT else []
            self.rows["calibrated_sensor"].append({
                "token": token(scene, channel), "sensor_token": token(channel),
                "translation": [float(value) for value in translation],
                "rotation": [float(value) for value in rotation], "camera_intrinsic": intrinsic,
            })  # fmt: skip

    def add_data(
        self, scene: str, number: int, channel: str, stamp_us: int, *, key: bool = True
    ) -> Path:
        """A row of sample_data with the vehicle's pose at that time; returns the path of its file,
        whose folder is there for the LiDAR's alone."""
        own, pose = token(scene, number, channel, stamp_us), token(scene, channel, stamp_us)
        ending = {"L": "pcd.bin", "R": "pcd", "C": "jpg"}[channel[0]]
        name = f"{'samples' if key else 'sweeps'}/{channel}/n015__{channel}__{stamp_us}.{ending}"
        size = {"width": 120, "height": 80} if channel in TO_THE_LEFT else {"width": 0, "height": 0}
        start = START_US + int(scene[6:]) * 20_000_000
        self.rows["ego_pose"].append({
            "token": pose, "timestamp": stamp_us, "rotation": [HALF, 0.0, 0.0, HALF],
            "translation": [100.0, 50.0 + 4e-6 * (stamp_us - start), 0.0],
        })  # fmt: skip
        self.rows["sample_data"].append({
            "token": own, "sample_token": token(scene, number), "ego_pose_token": pose,
            "calibrated_sensor_token": token(scene, channel), "timestamp": stamp_us,
            "fileformat": ending.partition(".")[0], "is_key_frame": key, **size, "filename": name,
            "prev": "", "next": "",
        })  # fmt: skip
        return self.path(name) if channel == "LIDAR_TOP" else self.root / name

    def add_labels(self, own: str, names: Sequence[str]) -> None:
        index = np.array([self.index[name] for name in names])
        stem = f"{self.labels}/{self.version}/{own}_{self.labels}"
        if self.labels == "lidarseg":
            name = f"{stem}.bin"
            index.astype(np.uint8).tofile(self.path(name))
        else:
            name = f"{stem}.npz"
            instance = np.arange(len(index)) % 3
            np.savez_compressed(self.path(name), data=(1000 * index + instance).astype(np.uint16))
        row = {"token": own, "sample_data_token": own, "filename": name}
        self.rows[self.labels].append(row)
