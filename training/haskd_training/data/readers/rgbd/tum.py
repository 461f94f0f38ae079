"""Folders as of the TUM RGB-D benchmark.

J. Sturm et al., A Benchmark for the Evaluation of RGB-D SLAM Systems, 2012.

ROOT/rgb.txt, depth.txt      a line for each image: its time in s, its file
ROOT/groundtruth.txt         time, tx ty tz of the colour camera in the world, qx qy qz qw
ROOT/rgb/*.png, depth/*.png  depth of the colour image's pixels, 16 bits, 5000 a m; 0: none
ROOT/calibration.txt         fx fy cx cy; folders of the benchmark have none, their names say it
"""

from __future__ import annotations

import re
from collections import Counter
from decimal import Decimal, InvalidOperation
from pathlib import Path
from types import SimpleNamespace

import numpy as np

from haskd_ros.errors import InputError
from haskd_training.data.readers.interface import Shortfalls
from haskd_training.data.readers.rgbd.config import RgbdConfig
from haskd_training.data.readers.rgbd.folder import (
    CAMERA,
    WORLD,
    FileFrame,
    folder_recording,
    image_file_size,
    intrinsics_model,
    left_out,
    lines_of,
    numbers_of,
    stamped_pose,
)
from haskd_training.data.readers.rgbd.frames import RgbdRecording, nearest
from haskd_training.recordings.camera_model import CameraModel
from haskd_training.recordings.findings import Finding
from haskd_training.recordings.recording import empty_tree
from haskd_training.recordings.transform_tree import TransformTree

COLOR, DEPTH, POSES, CALIBRATION = "rgb.txt", "depth.txt", "groundtruth.txt", "calibration.txt"

EXPECTED = (
    "a TUM RGB-D folder: rgb.txt and depth.txt with a time and a file in each line, "
    "groundtruth.txt with `time tx ty tz qx qy qz qw` in each, and these files"
)

UNITS_PER_M = 5000.0

_PUBLISHED = {
    "1": ((517.3, 516.5, 318.6, 255.3), (0.2624, -0.9531, -0.0054, 0.0026, 1.1633)),
    "2": ((520.9, 521.0, 325.1, 249.7), (0.2312, -0.7849, -0.0033, -0.0001, 0.9172)),
    "3": ((535.4, 539.2, 320.1, 247.6), ()),
}
"""Intrinsics and distortion of the benchmark's three colour cameras, by the number in the name."""


def is_tum(root: Path) -> bool:
    return (root / COLOR).is_file() and (root / DEPTH).is_file()


def open_tum(root: Path, name: str, config: RgbdConfig) -> RgbdRecording:
    """
    Raises:
        InputError: what is missing, all of it; a text that can't be read; no frame that can be
            used.
    """
    missing = Shortfalls()
    lists = {file: _listed(root, file, missing) for file in (COLOR, DEPTH)}
    if not (root / POSES).is_file():
        missing.add(f"{POSES} is missing")
    missing.check(root, EXPECTED)
    colors, depths = (lists[file] for file in (COLOR, DEPTH))
    model, findings = _model(root, name, config, next(iter(colors.values())))

    tree, poses = _tree(root, config)
    color_stamps, stamps = (np.array(sorted(one), np.int64) for one in (colors, depths))
    pairs = nearest(stamps, color_stamps, config.max_offset_s)
    T_depth, no_depth_pose = tree.lookups(WORLD, CAMERA, stamps.tolist())
    T_color, no_color_pose = tree.lookups(WORLD, CAMERA, color_stamps.tolist())
    reasons: Counter[str] = Counter()
    frames = []
    for number, pair in enumerate(pairs.tolist()):
        if pair < 0:
            reasons[f"no colour image within {config.max_offset_s:g} s (max_offset_s)"] += 1
        elif no_depth_pose[number] or no_color_pose[pair]:
            reasons[f"no pose in {POSES} at that time"] += 1
        else:
            stamp, color_stamp = int(stamps[number]), int(color_stamps[pair])
            files = depths[stamp], colors[color_stamp]
            frames.append(FileFrame(stamp, color_stamp, *files, T_depth[number], T_color[pair]))
    findings += left_out(name, reasons, len(stamps))
    if not frames:
        told = findings[-1].message if findings else "there is none"
        raise InputError(f"{root}: no depth image can be used: {told}; {poses} poses")
    texts = [root / file for file in (COLOR, DEPTH, POSES, CALIBRATION)]
    return folder_recording(
        root,
        name,
        frames,
        model=model,
        units_per_m=config.depth_units_per_m or UNITS_PER_M,
        texts=[file for file in texts if file.is_file()],
        findings=findings,
        config=config,
    )


def _listed(root: Path, name: str, missing: Shortfalls) -> dict[int, Path]:
    """Files by their time in ns."""
    files: dict[int, Path] = {}
    for number, words in lines_of(root / name):
        if len(words) != 2 or (stamp := _stamp(words[0])) is None:
            raise InputError(f"{root / name}, line {number}: a time in s and a file expected")
        files.setdefault(stamp, root / words[1])
    if not files:
        missing.add(f"{name} is empty")
    gone = [file for file in files.values() if not file.is_file()]
    shown = [str(file.relative_to(root)) for file in gone]
    missing.add_files(f"{len(gone)} of the {len(files)} files in {name} are missing", shown)
    empty = [file for file in files.values() if file.is_file() and not file.stat().st_size]
    missing.add_files("empty files", [str(file.relative_to(root)) for file in empty])
    return files


def _stamp(text: str) -> int | None:
    """ns of a number of s; a float64 would not hold the digits."""
    try:
        return int(Decimal(text) * 10**9)
    except (InvalidOperation, ValueError, OverflowError):
        return None


def _tree(root: Path, config: RgbdConfig) -> tuple[TransformTree, int]:
    """The camera's poses over time, and their number."""
    file = root / POSES
    rows = numbers_of(file, 8)
    times = [words[0] for _, words in lines_of(file)]
    tree = empty_tree(config)
    transforms = [
        stamped_pose(_stamp(time) or 0, row[1:4].tolist(), row[4:].tolist())
        for time, row in zip(times, rows, strict=True)
    ]
    tree.add(SimpleNamespace(transforms=transforms), static=False)
    if not tree.frames:
        raise InputError(f"{file} holds no pose")
    return tree, len(rows)


def _model(
    root: Path, name: str, config: RgbdConfig, example: Path
) -> tuple[CameraModel, list[Finding]]:
    size = image_file_size(example)
    if config.intrinsics is not None:
        return intrinsics_model(config.intrinsics, config.distortion, size), []
    if (root / CALIBRATION).is_file():
        rows = numbers_of(root / CALIBRATION, 4)
        if len(rows) == 1:
            return intrinsics_model(rows[0].tolist(), config.distortion, size), []
        raise InputError(f"{root / CALIBRATION}: one line `fx fy cx cy` expected")
    if (found := re.search(r"(?:freiburg|fr)([123])(?!\d)", name)) and size == (640, 480):
        numbers, distortion = _PUBLISHED[found[1]]
        message = f"intrinsics are those published for freiburg{found[1]}, by the folder's name"
        finding = Finding("intrinsics-by-name", name, "noted", message)
        return intrinsics_model(numbers, distortion, size), [finding]
    raise InputError(
        f"{root}: nothing says the colour camera's intrinsics: give fx, fy, cx and cy in px, as "
        f"--set intrinsics=[525,525,319.5,239.5], or in {CALIBRATION}; a folder of the benchmark "
        "has freiburg1, 2 or 3 in its name, and images of 640 x 480 px"
    )
