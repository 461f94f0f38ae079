"""`haskd prepare`: recorded bags -> a cache of time-matched, calibrated samples."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, PositiveFloat

from haskd_ros.errors import InputError
from haskd_ros.files import write_atomically
from haskd_ros.taxonomy import LabelMap
from haskd_training.core.background import BackgroundCalls, map_in_order
from haskd_training.core.progress import Progress, no_progress
from haskd_training.data.cache import (
    INDEX,
    OVERLAYS,
    REPORT,
    Cache,
    CacheWriter,
    ImageRow,
    SweepRow,
)
from haskd_training.data.fingerprint import fingerprint
from haskd_training.data.overlay import write_overlays
from haskd_training.data.prepare_report import PrepareReport, make_report
from haskd_training.data.samples import (
    Tensors,
    image_sample,
    sweep_sample,
    with_poses,
    with_world_poses,
)
from haskd_training.data.sensor_statistics import sensor_statistics
from haskd_training.data.shards import SHARD_BYTES, ShardStream
from haskd_training.recordings.findings import Finding
from haskd_training.recordings.label_names import CloudTime
from haskd_training.recordings.labels import (
    LabelSource,
    check_folders,
    cloud_times,
    label_source,
    load_label_map,
)
from haskd_training.recordings.readers.bag import (
    POINT_CLOUD,
    STORAGE_SUFFIXES,
    Unusable,
    choose_topic,
    open_bag,
)
from haskd_training.recordings.recording import (
    Recording,
    RecordingConfig,
    add_transforms,
    inspect_recording,
)
from haskd_training.recordings.repeats import Repeats

_Sample = tuple[SweepRow | ImageRow, Tensors]

UNLABELLED_MAP = "simulation"
"""The label map whose classes a cache without labels gets."""


class PrepareConfig(RecordingConfig):
    """Settings of `prepare`; part of a cache's fingerprint."""

    label_field: str | None = Field(
        None, description="cloud field with raw ids; overrides the map's"
    )
    label_folder: Path | None = Field(
        None, description="folder of label files; overrides the map's"
    )
    intensity_scale: Literal["auto"] | PositiveFloat = Field(
        "auto", description="intensity / scale = 0..1; auto: 1, 255 or 65535 by the first clouds"
    )
    jpeg_quality: int = Field(92, ge=1, le=100, description="for images that aren't JPEG yet")
    overlays: int = Field(
        6, ge=0, description="images with points drawn over them, to check the camera calibration"
    )
    shard_bytes: int = Field(SHARD_BYTES, gt=0, description="size at which a shard is written")


def prepare(
    bags: list[Path],
    labels: Path | str | None,
    out: Path,
    config: PrepareConfig | None = None,
    progress: Progress = no_progress,
) -> PrepareReport:
    """Prepare recordings once, for everything that trains or evaluates on them.

    An interrupted run resumes when called again with the same arguments; a finished one returns at
    once. Memory is bounded by a few shards, whatever the bags' length: only poses and the tables of
    rows grow with it.

    Args:
        bags: bag folders or files; a cache may hold several recordings.
        labels: a label map's file, the name of one that ships, or None for clouds without labels.
        out: folder of the cache: new, empty, or an unfinished cache of the same inputs.
        progress: counts messages.

    Raises:
        InputError: anything wrong with the input. Nothing is left in `out` then, except after
            a full disk, where the finished shards stay and the next call resumes.
    """
    config = config or PrepareConfig()
    if not bags:
        raise InputError("no bag given")
    label_map = _label_map(labels, config)
    names = _recording_names(bags)
    recordings = [
        inspect_recording(bag, name, config) for bag, name in zip(bags, names, strict=True)
    ]
    clouds = {
        recording.name: partial(cloud_times, recording.path, recording.points_topic)
        for recording in recordings
    }
    if labels is not None:
        check_folders(label_map, list(clouds.items()))
    sources = [
        label_source(None if labels is None else label_map, name, times)
        for name, times in clouds.items()
    ]
    settings = config.model_dump(mode="json", exclude={"label_folder", "overlays"})
    digest = fingerprint(recordings, sources, label_map, settings)
    if (out / INDEX).exists():
        return _finished(out, digest)

    writer = CacheWriter(out, digest, config.shard_bytes)
    try:
        scale = _intensity_scale(recordings, config.intensity_scale)
        classes = len(label_map.taxonomy)
        total = sum(recording.messages for recording in recordings)
        done = 0
        for recording, source in zip(recordings, sources, strict=True):
            sampler = _Sampler(recording, source, classes, scale, config.jpeg_quality)
            for _ in _write_recording(writer, sampler):
                done += 1
                progress(done, total)
        return _finish(
            writer,
            recordings,
            label_map=label_map,
            intensity_scale=scale,
            labelled=labels is not None,
            overlays=config.overlays,
            of_labels=[finding for source in sources for finding in source.findings()],
        )
    except InputError:
        writer.discard()
        raise
    except OSError as error:
        raise InputError(
            f"{out}: writing failed ({error.strerror}); its finished shards are kept: free "
            "disk space and run the command again to resume"
        ) from error


