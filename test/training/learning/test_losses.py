"""Losses against values worked out by hand."""

import math

import pytest
import torch

from haskd_training.learning.losses import (
    class_weights,
    cross_entropy,
    lovasz_softmax,
    resolved,
    set_cross_entropy,
    soften,
    wrong_label_loss,
)


def test_class_weights_are_inverse_roots_with_mean_one_over_the_classes_there_are():
    # 1/sqrt(4) = 1/2 and 1/sqrt(16) = 1/4, mean 3/8: 4/3 and 2/3; the class without points: 0
    weights = class_weights(torch.tensor([4, 16, 0]))
    torch.testing.assert_close(weights, torch.tensor([4 / 3, 2 / 3, 0.0]))


def test_class_weights_without_any_point_are_zero():
    assert class_weights(torch.zeros(3)).tolist() == [0, 0, 0]


def test_cross_entropy_is_the_weighted_mean_over_labelled_points():
    # p = 1/2 each: loss log 2 for the first two points whatever the weights; the third is ignored
    logits = torch.tensor([[0.0, 0.0], [0.0, 0.0], [9.0, -9.0]])
    labels = torch.tensor([0, 1, 255])
    found = cross_entropy(soften(logits), labels, torch.tensor([3.0, 1.0]))
    assert float(found) == pytest.approx(math.log(2))
    # softmax(log 3, 0) = (3/4, 1/4): (3 * -log 3/4 + 1 * -log 1/4) / (3 + 1)
    logits = torch.tensor([[math.log(3), 0.0]]).repeat(2, 1)
    found = cross_entropy(soften(logits), torch.tensor([0, 1]), torch.tensor([3.0, 1.0]))
    assert float(found) == pytest.approx((3 * math.log(4 / 3) + math.log(4)) / 4)


@pytest.mark.parametrize("loss", ["cross_entropy", "lovasz"])
def test_without_a_labelled_point_the_loss_is_zero_and_so_is_its_gradient(loss):
    logits = torch.randn(4, 3, requires_grad=True)
    labels = torch.full((4,), 255)
    if loss == "cross_entropy":
        value = cross_entropy(soften(logits), labels, torch.ones(3))
    else:
        value = lovasz_softmax(logits.softmax(1), labels)
    value.backward()
    assert float(value) == 0
    assert torch.equal(logits.grad, torch.zeros(4, 3))


@pytest.mark.parametrize(
    ("predicted", "jaccard_loss"),
    [
        # truth 0 0 1 1. Right everywhere: both classes lose nothing.
        ([0, 0, 1, 1], 0.0),
        # one 0 called 1: class 0 IoU 1/2, class 1 IoU 2/3, mean loss (1/2 + 1/3) / 2
        ([0, 1, 1, 1], (1 / 2 + 1 / 3) / 2),
        # everything wrong: IoU 0 for both
        ([1, 1, 0, 0], 1.0),
    ],
)
def test_lovasz_of_hard_predictions_is_the_jaccard_loss(predicted, jaccard_loss):
    probabilities = torch.nn.functional.one_hot(torch.tensor(predicted), 2).double()
    found = lovasz_softmax(probabilities, torch.tensor([0, 0, 1, 1]))
    assert float(found) == pytest.approx(jaccard_loss)


def test_lovasz_counts_only_the_classes_that_occur():
    # Three classes, only 0 is there: one of two points right, IoU 1/2, loss 1/2; class 2, never
    # true and never predicted, would make the mean smaller if it counted.
    probabilities = torch.tensor([[1.0, 0.0, 0.0], [0.0, 1.0, 0.0]])
    assert float(lovasz_softmax(probabilities, torch.tensor([0, 0]))) == pytest.approx(0.5)


def plain_lovasz(probabilities, labels):
    """As defined: errors in falling order, each times what the Jaccard loss grows by when its point
    joins the set of wrong points."""
    losses = []
    for class_id in sorted({label for label in labels.tolist() if label != 255}):
        truth = {i for i, label in enumerate(labels.tolist()) if label == class_id}
        error = {
            i: 1 - probabilities[i, class_id] if i in truth else probabilities[i, class_id]
            for i, label in enumerate(labels.tolist())
            if label != 255
        }
        wrong, before, loss = set(), 0.0, 0.0
        for i in sorted(error, key=lambda i: -float(error[i])):
            wrong.add(i)
            jaccard = 1 - len(truth - wrong) / len(truth | wrong)
            loss = loss + error[i] * (jaccard - before)
            before = jaccard
        losses.append(loss)
    return sum(losses) / len(losses)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("scale", [0.1, 3.0])
