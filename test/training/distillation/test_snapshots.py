"""Snapshots at work: measured as they will speak, and each point given to its expert."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from haskd_ros import model_file
from haskd_ros.models import build
from haskd_ros.segmenter import Segmenter
from haskd_training.data.caches.cache import Sweep
from haskd_training.distillation.expertise import ClassExpertise, ExpertiseTable
from haskd_training.distillation.snapshots import (
    channel_probabilities,
    mean_logits,
    measure,
    route,
    snapshot_logits,
)
from haskd_training.metrics.confusion import confusion

SURE = 8.0
ALL = [0, 1, 2]


def table(*experts, snapshots=3):
    """Classes with these experts; scores do not matter here."""
    scores = (0.5,) * snapshots
    names = tuple(f"snapshot-{k + 1}" for k in range(snapshots))
    rows = (
        ClassExpertise(f"class {c}", 30, scores, scores, scores, 0.5, expert, "")
        for c, expert in enumerate(experts)
    )
    return ExpertiseTable(names, tuple(rows))


def test_the_mean_of_snapshots_is_that_of_their_probabilities():
    # (3/4, 1/4) and (1/4, 3/4) -> (1/2, 1/2); (3/4, 1/4) twice -> itself
    one = [[math.log(3), 0.0], [math.log(3), 0.0]]
    other = [[0.0, math.log(3)], [math.log(3) + 5, 5.0]]
    found = mean_logits(torch.tensor([one, other])).exp()
    torch.testing.assert_close(found, torch.tensor([[0.5, 0.5], [0.75, 0.25]]))


def test_every_point_gets_the_scores_of_its_classs_expert():
    logits = torch.randn(3, 4, 3)
    labels = torch.tensor([0, 1, 2, 0])
    found, classes = route(table(2, 0, None), ALL, logits, labels)
    assert torch.equal(classes, labels)
    assert torch.equal(found[0], logits[2, 0])
    assert torch.equal(found[1], logits[0, 1])
    torch.testing.assert_close(found[2], mean_logits(logits[:, 2:3])[0])
    assert torch.equal(found[3], logits[2, 3])


def test_scores_of_the_owners_alone_are_enough():
    everyone = torch.randn(3, 5, 3)
    labels = torch.tensor([0, 1, 2, 1, 0])
    experts = table(2, 0, 2)
    assert experts.owners() == [0, 2]
    found, _ = route(experts, [0, 2], everyone[[0, 2]], labels)
    expected, _ = route(experts, ALL, everyone, labels)
    assert torch.equal(found, expected)
    torch.testing.assert_close(
        channel_probabilities(experts, [0, 2], everyone[[0, 2]], 2.0),
        channel_probabilities(experts, ALL, everyone, 2.0),
    )


def test_unlabelled_points_follow_the_mean_of_all_where_it_is_sure():
    sure, torn = [0.0, SURE, 0.0], [0.0, 1.0, 0.0]
    logits = torch.tensor([[sure, torn], [sure, torn], [sure, torn]])
    logits[2, 0] += 1  # adds to all classes alike: the same opinion, recognisable
    unlabelled = torch.tensor([255, 255])
    # exp(-8) in two of three: entropy about 2 * 8 * exp(-8) = 0.005 of log 3, confidence 0.99
    found, classes = route(table(0, 2, 0), ALL, logits, unlabelled)
    assert classes.tolist() == [1, 255]
    assert torch.equal(found[0], logits[2, 0])
    assert torch.equal(found[1], torch.zeros(3))
    _, classes = route(table(0, 2, 0), ALL, logits, unlabelled, threshold=0.0)
    assert classes.tolist() == [1, 1]


def test_unlabelled_points_are_left_alone_where_not_all_snapshots_are_at_hand():
    logits = torch.tensor([[[0.0, SURE]], [[0.0, SURE]]])
    _, classes = route(table(0, 2), [0, 2], logits, torch.tensor([255]))
    assert classes.tolist() == [255]


def test_each_channel_comes_from_its_own_expert_or_from_the_mean():
    # p of class 0: 3/4, 1/4, 1/2 by snapshot; at T = 1
    logits = torch.tensor([[[math.log(3), 0.0]], [[0.0, math.log(3)]], [[0.0, 0.0]]])
    found = channel_probabilities(table(0, 0), ALL, logits, 1.0)
    assert found[0].tolist() == pytest.approx([3 / 4, 1 / 4])
    found = channel_probabilities(table(0, 2), ALL, logits, 1.0)
    assert found[0].tolist() == pytest.approx([3 / 4, 1 / 2])
    # mean of class 0: (3/4 + 1/4 + 1/2) / 3
    found = channel_probabilities(table(None, 0), ALL, logits, 1.0)
    assert found[0].tolist() == pytest.approx([1 / 2, 1 / 4])
    # at T = 2 odds of 3 : 1 become sqrt 3 : 1
    found = channel_probabilities(table(0, 0), ALL, logits, 2.0)
    assert float(found[0, 0]) == pytest.approx(math.sqrt(3) / (1 + math.sqrt(3)))


def test_a_missing_expert_is_named():
    with pytest.raises(ValueError, match=r"snapshots \[2\] own classes and are not among \[0\]"):
        route(table(0, 2), [0], torch.zeros(1, 4, 2), torch.zeros(4, dtype=torch.int64))


@pytest.fixture
def snapshots(tiny_metadata, tmp_path):
    """Two model files with different weights, that see no further than 20 m."""
    metadata = replace(tiny_metadata, max_range=20.0)
    paths = []
    for seed in (0, 1):
        torch.manual_seed(seed)
        network = build(metadata.architecture, classes=3, **metadata.arguments)
        paths.append(tmp_path / f"snapshot-{seed + 1}.safetensors")
        model_file.save(paths[-1], network, metadata)
    return paths


def sweeps(count=3, points=200):
    generator = np.random.default_rng(0)
    for _ in range(count):
        cloud = generator.uniform(-20, 20, (points, 4)).astype(np.float32)
        cloud[:, 3] = generator.random(points)
        label = generator.choice(np.array([0, 1, 2, 255], np.uint8), points)
        yield Sweep(cloud, np.zeros(points, np.float32), label, 0, "drive")


def test_snapshots_are_counted_as_the_robot_would_see_them(snapshots):
    done = []
    counts, of_mean = measure(snapshots, sweeps(), torch.device("cpu"), done.append)
    assert counts.shape == (2, 3, 3, 4)
    assert of_mean.shape == (3, 3, 4)
    assert done == [1, 2, 3]
    unit = np.array([1, 1, 1, 255], np.float32)
    for k, path in enumerate(snapshots):
        segmenter = Segmenter.load(path, device="cpu")
        for s, sweep in enumerate(sweeps()):
            predicted = segmenter(sweep.points * unit).class_id
            np.testing.assert_array_equal(counts[k, s], confusion(sweep.label, predicted, 3))
    # Corners of the square are further away than 20 m: missed, by the mean too
    assert (of_mean[:, :, -1].sum(1) > 0).all()
    np.testing.assert_array_equal(of_mean.sum((1, 2)), counts[0].sum((1, 2)))


def test_the_mean_of_one_snapshot_is_itself(snapshots):
    counts, of_mean = measure(snapshots[:1] * 2, sweeps(1), torch.device("cpu"))
    np.testing.assert_array_equal(counts[0], of_mean)
    np.testing.assert_array_equal(counts[1], of_mean)


def test_no_gradient_and_no_inference_tensor_comes_from_snapshots(snapshots):
    """What the student is compared with may be saved for its backward pass."""
    networks = [model_file.load(path)[0] for path in snapshots]
    points = torch.from_numpy(next(sweeps()).points)
    logits = snapshot_logits(networks, points)
    assert logits.shape == (2, 200, 3)
    assert not logits.requires_grad
    assert not logits.is_inference()