@dataclass(frozen=True)
class _Sampler:
    """A recording's messages -> rows and tensors of the cache."""

    recording: Recording
    labels: LabelSource
    classes: int
    intensity_scale: float
    jpeg_quality: int

    def __call__(self, message: _Message) -> tuple[_Message, _Sample | Unusable | None]:
        """A message with its sample, or the reason for skipping it; None where an earlier run's
        shards account for it."""
        try:
            return message, self._sample(message) if message.is_new else None
        except Unusable as reason:
            return message, reason

    def _sample(self, message: _Message) -> _Sample:
        recording = self.recording
        if message.is_repeat:
            raise Unusable("in the recording already, to the byte")
        if message.topic == recording.points_topic:
            return sweep_sample(
                message.content,
                recording,
                index=message.cloud_index,
                labels=self.labels,
                classes=self.classes,
                intensity_scale=self.intensity_scale,
            )
        camera = next(camera for camera in recording.cameras if camera.topic == message.topic)
        return image_sample(message.content, camera, recording, self.jpeg_quality)


@dataclass(frozen=True)
class _Message:
    """A message for a stream of rows.

    cloud_index: of the recording's latest cloud.
    is_new: False where an earlier run's shards account for it.
    is_repeat: whether the same message came before.
    """

    stream: ShardStream[Any]
    topic: str
    content: Any
    cloud_index: int
    is_new: bool
    is_repeat: bool


def _write_recording(writer: CacheWriter, sampler: _Sampler) -> Iterator[None]:
    """Write a recording's sweeps and images; yields after each message."""
    for message, sample in map_in_order(sampler, _messages(writer, sampler.recording)):
        if isinstance(sample, Unusable):
            message.stream.skip(str(sample))
        elif sample is not None:
            message.stream.add(*sample)
        yield


def _messages(writer: CacheWriter, recording: Recording) -> Iterator[_Message]:
    """Clouds and images; transforms are added to the recording's tree."""
    cloud_index = -1
    repeats = Repeats()
    with open_bag(recording.path) as bag:
        for topic, message in bag.messages(recording.topics):
            if topic in recording.tf_topics:
                add_transforms(recording.tree, topic, message)
                continue
            is_cloud = topic == recording.points_topic
            cloud_index += is_cloud
            stream: ShardStream[Any] = writer.sweeps if is_cloud else writer.images
            yield _Message(
                stream,
                topic,
                message,
                cloud_index,
                is_new=stream.next_is_new(),
                is_repeat=repeats.is_repeat(topic, message),
            )


def _finish(
    writer: CacheWriter,
    recordings: list[Recording],
    *,
    label_map: LabelMap,
    intensity_scale: float,
    labelled: bool,
    overlays: int,
    of_labels: list[Finding],
) -> PrepareReport:
    """Compute what needs the whole cache, then write the index."""
    writer.close()
    warnings = [str(finding) for finding in of_labels if finding.outcome != "noted"]
    if not writer.sweeps.rows:
        reasons = "; ".join([_counted(writer.sweeps.skipped), *warnings])
        raise InputError(f"no sweep can be used: {reasons}")
    sweeps, images, images_skipped = _rows_with_poses(writer, recordings)
    cache = Cache(
        path=writer.path,
        taxonomy=label_map.taxonomy,
        intensity_scale=intensity_scale,
        statistics={},
        sweeps=sweeps,
        images=images,
        fingerprint=writer.fingerprint,
    )
    with BackgroundCalls(1) as background:
        background.call(write_overlays, cache, cache.path / OVERLAYS, overlays)
        cache = replace(cache, statistics=sensor_statistics(cache))
        report = make_report(
            cache,
            [recording.name for recording in recordings],
            sweeps_skipped=dict(writer.sweeps.skipped),
            images_skipped=dict(images_skipped),
            warnings=warnings + _warnings(recordings, cache, images_skipped, labelled),
        )
    write_atomically(cache.path / REPORT, json.dumps(report.to_json(), indent=1).encode())
    cache.write_index()
    return report


