"""ScanNet, version 2: rooms as coloured meshes, a class for every vertex, and images with poses.

A. Dai et al., ScanNet: Richly-annotated 3D Reconstructions of Indoor Scenes, 2017.

ROOT/scans/SCAN/, ROOT/scans_test/SCAN/ (without labels), SCAN is sceneNNNN_NN
    SCAN_vh_clean_2.ply                 vertices x y z red green blue alpha, and faces
    SCAN.txt                            axisAlignment: 16 numbers, T_aligned_mesh row by row
    SCAN.sens                           images with poses, see `sens_stream`; may be missing
    labels: see `labels`
ROOT/scannetv2_{train,val,test}.txt     names of the scans of each split
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
from pydantic import Field

from haskd_ros.errors import InputError
from haskd_ros.text import quoted
from haskd_training.data.preparing.inputs import CacheConfig
from haskd_training.data.readers.indoor import scene_origin
from haskd_training.data.readers.interface import (
    DatasetReader,
    Drive,
    Frame,
    FrameImage,
    FramePoints,
    PublishedSplit,
    ReaderSettings,
    Rule,
    Shortfalls,
    Submission,
)
from haskd_training.data.readers.scannet.labels import CATEGORIES, ScanLabels
from haskd_training.data.readers.scannet.sens_stream import (
    StreamFrame,
    is_rigid,
    read_frames,
    read_header,
    read_image,
)
from haskd_training.recordings.camera_model import CameraModel
from haskd_training.recordings.cloud_files import ply
from haskd_training.recordings.reading import reading
from haskd_training.recordings.transform_tree import invert

SCANS, TEST_SCANS = "scans", "scans_test"
MESH = "_vh_clean_2.ply"
CAMERA = "color"

_NAME = re.compile(r"scene\d{4}_\d\d")
_LISTS = (".", "Tasks/Benchmark")
"""Where the splits' lists are looked for: the second is their folder in ScanNet's repository."""

_START_NS = 1_000_000_000
"""Stamp of a scene. That of an image is later by its number in ns: so each has its own, and all
show what stands still at the time of the scene."""

_EXPECTED = (
    f"SCAN{MESH} for each scan, in {SCANS}/SCAN with SCAN.txt and SCAN_vh_clean_2.labels.ply "
    "(or, instead of it, SCAN_vh_clean_2.0.010000.segs.json, SCAN.aggregation.json and, once for "
    f"all, {CATEGORIES}), or in {TEST_SCANS}/SCAN without labels; and SCAN.sens where there is one"
)


def names(root: Path, split: str | None) -> Sequence[str]:
    """Of the scans in a split's list, or of all that are there.

    Raises:
        InputError: the list is missing, or has a line that is no scan's name.
    """
    if split is None:
        folders = [path for part in (SCANS, TEST_SCANS) for path in (root / part).glob("scene*")]
        return sorted({path.name for path in folders if _NAME.fullmatch(path.name)})
    name = f"scannetv2_{split}.txt"
    file = next((root / at / name for at in _LISTS if (root / at / name).is_file()), None)
    if file is None:
        raise InputError(
            f"{root} has no {name}, the scans of the split {split}; it comes with ScanNet's code "
            f"(github.com/ScanNet/ScanNet, Tasks/Benchmark): put it into {root}"
        )
    with reading(file):
        found = file.read_text(encoding="utf-8", errors="replace").split()
    if not found:
        raise InputError(f"{file} is empty; expected are names of scans, as scene0000_00")
    for line in found:
        if not _NAME.fullmatch(line):
            raise InputError(f"{file} has {quoted(line)}; expected are names, as scene0000_00")
    return sorted(set(found))


class ScanNetConfig(CacheConfig):
    """Settings of `prepare --reader scannet`; part of a cache's fingerprint."""

    images_per_scene: int = Field(
        20, ge=0, description="largest number of images of a scene; of more, as many, evenly spread"
    )


def open_drives(config: ScanNetConfig, root: Path, names: Sequence[str]) -> list[Drive]:
    """Scans that are whole; looks at the names and sizes of all their files, and through the
    headers of their images.

    Raises:
        InputError: what is missing or of a wrong size, all of it.
    """
    missing = Shortfalls()
    scans = [_Scan.of(root, name, config.images_per_scene) for name in names]
    absent = [scan.folder.name for scan in scans if not scan.folder.is_dir()]
    missing.add_files(f"{len(absent)} of {len(scans)} scans are missing", absent)
    drives = [scan.check(missing) for scan in scans if scan.folder.is_dir()]
    missing.check(root, _EXPECTED)
    return drives


