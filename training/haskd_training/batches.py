"""Sweeps in training order. What an epoch holds is a pure function of (seed, epoch, rank), so that
a run that was killed goes on exactly where it was."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from haskd_training.augmentation import AugmentationConfig, augment
from haskd_training.cache import Cache


@dataclass(frozen=True)
class SweepRef:
    """A sweep of one of several caches."""

    cache: int
    sweep: int


@dataclass(frozen=True)
class Batch:
    """Clouds one after another.

    Attributes:
        points: [N, 4] float32 x y z in m, intensity 0..1.
        labels: [N] int64, 255 ignored.
        cloud: [N] int64, ascending number of a point's cloud within the batch.
    """

    points: Tensor
    labels: Tensor
    cloud: Tensor

    def to(self, device: torch.device) -> Batch:
        return Batch(self.points.to(device), self.labels.to(device), self.cloud.to(device))

    def pin_memory(self) -> Batch:
        return Batch(*(x.pin_memory() for x in (self.points, self.labels, self.cloud)))


def within_range(points: np.ndarray, max_range: float) -> np.ndarray:
    """[N] bool: not further from the sensor than `max_range` m."""
    return np.einsum("ij,ij->i", points[:, :3], points[:, :3]) <= max_range**2


def collate(clouds: Sequence[tuple[np.ndarray, np.ndarray]]) -> Batch:
    """(points [n, 4], labels [n]) of each cloud -> one batch."""
    sizes = torch.tensor([len(points) for points, _ in clouds])
    return Batch(
        torch.from_numpy(np.concatenate([points for points, _ in clouds])),
        torch.from_numpy(np.concatenate([labels for _, labels in clouds]).astype(np.int64)),
        torch.repeat_interleave(sizes),
    )


class SweepDataset(Dataset):
    """Sweeps of several caches, augmented by (seed, epoch, index).

    Args:
        caches: open caches with one taxonomy.
        sweeps: what to draw from.
        max_range: m; points further away are left out.
        augmentation: None for clouds as recorded.
    """

    def __init__(
        self,
        caches: Sequence[Cache],
        sweeps: Sequence[SweepRef],
        max_range: float,
        augmentation: AugmentationConfig | None = None,
        seed: int = 0,
    ) -> None:
        self.caches, self.sweeps, self.max_range = list(caches), list(sweeps), max_range
        self.augmentation, self.seed, self.epoch = augmentation, seed, 0

    def __len__(self) -> int:
        return len(self.sweeps)

    def __getitem__(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        """(points [n, 4] float32, labels [n] uint8) of sweep `index`."""
        place = self.sweeps[index]
        sweep = self.caches[place.cache].sweep(place.sweep)
        near = within_range(sweep.points, self.max_range)
        points, labels = sweep.points[near], sweep.label[near]
        if self.augmentation is not None:
            generator = np.random.default_rng((self.seed, self.epoch, index))
            points, labels = augment(points, labels, self.augmentation, generator)
        return points, labels


class EpochSampler:
    """Batches of indices of one epoch for one process of several.

    Every process gets the same number of batches; the few sweeps that don't fill a batch on all of
    them sit this epoch out (another epoch's order differs).
    """

    def __init__(self, count: int, batch_size: int, seed: int, rank: int = 0, processes: int = 1):
        self.count, self.batch_size, self.seed = count, batch_size, seed
        self.rank, self.processes = rank, processes
        self._epoch, self._first = 0, 0

    def set_place(self, epoch: int, batch: int) -> None:
        """Where the next iteration begins."""
        self._epoch, self._first = epoch, batch

    def __len__(self) -> int:
        """Batches of a whole epoch."""
        return max(1, self.count // (self.batch_size * self.processes))

    def __iter__(self) -> Iterator[list[int]]:
        order = np.random.default_rng((self.seed, self._epoch)).permutation(self.count)
        mine = order[self.rank :: self.processes].tolist()
        for batch in range(self._first, len(self)):
            yield mine[batch * self.batch_size : (batch + 1) * self.batch_size]


def training_loader(dataset: SweepDataset, sampler: EpochSampler, workers: int) -> DataLoader:
    """Batches of an epoch in the sampler's order; set the place on both before iterating."""
    return DataLoader(
        dataset,
        batch_sampler=sampler,
        collate_fn=collate,
        num_workers=workers,
        pin_memory=torch.cuda.is_available(),
    )
