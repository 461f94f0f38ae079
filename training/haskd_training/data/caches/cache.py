"""Prepared samples on disk: safetensors shards and one index.

CACHE/sweeps-00000.safetensors ...   points, channels, time and label of some sweeps each
CACHE/images-00000.safetensors ...   JPEG bytes, each image once
CACHE/inputs.json                    digests of the files it was made from
CACHE/index.json                     the tables of both; written last, marks the cache complete

Every tensor has a checksum in its row, and every table one of its own: what is read is what was
written, or an error. CACHE is a folder, or one in an object store by URL.
"""

from __future__ import annotations

import hashlib
from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from haskd_ros.channels import ChannelName
from haskd_ros.clouds.sweeps import Moment, PlacedSweep, before, stack
from haskd_ros.errors import InputError
from haskd_ros.model_header import ChannelInput
from haskd_ros.taxonomy import UNLABELLED, Taxonomy
from haskd_training.core.storage.location import Location, Url, location
from haskd_training.data.caches.index import CacheIndex, read_index, write_index
from haskd_training.data.caches.label_sets import LabelSets
from haskd_training.data.caches.packed_rows import PackedRows
from haskd_training.data.caches.point_inputs import point_inputs
from haskd_training.data.caches.point_labels import PointLabels, check_classes
from haskd_training.data.caches.rows import ImageRow, SweepRow, rows_in_time, t_camera_lidar
from haskd_training.data.caches.shards import check_shard, read_tensors
from haskd_training.recordings.image_codec import decode_jpeg


@dataclass(frozen=True)
class Sweep:
    """One LiDAR sweep of N points.

    points: [N, 4 + E] float32, x y z in m in the sensor frame, intensity 0..1 (the cache's
        `missing_intensity` where it was not measured), the cache's `channels`; all finite.
    time: [N] float32, s relative to the stamp (0 where the cloud has no time field).
    label: [N] uint8, class id, 255 ignored; of a point whose class is open, the likeliest one.
    open_label: [N] uint8, ids of the cache's `label_sets`: the class, or a set of those it may be;
        None where no label is open.
    older: [M, 4 + E] float32, the points of the sweeps before, in this one's frame, for a network
        that takes several; what it says of them counts for nothing.
    """

    points: np.ndarray
    time: np.ndarray
    label: np.ndarray
    stamp_ns: int
    recording: str
    open_label: np.ndarray | None = None
    older: np.ndarray | None = None

    @property
    def stacked(self) -> np.ndarray:
        """[N + M, 4 + E]: its points, then those of the sweeps before."""
        return self.points if self.older is None else np.concatenate([self.points, self.older])

    @property
    def label_id(self) -> np.ndarray:
        """[N] uint8 ids of the cache's `label_sets`."""
        return self.label if self.open_label is None else self.open_label