@dataclass(frozen=True)
class _Scan:
    """A scan in its folder. labels: None without any. most_images: that are taken."""

    folder: Path
    labels: ScanLabels | None
    most_images: int

    @classmethod
    def of(cls, root: Path, name: str, most_images: int) -> _Scan:
        test = root / TEST_SCANS / name
        if test.is_dir() and not (root / SCANS / name).is_dir():
            return cls(test, None, most_images)
        folder = root / SCANS / name
        return cls(folder, ScanLabels.of(root, folder), most_images)

    def file(self, ending: str) -> Path:
        return self.folder / f"{self.folder.name}{ending}"

    def check(self, missing: Shortfalls) -> Drive:
        """The scan as a drive, right where nothing was added to `missing`."""
        needed = [self.file(MESH)]
        if self.labels is not None:
            needed += [self.file(".txt"), *self.labels.files]
        absent = [file.name for file in needed if not file.is_file()]
        missing.add_files(f"{self.folder.name} lacks", absent)
        images = 0
        meshes = [file for file in needed if file.suffix == ".ply" and file.is_file()]
        try:
            counts = [_vertices_in(file) for file in meshes]
            if len(set(counts)) > 1:
                missing.add(f"{self.folder.name} has {counts[0]} vertices, {counts[1]} labels")
            if counts == [0]:
                missing.add(f"{meshes[0]} has no vertex")
            _alignment(self.file(".txt"))
            if self.file(".sens").is_file():
                images = sum(1 for _ in read_frames(self.file(".sens")))
        except InputError as error:
            missing.add(str(error))
        optional = [self.file(ending) for ending in (".txt", ".sens")]
        files = dict.fromkeys([*needed, *(file for file in optional if file.is_file())])
        return Drive(
            name=self.folder.name,
            labelled=self.labels is not None,
            frames=1,
            images=min(images, self.most_images),
            files=tuple(files),
            iterate=self.frames,
        )

    def frames(self) -> Iterator[Frame]:
        T_aligned_mesh = _alignment(self.file(".txt"))
        mesh = self.file(MESH)
        with reading(mesh):
            (vertices,) = ply.read(mesh)
        try:
            xyz = np.stack([vertices[name] for name in "xyz"], 1).astype(np.float64)
            rgb = np.stack([vertices[name] for name in ("red", "green", "blue")], 1)
        except ValueError as error:
            raise InputError(f"{mesh}: its vertices have no red, green and blue") from error
        if not np.isfinite(xyz).all():
            raise InputError(f"{mesh} has coordinates that are no numbers")
        if rgb.dtype != np.uint8:
            raise InputError(f"{mesh} has colours of {rgb.dtype}; expected is uchar")
        aligned = xyz @ T_aligned_mesh[:3, :3].T + T_aligned_mesh[:3, 3]
        T_world_lidar = np.eye(4)
        T_world_lidar[:3, 3] = scene_origin(aligned)
        xyz_intensity = np.zeros((len(xyz), 4), np.float32)
        xyz_intensity[:, :3] = aligned - T_world_lidar[:3, 3]
        points = FramePoints(xyz_intensity, {"rgb": rgb})
        yield Frame(
            name=self.folder.name,
            stamp_ns=_START_NS,
            T_world_lidar=T_world_lidar,
            images=tuple(self._images(T_aligned_mesh, T_world_lidar)),
            points=lambda: points,
            raw_labels=None if self.labels is None else self.labels.read,
        )

    def _images(
        self, T_aligned_mesh: np.ndarray, T_world_lidar: np.ndarray
    ) -> Iterator[FrameImage]:
        stream = self.file(".sens")
        if not stream.is_file():
            return
        header = read_header(stream)
        model = CameraModel(header.K, "plumb_bob", np.zeros(5), header.width, header.height)
        for frame in _evenly(list(read_frames(stream)), self.most_images):
            T_world_camera = T_aligned_mesh @ frame.T_world_colour
            yield FrameImage(
                camera=CAMERA,
                stamp_ns=_START_NS + frame.number,
                model=model,
                T_camera_lidar=invert(T_world_camera) @ T_world_lidar,
                T_world_camera=T_world_camera,
                read=partial(read_image, stream, header, frame),
            )


def _evenly(frames: list[StreamFrame], most: int) -> list[StreamFrame]:
    """The middle of each of as many equal parts."""
    taken = min(len(frames), most)
    return [frames[(2 * part + 1) * len(frames) // (2 * taken)] for part in range(taken)]


def _vertices_in(mesh: Path) -> int:
    with reading(mesh):
        return ply.count(mesh)


def _alignment(file: Path) -> np.ndarray:
    """T_aligned_mesh [4, 4]; the identity where there is none, as in the test split."""
    if not file.is_file():
        return np.eye(4)
    with reading(file):
        lines = file.read_text(encoding="utf-8", errors="replace").splitlines()
    for line in lines:
        key, _, values = line.partition("=")
        if key.strip() != "axisAlignment":
            continue
        try:
            transform = np.array(values.split(), np.float64).reshape(4, 4)
        except ValueError as error:
            raise InputError(f"{file}: axisAlignment is no 16 numbers: {quoted(values)}") from error
        if not is_rigid(transform):
            raise InputError(f"{file}: axisAlignment is no rotation and translation")
        return transform
    return np.eye(4)


def reader(config: ScanNetConfig) -> DatasetReader:
    """The reader that goes by these settings."""
    return DatasetReader(
        name="scannet",
        title="ScanNet",
        splits={
            "train": PublishedSplit(1201, 1201, "995d9cda4cb994ae"),
            "val": PublishedSplit(312, 312, "c04425d97dcea788"),
            "test": PublishedSplit(100, 100, "9e13281c1cb8104e"),
        },
        label_map=Path(__file__).with_name("classes.yaml"),
        intensity_scale=None,
        names=names,
        open_drives=partial(open_drives, config),
        rule=Rule(
            split="val",
            text="mean IoU over the 20 classes, of all vertices that have one of them; a vertex "
            "without a prediction is missed, and a class that is neither there nor predicted is "
            "left out",
            absent_iou=float("nan"),
        ),
        submission=Submission("{drive}.txt", None, unlabelled=0),
        settings=ReaderSettings(ScanNetConfig, reader),
    )


READER = reader(ScanNetConfig())
