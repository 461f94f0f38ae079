"""`haskd prepare --reader`: drives of a public data set -> a cache, as of recorded bags."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from haskd_ros.channels import CHANNELS
from haskd_ros.errors import InputError
from haskd_ros.files import remove_leftovers
from haskd_ros.taxonomy import UNLABELLED, LabelMap
from haskd_training.core.background import map_in_order
from haskd_training.core.file_digests import FileDigests
from haskd_training.core.progress import Progress, no_progress
from haskd_training.core.run_folder import only_user
from haskd_training.core.storage.location import Location
from haskd_training.core.storage.outgoing import written_in
from haskd_training.data.caches.index import INPUTS, is_cache
from haskd_training.data.caches.rows import ImageRow, SweepRow
from haskd_training.data.caches.shards import ShardStream
from haskd_training.data.caches.writer import CacheWriter, check_is_free, hand_over
from haskd_training.data.preparing.fingerprint import dataset_fingerprint
from haskd_training.data.preparing.finish import Rows, finish_cache
from haskd_training.data.preparing.inputs import CacheConfig, finished_report
from haskd_training.data.preparing.report import PrepareReport
from haskd_training.data.preparing.samples import Tensors, shared_list
from haskd_training.data.readers.interface import (
    NO_LABEL,
    DatasetReader,
    Drive,
    Frame,
    FrameImage,
    FramePoints,
    names_digest,
)
from haskd_training.recordings.findings import Finding, Say, say_nothing, tell
from haskd_training.recordings.image_codec import jpeg_of
from haskd_training.recordings.labels import load_label_map
from haskd_training.recordings.readers.bag import Unusable

LIDAR_FRAME = "lidar"


@dataclass(frozen=True)
class DatasetPart:
    """Drives of a data set.

    Attributes:
        root: its folder.
        split: one of the reader's; None: `drives` names what is meant.
        drives: names of those of the split that are meant; None: all of it.
        labels: a label map's file or name, for other classes than the data set's own.
    """

    reader: DatasetReader
    root: Path
    split: str | None = None
    drives: tuple[str, ...] | None = None
    labels: Path | str | None = None

    def open(self) -> list[Drive]:
        """The drives, checked; raises as the reader does."""
        names = self.reader.choose(self.root, self.split, self.drives)
        return self.reader.open_drives(self.root, names)


def prepare_dataset(
    part: DatasetPart,
    out: Location,
    config: CacheConfig | None = None,
    progress: Progress = no_progress,
    *,
    say: Say = say_nothing,
    strict: bool = False,
) -> PrepareReport:
    """Prepare drives of a data set once, for everything that trains or evaluates on them.

    The files' names and sizes are checked first. An interrupted run resumes when called again with
    the same arguments; a finished one returns at once. Memory is bounded by a few shards. All
    points of a sweep are kept, in their order, also such as are no returns: a benchmark counts all.

    Args:
        out: as of `prepare`.
        progress: counts pieces of files when they are compared, then sweeps and images.
        say: receives what there is to know of the drives, before anything is written.
        strict: refuse what it warns of.

    Raises:
        InputError: anything wrong with the input, or another process prepares `out`. Nothing is
            left in `out` then, except after a full disk.
    """
    config = config or CacheConfig()
    reader = part.reader
    label_map = reader.load_label_map() if part.labels is None else load_label_map(part.labels)
    drives = part.open()
    with ExitStack() as held:
        was_finished = is_cache(out)
        folder = written_in(out)
        if not was_finished:
            check_is_free(out)
            held.enter_context(only_user(folder))
        digests = FileDigests(folder / INPUTS)
        settings = config.model_dump(mode="json", exclude={"overlays"})
        digest = dataset_fingerprint(reader.name, drives, label_map, settings, digests, progress)
        finished = finished_report(out, digest)
        if finished is not None:
            tell(finished.findings, say, strict)
            remove_leftovers(folder)
            with suppress(OSError):  # of a cache that may only be read, no more than time is lost
                digests.save()
            hand_over(folder, out, progress)
            return finished
        if was_finished:  # some shards are made again
            held.enter_context(only_user(folder))
        findings = [*_findings_of_split(part, drives)]
        findings += [finding for drive in drives for finding in _findings(drive, reader)]
        tell(findings, say, strict)
        writer = CacheWriter(folder, digest, config.shard_bytes)
        with writer.writing():
            digests.save()
            total, done = sum(drive.frames + drive.images for drive in drives), 0
            for drive in drives:
                for _ in _write_drive(writer, _Sampler(drive, reader, label_map, config)):
                    done += 1
                    progress(done, total)
            writer.close()
            report = finish_cache(
                writer,
                Rows(writer.sweeps.rows, writer.images.rows, writer.images.skipped),
                label_map.taxonomy,
                [drive.name for drive in drives],
                findings=findings,
                labelled=any(drive.labelled for drive in drives),
                overlays=config.overlays,
                out=out,
                digests=digests,
            )
        hand_over(folder, out, progress)
    for finding in report.findings[len(findings) :]:
        say(finding)
    return report


def _findings_of_split(part: DatasetPart, drives: list[Drive]) -> Iterator[Finding]:
    if part.split is None or part.drives is not None:
        return
    published, names = part.reader.splits[part.split], [drive.name for drive in drives]
    if published.digest not in (None, names_digest(names)):
        yield Finding(
            "split-differs",
            part.split,
            "doubtful",
            f"its list has {len(names)} names, and they are not the {published.drives} that are "
            "published: no score on them compares with a published one",
        )


def _findings(drive: Drive, reader: DatasetReader) -> Iterator[Finding]:
    yield from drive.findings
    published = reader.sweeps.get(drive.name)
    if published is not None and drive.frames != published:
        yield Finding(
            "drive-incomplete",
            drive.name,
            "doubtful",
            f"{drive.frames} sweeps, {reader.title} has {published}: no score on them compares "
            "with a published one",
        )


@dataclass(frozen=True)
class _Item:
    """A sweep or an image for a stream of rows; `is_new`: False where an earlier run's shards
    account for it."""

    stream: ShardStream[Any]
    content: Frame | FrameImage
    is_new: bool


@dataclass(frozen=True)
class _Sampler:
    """A drive's sweeps and images -> rows and tensors of the cache."""

    drive: Drive
    reader: DatasetReader
    label_map: LabelMap
    config: CacheConfig

    def __call__(
        self, item: _Item
    ) -> tuple[_Item, tuple[SweepRow | ImageRow, Tensors] | Unusable | None]:
        """An item with its sample, or the reason for leaving it out; None where it is not new."""
        if not item.is_new:
            return item, None
        try:
            if isinstance(item.content, Frame):
                return item, self._sweep(item.content)
            return item, self._image(item.content)
        except Unusable as reason:
            return item, reason

    def _sweep(self, frame: Frame) -> tuple[SweepRow, Tensors]:
        read = frame.points()
        points = read.xyz_intensity
        if not np.isfinite(points).all():
            raise Unusable("points whose coordinates or intensity are no numbers")
        label = self._labels(frame, len(points))
        scale = self.reader.intensity_scale
        classes = len(self.label_map.taxonomy)
        row = SweepRow(
            recording=self.drive.name,
            stamp_ns=frame.stamp_ns,
            points=len(points),
            class_counts=np.bincount(label, minlength=UNLABELLED + 1)[:classes].tolist(),
            T_world_lidar=None if frame.T_world_lidar is None else frame.T_world_lidar.tolist(),
            frame=LIDAR_FRAME,
            intensity_scale=scale,
        )
        time = np.zeros(len(points), np.float32)
        return row, {"points": points, "time": time, "label": label, **self._channels(read)}

    def _channels(self, read: FramePoints) -> Tensors:
        """Those that are kept, [N, D] of their own type."""
        return {
            name: CHANNELS[name].stored(values)
            for name, values in read.columns().items()
            if name in self.config.channels
        }

    def _labels(self, frame: Frame, points: int) -> np.ndarray:
        if frame.raw_labels is None:
            return np.full(points, UNLABELLED, np.uint8)
        what = f"{self.reader.title}, {self.drive.name}, sweep {frame.name}"
        raw = frame.raw_labels()
        if len(raw) != points:
            raise InputError(f"{what}: {len(raw)} labels, {points} points")
        label = np.full(points, UNLABELLED, np.uint8)
        known = raw != NO_LABEL
        try:
            label[known] = self.label_map.apply(raw[known])
        except InputError as error:
            raise InputError(f"{what}: {error}") from error
        return label

    def _image(self, image: FrameImage) -> tuple[ImageRow, Tensors]:
        jpeg = jpeg_of(image.read(), self.config.jpeg_quality)
        model = image.model
        if (jpeg.width, jpeg.height) != (model.width, model.height):
            raise Unusable(f"{image.camera}: image of another size than the calibration's")
        pose = image.T_world_camera
        row = ImageRow(
            recording=self.drive.name,
            camera=image.camera,
            stamp_ns=image.stamp_ns,
            width=model.width,
            height=model.height,
            K=shared_list(model.K),
            distortion_model=model.distortion_model,
            D=shared_list(model.D),
            T_world_camera=None if pose is None else pose.tolist(),
            T_camera_lidar=shared_list(image.T_camera_lidar),
            frame=image.camera,
        )
        return row, {"jpeg": jpeg.data}


def _write_drive(writer: CacheWriter, sampler: _Sampler) -> Iterator[None]:
    """Write a drive's sweeps and images; yields after each."""
    for item, sample in map_in_order(sampler, _items(writer, sampler.drive)):
        if isinstance(sample, Unusable):
            item.stream.skip(str(sample))
        elif sample is not None:
            item.stream.add(*sample)
        yield


def _items(writer: CacheWriter, drive: Drive) -> Iterator[_Item]:
    for frame in drive.iterate():
        yield _Item(writer.sweeps, frame, writer.sweeps.next_is_new())
        for image in frame.images:
            yield _Item(writer.images, image, writer.images.next_is_new())
