"""Snapshots as experts: their logits, their scores, and which expert each point is routed to.

Adept snapshot distillation is the idea of Wu, Hou et al. (arXiv 2606.25278), whose abstract alone
was at hand; how points are routed to experts is this project's own reading of it.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from haskd_ros import model_file
from haskd_ros.taxonomy import UNLABELLED
from haskd_training.core.exchange import of_all
from haskd_training.core.processes import own
from haskd_training.core.progress import Progress, no_progress
from haskd_training.data.caches.cache import Sweep
from haskd_training.data.splits import Split
from haskd_training.distillation.expertise import ExpertiseConfig, ExpertiseTable, expertise
from haskd_training.distillation.losses import confidence
from haskd_training.learning.inference import network_input
from haskd_training.learning.losses import soften
from haskd_training.metrics.confusion import confusion

log = logging.getLogger(__name__)


@torch.no_grad()
def snapshot_logits(
    networks: Sequence[nn.Module], points: Tensor, cloud: Tensor | None = None
) -> Tensor:
    """[K, N, C] scores of K networks in eval mode; `points` and `cloud` as a network takes them."""
    return torch.stack([network(points, cloud).float() for network in networks])


@torch.no_grad()
def mean_logits(logits: Tensor) -> Tensor:
    """Logarithm of the mean of K networks' probabilities: [K, N, C] -> [N, C]."""
    snapshots, points, _ = logits.shape
    flat = soften(logits.flatten(0, 1))
    # torch has no types for it.
    log_p: Tensor = flat.unflatten(0, (snapshots, points))  # type: ignore[no-untyped-call]
    return log_p.logsumexp(0) - math.log(snapshots)


def measure(
    models: Sequence[Path],
    sweeps: Iterable[Sweep],
    device: torch.device,
    progress: Callable[[int], None] = lambda _: None,
) -> tuple[np.ndarray, np.ndarray]:
    """Confusions of snapshots on every one of some labelled sweeps, for `expertise`.

    Args:
        models: K model files with the sweeps' classes.
        progress: called with the number of sweeps done.

    Returns:
        [K, S, C, C + 1] of the snapshots, [S, C, C + 1] of their mean prediction.

    Raises:
        ModelFileError: a file is no whole model.
    """
    loaded = [model_file.load(path) for path in models]
    networks = [network.to(device) for network, _ in loaded]
    metadata = loaded[0][1]
    classes = len(metadata.taxonomy)
    counts = []
    for done, sweep in enumerate(sweeps, 1):
        points, near = network_input(sweep, metadata.max_range)
        logits = snapshot_logits(networks, torch.from_numpy(points).to(device))
        logits = logits[:, : int(near.sum())]
        all_logits = torch.cat([logits, mean_logits(logits)[None]])
        predicted = np.full((len(all_logits), len(near)), UNLABELLED, np.uint8)
        predicted[:, near] = all_logits.argmax(2).cpu().numpy()
        counts.append([confusion(sweep.label, each, classes) for each in predicted])
        progress(done)
    shape = (len(counts), len(networks) + 1, classes, classes + 1)
    table = np.array(counts, np.int64).reshape(shape).swapaxes(0, 1)
    return table[:-1], table[-1]


def find_experts(
    judged: Sequence[tuple[Sequence[Path], Split]],
    config: ExpertiseConfig,
    device: torch.device,
    progress: Progress = no_progress,
) -> ExpertiseTable:
    """Which snapshot is adept at which class; warns where none is at any. Several processes share
    the sweeps, and each gets the table of all.

    Args:
        judged: model files as of `measure`, and the split on whose calibration sweeps they are
            judged. Out of fold several, whose k-th snapshots are taken for one.
        progress: called with the number of sweeps done and of all, of this process's part.
    """
    scans = sum(len(split.calibration) for _, split in judged)
    part = sum(len(own(split.calibration)) for _, split in judged)
    tables: list[tuple[np.ndarray, np.ndarray]] = []
    done = 0

    def count(judged_now: int) -> None:
        progress(done + judged_now, part)

    for models, split in judged:
        mine, every = own(split.calibration), len(split.calibration)
        measured = measure(models, map(split.sweep, mine), device, count)
        tables.append(_of_all(measured, every))
        done += len(mine)
    counts = np.concatenate([of_snapshots for of_snapshots, _ in tables], axis=1)
    of_mean = np.concatenate([of_mean for _, of_mean in tables])
    (models, split), *_ = judged
    names = [path.stem for path in models]
    table = expertise(counts, of_mean, names, split.taxonomy.names, config)
    if all(expert is None for expert in table.experts):
        log.warning(
            "no snapshot is an expert of any class, the mean of all is used: see the "
            "expertise table for why (%d calibration sweeps; split.calibration, "
            "expertise.min_scans=%d)",
            scans,
            config.scans_to_be_seen_in(scans),
        )
    return table


