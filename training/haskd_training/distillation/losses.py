"""What the student learns from its teachers: pure functions of log-probabilities.

The ideas, heterogeneous (IHD) and adept snapshot distillation (ASD), are those of Wu, Hou et al.,
"Heterogeneous and Adept Snapshot Distillation for 3D Semantic Segmentation", arXiv 2606.25278. Of
that paper only the abstract was at hand: the formulas are this project's own reading of it.

Log-probabilities come from `losses.soften(logits, T)`, once for every network and temperature, so
that no softmax is computed twice; all of one call are at the same T. Every loss is a weighted mean
of one `divergence` and differs from the others in its weights alone:

    T^2 KL(p_teacher || p_student), summed over the classes, averaged over the weighted points

Gradients reach the student only. Where no weight is left a loss is 0, and so is its gradient.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from haskd_ros.taxonomy import UNLABELLED


def ramp(step: float, steps: float, share: float) -> float:
    """Weight 0..1 of distillation at `step` of `steps`: grows evenly over the first `share` (0..1)
    of them, then stays 1."""
    warm = share * steps
    return min(1.0, step / warm) if warm > 0 else 1.0


def divergence(log_student: Tensor, log_teacher: Tensor, temperature: float) -> Tensor:
    """T^2 KL(teacher || student) of each point in nats (Hinton et al., "Distilling the Knowledge in
    a Neural Network", 2015: T^2 keeps the gradient's size whatever T is).

    Args:
        log_student, log_teacher: [N, C] at temperature T.

    Returns:
        [N]; no gradient to the teacher.
    """
    log_teacher = log_teacher.detach()
    return temperature**2 * (log_teacher.exp() * (log_teacher - log_student)).sum(1)


def weighted_mean(values: Tensor, weights: Tensor) -> Tensor:
    """sum w x / sum w of values x [N] and weights w [N], no gradient to w; 0 where no weight is."""
    weights = weights.detach().to(values.dtype)
    total = weights.sum()
    return values @ weights / torch.where(total > 0, total, 1)


def vanilla_distillation(log_student: Tensor, log_teacher: Tensor, temperature: float) -> Tensor:
    """Mean divergence over all points, however good the teacher is there: the distillation that
    the others are compared with.

    Args:
        log_student, log_teacher: [N, C] at temperature T.
    """
    values = divergence(log_student, log_teacher, temperature)
    return weighted_mean(values, torch.ones_like(values))


@torch.no_grad()
def confidence(log_p: Tensor) -> Tensor:
    """c = 1 - H(p) / log C: 0 for an even distribution, 1 for certainty; [N] from [N, C]."""
    entropy = -(log_p.exp() * log_p).sum(1)
    return (1 - entropy / math.log(log_p.shape[1])).clamp(0, 1)


@torch.no_grad()
def information_weights(
    log_student: Tensor,
    log_teacher: Tensor,
    labels: Tensor,
    seen: Tensor,
    threshold: float = 0.7,
    floor: float = 0.2,
    by_class: Tensor | None = None,
) -> Tensor:
    """Weight of each point in IHD: larger where the teacher is more confident than the
    student, w = a m g (floor + (1 - floor) relu(c_teacher - c_student)).

    m: the point is seen by an image; g: the teacher is right, or, without a label, confident; a:
    the weight of the class that the teacher sees there.

    Args:
        log_student, log_teacher: [N, C] at one temperature.
        labels: [N] int64, 255 unlabelled.
        seen: [N] bool, by at least one of the teacher's images.
        threshold: least confidence of a teacher that counts on unlabelled points.
        floor: weight of a point where the student is as confident as the teacher.
        by_class: [C] a, as `losses.class_weights` gives it to the labels; None: 1 for all.

    Returns:
        [N] at least 0. The share of points above 0 is how much there is to distil.
    """
    teacher_confidence = confidence(log_teacher)
    unlabelled = labels == UNLABELLED
    trusted = torch.where(unlabelled, teacher_confidence >= threshold, _right(log_teacher, labels))
    lead = (teacher_confidence - confidence(log_student)).relu_()
    weights = (floor + (1 - floor) * lead) * (seen & trusted)
    return weights if by_class is None else weights * by_class[log_teacher.argmax(1)]


def feature_gap(projected: Tensor, target: Tensor) -> Tensor:
    """1 - cos of the angle between the student's features, projected to the teacher's width, and
    the teacher's: [N] in 0..2 from two [N, D]; no gradient to the target. 1 where either is 0."""
    target = target.detach()
    squared_norms = (projected * projected).sum(1) * (target * target).sum(1)
    # Bounded from below: the gradient of a vanishing vector stays finite.
    return 1 - (projected * target).sum(1) * squared_norms.clamp(min=1e-8).rsqrt()


def information_distillation(
    log_student: Tensor,
    log_teacher: Tensor,
    weights: Tensor,
    temperature: float,
    gap: Tensor | None = None,
    beta: float = 0.5,
) -> Tensor:
    """L_IHD = sum w (T^2 KL(p_teacher || p_student) + beta gap) / sum w.

    Points without weight may be left out of all arguments: that saves their computation and changes
    nothing.

    Args:
        log_student, log_teacher: [N, C] at temperature T.
        weights: [N] from `information_weights`.
        gap: [N] from `feature_gap`; None leaves the features alone.
        beta: weight of `gap`.
    """
    values = divergence(log_student, log_teacher, temperature)
    return weighted_mean(values if gap is None else values + beta * gap, weights)


def expert_weights(expert_iou: Tensor, student_iou: Tensor, gap: float = 0.7) -> Tensor:
    """Weight of each class's expert, e_c = clip((A - IoU_student) / (gap A), 0, 1): 0 once the
    student has caught up.

    Args:
        expert_iou: [C] A of each class's expert, 0..1; NaN where it was never measured.
        student_iou: [C] of the student on the same sweeps; NaN where it was never measured.
        gap: share of A by which the student must be worse for full weight.

    Returns:
        [C] in 0..1: 1 where nothing was measured, 0 where the expert itself scores 0.
    """
    lead = expert_iou - student_iou
    weights = (lead / (gap * expert_iou).clamp(min=1e-9)).clamp(0, 1)
    return torch.where(lead.isnan(), 1.0, weights)


def adept_distillation(
    log_student: Tensor,
    log_expert: Tensor,
    classes: Tensor,
    experts: Tensor,
    temperature: float,
) -> Tensor:
    """L_ASD = mean_c e_c mean_{i of c, expert right} T^2 KL(p_expert || p_student), over the
    classes c that have such points.

    Not divided by the sum of e_c: the loss would then stay as large as ever when all experts have
    almost no weight left.

    Args:
        log_student: [N, C] at temperature T.
        log_expert: [N, C] at temperature T, each point's from the expert of its class.
        classes: [N] int64 class that chose the expert (the label, or the prediction of the
            snapshots for an unlabelled point), 255 for none.
        experts: [C] e_c from `expert_weights`.
    """
    values = divergence(log_student, log_expert, temperature)
    return values @ _by_class(classes, _right(log_expert, classes), experts).to(values.dtype)


@torch.no_grad()
def _by_class(classes: Tensor, valid: Tensor, experts: Tensor) -> Tensor:
    """[N] weights that turn a sum over points into the mean over the classes that have valid ones
    of e_c times the mean over their points."""
    points = torch.bincount(classes[valid], minlength=len(experts))
    shown = (points > 0).sum().clamp(min=1)
    share = experts / (points.clamp(min=1) * shown)
    return share[torch.where(valid, classes, 0)] * valid


def adept_channel_distillation(
    log_student: Tensor, expert_probability: Tensor, experts: Tensor, temperature: float
) -> Tensor:
    """ASD by channel instead of by point: channel c is distilled from the expert of class c on all
    points, right or wrong, labelled or not. IoU punishes a class's false positives too, which
    routing by label never shows the student.

    L = mean_c e_c mean_i T^2 KL(Bernoulli(expert's p_i,c) || Bernoulli(student's p_i,c))

    Args:
        log_student: [N, C] at temperature T.
        expert_probability: [N, C] at temperature T, channel c from the expert of class c; rows need
            not add up to 1.
        experts: [C] e_c from `expert_weights`.
    """
    p = expert_probability.detach()
    certainty = -(torch.special.entr(p) + torch.special.entr(1 - p)).sum(0)
    agreement = (p * log_student + (1 - p) * _log_complement(log_student)).sum(0)
    by_class = (certainty - agreement) / max(len(p), 1)
    weighted: Tensor = by_class @ experts.to(by_class.dtype)
    return temperature**2 * weighted / len(experts)


def _log_complement(log_p: Tensor) -> Tensor:
    """log(1 - p) of every class, [N, C]; for one above 1/2 the others are summed, because 1 - p
    keeps no digits where p is near 1."""
    likeliest = log_p.detach() > -math.log(2)
    others = torch.where(likeliest, -math.inf, log_p)
    return torch.where(likeliest, others.logsumexp(1, keepdim=True), torch.log1p(-others.exp()))


def _right(log_p: Tensor, classes: Tensor) -> Tensor:
    """[N] bool: no class is likelier than `classes` [N]; False where that is `UNLABELLED`."""
    named = classes != UNLABELLED
    # Not argmax, which is slow along strides: the largest value is enough.
    value = log_p.gather(1, torch.where(named, classes, 0)[:, None])[:, 0]
    return named & (value >= log_p.amax(1))
