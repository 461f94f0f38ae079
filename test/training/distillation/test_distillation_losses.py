"""Distillation losses against values worked out by hand."""

import math

import pytest
import torch

from haskd_training.distillation.losses import (
    adept_channel_distillation,
    adept_distillation,
    confidence,
    divergence,
    expert_weights,
    feature_gap,
    information_distillation,
    information_weights,
    ramp,
    vanilla_distillation,
    weighted_mean,
)
from haskd_training.learning.losses import soften

EVEN = [0.0, 0.0]  # p = (1/2, 1/2)
THREE = [math.log(3), 0.0]  # p = (3/4, 1/4)
NEVER = -1e4  # logit of a class with p = 0

# KL((1/2, 1/2) || (3/4, 1/4)) = 1/2 log(2/3) + 1/2 log 2
GAP = 0.5 * math.log(4 / 3)


def log_p(*logits, temperature=1.0):
    return soften(torch.tensor(logits, dtype=torch.float64), temperature)


def test_divergence_is_summed_over_classes_and_scaled_by_the_squared_temperature():
    found = divergence(log_p(THREE, EVEN), log_p(EVEN, EVEN), 2.0)
    assert found.tolist() == pytest.approx([4 * GAP, 0])


def test_vanilla_distillation_is_the_mean_over_all_points():
    found = vanilla_distillation(log_p(THREE, EVEN), log_p(EVEN, EVEN), 1.0)
    assert float(found) == pytest.approx(GAP / 2)


def test_confidence_is_one_minus_the_share_of_the_largest_entropy():
    # entropies log 4, log 2 and 0 of at most log 4
    rows = log_p([0.0] * 4, [0.0, 0.0, NEVER, NEVER], [0.0, NEVER, NEVER, NEVER])
    assert confidence(rows).tolist() == pytest.approx([0, 0.5, 1])


def test_information_weighs_what_the_teacher_knows_beyond_the_student():
    even, half, sure = [0.0] * 4, [0.0, 0.0, NEVER, NEVER], [0.0, NEVER, NEVER, NEVER]
    cases = [
        # student, teacher, label, seen -> weight
        (even, half, 0, True, 0.2 + 0.8 * 0.5),
        (even, sure, 0, True, 1.0),
        (sure, half, 0, True, 0.2),  # the student is surer: the floor
        (even, sure, 0, False, 0.0),  # no image sees it
        (even, sure, 1, True, 0.0),  # the teacher is wrong
        (even, sure, 255, True, 1.0),  # nobody knows, the teacher is sure
        (even, half, 255, True, 0.0),  # nobody knows, confidence 0.5 < 0.7
    ]
    student, teacher, labels, seen, expected = zip(*cases)
    found = information_weights(
        log_p(*student), log_p(*teacher), torch.tensor(labels), torch.tensor(seen)
    )
    assert found.tolist() == pytest.approx(list(expected))
    lower = information_weights(
        log_p(even), log_p(half), torch.tensor([255]), torch.tensor([True]), threshold=0.4, floor=0
    )
    assert lower.tolist() == pytest.approx([0.5])


def test_information_counts_by_the_class_that_the_teacher_sees():
    # Three points of equal weight 0.2, the first seen as class 0, the others as class 1
    known, labels = log_p(THREE, THREE[::-1], THREE[::-1]), torch.tensor([0, 1, 255])
    found = information_weights(
        known, known, labels, torch.ones(3).bool(), threshold=0.1, by_class=torch.tensor([0.5, 3.0])
    )
    assert found.tolist() == pytest.approx([0.1, 0.6, 0.6])


def test_information_distillation_adds_the_features_gap_and_divides_by_the_weight():
    student, teacher = log_p(THREE, THREE, EVEN), log_p(EVEN, THREE, THREE)
    weights, gap = torch.tensor([0.6, 0.2, 0.0]), torch.tensor([1.0, 2.0, 0.0])
    # (0.6 (GAP + 0.5 * 1) + 0.2 (0 + 0.5 * 2)) / 0.8
    expected = (0.6 * (GAP + 0.5) + 0.2 * 1.0) / 0.8
    found = information_distillation(student, teacher, weights, 1.0, gap, beta=0.5)
    assert float(found) == pytest.approx(expected)
    without_last = information_distillation(
        student[:2], teacher[:2], weights[:2], 1.0, gap[:2], beta=0.5
    )
    assert float(without_last) == pytest.approx(expected)
    scores_only = information_distillation(student, teacher, weights, 1.0)
    assert float(scores_only) == pytest.approx(0.6 * GAP / 0.8)


