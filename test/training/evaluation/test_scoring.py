"""Scores of models on sweeps of a split, and what models cost."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from painted_wall import wall_cache

from haskd_ros import model_file
from haskd_ros.taxonomy import UNLABELLED
from haskd_training.data.caches.cache import Cache
from haskd_training.data.splits import SplitConfig, make_split
from haskd_training.data.sweep_ref import SweepRef
from haskd_training.evaluation.scoring import (
    class_predictor,
    evaluate_sweeps,
    pooled,
    reliabilities,
    sweep_confusions,
)
from haskd_training.evaluation.student_cost import compare_costs, same_network
from haskd_training.evaluation.temperature import BINS, reliability

CPU = torch.device("cpu")
REFS = [SweepRef(0, 0), SweepRef(0, 2)]


@pytest.fixture(scope="module")
def split(tmp_path_factory):
    """Two classes, wall and poster, on a wall 8 to 11 m away."""
    cache = wall_cache(tmp_path_factory.mktemp("wall") / "cache", sweeps=3)
    return make_split([cache], SplitConfig(calibration=0, validation=0, test=0))


@pytest.fixture(scope="module")
def model(split, tmp_path_factory, tiny_metadata):
    """A model with the wall's classes, random weights and temperature 2."""
    metadata = replace(tiny_metadata, taxonomy=split.taxonomy, temperature=2.0, max_range=9.0)
    torch.manual_seed(0)
    network = model_file.build(metadata.architecture, classes=2, **metadata.arguments)
    path = tmp_path_factory.mktemp("model") / "wall.safetensors"
    model_file.save(path, network, metadata)
    return path


def test_counts_sweep_by_sweep_add_up_to_the_evaluation(split, model):
    counts = sweep_confusions(class_predictor(model, CPU), split, REFS)
    assert counts.shape == (2, 2, 3)
    assert counts.sum((1, 2)).tolist() == [600, 600]
    whole = evaluate_sweeps(model, split, REFS, CPU)
    np.testing.assert_array_equal(counts.sum(0), whole.counts)
    # What lies beyond the model's 9 m is missed, not left out
    near = [np.linalg.norm(split.sweep(p).points[:, :3], axis=1) <= 9 for p in REFS]
    assert counts[:, :, 2].sum() == sum((~mask).sum() for mask in near) > 0


def test_corrupted_clouds_are_the_same_for_every_predictor(split):
    seen = []

    def predict(ref, sweep):
        seen.append(sweep.points)
        return np.zeros(len(sweep.points), np.uint8)

    for _ in range(2):
        counts = sweep_confusions(predict, split, REFS, corruption="10 % of the points")
    # 10 % of 600 points
    assert counts.sum((1, 2)).tolist() == [60, 60]
    np.testing.assert_array_equal(seen[0], seen[2])
    np.testing.assert_array_equal(seen[1], seen[3])


def test_the_probabilities_that_are_judged_are_those_of_the_robot(split, model):
    before, after = reliabilities(model, split, REFS, CPU)
    network, metadata = model_file.load(model)
    for found, temperature in ((before, 1.0), (after, 2.0)):
        probability, correct = [], []
        for ref in REFS:
            sweep = split.sweep(ref)
            near = np.linalg.norm(sweep.points[:, :3], axis=1) <= metadata.max_range
            with torch.no_grad():
                logits = network(torch.from_numpy(sweep.points[near]))
            highest, classes = torch.softmax(logits / temperature, 1).max(1)
            probability.append(highest.numpy())
            correct.append(classes.numpy() == sweep.label[near])
        wanted = reliability(np.concatenate(probability), np.concatenate(correct))
        assert found.count.sum() == wanted.count.sum()
        assert found.error == pytest.approx(wanted.error, abs=2e-3)


def test_points_without_a_label_have_no_say_in_reliability(split, model):
    cache = split.caches[0].without_labels(split.taxonomy)
    hidden = replace(split, caches=[cache])
    assert (hidden.sweep(REFS[0]).label == UNLABELLED).all()
    before, _ = reliabilities(model, hidden, REFS, CPU)
    assert before.count.sum() == 0 and np.isnan(before.error)


def test_pooled_bins_are_the_bins_of_all_predictions():
    # Bin 14 of 15 begins at 0.933: 0.95 and 0.97 are in it, 0.5 is in bin 7
    parts = [
        reliability(np.array([0.95, 0.5]), np.array([True, False])),
        reliability(np.array([0.97, 0.95]), np.array([False, True])),
    ]
    whole = pooled(parts)
    assert whole.count.tolist() == [0] * 7 + [1] + [0] * 6 + [3]
    assert whole.accuracy[14] == pytest.approx(2 / 3)
    assert whole.probability[14] == pytest.approx((0.95 + 0.97 + 0.95) / 3)
    # (|0 - 0.5| * 1 + |2/3 - 2.87/3| * 3) / 4
    assert whole.error == pytest.approx((0.5 + 0.87) / 4)
    assert np.isnan(whole.accuracy[0])
    assert pooled([]).count.tolist() == [0] * BINS


def test_models_are_alike_only_with_equal_tensors_and_arguments(model, tmp_path):
    network, metadata = model_file.load(model)
    other = tmp_path / "other.safetensors"
    model_file.save(other, network, replace(metadata, temperature=1.0))
    assert same_network(model, other)
    finer = replace(metadata, arguments={**metadata.arguments, "voxel_size": 0.1})
    model_file.save(other, network, finer)
    assert not same_network(model, other)
    wider = replace(metadata, arguments={**metadata.arguments, "channels": [4, 16]})
    built = model_file.build(metadata.architecture, classes=2, **wider.arguments)
    model_file.save(other, built, wider)
    assert not same_network(model, other)


def test_costs_are_those_of_the_files(split, model):
    clouds = [split.sweep(ref).points for ref in REFS]
    costs = compare_costs({"one": model, "the same": model}, clouds, CPU, turns=3)
    assert list(costs) == ["one", "the same"]
    network, _ = model_file.load(model)
    weights = sum(value.nbytes for value in network.state_dict().values())
    for cost in costs.values():
        low, median, high = cost.latency_ms
        assert 0 < low <= median <= high
        assert cost.file_bytes == model.stat().st_size > cost.tensor_bytes == weights


def test_a_cache_with_hidden_labels_says_nothing_of_them(split):
    cache = split.caches[0]
    hidden = cache.without_labels(split.taxonomy)
    assert isinstance(hidden, Cache) and cache.labelled and not hidden.labelled
    np.testing.assert_array_equal(hidden.sweep(0).points, cache.sweep(0).points)
    assert all(row.class_counts == [0, 0] for row in hidden.sweeps)
