"""Segmentation losses: pure functions of scores and labels."""

from __future__ import annotations

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


def cross_entropy(logits: Tensor, labels: Tensor, weights: Tensor) -> Tensor:
    """Weighted mean cross-entropy over labelled points; 0 where there is none.

    Args:
        logits: [N, C].
        labels: [N] int64, `UNLABELLED` ignored.
        weights: [C] by class.
    """
    total = F.cross_entropy(logits, labels, weights, ignore_index=UNLABELLED, reduction="sum")
    labelled = labels[labels != UNLABELLED]
    return total / weights[labelled].sum().clamp(min=1e-9)


def lovasz_softmax(probabilities: Tensor, labels: Tensor) -> Tensor:
    """Lovasz extension of the Jaccard loss, mean over the classes that occur in `labels`
    (Berman et al., "The Lovasz-Softmax loss", CVPR 2018, eq. 9 and algorithm 1).

    Args:
        probabilities: [N, C] after the softmax.
        labels: [N] int64, `UNLABELLED` ignored.

    Returns:
        A scalar in 0..1; 0 where no point is labelled.
    """
    labelled = labels != UNLABELLED
    probabilities, labels = probabilities[labelled], labels[labelled]
    losses = []
    for class_id in torch.unique(labels).tolist():
        foreground = (labels == class_id).to(probabilities.dtype)
        errors, order = (foreground - probabilities[:, class_id]).abs().sort(descending=True)
        losses.append(errors @ _jaccard_gradient(foreground[order]))
    return torch.stack(losses).mean() if losses else probabilities.sum() * 0


def _jaccard_gradient(foreground: Tensor) -> Tensor:
    """How much the Jaccard loss grows with each further error, worst first: [N] from [N] 0 or 1."""
    total = foreground.sum()
    intersection = total - foreground.cumsum(0)
    union = total + (1 - foreground).cumsum(0)
    jaccard = 1 - intersection / union
    return torch.cat([jaccard[:1], jaccard.diff()])