def test_feature_gap_is_one_minus_the_cosine():
    one = torch.tensor([[1.0, 0.0], [1.0, 0.0], [1.0, 0.0], [0.0, 0.0]], requires_grad=True)
    other = torch.tensor([[3.0, 0.0], [1.0, 1.0], [-1.0, 0.0], [1.0, 0.0]])
    found = feature_gap(one, other)
    # angles 0, 45 and 180 degrees; a zero vector has none
    assert found.tolist() == pytest.approx([0, 1 - math.sqrt(0.5), 2, 1])
    found.sum().backward()
    assert torch.isfinite(one.grad).all()


def test_an_expert_falls_silent_once_the_student_has_caught_up():
    # A = 0.5; full weight at 0.3 A = 0.15, none at 0.5; halfway 0.5 - 0.35 / 2 = 0.325
    student = torch.tensor([0.6, 0.5, 0.325, 0.15, 0.0])
    found = expert_weights(torch.full((5,), 0.5), student)
    assert found.tolist() == pytest.approx([0, 0, 0.5, 1, 1], abs=1e-6)
    # with gap 1 full weight at IoU 0 only: (0.5 - 0.325) / 0.5
    assert float(expert_weights(torch.tensor([0.5]), student[2:3], gap=1.0)) == pytest.approx(0.35)


def test_an_expert_of_unknown_worth_speaks_and_a_worthless_one_does_not():
    found = expert_weights(torch.tensor([math.nan, 0.5, 0.0]), torch.tensor([0.5, math.nan, 0.0]))
    assert found.tolist() == [1, 1, 0]


def test_adept_distillation_averages_within_a_class_and_weighs_between_classes():
    sure0, sure1 = [10.0, 0.0, 0.0], [0.0, 10.0, 0.0]
    student = log_p([0.0] * 3, sure0, [0.0] * 3, [0.0] * 3, [0.0] * 3)
    expert = log_p(sure0, sure0, sure1, sure0, sure0)
    classes = torch.tensor([0, 0, 1, 1, 255])
    # class 0: KL d and 0, mean d/2, weight 1/2; class 1: one right expert, KL d, weight 1/4; the
    # other is wrong; class 2 has no point, so the mean is over two; the last point has no class
    d = float(divergence(student[:1], expert[:1], 1.0))
    found = adept_distillation(student, expert, classes, torch.tensor([0.5, 0.25, 1.0]), 1.0)
    assert float(found) == pytest.approx((0.5 * d / 2 + 0.25 * d) / 2)


def test_channels_are_distilled_by_their_own_experts_on_all_points():
    student = log_p(THREE, EVEN)
    expert = torch.tensor([[0.5, 0.25], [0.5, 0.5]])
    # channel 0: KL(1/2 || 3/4) = 1/2 log(2/3) + 1/2 log 2 and 0, mean GAP / 2; channel 1: 0 and
    # 0; the mean over the two channels
    found = adept_channel_distillation(student, expert, torch.tensor([1.0, 3.0]), 2.0)
    assert float(found) == pytest.approx(4 * GAP / 2 / 2)


def test_channels_of_a_student_that_is_quite_sure_keep_value_and_gradient():
    # p = 1 to rounding, 1 - p = exp(-40): 1/2 log(1/2) + 1/2 (log(1/2) + 40); slope p - 1/2; one
    # of two channels speaks
    logits = torch.tensor([[40.0, 0.0]], requires_grad=True)
    found = adept_channel_distillation(
        soften(logits), torch.tensor([[0.5, 0.5]]), torch.tensor([1.0, 0.0]), 1.0
    )
    found.backward()
    assert found.item() == pytest.approx((20 - math.log(2)) / 2)
    torch.testing.assert_close(logits.grad, torch.tensor([[0.25, -0.25]]))


