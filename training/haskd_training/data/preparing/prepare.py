"""`haskd prepare`: recorded bags -> a cache of time-matched, calibrated samples."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from haskd_ros.files import remove_leftovers
from haskd_training.core.background import map_in_order
from haskd_training.core.progress import Progress, no_progress
from haskd_training.core.run_folder import only_user
from haskd_training.core.storage.location import Location
from haskd_training.core.storage.outgoing import written_in
from haskd_training.data.caches.index import is_cache
from haskd_training.data.caches.rows import ImageRow, SweepRow
from haskd_training.data.caches.shards import ShardStream
from haskd_training.data.caches.writer import CacheWriter, check_is_free, hand_over
from haskd_training.data.preparing.finish import Rows, finish_cache
from haskd_training.data.preparing.inputs import Inputs, PrepareConfig, read_inputs
from haskd_training.data.preparing.report import PrepareReport
from haskd_training.data.preparing.samples import (
    Tensors,
    image_sample,
    sweep_sample,
    with_poses,
    with_world_poses,
)
from haskd_training.recordings.findings import Say, say_nothing, tell
from haskd_training.recordings.labels import LabelSource
from haskd_training.recordings.readers.bag import Unusable, open_bag
from haskd_training.recordings.recording import Recording
from haskd_training.recordings.repeats import Repeats

_Sample = tuple[SweepRow | ImageRow, Tensors]


def prepare(
    bags: Sequence[Path],
    labels: Path | str | None,
    out: Location,
    config: PrepareConfig | None = None,
    progress: Progress = no_progress,
    *,
    say: Say = say_nothing,
    strict: bool = False,
) -> PrepareReport:
    """Prepare recordings once, for everything that trains or evaluates on them.

    The recordings are examined first. An interrupted run resumes when called again with the same
    arguments; a finished one returns at once. Memory is bounded by a few shards, whatever the
    bags' length: only poses and the tables of rows grow with it.

    Args:
        bags: bag folders or files; a cache may hold several recordings.
        labels: a label map's file, the name of one that ships, or None for clouds without labels.
        out: folder of the cache, or URL: new, empty, or an unfinished cache of the same inputs. One
            for a store is written here and then uploaded, see `core.storage.outgoing`.
        progress: counts messages, from 0 when they are examined and when they are written.
        say: receives what the examination finds, before anything is written.
        strict: refuse what it warns of.

    Raises:
        InputError: anything wrong with the input, or another process prepares `out`. Nothing is
            left in `out` then, except after a full disk, where the finished shards stay and the
            next call resumes.
    """
    with ExitStack() as held:
        # A finished cache is only read, and may lie where nothing can be written.
        was_finished = is_cache(out)
        folder = written_in(out)
        if not was_finished:
            check_is_free(out)
            held.enter_context(only_user(folder))
        inputs = read_inputs(bags, labels, out, config or PrepareConfig(), progress)
        if was_finished and inputs.finished is None:  # some shards are made again
            held.enter_context(only_user(folder))
        tell(inputs.findings, say, strict)
        return write_cache(inputs, progress, say)


def write_cache(
    inputs: Inputs, progress: Progress = no_progress, say: Say = say_nothing
) -> PrepareReport:
    """Prepare recordings that have been examined; of a finished cache the report.

    Args:
        progress: counts messages.
        say: receives what only shows when the cache is written.

    Raises:
        InputError: as of `prepare`.
    """
    out, folder, config = inputs.out, inputs.folder, inputs.config
    if inputs.finished is not None:
        remove_leftovers(folder)
        with suppress(OSError):  # of a cache that may only be read, no more than time is lost
            inputs.digests.save()
        hand_over(folder, out, progress)
        return inputs.finished
    recordings = [examination.recording for examination in inputs.examinations]
    writer = CacheWriter(folder, inputs.fingerprint, config.shard_bytes)
    with writer.writing():
        inputs.digests.save()
        classes = len(inputs.label_map.taxonomy)
        total = sum(recording.messages for recording in recordings)
        done = 0
        for recording, source in zip(recordings, inputs.sources, strict=True):
            sampler = _Sampler(recording, source, classes, config)
            for _ in _write_recording(writer, sampler):
                done += 1
                progress(done, total)
        report = _finish(writer, inputs, recordings)
    hand_over(folder, out, progress)
    for finding in report.findings[len(inputs.findings) :]:
        say(finding)
    return report


@dataclass(frozen=True)
class _Sampler:
    """A recording's messages -> rows and tensors of the cache."""

    recording: Recording
    labels: LabelSource
    classes: int
    config: PrepareConfig

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
                intensity_scale=recording.intensity.full_scale,
                channels=self.config.channels,
            )
        camera = next(camera for camera in recording.cameras if camera.topic == message.topic)
        return image_sample(message.content, camera, recording, self.config.jpeg_quality)


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
    """The clouds and images that are used."""
    cloud_index = -1
    repeats = Repeats()
    with open_bag(recording.path) as bag:
        for topic, message in bag.messages(recording.topics, recording.stop_ns):
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


def _finish(writer: CacheWriter, inputs: Inputs, recordings: list[Recording]) -> PrepareReport:
    """Compute what needs the whole cache, then write the index."""
    writer.close()
    sweeps, images, images_skipped = _rows_with_poses(writer, recordings)
    return finish_cache(
        writer,
        Rows(sweeps, images, images_skipped),
        inputs.label_map.taxonomy,
        [recording.name for recording in recordings],
        findings=inputs.findings,
        labelled=inputs.labelled,
        overlays=inputs.config.overlays,
        out=inputs.out,
        digests=inputs.digests,
    )


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
