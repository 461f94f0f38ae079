"""Segmentation losses: pure functions of scores and labels."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from haskd_ros.taxonomy import UNLABELLED


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
