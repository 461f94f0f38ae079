"""SemanticKITTI: the drives of KITTI's odometry benchmark with a class for every point.

J. Behley et al., SemanticKITTI: A Dataset for Semantic Scene Understanding of LiDAR Sequences,
2019.

ROOT/sequences/NN/velodyne/NNNNNN.bin   float32 x y z remission
ROOT/sequences/NN/labels/NNNNNN.label   uint32: class in the lower 16 bits, instance above
ROOT/sequences/NN/{calib,times,poses}.txt, image_2/NNNNNN.png, see `recordings.cloud_files.kitti`
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path

import numpy as np

from haskd_ros.errors import InputError
from haskd_training.data.readers.interface import (
    DatasetReader,
    Drive,
    EncodedImage,
    Frame,
    FrameImage,
    FramePoints,
    PublishedSplit,
    Rule,
    Shortfalls,
    Submission,
)
from haskd_training.recordings.camera_model import CameraModel
from haskd_training.recordings.cloud_files import kitti
from haskd_training.recordings.label_ids import CLASS_BITS
from haskd_training.recordings.reading import reading
from haskd_training.recordings.transform_tree import invert

SEQUENCES, POINTS, LABELS = "sequences", "velodyne", "labels"

_POINT_BYTES, _LABEL_BYTES = 16, 4

_START_NS = 1_000_000_000
"""Of times, which count from 0: as of a folder of clouds, no stamp is 0."""

_SCANS = {
    "00": 4541, "01": 1101, "02": 4661, "03": 801, "04": 271, "05": 2761, "06": 1101, "07": 1101,
    "08": 4071, "09": 1591, "10": 1201, "11": 921, "12": 1061, "13": 3281, "14": 631, "15": 1901,
    "16": 1731, "17": 491, "18": 1801, "19": 4981, "20": 831, "21": 2721,
}  # fmt: skip

_TRAIN = ("00", "01", "02", "03", "04", "05", "06", "07", "09", "10")
_TEST = tuple(f"{number}" for number in range(11, 22))

_EXPECTED = (
    "sequences/NN with calib.txt, times.txt (a line for each scan), poses.txt (the same, for 00 to "
    "10), velodyne/000000.bin and on (16 bytes a point), labels/000000.label and on (4 bytes a "
    "point, for 00 to 10), and, where there is such a folder, an image for each scan in image_2"
)


_SPLITS = {"train": _TRAIN, "val": ("08",), "test": _TEST}


def names(root: Path, split: str | None) -> Sequence[str]:
    """Of the sequences of a split, or of all: the same wherever they lie."""
    return tuple(_SCANS) if split is None else _SPLITS[split]


def open_drives(root: Path, names: Sequence[str]) -> list[Drive]:
    """Sequences that are whole; looks at the names and sizes of all their files.

    Raises:
        InputError: what is missing or of a wrong size, all of it.
    """
    missing = Shortfalls()
    for name in names:
        _check(root / SEQUENCES / name, name, missing)
    missing.check(root, _EXPECTED)
    return [_drive(root / SEQUENCES / name, name) for name in names]


def is_labelled(name: str) -> bool:
    """Whether a sequence's labels are published."""
    return name not in _TEST


def _check(folder: Path, name: str, missing: Shortfalls) -> None:
    if not folder.is_dir():
        missing.add(f"sequence {name} is missing ({_SCANS[name]} scans)")
        return
    texts = [kitti.CALIBRATION, kitti.TIMES, *([kitti.POSES] if is_labelled(name) else [])]
    absent = [file for file in texts if not (folder / file).is_file()]
    missing.add_files(f"{name} lacks", absent)
    sizes = _sizes(folder / POINTS, ".bin")
    missing.add_files(
        f"{name}: cut off scans (no whole number of points, or none)",
        [f"{stem}.bin" for stem, size in sizes.items() if size % _POINT_BYTES or not size],
    )
    if kitti.TIMES in absent:
        scans = sorted(sizes)
        if not scans:
            missing.add(f"{name} has no scan in {POINTS}")
    else:
        count = _lines(folder / kitti.TIMES)
        scans = [f"{number:06d}" for number in range(count)]
        if not scans:
            missing.add(f"{name}: {kitti.TIMES} is empty")
        _compare(f"{name}/{POINTS}", ".bin", scans, sizes, missing)
    poses = folder / kitti.POSES
    if poses.is_file() and (found := _lines(poses)) != len(scans):
        missing.add(f"{name}/{kitti.POSES} has {found} lines, {len(scans)} expected")
    if is_labelled(name):
        labels = _sizes(folder / LABELS, ".label")
        _compare(f"{name}/{LABELS}", ".label", scans, labels, missing)
        missing.add_files(
            f"{name}: labels for another number of points than the scan has",
            [
                f"{stem}.label has {size / _LABEL_BYTES:g}, {sizes[stem] / _POINT_BYTES:g} expected"
                for stem, size in labels.items()
                if stem in sizes and size * _POINT_BYTES != sizes[stem] * _LABEL_BYTES
            ],
        )
    needed = ["Tr"]
    for images, projection in kitti.IMAGE_FOLDERS.items():
        if (folder / images).is_dir():
            needed.append(projection)
            _compare(f"{name}/{images}", ".png", scans, _sizes(folder / images, ".png"), missing)
    if kitti.CALIBRATION not in absent:
        there = kitti.read_calibration(folder)
        unnamed = [key for key in needed if key not in there]
        missing.add_files(f"{name}/{kitti.CALIBRATION} lacks the 12 numbers of", unnamed)


