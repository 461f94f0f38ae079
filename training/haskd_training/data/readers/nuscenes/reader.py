"""nuScenes with lidarseg: scenes of 20 s, two sweeps a second with a class for every point.

W. K. Fong et al., Panoptic nuScenes: A Large-Scale Benchmark for LiDAR Panoptic Segmentation and
Tracking, 2021. Tables: see `tables`.

ROOT/samples/LIDAR_TOP/*.pcd.bin               float32 x y z intensity ring
ROOT/samples/CAM_*/*.jpg                       rectified images
ROOT/lidarseg/v1.0-*/TOKEN_lidarseg.bin        uint8: index of category.json
ROOT/panoptic/v1.0-*/TOKEN_panoptic.npz        uint16 `data`: 1000 times that index + instance
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from haskd_training.data.readers.interface import (
    DatasetReader,
    Drive,
    Frame,
    FrameImage,
    PublishedSplit,
    Rule,
    Shortfalls,
    Submission,
)
from haskd_training.data.readers.nuscenes import scenes
from haskd_training.data.readers.nuscenes.files import (
    check_files,
    read_image,
    read_labels,
    read_points,
)
from haskd_training.data.readers.nuscenes.tables import (
    CATEGORIES,
    TABLES,
    Keyframe,
    Shot,
    read_categories,
    read_label_files,
    read_scenes,
)
from haskd_training.recordings.camera_model import CameraModel
from haskd_training.recordings.transform_tree import invert, transform_matrix

_LABEL_TABLES = ("lidarseg", "panoptic")
"""Of the label files; where both are there the first counts."""

_UNLABELLED = "driveable_surface"
"""What a point without a prediction is said to be, for the benchmark takes none. It is the class of
most points, whose IoU suffers least, and seldom right where predictions end: far away."""

_EXPECTED = (
    "v1.0-trainval, v1.0-mini or v1.0-test with the tables (of the first two those of "
    "nuScenes-lidarseg, too), and by them samples/LIDAR_TOP/*.pcd.bin (20 bytes a point), "
    "lidarseg/v1.0-*/TOKEN_lidarseg.bin (1 byte a point) or panoptic/v1.0-*/TOKEN_panoptic.npz, "
    "and, of each camera that has any in samples/CAM_*, an image for each keyframe"
)


def open_drives(root: Path, names: Sequence[str]) -> list[Drive]:
    """Scenes that are whole; looks at the names and sizes of all their files.

    Raises:
        InputError: what is missing or of a wrong size, all of it; or a table that can't be read.
    """
    missing = Shortfalls()
    drives: dict[str, Drive] = {}
    for version, part in scenes.by_version(root, names).items():
        opened = _Version(root, version).open(part, missing)
        drives |= {drive.name: drive for drive in opened}
    missing.check(root, _EXPECTED)
    return [drives[name] for name in names]


@dataclass(frozen=True)
class _Version:
    """A folder of tables with what belongs to it."""

    root: Path
    name: str

    def open(self, names: Sequence[str], missing: Shortfalls) -> list[Drive]:
        folder = self.root / self.name
        if not folder.is_dir():
            missing.add(f"{self.name} is missing ({len(names)} scenes)")
            return []
        tables = [folder / f"{table}.json" for table in TABLES]
        of_categories, of_labels = folder / f"{CATEGORIES}.json", self._label_table(folder)
        if of_labels is not None:
            tables += [of_categories, of_labels]
        absent = [table.name for table in tables if not table.is_file()]
        missing.add_files(f"{self.name} lacks", absent)
        if absent:
            return []
        found = read_scenes(folder, names, missing)
        keyframes = [keyframe for those in found.keyframes.values() for keyframe in those]
        labelling = None
        if of_labels is not None:
            tokens = [keyframe.lidar.token for keyframe in keyframes]
            labelling = _Labelling(
                read_label_files(of_labels, set(tokens)), read_categories(of_categories)
            )
            unnamed = [token for token in tokens if token not in labelling.files]
            missing.add_files(
                f"{self.name}/{of_labels.name} lacks {len(unnamed)} of {len(tokens)}", unnamed
            )
        labels = {} if labelling is None else labelling.files
        cameras = check_files(self.root, keyframes, labels, missing)
        return [
            _Scene(self.root, name, those, found.poses, cameras, labelling).drive(tables)
            for name, those in found.keyframes.items()
        ]

    def _label_table(self, folder: Path) -> Path | None:
        """None: the labels of these scenes are not published."""
        if self.name == scenes.TEST:
            return None
        tables = [folder / f"{name}.json" for name in _LABEL_TABLES]
        return next((table for table in tables if table.is_file()), tables[0])


@dataclass(frozen=True)
class _Labelling:
    """Label files by the sweep's token, and what their numbers mean, see `read_categories`."""

    files: Mapping[str, str]
    categories: np.ndarray


