"""`haskd segment` of cloud files: each is written again, with labels added."""

from __future__ import annotations

import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from haskd_ros.clouds.pointcloud import CloudError
from haskd_ros.errors import InputError
from haskd_ros.node.parameters.values import DEFAULTS, Parameters
from haskd_ros.taxonomy import UNLABELLED
from haskd_training.core.progress import Progress, no_progress
from haskd_training.recordings.bag_writing import new_bag
from haskd_training.recordings.cloud_files.cloud import PointLabels
from haskd_training.recordings.cloud_files.formats import (
    format_of,
    labelled_endings,
    read_clouds,
    stem_of,
)
from haskd_training.recordings.cloud_files.sensor_frame import SensorFrame
from haskd_training.recordings.findings import Finding, refuse
from haskd_training.robot.offline.file_labeller import FileLabeller, files_of


@dataclass(frozen=True)
class SegmentedFiles:
    """The result of labelling files.

    Attributes:
        labelled: clouds that were labelled.
        beyond_range: clouds of which every point was beyond the range, and so none has a label.
        rejected: clouds without labels, by reason.
        seconds: spent in all.
        findings: what there is to say of the clouds.
    """

    labelled: int
    beyond_range: int
    rejected: Counter[str]
    seconds: float
    findings: list[Finding]


def segment_files(
    model: Path,
    path: Path,
    out: Path,
    *,
    frame: SensorFrame | None = None,
    device: str = "auto",
    parameters: Parameters = DEFAULTS,
    views: int = 1,
    strict: bool = False,
    progress: Progress = no_progress,
) -> SegmentedFiles:
    """Write cloud files again with labels, in the format that they have, see `formats`.

    A folder's files are written into a folder; one that can't be read stops all, and nothing is
    left behind. A cloud that can't be labelled is written as every cloud is, without a class.

    Args:
        model: model file.
        path: a cloud file, or a folder of them.
        out: new file or folder.
        frame: where the sensor is in the files' coordinates; only what the network sees is turned.
        device, parameters, views: as of `segment_bag`.
        strict: refuse what would be a warning.
        progress: called with the files done and those there are.

    Raises:
        InputError: model or files can't be read, the only cloud has no point, or `out` exists or
            has an ending of another format.
    """
    started = time.perf_counter()
    files = files_of(path)
    targets = _targets(path, files, out)
    with new_bag(out) as scratch:
        label = FileLabeller(
            model,
            files,
            name=path.name,
            frame=frame or SensorFrame(),
            device=device,
            parameters=parameters,
            views=views,
        )
        refuse(label.findings, strict)
        taxonomy = label.segmenter.taxonomy
        colors = taxonomy.color_table()
        if path.is_dir():
            scratch.mkdir()
        labelled = beyond = 0
        rejected: Counter[str] = Counter()
        for done, (file, target) in enumerate(zip(files, targets, strict=True), start=1):
            labels = []
            for points in read_clouds(file):
                try:
                    found = label(points)
                except CloudError as error:
                    if len(files) == 1 and not len(points):
                        raise InputError(f"{file}: {error}") from error
                    rejected[error.reason] += 1
                    class_id = np.full(len(points), UNLABELLED, np.uint8)
                    probability = np.zeros(len(points), np.float32)
                else:
                    labelled += not found.is_beyond_range
                    beyond += found.is_beyond_range
                    class_id, probability = found.result.class_id, found.result.probability
                labels.append(PointLabels(class_id, probability, colors[class_id], taxonomy.names))
            format_of(file).write(file, scratch / target if path.is_dir() else scratch, labels)
            progress(done, len(files))
        refuse(label.later_findings, strict)
    return SegmentedFiles(
        labelled=labelled,
        beyond_range=beyond,
        rejected=rejected,
        seconds=time.perf_counter() - started,
        findings=[*label.findings, *label.later_findings],
    )


def _targets(path: Path, files: list[Path], out: Path) -> list[str]:
    """The name of each file's labelled copy.

    Raises:
        InputError: `out` has an ending that the file's labels are not written in, or two files
            would become one.
    """
    if not path.is_dir():
        allowed = labelled_endings(path)
        if out.suffix.lower() not in allowed:
            raise InputError(
                f"the labelled copy of {path} is written as {' or '.join(allowed)}, {out} has "
                "another ending"
            )
        return [out.name]
    names = [stem_of(file) + labelled_endings(file)[0] for file in files]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise InputError(
            f"{path}: several files would become {twice[0]}; put the files of each kind into a "
            "folder of their own"
        )
    return names
