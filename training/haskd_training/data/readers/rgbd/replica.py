"""Folders of rendered Replica scenes, in the layout that NICE-SLAM published.

Z. Zhu et al., NICE-SLAM: Neural Implicit Scalable Encoding for SLAM, 2022; J. Straub et al., The
Replica Dataset, 2019.

ROOT/results/frameNNNNNN.jpg, depthNNNNNN.png   depth of the same pixels, 16 bits; 0: none
ROOT/traj.txt           a line for each frame: T_world_camera, 16 numbers, row by row
cam_params.json         {"camera": {w h fx fy cx cy scale}}, beside ROOT or in it; scale: of 1 m
"""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np

from haskd_ros.errors import InputError
from haskd_training.data.readers.interface import Shortfalls
from haskd_training.data.readers.rgbd.config import RgbdConfig
from haskd_training.data.readers.rgbd.folder import (
    FileFrame,
    folder_recording,
    image_file_size,
    intrinsics_model,
    numbers_of,
)
from haskd_training.data.readers.rgbd.frames import RgbdRecording
from haskd_training.recordings.reading import reading

IMAGES, POSES, CAMERA_FILE = "results", "traj.txt", "cam_params.json"

EXPECTED = (
    "a Replica folder: results/frame000000.jpg and depth000000.png and on, traj.txt with the 16 "
    "numbers of a pose for each, and cam_params.json in the folder or beside it"
)

_START_NS = 1_000_000_000
"""Of times, which count from 0: no stamp is 0."""

_NUMBERS = ("w", "h", "fx", "fy", "cx", "cy", "scale")


def is_replica(root: Path) -> bool:
    return (root / IMAGES).is_dir() and (root / POSES).is_file()


def open_replica(root: Path, name: str, config: RgbdConfig) -> RgbdRecording:
    """
    Raises:
        InputError: what is missing, all of it; a text that can't be read.
    """
    missing = Shortfalls()
    camera_file = root / CAMERA_FILE
    if not camera_file.is_file():
        camera_file = root.parent / CAMERA_FILE
    if not camera_file.is_file():
        missing.add(f"{CAMERA_FILE} is missing")
    poses = numbers_of(root / POSES, 16).reshape(-1, 4, 4)
    if not len(poses):
        missing.add(f"{POSES} is empty")
    files = {
        kind: _numbered(root / IMAGES, kind, suffixes, len(poses), missing)
        for kind, suffixes in (("frame", (".jpg", ".jpeg", ".png")), ("depth", (".png",)))
    }
    missing.check(root, EXPECTED)
    if len(wrong := np.flatnonzero(~_rigid(poses))):
        raise InputError(f"{root / POSES}, line {wrong[0] + 1}: no rigid transform")
    camera = _camera(camera_file)
    size = image_file_size(files["frame"][0])
    if [float(side) for side in size] != [camera["w"], camera["h"]]:
        raise InputError(
            f"{camera_file} is of images of {camera['w']:g} x {camera['h']:g} px; "
            f"{files['frame'][0].name} is of {size[0]} x {size[1]} px"
        )
    numbers = [camera[key] for key in ("fx", "fy", "cx", "cy")]
    model = intrinsics_model(config.intrinsics or numbers, config.distortion, size)
    frames = []
    for number, pose in enumerate(poses):
        stamp = _START_NS + round(number * 1e9 / config.frame_rate)
        pair = files["depth"][number], files["frame"][number]
        frames.append(FileFrame(stamp, stamp, *pair, pose, pose))
    return folder_recording(
        root,
        name,
        frames,
        model=model,
        units_per_m=config.depth_units_per_m or camera["scale"],
        texts=[root / POSES, camera_file],
        findings=[],
        config=config,
    )


def _numbered(
    folder: Path, kind: str, suffixes: tuple[str, ...], count: int, missing: Shortfalls
) -> list[Path]:
    """The files `kindNNNNNN` of all frames."""
    there = {file.stem: file for file in sorted(folder.iterdir()) if file.suffix in suffixes}
    stems = [f"{kind}{number:06d}" for number in range(count)]
    lacking = [stem for stem in stems if stem not in there]
    missing.add_files(f"{IMAGES} lacks {len(lacking)} of {count} {kind} images", lacking)
    extra = sorted(stem for stem in there.keys() - set(stems) if stem.startswith(kind))
    missing.add_files(f"{IMAGES} has {len(extra)} beyond the {count} of {POSES}", extra)
    empty = [file.name for file in there.values() if not file.stat().st_size]
    missing.add_files("empty files", empty)
    return [there[stem] for stem in stems if stem in there]


def _rigid(poses: np.ndarray) -> np.ndarray:
    """Whether transforms [n, 4, 4] are rigid [n]."""
    rotation = poses[:, :3, :3]
    products = rotation @ np.swapaxes(rotation, 1, 2)
    straight = np.abs(products - np.eye(3)).max((1, 2)) < 1e-3
    return np.asarray(straight & (np.linalg.det(rotation) > 0))


def _camera(file: Path) -> dict[str, float]:
    """The numbers of `cam_params.json`."""
    with reading(file):
        document: Any = json.loads(file.read_text(encoding="utf-8"))
    camera = document.get("camera") if isinstance(document, dict) else None
    found: dict[str, float] = {}
    for key in _NUMBERS:
        value: Any = camera.get(key) if isinstance(camera, dict) else None
        is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
        if not is_number or not math.isfinite(value) or value <= 0:
            raise InputError(
                f"{file}: camera.{key} is {value!r}; a number above 0 is expected of each of "
                f"{', '.join(_NUMBERS)}"
            )
        found[key] = float(value)
    return found