@pytest.mark.parametrize(
    ("step", "expected"), [(0, 0.0), (5, 0.5), (10, 1.0), (11, 1.0), (100, 1.0)]
)
def test_distillation_grows_over_the_first_tenth_of_the_steps(step, expected):
    assert ramp(step, 100, 0.1) == pytest.approx(expected)


def test_without_a_ramp_distillation_has_its_full_weight_at_once():
    assert ramp(0, 100, 0.0) == 1


def silent(points):
    """Each loss on `points` points with nobody who has a say, as a function of the logits."""
    none = torch.zeros(points)
    teacher = soften(torch.randn(points, 3))
    everything_wrong = teacher.argmin(1)
    return {
        "information": lambda s: information_distillation(s, teacher, none, 2.0, none),
        "adept, experts wrong": lambda s: adept_distillation(
            s, teacher, everything_wrong, torch.ones(3), 2.0
        ),
        "adept, no class": lambda s: adept_distillation(
            s, teacher, torch.full((points,), 255), torch.ones(3), 2.0
        ),
        "adept, experts silent": lambda s: adept_distillation(
            s, teacher, teacher.argmax(1), torch.zeros(3), 2.0
        ),
        "channels": lambda s: adept_channel_distillation(s, teacher.exp(), torch.zeros(3), 2.0),
    }


@pytest.mark.parametrize("points", [4, 0])
@pytest.mark.parametrize("name", list(silent(1)))
def test_where_nobody_has_a_say_the_loss_is_zero_and_so_is_its_gradient(name, points):
    logits = torch.randn(points, 3, requires_grad=True)
    value = silent(points)[name](soften(logits, 2.0))
    value.backward()
    assert value.item() == 0
    assert torch.equal(logits.grad, torch.zeros(points, 3))


def test_of_no_point_at_all_vanilla_distillation_is_zero():
    assert float(vanilla_distillation(torch.zeros(0, 3), torch.zeros(0, 3), 2.0)) == 0


def test_teachers_weights_and_targets_get_no_gradient():
    student = torch.randn(5, 3, requires_grad=True)
    teacher = torch.randn(5, 3, requires_grad=True)
    features = torch.randn(5, 2, requires_grad=True)
    target = torch.randn(5, 2, requires_grad=True)
    log_student, log_teacher = soften(student, 2.0), soften(teacher, 2.0)
    labels = teacher.argmax(1)
    weights = information_weights(log_student, log_teacher, labels, torch.ones(5).bool())
    assert not weights.requires_grad
    gap = feature_gap(features, target)
    total = (
        information_distillation(log_student, log_teacher, weights, 2.0, gap)
        + adept_distillation(log_student, log_teacher, labels, torch.ones(3), 2.0)
        + adept_channel_distillation(log_student, log_teacher.exp(), torch.ones(3), 2.0)
        + vanilla_distillation(log_student, log_teacher, 2.0)
    )
    total.backward()
    assert teacher.grad is None
    assert target.grad is None
    assert student.grad.abs().sum() > 0
    assert features.grad.abs().sum() > 0
    free = torch.ones(5, requires_grad=True)
    assert not weighted_mean(student.detach()[:, 0], free).requires_grad


def test_gradients_agree_with_finite_differences():
    torch.manual_seed(0)
    double = {"dtype": torch.float64}
    student = torch.randn(6, 4, **double, requires_grad=True)
    features = torch.randn(6, 3, **double, requires_grad=True)
    teacher, target = soften(torch.randn(6, 4, **double), 2.0), torch.randn(6, 3, **double)
    classes = teacher.argmax(1)
    classes[0], classes[1] = 255, teacher[1].argmin()
    weights, experts = torch.rand(6, **double), torch.rand(4, **double)

    def information(z, f):
        return information_distillation(
            soften(z, 2.0), teacher, weights, 2.0, feature_gap(f, target)
        )

    torch.autograd.gradcheck(information, [student, features])
    for loss in (
        lambda z: vanilla_distillation(soften(z, 2.0), teacher, 2.0),
        lambda z: adept_distillation(soften(z, 2.0), teacher, classes, experts, 2.0),
        lambda z: adept_channel_distillation(soften(3 * z, 2.0), teacher.exp(), experts, 2.0),
    ):
        torch.autograd.gradcheck(loss, [student])
