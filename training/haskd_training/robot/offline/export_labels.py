"""`haskd segment --export labels`: what a model says as SemanticKITTI's label files, for annotation
tools and for `haskd prepare`."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from haskd_ros.clouds.pointcloud import CloudError
from haskd_ros.errors import InputError
from haskd_ros.node.parameters.values import DEFAULTS, Parameters
from haskd_ros.segmenter import Segmenter
from haskd_ros.taxonomy import UNLABELLED, LabelMap, Taxonomy
from haskd_ros.text import quoted
from haskd_training.core.progress import Progress, no_progress
from haskd_training.data.preparing.examination.examination import Examination
from haskd_training.data.preparing.examination.examine import examine_clouds
from haskd_training.data.preparing.inputs import recording_name
from haskd_training.recordings.bag_writing import new_bag
from haskd_training.recordings.cloud_files.folder import CloudFolder, places_in
from haskd_training.recordings.cloud_files.formats import read_clouds
from haskd_training.recordings.cloud_files.sensor_frame import SensorFrame
from haskd_training.recordings.findings import refuse
from haskd_training.recordings.labels import cloud_times, load_label_map
from haskd_training.recordings.readers.bag import Bag, open_bag
from haskd_training.robot.offline.bag_labeller import BagLabeller
from haskd_training.robot.offline.file_labeller import FileLabeller, is_clouds
from haskd_training.robot.offline.segment_files import SegmentedFiles
from haskd_training.suggestions.document import read_stamps

LABELS = "labels"
LABEL_MAP = "label_map.yaml"
"""In the folder that is written: the label files' folder, and the map that names it."""

_FIRST_STAMP = 10**12
"""ns; smaller numbers in names are taken for indices."""


def export_labels(
    model: Path,
    path: Path,
    out: Path,
    *,
    labels: str | None = None,
    only: Path | None = None,
    topic: str | None = None,
    frame: SensorFrame | None = None,
    device: str = "auto",
    parameters: Parameters = DEFAULTS,
    views: int = 1,
    votes: float = 0.0,
    strict: bool = False,
    progress: Progress = no_progress,
    examination: Examination | None = None,
) -> SegmentedFiles:
    """Label the clouds of a bag, a cloud file or a folder of them into a folder: a `.label` file
    of each cloud (uint32 a point, in the cloud's order) in `LABELS`, and `LABEL_MAP`, with which
    `prepare` reads them for that bag or folder.

    Of a bag the files are named by the clouds' stamps in ns, or by their index where stamps are
    missing or stand twice; of files by their names. A cloud that can't be labelled has no file.

    Args:
        model: model file.
        path: of the clouds.
        out: new folder.
        labels: a label map whose raw ids are written, of each class the first one; None: class ids.
        only: `suggest.json` of `haskd suggest`: of a bag or folder, only these clouds.
        topic: of the clouds of a bag, as of `segment_bag`.
        frame, device, parameters, views, strict: as of `segment_files`.
        votes: as of `BagLabeller`, for clouds of a bag.
        progress: called with the clouds done and those there are.
        examination: of the clouds of a bag, as of `segment_bag`.

    Raises:
        InputError: model, clouds or label map can't be read, the map lacks a class of the model,
            none of the clouds is among those of `only`, or `out` exists.
    """
    started = time.perf_counter()
    label_map = None if labels is None else load_label_map(labels)
    with new_bag(out) as scratch, ExitStack() as stack:
        if is_clouds(path):
            label = partial(FileLabeller, model, device=device, parameters=parameters, views=views)
            clouds = _of_files(path, frame or SensorFrame(), label)
        else:
            examination = examination or examine_clouds(
                path, topic, intensity_scale=parameters.intensity_scale
            )
            bag = stack.enter_context(open_bag(path))
            segmenter = Segmenter.load(model, device=device, views=views)
            of_bag = BagLabeller(examination, segmenter, parameters, votes)
            clouds = _of_bag(bag, examination, of_bag, segmenter.taxonomy)
        findings = [*(examination.findings if examination else ()), *clouds.label.findings]
        refuse(findings, strict)
        ids = _raw_ids(clouds.taxonomy, label_map)
        (scratch / LABELS).mkdir(parents=True)
        rejected: Counter[str] = Counter()
        labelled = beyond = 0
        wanted = range(len(clouds.names)) if only is None else _wanted(only, path, clouds.stamps)
        for number, cloud in enumerate(clouds.clouds):
            if number not in wanted:
                clouds.pass_by(cloud)
                continue
            try:
                found = clouds.label(cloud)
            except CloudError as error:
                rejected[error.reason] += 1
            else:
                labelled += not found.is_beyond_range
                beyond += found.is_beyond_range
                raw = ids[found.result.class_id].astype("<u4")
                (scratch / LABELS / f"{clouds.names[number]}.label").write_bytes(raw.tobytes())
            progress(labelled + beyond + rejected.total(), len(wanted))
        refuse(clouds.label.later_findings, strict)
        document = _document(clouds.taxonomy, label_map, ids)
        text = yaml.safe_dump(document, sort_keys=False, default_flow_style=None)
        (scratch / LABEL_MAP).write_text(text, encoding="utf-8")
    return SegmentedFiles(
        labelled=labelled,
        beyond_range=beyond,
        rejected=rejected,
        seconds=time.perf_counter() - started,
        findings=list(dict.fromkeys([*findings, *clouds.label.later_findings])),
    )