def _rows_with_poses(
    writer: CacheWriter, recordings: list[Recording]
) -> tuple[list[SweepRow], list[ImageRow], Counter[str]]:
    """All rows with their poses, and why images were skipped. An image without a pose leaves its
    bytes in a shard: whether there is one only shows after the shard was written."""
    sweeps: list[SweepRow] = []
    images: list[ImageRow] = []
    skipped = writer.images.skipped.copy()
    for recording in recordings:
        sweep_rows = [row for row in writer.sweeps.rows if row.recording == recording.name]
        sweeps += with_world_poses(sweep_rows, recording)
        image_rows = [row for row in writer.images.rows if row.recording == recording.name]
        posed, reasons = with_poses(image_rows, recording)
        images += posed
        skipped += reasons
    return sweeps, images, skipped


def _finished(out: Path, fingerprint: str) -> PrepareReport:
    """The report of a finished cache."""
    if Cache.open(out).fingerprint != fingerprint:
        raise InputError(
            f"{out} holds a cache of other bags, labels or settings; "
            "delete it or choose another folder"
        )
    try:
        report = PrepareReport.from_json(json.loads((out / REPORT).read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise InputError(f"{out / REPORT} is damaged: {error}; delete the folder") from error
    return replace(report, up_to_date=True)


def _warnings(
    recordings: list[Recording], cache: Cache, images_skipped: Counter[str], labelled: bool
) -> list[str]:
    warnings = []
    if not cache.images:
        reasons = f" ({_counted(images_skipped)})" if images_skipped else ""
        warnings.append(f"no images{reasons}: only a LiDAR-only baseline can be trained")
    else:
        warnings += [
            f"{recording.name}: the vehicle's motion is not in TF; images are projected as if it "
            "stood still between image and sweep"
            for recording in recordings
            if recording.world_frame is None and recording.cameras
        ]
    warnings += [
        f"{recording.name}: the clouds have no intensity field"
        for recording in recordings
        if recording.max_intensity is None
    ]
    if not labelled:
        warnings.append("no labels: training can use these sweeps as unlabelled ones only")
    return warnings


def _counted(reasons: Counter[str]) -> str:
    return ", ".join(f"{count} x {reason}" for reason, count in reasons.most_common())


def _intensity_scale(recordings: list[Recording], configured: float | Literal["auto"]) -> float:
    """The configured scale, or the full scale of the unit that the first clouds are in."""
    if configured != "auto":
        return float(configured)
    largest = max(recording.max_intensity or 0.0 for recording in recordings)
    return next((scale for scale in (1.0, 255.0) if largest <= scale), 65535.0)


def check_labels(bags: Sequence[Path], labels: Path | str | None, config: PrepareConfig) -> None:
    """Check that recordings that are prepared one by one have their own labels.

    Raises:
        InputError: as of `labels.check_folders`.
    """
    check_folders(
        _label_map(labels, config),
        [(_recording_name(bag), partial(_cloud_times, bag, config)) for bag in bags],
    )


def _cloud_times(path: Path, config: RecordingConfig) -> list[CloudTime]:
    with open_bag(path) as bag:
        topic = choose_topic(bag, POINT_CLOUD, config.points_topic, "points_topic")
    return cloud_times(path, topic)


def _label_map(labels: Path | str | None, config: PrepareConfig) -> LabelMap:
    """The map, with the label field or folder that the configuration names."""
    label_map = load_label_map(UNLABELLED_MAP if labels is None else labels)
    if config.label_field is not None:
        label_map = replace(label_map, field=config.label_field, folder=None)
    if config.label_folder is not None:
        label_map = replace(label_map, folder=str(config.label_folder))
    return label_map


def _recording_name(bag: Path) -> str:
    return bag.stem if bag.suffix in STORAGE_SUFFIXES else bag.name


def _recording_names(bags: Sequence[Path]) -> list[str]:
    """Name of each bag; later bags of the same name get a number."""
    names: list[str] = []
    for stem in map(_recording_name, bags):
        alike = sum(name == stem or name.rpartition("~")[0] == stem for name in names)
        names.append(f"{stem}~{alike + 1}" if alike else stem)
    return names