def _of_all(part: tuple[np.ndarray, np.ndarray], scans: int) -> tuple[np.ndarray, np.ndarray]:
    """What `measure` found on all scans, by what it found on those of this process."""
    together = np.concatenate([part[0], part[1][None]]).swapaxes(0, 1)
    _, networks, classes, columns = together.shape
    flat = of_all(list(together.reshape(-1, networks * classes, columns)), scans, np.int64)
    table = np.array(flat, np.int64).reshape(-1, networks, classes, columns).swapaxes(0, 1)
    return table[:-1], table[-1]


@torch.no_grad()
def route(
    table: ExpertiseTable,
    loaded: Sequence[int],
    logits: Tensor,
    labels: Tensor,
    threshold: float = 0.9,
) -> tuple[Tensor, Tensor]:
    """Give every point the scores of its class's expert.

    The class is the label; on an unlabelled point it is the prediction of the mean of all
    snapshots, if that is confident and all of them are loaded.

    Args:
        table: the experts.
        loaded: numbers of L snapshots, at least `table.owners()`.
        logits: [L, N, C] of those.
        labels: [N] int64, 255 unlabelled.
        threshold: least `confidence` of the mean on an unlabelled point.

    Returns:
        [N, C] logits, 0 where there is no expert, and [N] int64 classes, 255 there: what
        `adept_distillation` takes.

    Raises:
        ValueError: an expert is not among the loaded snapshots.
    """
    places = _places(table, loaded).to(labels.device)
    classes = labels.clone()
    if len(loaded) == len(table.snapshots):
        rows = torch.nonzero(labels == UNLABELLED)[:, 0]
        mean = mean_logits(logits[:, rows])
        sure = confidence(mean) >= threshold
        classes[rows] = torch.where(sure, mean.argmax(1), UNLABELLED)
    result = torch.zeros_like(logits[0])
    chosen = places[classes]
    for place in torch.unique(places[: len(table.classes)]).tolist():
        rows = torch.nonzero(chosen == place)[:, 0]
        result[rows] = mean_logits(logits[:, rows]) if place == _MEAN else logits[place, rows]
    return result, classes


@torch.no_grad()
def channel_probabilities(
    table: ExpertiseTable, loaded: Sequence[int], logits: Tensor, temperature: float
) -> Tensor:
    """Each class's probability as its expert sees it, for `adept_channel_distillation`.

    Args:
        table: the experts.
        loaded: numbers of L snapshots, at least `table.owners()`.
        logits: [L, N, C] of those.

    Returns:
        [N, C] at the temperature; rows need not add up to 1.

    Raises:
        ValueError: an expert is not among the loaded snapshots.
    """
    places = _places(table, loaded)[: len(table.classes)].to(logits.device)
    result = torch.empty_like(logits[0])
    for place in torch.unique(places).tolist():
        own = torch.nonzero(places == place)[:, 0]
        scores = mean_logits(logits) if place == _MEAN else logits[place]
        result[:, own] = soften(scores, temperature)[:, own].exp()
    return result


_MEAN, _NOBODY = -1, -2


def _places(table: ExpertiseTable, loaded: Sequence[int]) -> Tensor:
    """[256] by class id: where among the loaded snapshots its expert stands."""
    if missing := set(table.owners()) - set(loaded):
        raise ValueError(f"snapshots {sorted(missing)} own classes and are not among {loaded}")
    result = torch.full((UNLABELLED + 1,), _NOBODY)
    for class_id, expert in enumerate(table.experts):
        result[class_id] = _MEAN if expert is None else loaded.index(expert)
    return result
