"""`haskd submit`: a model's predictions in the form that a benchmark takes, and a check of them."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from haskd_ros.clouds.pointcloud import CloudError
from haskd_ros.documents import read_text
from haskd_ros.errors import InputError
from haskd_ros.files import written_atomically
from haskd_ros.node.labelling import label_points
from haskd_ros.node.parameters.values import DEFAULTS, Parameters
from haskd_ros.segmenter import Segmenter
from haskd_ros.taxonomy import UNLABELLED
from haskd_ros.text import listed
from haskd_training.core.progress import Progress, no_progress
from haskd_training.data.preparing.dataset import DatasetPart
from haskd_training.data.readers.interface import (
    DatasetReader,
    Drive,
    Frame,
    Shortfalls,
    Submission,
)
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
    *,
    views: int = 1,
) -> Submitted:
    """Label all sweeps of a data set's drives as the node would, a file for each.

    Args:
        model: of the benchmark's classes.
        part: of the protocol's data set.
        out: a folder that doesn't exist; it is there when it is whole.
        parameters: of the node. By default every point within the model's range gets a class.
        views: as of `Segmenter`.

    Raises:
        InputError: model or data set can't be read, the classes differ, or `out` exists.
    """
    if out.exists():
        raise InputError(f"{out} exists already; choose another folder")
    segmenter = Segmenter.load(model, device=device, views=views)
    protocol.check_classes(segmenter.taxonomy.names, f"model {model}")
    if (sweeps := segmenter.metadata.sweeps) > 1:
        raise InputError(
            f"model {model} takes {sweeps} sweeps: only models of one sweep are submitted, since "
            "poses of a test part are not read"
        )
    reader = protocol.reader
    submission = protocol.submission
    ids = np.full(UNLABELLED + 1, submission.unlabelled, submission.kind or np.int64)
    own = _class_ids(reader, submission)
    ids[: len(own)] = own
    drives = part.open()
    total, done, points, unlabelled = sum(drive.frames for drive in drives), 0, 0, 0
    out.parent.mkdir(parents=True, exist_ok=True)
    with written_atomically(out) as folder:
        for drive, frame in _frames(drives):
            read = frame.points()
            cloud = read.xyz_intensity
            try:
                scale = reader.intensity_scale
                said = label_points(
                    cloud, scale, segmenter, parameters, channels=read.columns()
                ).class_id
            except CloudError:
                said = np.full(len(cloud), UNLABELLED, np.uint8)
            file = folder / submission.name(drive.name, frame.name, part.split)
            file.parent.mkdir(parents=True, exist_ok=True)
            _write(file, ids[said], submission)
            points += len(said)
            unlabelled += int((said == UNLABELLED).sum())
            done += 1
            progress(done, total)
        for name, text in submission.files_beside(part.split).items():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_text(text)
    return Submitted(done, points, unlabelled)


def check_submission(
    folder: Path, protocol: Protocol, part: DatasetPart, progress: Progress = no_progress
) -> int:
    """Check that a folder holds a prediction for every point of every sweep, and nothing else.

    Returns:
        how many files there are.

    Raises:
        InputError: all that is missing, too much, of a wrong size, or an id that the data set
            doesn't have.
    """
    reader, submission = part.reader, protocol.submission
    known = sorted(_known_ids(reader, submission))
    drives = part.open()
    total = sum(drive.frames for drive in drives)
    beside = submission.files_beside(part.split)
    expected: set[Path] = {folder / name for name in beside}
    absent = [name for name in beside if not (folder / name).is_file()]
    formless = [
        f"{name} (expected {' '.join(text.split())})"
        for name, text in beside.items()
        if name.endswith(".json") and name not in absent and not _has_form(folder / name, text)
    ]
    done, sizes, foreign = 0, [], []
    for drive, frame in _frames(drives):
        name = submission.name(drive.name, frame.name, part.split)
        expected.add(folder / name)
        done += 1
        progress(done, total)
        if not (folder / name).is_file():
            absent.append(name)
            continue
        points = len(frame.points().xyz_intensity)
        with reading(folder / name):
            found, values = _read(folder / name, submission)
        if found != points:
            sizes.append(f"{name} has {found:g}, {points} expected")
            continue
        if unknown := [value for value in np.unique(values).tolist() if value not in known]:
            foreign.append(f"{name} has {listed(unknown[:5])}")
    there = (file for file in sorted(folder.rglob("*")) if file.is_file())
    extra = [str(file.relative_to(folder)) for file in there if file not in expected]
    faults = Shortfalls()
    faults.add_files(f"{len(absent)} of {total} files are missing", absent)
    faults.add_files(f"{len(sizes)} files of another number of points than the sweep's", sizes)
    faults.add_files(f"{len(foreign)} files with ids that {reader.title} has not", foreign)
    faults.add_files(f"{len(formless)} files of another form", formless)
    faults.add_files(f"{len(extra)} files that belong to no sweep", extra)
    faults.check(
        folder,
        f"{submission.file} for each of {total} sweeps, "
        f"{_form(submission)}, with ids of {listed(known, 400)}",
    )
    return total


def _class_ids(reader: DatasetReader, submission: Submission) -> Sequence[int]:
    """The id of each class."""
    if submission.ids is not None:
        return submission.ids
    return [own[0] for own in reader.load_label_map().ids]


def _known_ids(reader: DatasetReader, submission: Submission) -> set[int]:
    """All that a file may hold."""
    if submission.ids is not None:
        return {*submission.ids, submission.unlabelled}
    label_map = reader.load_label_map()
    return {*(raw for ids in label_map.ids for raw in ids), *label_map.ignored}


def _write(file: Path, ids: np.ndarray, submission: Submission) -> None:
    if submission.kind is None:
        np.savetxt(file, ids, fmt="%d")
    else:
        ids.tofile(file)


def _read(file: Path, submission: Submission) -> tuple[float, np.ndarray]:
    """How many points a file has, no whole number where it is cut off, and their ids: numbers, or
    what stands there instead."""
    if submission.kind is None:
        lines = file.read_text(errors="replace").splitlines()
        try:
            return len(lines), np.array(lines, np.int64)
        except (ValueError, OverflowError):
            return len(lines), np.array([line for line in lines if not _is_number(line)])
    points = file.stat().st_size / np.dtype(submission.kind).itemsize
    return points, np.fromfile(file, submission.kind)


def _is_number(line: str) -> bool:
    try:
        np.array([line], np.int64)
    except (ValueError, OverflowError):
        return False
    return True


def _has_form(file: Path, text: str) -> bool:
    """Whether a file in JSON has the keys and types of this text, with any values."""
    try:
        found = json.loads(read_text(file, str(file)))
    except (InputError, ValueError, RecursionError):
        return False
    return bool(_types(found) == _types(json.loads(text)))


def _types(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _types(below) for key, below in value.items()}
    return type(value)


def _form(submission: Submission) -> str:
    if submission.kind is None:
        return "a line for each point"
    return f"{np.dtype(submission.kind).itemsize} bytes a point"


def _frames(drives: Sequence[Drive]) -> Iterator[tuple[Drive, Frame]]:
    for drive in drives:
        for frame in drive.iterate():
            yield drive, frame
