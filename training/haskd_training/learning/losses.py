"""Segmentation losses: pure functions of scores and labels."""

from __future__ import annotations

from typing import Literal

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from haskd_ros.taxonomy import UNLABELLED

LabelNoise = Literal["symmetric", "bootstrap"]


def class_weights(counts: Tensor) -> Tensor:
    """Weights by inverse root frequency, 1 on average over the classes that occur.

    Args:
        counts: [C] points of each class.

    Returns:
        [C] float32; 0 for a class without points.
    """
    counts = counts.double()
    present = counts > 0
    weights = torch.where(present, counts.clamp(min=1).rsqrt(), 0.0)
    return (weights / weights[present].mean()).float() if present.any() else weights.float()


def cross_entropy(log_p: Tensor, labels: Tensor, weights: Tensor) -> Tensor:
    """Weighted mean cross-entropy over labelled points; 0 where there is none.

    Args:
        log_p: [N, C] log-probabilities, see `soften`.
        labels: [N] int64, `UNLABELLED` ignored.
        weights: [C] by class.
    """
    total = F.nll_loss(log_p, labels, weights, ignore_index=UNLABELLED, reduction="sum")
    labelled = labels[labels != UNLABELLED]
    return total / weights[labelled].sum().clamp(min=1e-9)


def resolved(labels: Tensor, members: Tensor, log_p: Tensor) -> Tensor:
    """Class ids [N] int64 of label ids: of a set, its class that the network finds likeliest.

    Args:
        labels: [N] int64 ids of `LabelSets`, `UNLABELLED` stays.
        members: [256, C] bool, `LabelSets.table`.
        log_p: [N, C] log-probabilities; no gradient.
    """
    rows = _open(labels, log_p.shape[1])
    if not len(rows):
        return labels
    possible = members[labels[rows]]
    likeliest = log_p.detach()[rows].masked_fill(~possible, -torch.inf).argmax(1)
    return labels.index_copy(0, rows, likeliest)


def _open(labels: Tensor, classes: int) -> Tensor:
    """[n] rows whose label is a set of classes."""
    return torch.nonzero((labels >= classes) & (labels != UNLABELLED))[:, 0]


def set_cross_entropy(log_p: Tensor, labels: Tensor, members: Tensor, weights: Tensor) -> Tensor:
    """`cross_entropy` with labels that may be sets of classes: it asks for their sum alone, -log
    sum_{c in S} p_c (Cour et al., "Learning from partial labels", JMLR 2011, asks for their mean).
    A set weighs as much as the class of it that the network finds likeliest.

    Args:
        log_p: [N, C] log-probabilities, see `soften`.
        labels, members: as of `resolved`.
        weights: [C] by class.
    """
    rows = _open(labels, log_p.shape[1])
    if not len(rows):
        return cross_entropy(log_p, labels, weights)
    classes = resolved(labels, members, log_p)
    single = labels.index_fill(0, rows, UNLABELLED)
    of_sets = log_p[rows].masked_fill(~members[labels[rows]], -torch.inf).logsumexp(1)
    total = F.nll_loss(log_p, single, weights, ignore_index=UNLABELLED, reduction="sum")
    total = total - weights[classes[rows]] @ of_sets
    return total / weights[classes[classes != UNLABELLED]].sum().clamp(min=1e-9)


def wrong_label_loss(log_p: Tensor, classes: Tensor, weights: Tensor, kind: LabelNoise) -> Tensor:
    """What is added to the cross-entropy of labels that may be wrong, a weighted mean over labelled
    points.

    symmetric: 4 (1 - p_y), the reverse cross-entropy, which is bounded: a label against all odds
    pulls no harder than any other (Wang et al., "Symmetric cross entropy for robust learning with
    noisy labels", ICCV 2019, A = -4). bootstrap: -0.25 max_c log p_c, by which the network's own
    opinion counts for a fifth of the target (Reed et al., "Training deep neural networks on noisy
    labels with bootstrapping", 2015, hard, beta 0.8).

    Args:
        log_p: [N, C] log-probabilities.
        classes: [N] int64 class ids, `UNLABELLED` ignored.
        weights: [C] by class.
    """
    labelled = torch.nonzero(classes != UNLABELLED)[:, 0]
    classes, log_p = classes[labelled], log_p[labelled]
    by_point = weights[classes]
    if kind == "symmetric":
        values = 4 * (1 - log_p.gather(1, classes[:, None])[:, 0].exp())
    else:
        values = -0.25 * log_p.amax(1)
    return by_point @ values / by_point.sum().clamp(min=1e-9)