@dataclass(frozen=True)
class _Scene:
    root: Path
    name: str
    keyframes: Sequence[Keyframe]
    poses: np.ndarray
    cameras: Sequence[str]
    labelling: _Labelling | None

    def drive(self, tables: Sequence[Path]) -> Drive:
        names = [keyframe.lidar.file for keyframe in self.keyframes]
        if self.labelling is not None:
            named = self.labelling.files
            tokens = [keyframe.lidar.token for keyframe in self.keyframes]
            names += [named[token] for token in tokens if token in named]
        images = [shot.file for keyframe in self.keyframes for shot in self._images(keyframe)]
        return Drive(
            name=self.name,
            labelled=self.labelling is not None,
            frames=len(self.keyframes),
            images=len(images),
            files=(*tables, *(self.root / name for name in (*names, *images))),
            iterate=self._frames,
        )

    def _images(self, keyframe: Keyframe) -> list[Shot]:
        return [shot for shot in keyframe.images if shot.sensor.channel in self.cameras]

    def _frames(self) -> Iterator[Frame]:
        for keyframe in self.keyframes:
            lidar = keyframe.lidar
            yield Frame(
                name=lidar.token,
                stamp_ns=lidar.stamp_ns,
                T_world_lidar=self._pose(lidar),
                images=tuple(self._image(shot, lidar) for shot in self._images(keyframe)),
                points=partial(read_points, self.root / lidar.file),
                raw_labels=None
                if self.labelling is None
                else partial(
                    read_labels,
                    self.root / self.labelling.files[lidar.token],
                    self.labelling.categories,
                ),
            )

    def _pose(self, shot: Shot) -> np.ndarray:
        """T_world_sensor at the shot's own time."""
        pose = self.poses[shot.pose]
        found: np.ndarray = transform_matrix(pose[:3], pose[3:]) @ shot.sensor.T_ego_sensor
        return found

    def _image(self, shot: Shot, lidar: Shot) -> FrameImage:
        assert shot.sensor.K is not None
        return FrameImage(
            camera=shot.sensor.channel,
            stamp_ns=shot.stamp_ns,
            model=CameraModel(shot.sensor.K, "plumb_bob", np.zeros(5), shot.width, shot.height),
            T_camera_lidar=invert(shot.sensor.T_ego_sensor) @ lidar.sensor.T_ego_sensor,
            T_world_camera=self._pose(shot),
            read=partial(read_image, self.root / shot.file),
        )


READER = DatasetReader(
    name="nuscenes",
    title="nuScenes",
    splits={
        "train": PublishedSplit(700, 28130),
        "val": PublishedSplit(150, 6019),
        "test": PublishedSplit(150, 6008),
        "mini_train": PublishedSplit(8, 323),
        "mini_val": PublishedSplit(2, 81),
    },
    label_map=Path(__file__).with_name("classes.yaml"),
    intensity_scale=255.0,
    names=scenes.names,
    open_drives=open_drives,
    rule=Rule(
        split="val",
        text="mean IoU over the 16 classes, of all points that have one of them; a class that is "
        "neither there nor predicted is left out of the mean; the benchmark takes no point without "
        f"a prediction, so that one counts as {_UNLABELLED}, as in a submission",
        absent_iou=np.nan,
        unlabelled=_UNLABELLED,
    ),
    submission=Submission(
        "lidarseg/{split}/{frame}_lidarseg.bin",
        "u1",
        unlabelled=11,
        ids=tuple(range(1, 17)),
        beside={
            "{split}/submission.json": json.dumps(
                {
                    "meta": {
                        "use_camera": False,
                        "use_lidar": True,
                        "use_radar": False,
                        "use_map": False,
                        "use_external": False,
                    }
                },
                indent=2,
            )
            + "\n"
        },
    ),
)
