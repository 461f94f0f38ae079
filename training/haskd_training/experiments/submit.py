"""`haskd submit`: a model's predictions in the form that a benchmark takes, and a check of them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from haskd_ros.clouds.pointcloud import CloudError
from haskd_ros.errors import InputError
from haskd_ros.files import written_atomically
from haskd_ros.node.labelling import label_points
from haskd_ros.node.parameters.values import DEFAULTS, Parameters
from haskd_ros.segmenter import Segmenter
from haskd_ros.taxonomy import UNLABELLED
from haskd_ros.text import listed
from haskd_training.core.progress import Progress, no_progress
from haskd_training.data.prepare_dataset import DatasetPart
from haskd_training.data.readers.interface import Drive, Frame, Shortfalls
from haskd_training.metrics.protocols import Protocol
from haskd_training.recordings.reading import reading


@dataclass(frozen=True)
class Submitted:
    """What was written: sweeps, their points, and how many of these have no prediction."""

    sweeps: int
    points: int
    unlabelled: int


def submit(
    model: Path,
    protocol: Protocol,
    part: DatasetPart,
    out: Path,
    device: str = "auto",
    parameters: Parameters = DEFAULTS,
    progress: Progress = no_progress,
) -> Submitted:
    """Label all sweeps of a data set's drives as the node would, a file for each.

    Args:
        model: of the benchmark's classes.
        part: of the protocol's data set.
        out: a folder that doesn't exist; it is there when it is whole.
        parameters: of the node. By default every point within the model's range gets a class.

    Raises:
        InputError: model or data set can't be read, the classes differ, or `out` exists.
    """
    if out.exists():
        raise InputError(f"{out} exists already; choose another folder")
    segmenter = Segmenter.load(model, device=device)
    protocol.check_classes(segmenter.taxonomy.names, f"model {model}")
    reader = protocol.reader
    label_map = reader.load_label_map()
    ids = np.full(UNLABELLED + 1, reader.submission.unlabelled, reader.submission.kind)
    ids[: len(label_map.ids)] = [own[0] for own in label_map.ids]
    drives = _drives(part)
    total, done, points, unlabelled = sum(drive.frames for drive in drives), 0, 0, 0
    out.parent.mkdir(parents=True, exist_ok=True)
    with written_atomically(out) as folder:
        for drive, frame in _frames(drives):
            cloud = frame.points()
            try:
                scale = reader.intensity_scale
                said = label_points(cloud, scale, segmenter, parameters).class_id
            except CloudError:
                said = np.full(len(cloud), UNLABELLED, np.uint8)
            file = folder / _name(part, drive, frame)
            file.parent.mkdir(parents=True, exist_ok=True)
            ids[said].tofile(file)
            points += len(said)
            unlabelled += int((said == UNLABELLED).sum())
            done += 1
            progress(done, total)
    return Submitted(done, points, unlabelled)


def check_submission(folder: Path, part: DatasetPart, progress: Progress = no_progress) -> int:
    """Check that a folder holds a prediction for every point of every sweep, and nothing else.

    Returns:
        how many files there are.

    Raises:
        InputError: all that is missing, too much, of a wrong size, or an id that the data set
            doesn't have.
    """
    reader = part.reader
    label_map = reader.load_label_map()
    known = [*(raw for ids in label_map.ids for raw in ids), *label_map.ignored]
    width = np.dtype(reader.submission.kind).itemsize
    drives = _drives(part)
    total = sum(drive.frames for drive in drives)
    expected: set[Path] = set()
    absent, sizes, foreign = [], [], []
    for drive, frame in _frames(drives):
        name = _name(part, drive, frame)
        expected.add(folder / name)
        progress(len(expected), total)
        if not (folder / name).is_file():
            absent.append(name)
            continue
        points, octets = len(frame.points()), (folder / name).stat().st_size
        if octets != width * points:
            sizes.append(f"{name} has {octets / width:g}, {points} expected")
            continue
        with reading(folder / name):
            values = np.unique(np.fromfile(folder / name, reader.submission.kind))
        if unknown := values[~np.isin(values, known)].tolist():
            foreign.append(f"{name} has {listed(unknown[:5])}")
    there = (file for file in sorted(folder.rglob("*")) if file.is_file())
    extra = [str(file.relative_to(folder)) for file in there if file not in expected]
    faults = Shortfalls()
    faults.add_files(f"{len(absent)} of {total} files are missing", absent)
    faults.add_files(f"{len(sizes)} files of another number of points than the sweep's", sizes)
    faults.add_files(f"{len(foreign)} files with ids that {reader.title} has not", foreign)
    faults.add_files(f"{len(extra)} files that belong to no sweep", extra)
    faults.check(
        folder,
        f"{reader.submission.file} for each of {total} sweeps, {width} bytes a point, with ids of "
        f"{listed(sorted(known), 400)}",
    )
    return total


def _drives(part: DatasetPart) -> Sequence[Drive]:
    return part.reader.open_drives(part.root, part.reader.choose(part.split, part.drives))


def _frames(drives: Sequence[Drive]) -> Iterator[tuple[Drive, Frame]]:
    for drive in drives:
        for frame in drive.iterate():
            yield drive, frame


def _name(part: DatasetPart, drive: Drive, frame: Frame) -> str:
    return part.reader.submission.file.format(drive=drive.name, frame=frame.name)