@dataclass(frozen=True)
class Cache:
    """A cache to read. Safe to fork and to pickle: files are opened when first read.

    intensity_scale: intensity of a full return in the first recording that has any, the unit of a
        model that learns from this cache; each sweep has its own.
    stand_in: 0..1, for intensity that was not measured; None: the mean of this cache.
    channels: what the points have beside place and intensity, as a network's inputs.
    together: sweeps that a network takes at once; with more than one, a sweep comes with those of
        its recording before it, whatever their role in a split is.
    statistics: the sensor's, see `sensor_statistics`.
    fingerprint: of the bags, labels and settings it was made from.
    labelled: False hides the labels, where there are any.
    point_labels: labels from images, of the sweeps that have none in the cache; None: there are
        none.
    taught: indices of the sweeps whose labels they are.
    """

    path: Location
    taxonomy: Taxonomy
    intensity_scale: float
    statistics: dict[str, Any]
    sweeps: Sequence[SweepRow]
    images: Sequence[ImageRow]
    fingerprint: str
    labelled: bool = True
    stand_in: float | None = None
    channels: tuple[ChannelInput, ...] = ()
    together: int = 1
    point_labels: PointLabels | None = None
    taught: tuple[int, ...] = ()

    @classmethod
    def open(cls, path: Location | str) -> Cache:
        """Open a finished cache, and look whether its shards are there, each as long as it was
        written: what is wrong with one of a thousand recordings is told before hours of work. The
        content is checked when it is read.

        Raises:
            InputError: no index (unfinished or no cache), a damaged or a foreign one, or a shard
                that is missing or cut off; a store that doesn't answer. A store's shards are not
                looked at: they are when they are fetched.
        """
        cache = cls.read_index(path)
        if isinstance(cache.path, Path):
            for shard in sorted(cache.shards):
                check_shard(cache.path / shard)
        return cache

    @classmethod
    def read_index(cls, path: Location | str) -> Cache:
        """A finished cache whose shards nobody has looked at; errors as of `open`, but for them."""
        path = location(path)
        return cls(path, **read_index(path)._asdict())

    @property
    def name(self) -> str:
        """What its folder is called."""
        return (self.path.resolve() if isinstance(self.path, Path) else self.path).name

    def __len__(self) -> int:
        return len(self.sweeps)

    @property
    def missing_intensity(self) -> float:
        """What intensity is taken to be where it was not measured, 0..1: the mean that a model of
        this cache has stand in on a robot."""
        if self.stand_in is not None:
            return self.stand_in
        return float(self.statistics.get("intensity", {}).get("mean", 0.0))

    def sweep(self, i: int) -> Sweep:
        """Sweep `i` of `sweeps`.

        Raises:
            InputError: its shard is missing or damaged.
        """
        row = self.sweeps[i]
        points, time, label = self._read(row, "points", "time", "label")
        names = [each.name for each in self.channels]
        channels = self.recorded_channels(i, names) if names else {}
        older = None
        if self.together > 1:
            moment = self.moment(i, self.together, names)
            stacked, channels = stack(points, row.intensity_scale, channels, moment)
            points, older = np.split(self._inputs(stacked, row, channels), [len(points)])
        else:
            points = self._inputs(points, row, channels)
        if not self.labelled:
            label = np.full_like(label, UNLABELLED)
        open_label = None
        if self.point_labels is not None and i in self.taught:
            open_label = self.point_labels.of(row.recording, row.stamp_ns, len(points))
            label = self.label_sets.likeliest(open_label)
        return Sweep(points, time, label, row.stamp_ns, row.recording, open_label, older)

    def moment(self, i: int, together: int, names: Sequence[ChannelName]) -> Moment | None:
        """When and where sweep `i` was measured, and the sweeps to stack below it, as the robot
        gets them; those without a pose are passed over. None: it has no pose itself.

        Args:
            together: sweeps that a network takes at once.
            names: channels that it reads.

        Raises:
            InputError: a shard is missing or damaged.
        """
        row, earlier = self.sweeps[i], []
        if row.T_world_lidar is None:
            return None
        for j in self.earlier_indices(i, together):
            other, (points, scale) = self.sweeps[j], self.recorded_points(j)
            channels = self.recorded_channels(j, names)
            pose = np.array(other.T_world_lidar)
            earlier.append(PlacedSweep(other.stamp_ns, pose, points, scale, channels))
        return Moment(row.stamp_ns, np.array(row.T_world_lidar), earlier)

    def earlier_indices(self, i: int, together: int) -> list[int]:
        """Of the sweeps that `moment` gives; nothing is read."""
        row = self.sweeps[i]
        if together == 1 or row.T_world_lidar is None:
            return []
        stamps, indices = self._placed_in_time[row.recording]
        places = reversed(range(bisect_left(stamps, row.stamp_ns)))
        return before(row.stamp_ns, ((stamps[k], indices[k]) for k in places), together - 1)

    def recorded_points(self, i: int) -> tuple[np.ndarray, float | None]:
        """The points of sweep `i` as the robot gets them.

        Returns:
            points: [N, 4] float32, intensity as in the cloud, where single ones may be no
                numbers.
            intensity_scale: intensity of a full return; None: it was not measured.

        Raises:
            InputError: its shard is missing or damaged.
        """
        row = self.sweeps[i]
        (points,) = self._read(row, "points")
        return points, row.intensity_scale

    def recorded_channels(
        self, i: int, names: Sequence[ChannelName]
    ) -> dict[ChannelName, np.ndarray | None]:
        """Channels of sweep `i` as the robot gets them: by name [N, D] in the channel's own unit,
        None where the sweep doesn't have it.

        Raises:
            InputError: its shard is missing or damaged.
        """
        row = self.sweeps[i]
        there = [name for name in names if row.has(name)]
        return dict.fromkeys(names) | dict(zip(there, self._read(row, *there), strict=True))

    def image(self, j: int) -> np.ndarray:
        """Image `j` of `images`: [H, W, 3] uint8, RGB, distorted as taken.

        Raises:
            InputError: its shard is missing or damaged.
        """
        row = self.images[j]
        image = decode_jpeg(self.jpeg(j))
        if image is None or image.shape[:2] != (row.height, row.width):
            raise InputError(f"{self.path / row.shard} is damaged: image {row.key}")
        return image

    def jpeg(self, j: int) -> np.ndarray:
        """The file of image `j` of `images`: [n] uint8, JPEG.

        Raises:
            InputError: its shard is missing or damaged.
        """
        (data,) = self._read(self.images[j], "jpeg")
        return data

    def t_camera_lidar(self, j: int, i: int) -> np.ndarray:
        """T_camera_lidar [4, 4] of image `j` and sweep `i`, see the function of that name."""
        return t_camera_lidar(self.images[j], self.sweeps[i])

    def images_near(self, i: int, window_s: float) -> list[int]:
        """Images of sweep `i`'s recording at most `window_s` from its stamp, nearest first."""
        sweep = self.sweeps[i]
        stamps, indices = self._images_in_time.get(sweep.recording, (array("q"), array("q")))
        window_ns = round(window_s * 1e9)
        first = bisect_left(stamps, sweep.stamp_ns - window_ns)
        last = bisect_right(stamps, sweep.stamp_ns + window_ns)
        nearest = sorted(range(first, last), key=lambda place: abs(stamps[place] - sweep.stamp_ns))
        return [indices[place] for place in nearest]

    @property
    def shards(self) -> set[str]:
        """Names of its shards."""
        return {name for names in self._shards.values() for name in names}

    def without_labels(self, taxonomy: Taxonomy) -> Cache:
        """The same sweeps without labels, to be used with caches of the classes of `taxonomy`."""
        rows = (replace(row, class_counts=[0] * len(taxonomy)) for row in self.sweeps)
        return replace(
            self,
            taxonomy=taxonomy,
            sweeps=PackedRows(SweepRow, rows),
            labelled=False,
            point_labels=None,
            taught=(),
        )

    @property
    def label_sets(self) -> LabelSets:
        """What its label ids stand for."""
        if self.point_labels is None:
            return LabelSets(len(self.taxonomy))
        return self.point_labels.sets

    def taught_by(self, labels: PointLabels) -> Cache:
        """The same, with labels from images for the sweeps that have none, and their classes; where
        there are none for such a sweep, the cache as it is.

        Raises:
            InputError: the labels are of other classes than those of labelled sweeps, of another
                number of points, or damaged.
        """
        if any(any(row.class_counts) for row in self.sweeps):
            check_classes(labels, self.taxonomy.names, self.path)
        rows, taught = [], []
        for i, row in enumerate(self.sweeps):
            if not any(row.class_counts) and labels.has(row.recording, row.stamp_ns):
                ids = labels.of(row.recording, row.stamp_ns, row.points)
                counts = np.bincount(labels.sets.likeliest(ids), minlength=UNLABELLED + 1)
                row = replace(row, class_counts=counts[: len(labels.taxonomy)].tolist())
                taught.append(i)
            rows.append(row)
        if not taught:
            return self
        identity = f"{self.fingerprint} {labels.identity}"
        return replace(
            self,
            taxonomy=labels.taxonomy,
            sweeps=PackedRows(SweepRow, rows),
            fingerprint=hashlib.sha256(identity.encode()).hexdigest(),
            point_labels=labels,
            taught=tuple(taught),
        )

    def write_index(self, folder: Path) -> None:
        """Write the index, which makes the folder with the shards a cache."""
        fields = (getattr(self, name) for name in CacheIndex._fields)
        write_index(folder, CacheIndex(*fields))

    @cached_property
    def _images_in_time(self) -> dict[str, tuple[array[int], array[int]]]:
        """By recording: the images' stamps in order, and their indices in `images`."""
        return rows_in_time((row.recording, row.stamp_ns, j) for j, row in enumerate(self.images))

    @cached_property
    def _placed_in_time(self) -> dict[str, tuple[array[int], array[int]]]:
        """By recording: the stamps in order of the sweeps that have a pose, and their indices in
        `sweeps`."""
        return rows_in_time(
            (row.recording, row.stamp_ns, i)
            for i, row in enumerate(self.sweeps)
            if row.T_world_lidar is not None
        )

    def _inputs(
        self, points: np.ndarray, row: SweepRow, recorded: Mapping[ChannelName, np.ndarray | None]
    ) -> np.ndarray:
        """[N, 4 + E] of recorded points in the unit of a sweep, and their channels."""
        with_channels = [(each, recorded[each.name]) for each in self.channels]
        return point_inputs(points, row.intensity_scale, self.missing_intensity, with_channels)

    def _read(self, row: SweepRow | ImageRow, *names: str) -> list[np.ndarray]:
        where = self.path / row.shard
        siblings = self._shards[row.shard.partition("-")[0]] if isinstance(where, Url) else ()
        return read_tensors(where, siblings, row, names)

    @cached_property
    def _shards(self) -> dict[str, list[str]]:
        """Names of the shards in order, by what is in them."""
        return {
            "sweeps": list(dict.fromkeys(row.shard for row in self.sweeps)),
            "images": list(dict.fromkeys(row.shard for row in self.images)),
        }