def _compare(
    what: str, suffix: str, scans: Sequence[str], found: dict[str, int], missing: Shortfalls
) -> None:
    known = set(scans)
    lacking = [f"{stem}{suffix}" for stem in scans if stem not in found]
    missing.add_files(f"{what} lacks {len(lacking)} of {len(scans)}", lacking)
    extra = sorted(f"{stem}{suffix}" for stem in found.keys() - known)
    missing.add_files(f"{what} has {len(extra)} beyond the {len(scans)} of the sequence", extra)


def _sizes(folder: Path, suffix: str) -> dict[str, int]:
    """Bytes of the folder's files of this ending, by name without it, sorted; empty without one."""
    if not folder.is_dir():
        return {}
    files = sorted(file for file in folder.iterdir() if file.suffix == suffix)
    return {file.stem: file.stat().st_size for file in files}


def _lines(path: Path) -> int:
    with reading(path), path.open("rb") as file:
        return sum(1 for line in file if line.strip())


def _drive(folder: Path, name: str) -> Drive:
    stems = list(_sizes(folder / POINTS, ".bin"))
    cameras = kitti.read_cameras(folder, stems)
    # Numbers that can't be read are told before the work starts.
    times, poses = kitti.read_times(folder, stems), kitti.read_poses(folder, stems)
    texts = [folder / file for file in (kitti.CALIBRATION, kitti.TIMES, kitti.POSES)]
    scans = [folder / POINTS / f"{stem}.bin" for stem in stems]
    labels = [folder / LABELS / f"{stem}.label" for stem in stems] if is_labelled(name) else []
    images = [file for camera in cameras for file in camera.images.values()]
    assert times is not None
    return Drive(
        name=name,
        labelled=is_labelled(name),
        frames=len(stems),
        images=len(images),
        files=tuple(file for file in (*texts, *scans, *labels, *images) if file.is_file()),
        iterate=partial(_frames, folder, stems, times, poses, cameras, is_labelled(name)),
    )


def _frames(
    folder: Path,
    stems: Sequence[str],
    times: np.ndarray,
    poses: np.ndarray | None,
    cameras: Sequence[kitti.Camera],
    labelled: bool,
) -> Iterator[Frame]:
    models = [CameraModel(c.K, "plumb_bob", np.zeros(5), c.width, c.height) for c in cameras]
    for number, stem in enumerate(stems):
        stamp = _START_NS + round(float(times[number]) * 1e9)
        pose = None if poses is None else poses[number]
        images = tuple(
            FrameImage(
                camera=camera.name,
                stamp_ns=stamp,
                model=model,
                T_camera_lidar=camera.T_camera_lidar,
                T_world_camera=None if pose is None else pose @ invert(camera.T_camera_lidar),
                read=partial(_read_image, camera.images[stem]),
            )
            for camera, model in zip(cameras, models, strict=True)
        )
        label_file = folder / LABELS / f"{stem}.label"
        yield Frame(
            name=stem,
            stamp_ns=stamp,
            T_world_lidar=pose,
            images=images,
            points=partial(_read_points, folder / POINTS / f"{stem}.bin"),
            raw_labels=partial(_read_labels, label_file) if labelled else None,
        )


def _read_points(file: Path) -> FramePoints:
    with reading(file):
        values = np.fromfile(file, "<f4")
    if len(values) % 4:
        raise InputError(f"{file} is cut off: no whole number of points")
    return FramePoints(values.reshape(-1, 4).astype(np.float32, copy=False))


def _read_labels(file: Path) -> np.ndarray:
    with reading(file):
        return np.fromfile(file, "<u4") & ((1 << CLASS_BITS) - 1)


def _read_image(file: Path) -> EncodedImage:
    with reading(file):
        return EncodedImage(file.read_bytes(), file.suffix.lower().removeprefix("."))


READER = DatasetReader(
    name="semantickitti",
    title="SemanticKITTI",
    splits={
        split: PublishedSplit(len(drives), sum(_SCANS[name] for name in drives))
        for split, drives in _SPLITS.items()
    },
    label_map=Path(__file__).with_name("semantickitti.yaml"),
    intensity_scale=1.0,
    names=names,
    open_drives=open_drives,
    sweeps=_SCANS,
    rule=Rule(
        split="val",
        text="mean IoU over the 19 classes, of all points that have one of them; a point without a "
        "prediction is missed, and a class that is neither there nor predicted counts as 0",
        absent_iou=0.0,
    ),
    submission=Submission("sequences/{drive}/predictions/{frame}.label", "<u4", unlabelled=0),
)