def test_lovasz_and_its_gradient_are_those_of_the_plain_definition(dtype, scale):
    torch.manual_seed(0)
    logits = (scale * torch.randn(60, 4)).to(dtype)
    labels = torch.randint(0, 3, (60,))
    labels[:5] = 255
    fast, plain = logits.softmax(1).requires_grad_(), logits.softmax(1).requires_grad_()
    found, expected = lovasz_softmax(fast, labels), plain_lovasz(plain, labels)
    found.backward()
    expected.backward()
    torch.testing.assert_close(found, expected)
    torch.testing.assert_close(fast.grad, plain.grad)


def test_softened_scores_are_log_probabilities_at_a_temperature():
    # (3/4, 1/4) at T = 1; at T = 2 the odds 3 : 1 become sqrt 3 : 1
    logits = torch.tensor([[math.log(3), 0.0]])
    assert soften(logits).exp()[0].tolist() == pytest.approx([0.75, 0.25])
    root = math.sqrt(3)
    expected = [root / (1 + root), 1 / (1 + root)]
    assert soften(logits, 2.0).exp()[0].tolist() == pytest.approx(expected)


def test_gradients_agree_with_finite_differences():
    torch.manual_seed(0)
    labels = torch.tensor([0, 1, 2, 1, 255, 0])
    logits = torch.randn(6, 3, dtype=torch.float64, requires_grad=True)
    weights = torch.tensor([1.0, 2.0, 0.5], dtype=torch.float64)
    torch.autograd.gradcheck(lambda x: cross_entropy(soften(x), labels, weights), [logits])
    torch.autograd.gradcheck(lambda x: lovasz_softmax(x.softmax(1), labels), [logits])


# Of 3 classes; id 3 is the set of the first two.
MEMBERS = torch.zeros(256, 3, dtype=torch.bool)
MEMBERS[[0, 1, 2], [0, 1, 2]] = MEMBERS[3, :2] = True


def test_a_set_of_classes_is_asked_for_its_sum_alone():
    # p = (1/2, 1/4, 1/4). A 2: log 4, weight 1. The set: -log 3/4; its likeliest class is the
    # first, of weight 3. The third point has no label.
    log_p = torch.tensor([[0.5, 0.25, 0.25]]).log().repeat(3, 1)
    labels, weights = torch.tensor([2, 3, 255]), torch.tensor([3.0, 1.0, 1.0])
    found = set_cross_entropy(log_p, labels, MEMBERS, weights)
    assert float(found) == pytest.approx((math.log(4) + 3 * math.log(4 / 3)) / 4)
    assert resolved(labels, MEMBERS, log_p).tolist() == [2, 0, 255]


def test_the_loss_of_a_set_pulls_no_class_of_it_before_another():
    logits = torch.zeros(1, 3, requires_grad=True)
    set_cross_entropy(soften(logits), torch.tensor([3]), MEMBERS, torch.ones(3)).backward()
    # p = 1/3 each: towards the two alike, p_c - p_c / p_S = 1/3 - 1/2; away from the third, 1/3
    torch.testing.assert_close(logits.grad, torch.tensor([[-1 / 6, -1 / 6, 1 / 3]]))


def test_without_sets_it_is_the_cross_entropy():
    log_p, labels = soften(torch.randn(5, 3)), torch.tensor([0, 1, 2, 255, 1])
    weights = torch.tensor([1.0, 2.0, 3.0])
    assert torch.equal(
        set_cross_entropy(log_p, labels, MEMBERS, weights), cross_entropy(log_p, labels, weights)
    )


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        # 4 (1 - p_y): p_y = 1/2 and 1/8, weights 1 and 3: (2 + 3 * 3.5) / 4
        ("symmetric", (2 + 3 * 3.5) / 4),
        # -log(max p) / 4 of 1/2 and 7/8
        ("bootstrap", (math.log(2) + 3 * math.log(8 / 7)) / 16),
    ],
)
def test_what_is_added_for_wrong_labels(kind, expected):
    log_p = torch.tensor([[0.5, 0.5], [0.875, 0.125], [0.5, 0.5]]).log()
    labels = torch.tensor([0, 1, 255])
    found = wrong_label_loss(log_p, labels, torch.tensor([1.0, 3.0]), kind)
    assert float(found) == pytest.approx(expected)
