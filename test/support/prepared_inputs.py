"""Caches of every kind of recording and label that `prepare` reads, with the files they are of."""

from __future__ import annotations

import shutil
import sqlite3
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from haskd_training.data.preparing.inputs import Inputs, PrepareConfig, read_inputs
from haskd_training.data.preparing.prepare import prepare
from recorded_bags import POINT, Scene, write_bag

POINTS = 3000
"""Of a cloud: the four of a bag take 250 KB, more than its two ends."""

LABELS = "semantickitti"
CAR = 10


@dataclass(frozen=True)
class PreparedInputs:
    """A cache and what it was made from.

    files: all of it; labels by themselves among them.
    """

    bag: Path
    out: Path
    config: PrepareConfig
    files: list[Path]

    def look(self) -> Inputs:
        """What `prepare` finds when it is called again."""
        return read_inputs([self.bag], LABELS, self.out, self.config)


def prepared(folder: Path, kind: str) -> PreparedInputs:
    """
    Args:
        kind: one of `KINDS`.
    """
    bag, config = KINDS[kind](folder, kind)
    prepare([bag], LABELS, folder / "cache", config)
    beside = [bag.parent] if bag.is_file() else [bag]
    roots = [*beside, *filter(None, [config.label_folder])]
    found = {file for root in roots for file in root.rglob("*") if file.is_file()}
    files = sorted(file for file in found if folder / "cache" not in file.parents)
    return PreparedInputs(bag, folder / "cache", config, files)


def _cloud(index: int) -> np.ndarray:
    points = np.zeros(POINTS, POINT)
    points["x"] = 5 + 0.01 * np.arange(POINTS)
    points["y"] = index
    points["intensity"] = np.arange(POINTS) % 256
    points["label"] = CAR
    return points


def _bag(folder: Path, kind: str) -> tuple[Path, PrepareConfig]:
    return write_bag(folder / "bag", Scene(images=1, points=_cloud), kind), PrepareConfig(
        overlays=0
    )


def _with_a_log(folder: Path, kind: str) -> tuple[Path, PrepareConfig]:
    """A sqlite database part of whose content lies in the write-ahead log beside it."""
    whole = write_bag(folder / "written", Scene(images=1, points=_cloud), "sqlite3")
    (database,) = whole.glob("*.db3")
    connection = sqlite3.connect(database)
    connection.execute("pragma journal_mode=wal")
    connection.execute("pragma wal_autocheckpoint=0")
    with connection:
        connection.execute("update messages set timestamp = timestamp + 1")
    (folder / "bag").mkdir()
    for file in whole.glob("*.db3*"):
        if not file.name.endswith("-shm"):
            shutil.copyfile(file, folder / "bag" / file.name)
    connection.close()
    return folder / "bag" / database.name, PrepareConfig(overlays=0)


def _kitti(folder: Path, kind: str) -> tuple[Path, PrepareConfig]:
    """A folder of clouds with labels and times."""
    root = folder / "bag"
    for name in ("velodyne", "labels"):
        (root / name).mkdir(parents=True)
    for index in range(2):
        cloud = _cloud(index)
        table = np.stack([cloud[name] for name in ("x", "y", "z", "intensity")], 1)
        (table / [1, 1, 1, 255]).astype("<f4").tofile(root / "velodyne" / f"{index:06d}.bin")
        np.full(POINTS, CAR, "<u4").tofile(root / "labels" / f"{index:06d}.label")
    (root / "times.txt").write_text("0.0\n0.1\n")
    return root, PrepareConfig(overlays=0)


def _label_files(folder: Path, kind: str) -> tuple[Path, PrepareConfig]:
    bag = write_bag(folder / "bag", Scene(images=1, points=_cloud))
    labels = folder / "labels"
    labels.mkdir()
    for index in range(4):
        file = labels / f"{index:06d}{kind}"
        if kind == ".label":
            np.full(POINTS, CAR, "<u4").tofile(file)
        elif kind == ".bin":
            np.full(POINTS, CAR, "u1").tofile(file)
        elif kind == ".npy":
            np.save(file, np.full(POINTS, CAR, np.uint16))
        else:
            np.savez(file, data=np.full(POINTS, CAR * 1000, np.uint16))
    return bag, PrepareConfig(overlays=0, label_folder=labels)


KINDS = {
    "mcap": _bag,
    "sqlite3": _bag,
    "ros1": _bag,
    "sqlite3 with a log": _with_a_log,
    "kitti": _kitti,
    ".label": _label_files,
    ".bin": _label_files,
    ".npy": _label_files,
    ".npz": _label_files,
}
