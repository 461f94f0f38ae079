"""`haskd segment --export labels`: what a model says as SemanticKITTI's label files, for annotation
tools and for `haskd prepare`."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from haskd_ros.clouds.pointcloud import CloudError
from haskd_ros.errors import InputError
from haskd_ros.node.labelling import LabelledCloud, label_cloud
from haskd_ros.node.parameters import DEFAULTS, Parameters
from haskd_ros.segmenter import Segmenter
from haskd_ros.taxonomy import UNLABELLED, LabelMap, Taxonomy
from haskd_training.core.progress import Progress, no_progress
from haskd_training.recordings.cloud_files.folder import CloudFolder, places_in
from haskd_training.recordings.cloud_files.formats import read_clouds
from haskd_training.recordings.cloud_files.sensor_frame import SensorFrame
from haskd_training.recordings.labels import cloud_times, load_label_map
from haskd_training.recordings.readers.bag import POINT_CLOUD, choose_topic, new_bag, open_bag
from haskd_training.robot.file_labeller import FileLabeller, is_beyond_range, is_clouds
from haskd_training.robot.segment_files import SegmentedFiles

_Labelled = Iterable[LabelledCloud | CloudError]

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
    topic: str | None = None,
    frame: SensorFrame | None = None,
    device: str = "auto",
    parameters: Parameters = DEFAULTS,
    progress: Progress = no_progress,
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
        topic: of the clouds of a bag, as of `segment_bag`.
        frame, device, parameters: as of `segment_files`.
        progress: called with the clouds done and those there are.

    Raises:
        InputError: model, clouds or label map can't be read, the map lacks a class of the model, or
            `out` exists.
    """
    started = time.perf_counter()
    label_map = None if labels is None else load_label_map(labels)
    with new_bag(out) as scratch:
        if is_clouds(path):
            segmenter, names, found = _of_files(
                model, path, frame or SensorFrame(), device, parameters
            )
        else:
            segmenter, names, found = _of_bag(model, path, topic, device, parameters)
        ids = _raw_ids(segmenter.taxonomy, label_map)
        (scratch / LABELS).mkdir(parents=True)
        rejected: Counter[str] = Counter()
        range_m = min(segmenter.metadata.max_range, parameters.range_max)
        beyond = 0
        for done, (name, labelled) in enumerate(zip(names, found, strict=True), start=1):
            if isinstance(labelled, CloudError):
                rejected[labelled.reason] += 1
            else:
                beyond += is_beyond_range(labelled.points, range_m)
                raw = ids[labelled.result.class_id].astype("<u4")
                (scratch / LABELS / f"{name}.label").write_bytes(raw.tobytes())
            progress(done, len(names))
        document = _document(segmenter.taxonomy, label_map, ids)
        text = yaml.safe_dump(document, sort_keys=False, default_flow_style=None)
        (scratch / LABEL_MAP).write_text(text, encoding="utf-8")
    seconds = time.perf_counter() - started
    done = len(names) - rejected.total() - beyond
    return SegmentedFiles(done, beyond, range_m, rejected, seconds)


def _of_files(
    model: Path, path: Path, frame: SensorFrame, device: str, parameters: Parameters
) -> tuple[Segmenter, list[str], _Labelled]:
    """The model, the clouds' names, and the clouds, labelled one after the other."""
    places = CloudFolder(path).places if path.is_dir() else places_in(path)
    files = list(dict.fromkeys(place.file for place in places))
    labeller = FileLabeller.of(model, files, frame=frame, device=device, parameters=parameters)

    def labelled() -> Iterator[LabelledCloud | CloudError]:
        for place in places:
            try:
                yield labeller.label(read_clouds(place.file)[place.scan])
            except CloudError as error:
                yield error

    return labeller.segmenter, [place.name for place in places], labelled()


def _of_bag(
    model: Path, path: Path, topic: str | None, device: str, parameters: Parameters
) -> tuple[Segmenter, list[str], _Labelled]:
    """The same of a bag."""
    with open_bag(path) as bag:
        chosen = choose_topic(bag, POINT_CLOUD, topic, "--topic")
    stamps = [time.stamp_ns for time in cloud_times(path, chosen)]
    tell = len(set(stamps)) == len(stamps) and min(stamps) >= _FIRST_STAMP
    names = [str(stamp) if tell else f"{index:06d}" for index, stamp in enumerate(stamps)]
    segmenter = Segmenter.load(model, device=device)

    def labelled() -> Iterator[LabelledCloud | CloudError]:
        with open_bag(path) as bag:
            for _, cloud in bag.messages([chosen]):
                try:
                    yield label_cloud(cloud, segmenter, parameters)
                except CloudError as error:
                    yield error

    return segmenter, names, labelled()


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
