"""`haskd prepare`: recorded bags -> a cache of time-matched, calibrated samples."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, PositiveFloat

from haskd_ros.errors import InputError
from haskd_ros.files import write_atomically
from haskd_ros.taxonomy import LabelMap
from haskd_training.core.background import BackgroundCalls, map_in_order
from haskd_training.core.progress import Progress, no_progress
from haskd_training.data.cache import (
    FORMAT,
    INDEX,
    OVERLAYS,
    REPORT,
    Cache,
    CacheWriter,
    ImageRow,
    SweepRow,
)
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
from haskd_training.recordings.cloud_sample import intensity_findings
from haskd_training.recordings.labels import (
    LabelSource,
    check_folders,
    label_source,
    load_label_map,
)
from haskd_training.recordings.readers.bag import STORAGE_SUFFIXES, Unusable, bag_files, open_bag
from haskd_training.recordings.recording import (
    Recording,
    RecordingConfig,
    add_transforms,
    inspect_recording,
)

_Sample = tuple[SweepRow | ImageRow, Tensors]

UNLABELLED_MAP = "simulation"
"""The label map whose classes a cache without labels gets."""

_DIGEST_BYTES = 64 * 1024


class PrepareConfig(RecordingConfig):
    """Settings of `prepare`; part of a cache's fingerprint."""

    label_field: str | None = Field(
        None, description="cloud field with raw ids; overrides the map's"
    )
    label_folder: Path | None = Field(
        None, description="folder of .label files; overrides the map's"
    )
    intensity_scale: Literal["auto"] | PositiveFloat = Field(
        "auto",
        description="intensity of a full return; auto: 255 for a field of uint8, else 1, 255 or "
        "65535 by clouds from all of the recording",
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
    if labels is not None:
        check_folders(label_map, names)
    recordings = [
        inspect_recording(bag, name, config) for bag, name in zip(bags, names, strict=True)
    ]
    sources = [
        label_source(None if labels is None else label_map, recording.name)
        for recording in recordings
    ]
    fingerprint = _fingerprint(recordings, sources, label_map, config)
    if (out / INDEX).exists():
        return _finished(out, fingerprint)

    writer = CacheWriter(out, fingerprint, config.shard_bytes)
    try:
        classes = len(label_map.taxonomy)
        total = sum(recording.messages for recording in recordings)
        done = 0
        for recording, source in zip(recordings, sources, strict=True):
            scale = _intensity_scale(recording, config.intensity_scale)
            sampler = _Sampler(recording, source, classes, scale, config.jpeg_quality)
            for _ in _write_recording(writer, sampler):
                done += 1
                progress(done, total)
        return _finish(
            writer,
            recordings,
            label_map=label_map,
            labelled=labels is not None,
            overlays=config.overlays,
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
    """

    stream: ShardStream[Any]
    topic: str
    content: Any
    cloud_index: int
    is_new: bool


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
    with open_bag(recording.path) as bag:
        for topic, message in bag.messages(recording.topics):
            if topic in recording.tf_topics:
                add_transforms(recording.tree, topic, message)
                continue
            is_cloud = topic == recording.points_topic
            cloud_index += is_cloud
            stream: ShardStream[Any] = writer.sweeps if is_cloud else writer.images
            yield _Message(stream, topic, message, cloud_index, stream.next_is_new())


def _finish(
    writer: CacheWriter,
    recordings: list[Recording],
    *,
    label_map: LabelMap,
    labelled: bool,
    overlays: int,
) -> PrepareReport:
    """Compute what needs the whole cache, then write the index."""
    writer.close()
    if not writer.sweeps.rows:
        raise InputError(f"no sweep can be used: {_counted(writer.sweeps.skipped)}")
    sweeps, images, images_skipped = _rows_with_poses(writer, recordings)
    cache = Cache(
        path=writer.path,
        taxonomy=label_map.taxonomy,
        intensity_scale=next(
            (row.intensity_scale for row in sweeps if row.intensity_scale is not None), 1.0
        ),
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
            warnings=_warnings(recordings, cache, images_skipped, labelled),
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
    for recording in recordings:
        found = intensity_findings(recording.intensity, recording.name)
        warnings += [str(finding) for finding in found if finding.is_warning]
    if not labelled:
        warnings.append("no labels: training can use these sweeps as unlabelled ones only")
    return warnings


def _counted(reasons: Counter[str]) -> str:
    return ", ".join(f"{count} x {reason}" for reason, count in reasons.most_common())


def _intensity_scale(recording: Recording, configured: float | Literal["auto"]) -> float:
    """Intensity of a full return: the configured one, or that of the recording's unit."""
    return recording.intensity.full_scale if configured == "auto" else float(configured)


def check_labels(bags: Sequence[Path], labels: Path | str | None, config: PrepareConfig) -> None:
    """Check that recordings that are prepared one by one have their own labels.

    Raises:
        InputError: as of `labels.check_folders`.
    """
    check_folders(_label_map(labels, config), [recording_name(bag) for bag in bags])


def _label_map(labels: Path | str | None, config: PrepareConfig) -> LabelMap:
    """The map, with the label field or folder that the configuration names."""
    label_map = load_label_map(UNLABELLED_MAP if labels is None else labels)
    if config.label_field is not None:
        label_map = replace(label_map, field=config.label_field, folder=None)
    if config.label_folder is not None:
        label_map = replace(label_map, folder=str(config.label_folder))
    return label_map


def recording_name(bag: Path) -> str:
    """What a bag is called in a cache, and its own folder of labels."""
    return bag.stem if bag.suffix in STORAGE_SUFFIXES else bag.name


def _recording_names(bags: Sequence[Path]) -> list[str]:
    """Name of each bag; later bags of the same name get a number."""
    names: list[str] = []
    for stem in map(recording_name, bags):
        alike = sum(name == stem or name.rpartition("~")[0] == stem for name in names)
        names.append(f"{stem}~{alike + 1}" if alike else stem)
    return names


def _fingerprint(
    recordings: list[Recording],
    sources: list[LabelSource],
    label_map: LabelMap,
    config: PrepareConfig,
) -> str:
    """Digest of all inputs of a cache, so that two inputs never mix in one."""
    content = {
        "format": FORMAT,
        "bags": [
            [recording.name, [_file_digest(file) for file in bag_files(recording.path)]]
            for recording in recordings
        ],
        "labels": [[type(source).__name__, *source.identity()] for source in sources],
        "label_map": [label_map.taxonomy.to_json(), label_map.ids, label_map.ignored],
        "config": config.model_dump(mode="json", exclude={"label_folder", "overlays"}),
    }
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def _file_digest(path: Path) -> list[str | int]:
    """Name, size, and hash of the first and last bytes: a bag may have hundreds of gigabytes."""
    size = path.stat().st_size
    with open(path, "rb") as file:
        head = file.read(_DIGEST_BYTES)
        file.seek(max(0, size - _DIGEST_BYTES))
        tail = file.read()
    return [path.name, size, hashlib.sha256(head + tail).hexdigest()]
