"""Sweeps in training order. The content of an epoch is a pure function of (seed, epoch, rank), so
that a killed run resumes exactly."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from haskd_ros.taxonomy import UNLABELLED
from haskd_training.data.caches.cache import Cache
from haskd_training.data.sweep_ref import SweepRef, within_range
from haskd_training.learning.augmentation import AugmentationConfig, augment
from haskd_training.learning.mixing import mixture, turned

Extras = Callable[[SweepRef, np.random.Generator], Mapping[str, np.ndarray]]
"""More data per point of a sweep, by name: arrays whose first axis is its N points, in the cache's
order. The generator is a function of (seed, epoch, index)."""


@dataclass(frozen=True)
class Cloud:
    """A sweep, or a mixture of two, as training input: points [n, 4 + E] float32, labels [n] uint8,
    ids of the split's `label_sets`, whether a point's sweep has any labels, `supervised` [n] bool,
    `extras`, arrays of n rows each, and which points are input alone, those of the sweeps before,
    `older` [n] bool; None where there are none."""

    points: np.ndarray
    labels: np.ndarray
    supervised: np.ndarray
    extras: Mapping[str, np.ndarray] = field(default_factory=dict)
    older: np.ndarray | None = None


@dataclass(frozen=True)
class Batch:
    """Clouds one after another.

    Attributes:
        points: [N, 4 + E] float32 x y z in m, intensity 0..1, the caches' channels.
        labels: [N] int64 ids of the split's `label_sets`, 255 ignored.
        supervised: [N] bool, points of sweeps that have labels, those without one included.
        cloud: [N] int64, ascending number of a point's cloud within the batch.
        extras: more data per point by name, N rows each.
        newest: [M] int64, ascending rows of the points that are learned from; None: all of them.
            The others are of the sweeps before, and input alone.
    """

    points: Tensor
    labels: Tensor
    supervised: Tensor
    cloud: Tensor
    extras: dict[str, Tensor]
    newest: Tensor | None = None

    def of_newest(self, values: Tensor) -> Tensor:
        """Rows of the points to learn from, of values [N, ...] of all points."""
        return values if self.newest is None else values.index_select(0, self.newest)

    def only_newest(self) -> Batch:
        """The points to learn from."""
        return self if self.newest is None else replace(self._each(self.of_newest), newest=None)

    def to(self, device: torch.device) -> Batch:
        return self._everywhere(lambda x: x.to(device))

    def pin_memory(self) -> Batch:
        return self._everywhere(Tensor.pin_memory)

    def _everywhere(self, change: Callable[[Tensor], Tensor]) -> Batch:
        newest = None if self.newest is None else change(self.newest)
        return replace(self._each(change), newest=newest)

    def _each(self, change: Callable[[Tensor], Tensor]) -> Batch:
        """With what there is of each point changed."""
        extras = {name: change(value) for name, value in self.extras.items()}
        points, labels, supervised, cloud = map(
            change, (self.points, self.labels, self.supervised, self.cloud)
        )
        return Batch(points, labels, supervised, cloud, extras, self.newest)


def collate(clouds: Sequence[Cloud]) -> Batch:
    """Concatenate clouds with the same extras."""

    def concatenated(values: Sequence[np.ndarray]) -> Tensor:
        return torch.from_numpy(np.concatenate(values))

    sizes = torch.tensor([len(cloud.points) for cloud in clouds])
    older = [cloud.older for cloud in clouds if cloud.older is not None]
    newest = None
    if older:
        assert len(older) == len(clouds)  # all sweeps of a split are stacked, or none
        newest = torch.nonzero(~concatenated(older))[:, 0]
    return Batch(
        concatenated([cloud.points for cloud in clouds]),
        concatenated([cloud.labels for cloud in clouds]).long(),
        concatenated([cloud.supervised for cloud in clouds]),
        torch.repeat_interleave(sizes),
        {name: concatenated([cloud.extras[name] for cloud in clouds]) for name in clouds[0].extras},
        newest,
    )


class SweepDataset(Dataset[Cloud]):
    """Sweeps of several caches, augmented by (seed, epoch, index).

    Args:
        caches: open caches with one taxonomy.
        sweeps: of the caches, in the order of the index.
        max_range: m; points further away are left out.
        augmentation: None for clouds as recorded.
        extras: more data per point; None for none. Of points of the sweeps before it is 0.
        unlabelled: those of the sweeps whose labels are not read.
        open_labels: whether a label that leaves several classes open stays so, as an id of the
            caches' `label_sets`; otherwise it is the likeliest of them.
    """

    def __init__(
        self,
        caches: Sequence[Cache],
        sweeps: Sequence[SweepRef],
        *,
        max_range: float,
        augmentation: AugmentationConfig | None = None,
        seed: int = 0,
        extras: Extras | None = None,
        unlabelled: Collection[SweepRef] = (),
        open_labels: bool = False,
    ) -> None:
        self.caches, self.sweeps, self.max_range = list(caches), list(sweeps), max_range
        self.augmentation, self.seed, self.epoch = augmentation, seed, 0
        self.extras, self.unlabelled = extras, frozenset(unlabelled)
        self.open_labels = open_labels
        # Of every id that a label may have: a set of classes moves where each of them does.
        members = max((cache.label_sets for cache in caches), key=len).table
        still = np.array([not kind.movable for kind in caches[0].taxonomy.classes])
        self._movable = np.logical_and(members.any(1), ~members[:, still].any(1))

    def __len__(self) -> int:
        return len(self.sweeps)

    def __getitem__(self, index: int) -> Cloud:
        generator = np.random.default_rng((self.seed, self.epoch, index))
        if self.augmentation is None:
            return self._recorded(self.sweeps[index], generator)
        ref, mixing, partner = self.sweeps[index], self.augmentation.mixing, None
        if mixing.share and generator.random() < mixing.share:
            partner = self.sweeps[generator.integers(len(self.sweeps))]
        # Augmented by draws of its own, which are the same with extras and without.
        own, of_extras = generator.spawn(2)
        cloud = self._recorded(ref, of_extras)
        if partner is not None and not self._same(partner, ref):
            cloud = self._mixed(cloud, self._recorded(partner, of_extras), own)
        cache = self.caches[ref.cache]
        points, kept = augment(
            cloud.points, self.augmentation, own, cache.missing_intensity, cache.channels
        )
        return replace(_chosen(cloud, kept), points=points)

    def _same(self, one: SweepRef, other: SweepRef) -> bool:
        """Whether two are one sweep; a cache may be given several times."""
        rows = [self.caches[ref.cache].sweeps[ref.sweep] for ref in (one, other)]
        return rows[0] == rows[1]

    def _recorded(self, ref: SweepRef, generator: np.random.Generator) -> Cloud:
        sweep = self.caches[ref.cache].sweep(ref.sweep)
        extras = {} if self.extras is None else self.extras(ref, generator)
        labels = sweep.label_id if self.open_labels else sweep.label
        if ref in self.unlabelled:
            labels = np.full_like(labels, UNLABELLED)
        supervised = np.full(len(labels), (labels != UNLABELLED).any())
        cloud = Cloud(sweep.points, labels, supervised, extras)
        if sweep.older is not None:
            cloud = _with_older(cloud, sweep.older)
        return _chosen(cloud, within_range(cloud.points, self.max_range))

    def _mixed(self, first: Cloud, second: Cloud, generator: np.random.Generator) -> Cloud:
        assert self.augmentation is not None
        mixed = mixture(
            first.points,
            second.points,
            self._movable[second.labels],
            self.augmentation.mixing.ways,
            generator,
        )
        channels = self.caches[0].channels
        turned_second = replace(second, points=turned(second.points, mixed.turn, channels))
        return _one_after_another(
            _chosen(first, mixed.of_first), _chosen(turned_second, mixed.of_second)
        )


def _with_older(cloud: Cloud, older: np.ndarray) -> Cloud:
    """A sweep, and behind it the points [M, 4 + E] of those before, which have no labels."""
    more = len(older)
    return Cloud(
        np.concatenate([cloud.points, older]),
        np.concatenate([cloud.labels, np.full(more, UNLABELLED, cloud.labels.dtype)]),
        np.concatenate([cloud.supervised, np.zeros(more, bool)]),
        {
            name: np.concatenate([values, np.zeros((more, *values.shape[1:]), values.dtype)])
            for name, values in cloud.extras.items()
        },
        np.arange(len(cloud.points) + more) >= len(cloud.points),
    )


def _chosen(cloud: Cloud, points: np.ndarray) -> Cloud:
    """Some points of a cloud, [N] bool."""
    extras = {name: values[points] for name, values in cloud.extras.items()}
    older = None if cloud.older is None else cloud.older[points]
    return Cloud(
        cloud.points[points], cloud.labels[points], cloud.supervised[points], extras, older
    )


def _one_after_another(first: Cloud, second: Cloud) -> Cloud:
    extras = {
        name: np.concatenate([values, second.extras[name]]) for name, values in first.extras.items()
    }
    older = None
    if first.older is not None and second.older is not None:
        older = np.concatenate([first.older, second.older])
    return Cloud(
        np.concatenate([first.points, second.points]),
        np.concatenate([first.labels, second.labels]),
        np.concatenate([first.supervised, second.supervised]),
        extras,
        older,
    )


class EpochSampler:
    """Batches of indices of one epoch for one process of several.

    Every process gets the same number of batches; the few sweeps that don't fill a batch in all
    processes are left out of this epoch (another epoch's order differs).
    """

    def __init__(
        self, count: int, batch_size: int, *, seed: int, rank: int = 0, processes: int = 1
    ) -> None:
        self.count, self.batch_size, self.seed = count, batch_size, seed
        self.rank, self.processes = rank, processes
        self._epoch, self._first = 0, 0

    def start_at(self, epoch: int, batch: int) -> None:
        """Begin the next iteration at a batch of an epoch."""
        self._epoch, self._first = epoch, batch

    def __len__(self) -> int:
        """Batches per epoch."""
        return max(1, self.count // (self.batch_size * self.processes))

    def __iter__(self) -> Iterator[list[int]]:
        order = np.random.default_rng((self.seed, self._epoch)).permutation(self.count)
        own = order[self.rank :: self.processes].tolist()
        for batch in range(self._first, len(self)):
            yield own[batch * self.batch_size : (batch + 1) * self.batch_size]


def training_loader(
    dataset: SweepDataset, sampler: EpochSampler, workers: int
) -> DataLoader[Cloud]:
    """Batches (`Batch`) of an epoch in the sampler's order; set the epoch of both before
    iterating."""
    return DataLoader(
        dataset,
        batch_sampler=sampler,
        collate_fn=collate,
        num_workers=workers,
        pin_memory=torch.cuda.is_available(),
    )