@dataclass(frozen=True)
class _Clouds:
    """Clouds with their names and stamps in ns (none of a single file), and what labels each of
    them, or passes it by."""

    names: Sequence[str]
    stamps: Sequence[int]
    clouds: Iterable[Any]
    label: FileLabeller | BagLabeller
    pass_by: Callable[[Any], None]
    taxonomy: Taxonomy


def _of_files(path: Path, frame: SensorFrame, labeller: Callable[..., FileLabeller]) -> _Clouds:
    folder = CloudFolder(path) if path.is_dir() else None
    places = places_in(path) if folder is None else folder.places
    stamps = [] if folder is None else folder.stamps_ns
    files = list(dict.fromkeys(place.file for place in places))
    label = labeller(files, name=path.name, frame=frame)
    clouds = (read_clouds(place.file)[place.scan] for place in places)
    names = [place.name for place in places]
    return _Clouds(names, stamps, clouds, label, lambda _: None, label.segmenter.taxonomy)


def _of_bag(bag: Bag, examination: Examination, label: BagLabeller, taxonomy: Taxonomy) -> _Clouds:
    chosen = examination.recording.points_topic
    stamps = [time.stamp_ns for time in cloud_times(bag.path, chosen)]
    tell = len(set(stamps)) == len(stamps) and min(stamps) >= _FIRST_STAMP
    names = [str(stamp) if tell else f"{index:06d}" for index, stamp in enumerate(stamps)]
    clouds = (cloud for _, cloud in bag.messages([chosen]))
    return _Clouds(names, stamps, clouds, label, label.pass_by, taxonomy)


def _wanted(only: Path, path: Path, stamps: Sequence[int]) -> set[int]:
    """The clouds of a recording that are among the suggested sweeps."""
    suggested = read_stamps(only)
    name = recording_name(path)
    # Of several recordings of one name in a cache, the later ones have a number.
    own = {
        stamp
        for recording, of_recording in suggested.items()
        if recording == name or recording.rpartition("~")[0] == name
        for stamp in of_recording
    }
    wanted = {number for number, stamp in enumerate(stamps) if stamp in own}
    if not wanted:
        there = ", ".join(f"{quoted(key)} {len(found)}" for key, found in suggested.items())
        raise InputError(
            f"{only} suggests none of the clouds of {name}; sweeps by recording: {there or 'none'}"
        )
    return wanted


def _raw_ids(taxonomy: Taxonomy, label_map: LabelMap | None) -> np.ndarray:
    """[256] int64, the raw id that is written for a class id.

    Raises:
        InputError: the map has no id for a class of the model.
    """
    ids = np.arange(256)
    if label_map is None:
        return ids
    for class_id, name in enumerate(taxonomy.names):
        known = dict(zip(label_map.taxonomy.names, label_map.ids))
        if not known.get(name):
            raise InputError(
                f"the label map has no id for class {name} of the model; its classes are "
                f"{', '.join(label_map.taxonomy.names)}"
            )
        ids[class_id] = known[name][0]
    used = {raw for of_class in label_map.ids for raw in of_class}
    free = (raw for raw in range(2**16) if raw not in used)
    ids[len(taxonomy) :] = label_map.ignored[0] if label_map.ignored else next(free)
    return ids


def _document(taxonomy: Taxonomy, label_map: LabelMap | None, ids: np.ndarray) -> dict[str, Any]:
    """The label map of what is written."""
    unlabelled = int(ids[UNLABELLED])
    if label_map is None:
        classes, of_classes, ignored = taxonomy, [[k] for k in range(len(taxonomy))], [unlabelled]
    else:
        classes = label_map.taxonomy
        of_classes = [list(of_class) for of_class in label_map.ids]
        ignored = sorted({*label_map.ignored, unlabelled})
    entries = [
        entry | {"ids": raw} for entry, raw in zip(classes.to_json(), of_classes, strict=True)
    ]
    return {"classes": entries, "ignore": ignored, "folder": LABELS}