def soften(logits: Tensor, temperature: float = 1.0) -> Tensor:
    """Log-probabilities log softmax(z / T) [N, C] of logits z [N, C], differentiable.

    They lie class by class in memory: with a dozen classes torch's softmax is many times faster
    across long rows than along short ones, and so is what follows.
    """
    by_class = logits.t().contiguous()
    return torch.log_softmax(by_class if temperature == 1 else by_class / temperature, 0).t()


def lovasz_softmax(probabilities: Tensor, labels: Tensor) -> Tensor:
    """Lovasz extension of the Jaccard loss, mean over the classes that occur in `labels`
    (Berman et al., "The Lovasz-Softmax loss", CVPR 2018, eq. 9 and algorithm 1).

    Args:
        probabilities: [N, C] after the softmax.
        labels: [N] int64, `UNLABELLED` ignored.

    Returns:
        A scalar in 0..1; 0 where no point is labelled.
    """
    slopes, offset = _lovasz_slopes(probabilities.detach(), labels)
    return (probabilities * slopes).sum() + offset


def _lovasz_slopes(probabilities: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """The loss as a linear function of the probabilities, which it is while their order stays:
    slopes [N, C], 0 for unlabelled points, and the offset."""
    by_class = probabilities.t().contiguous()
    unlabelled = labels == UNLABELLED
    slopes = torch.zeros_like(by_class)
    offset = by_class.new_zeros(())
    classes = torch.nonzero(torch.bincount(labels[~unlabelled]))[:, 0].tolist()
    for class_id in classes:
        foreground = (labels == class_id).to(by_class.dtype)
        # Unlabelled points come last, where they change no other point's growth.
        errors = (foreground - by_class[class_id]).abs_().masked_fill_(unlabelled, -1)
        order, foreground = _worst_first(errors, foreground)
        growth = _jaccard_growth(foreground)
        offset += growth @ foreground
        # The error of a foreground point is 1 - p, of any other point p.
        slopes[class_id].scatter_(0, order, growth.mul_(1 - 2 * foreground))
    scale = 1 / max(len(classes), 1)
    return slopes.masked_fill_(unlabelled, 0).mul_(scale).t(), offset * scale


def _worst_first(errors: Tensor, foreground: Tensor) -> tuple[Tensor, Tensor]:
    """Order of falling errors, to float32's rounding: [N] int64; and `foreground` in that order."""
    if errors.device.type != "cpu":
        order = errors.argsort(descending=True)
        return order, foreground.index_select(0, order)
    # numpy sorts integers with vector instructions, ten times as fast as torch sorts floats. The
    # bits of positive floats, read as integers, keep their order, and those of negative ones are
    # below zero; the lower half of the key holds the point's index and whether it is foreground.
    keys = errors.float().numpy().view(np.int32).astype(np.int64)
    np.negative(keys, out=keys)
    keys <<= 32
    keys |= np.arange(0, 2 * len(keys), 2)
    keys |= foreground.numpy().astype(np.int64)
    keys.sort()
    keys &= 0xFFFFFFFF
    return torch.from_numpy(keys >> 1), torch.from_numpy(keys & 1).to(foreground.dtype)


def _jaccard_growth(foreground: Tensor) -> Tensor:
    """How much the Jaccard loss 1 - I / U grows with each further error, worst first.

    A foreground error takes one from I and leaves U: 1 / U. Any other error adds one to U and
    leaves I: I / (U (U - 1)) of the grown U.

    Args:
        foreground: [N] 1 or 0.
    """
    # Counts are exact in float32 up to 2^24.
    exact = foreground.dtype if len(foreground) < 1 << 24 else torch.float64
    missed = foreground.cumsum(0, dtype=exact)
    intersection = missed[-1] - missed
    counts = torch.arange(1, len(missed) + 1, dtype=exact, device=missed.device)
    union = counts.add_(intersection)
    growth = torch.where(foreground > 0, 1, intersection.div_(union - 1)).div_(union)
    return growth.to(foreground.dtype)
