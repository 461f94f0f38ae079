"""`haskd evaluate`: a model file on a cache, as a table, JSON and plots."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TypeGuard

import numpy as np
from rich.table import Table

from haskd_ros.clouds.crop import is_unbounded
from haskd_ros.clouds.pointcloud import CloudError, read_xyz_intensity, valid_returns
from haskd_ros.errors import InputError
from haskd_ros.files import write_atomically
from haskd_ros.node.parameters.values import DEFAULTS, Parameters
from haskd_ros.segmentation import Segmentation
from haskd_ros.segmenter import Segmenter
from haskd_ros.taxonomy import UNLABELLED, LabelMap, Taxonomy
from haskd_training.core.exchange import join, sum_over_processes
from haskd_training.core.processes import count, is_first, own
from haskd_training.core.progress import Progress, no_progress
from haskd_training.core.storage.location import Location
from haskd_training.data.caches.cache import Cache
from haskd_training.data.preparing.examination.examination import Examination
from haskd_training.data.preparing.examination.examine import examine_clouds
from haskd_training.data.preparing.inputs import recording_name
from haskd_training.data.sweep_ref import within_range
from haskd_training.experiments.voting import voted_sweeps
from haskd_training.learning.inference import label_as_robot
from haskd_training.metrics.confusion import (
    RANGES_M,
    Evaluation,
    Predicted,
    accuracy,
    evaluate_predicted,
    iou,
    mean_iou,
    range_name,
)
from haskd_training.metrics.protocols import Protocol, ProtocolScore, protocol_score
from haskd_training.recordings.cloud_files.formats import is_cloud_folder
from haskd_training.recordings.findings import Finding, Say, say_nothing
from haskd_training.recordings.labels import cloud_times, label_source, load_label_map
from haskd_training.recordings.readers.bag import Unusable, open_bag, stamp_ns
from haskd_training.recordings.recording import Recording
from haskd_training.reports import plots
from haskd_training.robot.offline.bag_labeller import BagLabeller


def evaluate_model(
    model: Path,
    data: Location,
    out: Path | None = None,
    device: str = "auto",
    max_range: float | None = None,
    progress: Progress = no_progress,
    *,
    labels: Path | str | None = None,
    topic: str | None = None,
    parameters: Parameters = DEFAULTS,
    examination: Examination | None = None,
    protocol: Protocol | None = None,
    views: int = 1,
    votes: float = 0.0,
    say: Say = say_nothing,
) -> Evaluation:
    """Label every sweep of a cache or clouds of a recording as `haskd segment` and the node do, and
    compare with its labels. Points without coordinates don't count; all others do, those that get
    no label as missed, and so do the clouds that are rejected. Several processes share the sweeps
    of a cache.

    Args:
        model: model file.
        data: folder made by `prepare`, or a recording; with the model's classes.
        out: folder for evaluation.json, confusion.png and iou_by_range.png; None writes nothing.
        device: as of `Segmenter.load`.
        max_range: m; true points further away are left out of the count. By default none is: a
            point beyond the model's own range counts as missed.
        labels: label map of a recording; a cache has its own.
        topic: of a recording's clouds; None: the only one.
        parameters: of the node. Classes that are published as another one are compared with the
            labels as they are. A box in another frame than the clouds' needs a recording.
        examination: of a recording's clouds, as of `examine_clouds`; None: they are examined here.
        protocol: of a benchmark, for a cache of its data set: its score too.
        views: as of `Segmenter`.
        votes: s, as of `BagLabeller`.
        say: receives what only shows when clouds are labelled.

    Raises:
        InputError: model, cache or recording can't be read, their classes differ, or there are no
            labels.
    """
    if protocol is not None:
        _check_protocol(protocol, data, max_range)
    join(out)
    if count() > 1 and _is_recording(data):
        raise InputError(f"{data} is a recording, which one process reads; prepare it for several")
    segmenter = Segmenter.load(model, device=device, views=views)
    if not _is_recording(data):
        if labels is not None or topic is not None:
            raise InputError(f"{data} is no recording; --labels and --topic are for one")
        sweeps = _sweeps_of_cache(segmenter, model, data, parameters, votes, progress, say)
    else:
        if labels is None:
            raise InputError(f"{data} is a recording; --labels names its label map")
        label_map = load_label_map(labels)
        _check_classes(segmenter, label_map.taxonomy, model, labels)
        examination = examination or examine_clouds(
            data, topic, intensity_scale=parameters.intensity_scale
        )
        labeller = BagLabeller(examination, segmenter, parameters, votes)
        sweeps = _sweeps_of_bag(labeller, examination.recording, label_map, progress, say)
    if max_range is not None:
        sweeps = (_crop(sweep, max_range) for sweep in sweeps)
    part = evaluate_predicted(sweeps, segmenter.taxonomy)
    evaluation = replace(
        part,
        by_range=sum_over_processes(part.by_range),
        sweeps=int(sum_over_processes(np.array(part.sweeps))),
    )
    if max_range is None and not evaluation.counts.any():
        raise InputError(f"{data} has no labels to compare with")
    if protocol is not None:
        score = protocol_score(protocol, evaluation.counts, Cache.open(data))
        evaluation = replace(evaluation, protocol=score)
    if out is not None and is_first():
        try:
            out.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise InputError(f"{out} can't be written: {error.strerror}") from error
        document = {"model": str(model), "cache": str(data), "max_range": max_range}
        document |= {"views": views, "votes": votes} | evaluation.to_json()
        write_atomically(out / "evaluation.json", json.dumps(document, indent=2).encode())
        plots.confusion_matrix(evaluation, out / "confusion.png")
        plots.iou_by_range(evaluation, out / "iou_by_range.png")
    return evaluation


def _sweeps_of_cache(
    segmenter: Segmenter,
    model: Path,
    path: Location,
    parameters: Parameters,
    votes: float,
    progress: Progress,
    say: Say,
) -> Iterator[Predicted]:
    cache = Cache.open(path)
    _check_classes(segmenter, cache.taxonomy, model, path)
    if not any(sum(row.class_counts) for row in cache.sweeps):
        raise InputError(f"cache {path} has no labels to compare with")
    labelled = [number for number, row in enumerate(cache.sweeps) if any(row.class_counts)]
    part, together = own(labelled), segmenter.metadata.sweeps
    fewer = sum(len(cache.earlier_indices(i, together)) < together - 1 for i in labelled)
    if fewer and is_first():
        told = f"{fewer} of {len(labelled)} sweeps are labelled by fewer than {together} sweeps: "
        told += "there are no others before them, or no poses"
        say(Finding("labelled-by-fewer-sweeps", cache.name, "doubtful", told))
    if parameters.crop_frame and not is_unbounded(parameters.crop_min, parameters.crop_max):
        raise InputError(
            f"a cache holds no transforms to the box's frame {parameters.crop_frame}; evaluate the "
            f"recording itself: haskd evaluate {model} BAG --labels MAP"
        )

    if votes:
        numbers: Sequence[int] = range(len(cache))
        answers = voted_sweeps(segmenter, cache, parameters, votes, say)
    else:
        numbers, answers = part, _labelled_sweeps(segmenter, cache, parameters, part)

    def sweeps() -> Iterator[Predicted]:
        for done, (number, answer) in enumerate(answers, 1):
            progress(done, len(numbers))
            if not any(cache.sweeps[number].class_counts):
                continue
            sweep = cache.sweep(number)
            missed = np.full(len(sweep.points), UNLABELLED, np.uint8)
            predicted = missed if answer is None else answer.class_id
            yield Predicted(sweep.points, sweep.label, predicted)

    return sweeps()


def _labelled_sweeps(
    segmenter: Segmenter, cache: Cache, parameters: Parameters, numbers: Sequence[int]
) -> Iterator[tuple[int, Segmentation | None]]:
    """As `voted_sweeps`, each by itself."""
    for number in numbers:
        try:
            yield number, label_as_robot(segmenter, cache, number, parameters)
        except CloudError:
            yield number, None


def _sweeps_of_bag(
    label: BagLabeller,
    recording: Recording,
    label_map: LabelMap,
    progress: Progress,
    say: Say,
) -> Iterator[Predicted]:
    path, topic = recording.path, recording.points_topic
    source = label_source(label_map, recording_name(path), partial(cloud_times, path, topic))
    with open_bag(path) as bag:
        clouds = bag.count([topic])
        for index, (_, cloud) in enumerate(bag.messages([topic])):
            progress(index + 1, clouds)
            try:
                points, _ = read_xyz_intensity(cloud)
                true = source.of(cloud, index, stamp_ns(cloud))
            except (CloudError, Unusable):
                continue  # without points there is nothing to compare
            if (true == UNLABELLED).all():
                label.pass_by(cloud)
                continue
            try:
                predicted = label(cloud).result.class_id
            except CloudError:
                predicted = np.full(len(points), UNLABELLED, np.uint8)
            valid = valid_returns(points)
            yield Predicted(points[valid], true[valid], predicted[valid])
    for finding in label.later_findings:
        say(finding)


def _check_protocol(protocol: Protocol, data: Location, max_range: float | None) -> None:
    if _is_recording(data):
        raise InputError(
            f"{data} is a recording; --protocol is for a cache that haskd prepare --reader "
            f"{protocol.reader.name} made"
        )
    if max_range is not None:
        raise InputError(f"protocol {protocol.name} counts points at any range: no --max-range")
    protocol.check_classes(Cache.open(data).taxonomy.names, data)


def _is_recording(path: Location) -> TypeGuard[Path]:
    """Whether a bag is meant, even a damaged one, and not a cache."""
    if not isinstance(path, Path):
        return False
    inside = {file.suffix for file in path.iterdir()} if path.is_dir() else set()
    is_bag = (path / "metadata.yaml").is_file() or bool(inside & {".mcap", ".db3"})
    return path.is_file() or is_bag or is_cloud_folder(path)


def _check_classes(
    segmenter: Segmenter, taxonomy: Taxonomy, model: Path, data: Location | str
) -> None:
    if segmenter.taxonomy.names != taxonomy.names:
        raise InputError(
            f"model {model} has the classes {', '.join(segmenter.taxonomy.names)}; "
            f"{data} has {', '.join(taxonomy.names)}"
        )


def _crop(sweep: Predicted, max_range: float) -> Predicted:
    near = within_range(sweep.points, max_range)
    return Predicted(sweep.points[near], sweep.true[near], sweep.predicted[near])


def table(evaluation: Evaluation) -> Table:
    """Scores in percent, for the screen."""
    result = Table(title=f"IoU in % over {evaluation.sweeps} sweeps")
    result.add_column("class")
    names = ["all", *(f"{range_name(span)} m" for span in RANGES_M), "points"]
    for name in names:
        result.add_column(name, justify="right")
    parts = [evaluation.counts, *evaluation.by_range]
    scores = [iou(counts) for counts in parts]
    points = evaluation.counts.sum(1)
    for row, name in enumerate(evaluation.taxonomy.names):
        result.add_row(name, *(_percent(score[row]) for score in scores), f"{points[row]:,}")
    result.add_section()
    result.add_row("mIoU", *(_percent(mean_iou(counts)) for counts in parts), "", style="bold")
    result.add_row(
        "accuracy", *(_percent(accuracy(counts)) for counts in parts), f"{points.sum():,}"
    )
    return result


def protocol_table(score: ProtocolScore) -> Table:
    """A benchmark's score in percent, for the screen."""
    result = Table("class", title=f"IoU in % by {score.protocol.reader.title}'s rule")
    result.add_column("IoU", justify="right")
    for name, value in zip(score.names, score.iou, strict=True):
        result.add_row(name, _percent(value))
    result.add_section()
    result.add_row("mIoU", _percent(score.miou), style="bold")
    result.add_row("accuracy", _percent(score.accuracy))
    result.add_row("mean accuracy", _percent(score.mean_accuracy))
    return result


def _percent(value: float) -> str:
    return "-" if np.isnan(value) else f"{100 * value:.1f}"
