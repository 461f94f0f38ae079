"""Temperature and calibration error, worked out by hand."""

import copy
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from haskd_ros import model_file
from haskd_ros.errors import InputError
from haskd_ros.model_header import ModelMetadata
from haskd_training.data.caches.cache import Cache
from haskd_training.data.sweep_ref import SweepRef
from haskd_training.evaluation import temperature
from haskd_training.evaluation.temperature import (
    RANGE,
    calibrate,
    expected_calibration_error,
    fit_temperature,
    gather_logits,
    reliability,
)
from small_street import street_cache


@pytest.fixture(scope="module")
def street(tmp_path_factory) -> Cache:
    return Cache.open(street_cache(tmp_path_factory.mktemp("street"), sweeps=2))


def test_the_temperature_makes_the_probability_the_share_that_is_right():
    # Logits (2, 0), three of four right: softmax((2, 0) / T) must be 3/4, so 2 / T = ln 3
    logits = np.tile([2.0, 0.0], (4, 1))
    assert fit_temperature(logits, np.array([0, 0, 0, 1])) == pytest.approx(
        2 / math.log(3), rel=1e-4
    )


@given(st.floats(0.3, 5))
@settings(max_examples=20)
def test_scaled_logits_have_the_temperature_of_their_scale(factor):
    # Labels drawn from softmax(logits) make 1 the best temperature, up to the draw's own error;
    # a factor on the logits is a factor on the temperature exactly.
    generator = np.random.default_rng(0)
    logits = generator.normal(0, 2, (20_000, 4))
    labels = (logits + generator.gumbel(size=logits.shape)).argmax(1)
    assert fit_temperature(factor * logits, labels) == pytest.approx(factor, rel=0.05)


def test_points_without_a_label_do_not_move_the_temperature():
    logits = np.array([[2.0, 0.0]] * 4 + [[50.0, 0.0]])
    found = fit_temperature(logits, np.array([0, 0, 0, 1, 255], np.uint8))
    assert found == pytest.approx(2 / math.log(3), rel=1e-4)


def test_logits_that_are_always_right_have_the_smallest_temperature():
    found = fit_temperature(np.array([[1.0, 0.0], [0.0, 1.0]]), np.array([0, 1]))
    assert found == pytest.approx(RANGE[0], rel=1e-3)


def test_logits_that_are_always_wrong_have_the_largest_temperature():
    found = fit_temperature(np.array([[1.0, 0.0], [0.0, 1.0]]), np.array([1, 0]))
    assert found == pytest.approx(RANGE[1], rel=1e-3)


def test_no_labelled_point_is_an_error():
    with pytest.raises(InputError, match="no labelled point"):
        fit_temperature(np.zeros((2, 3)), np.array([255, 255], np.uint8))


def test_the_calibration_error_is_the_mean_distance_of_confidence_and_accuracy():
    # Two bins: 0.4 once, right -> |1 - 0.4| = 0.6; 0.6, 0.8, 1.0 with two right -> |2/3 - 0.8|.
    # (1 * 0.6 + 3 * 2/15) / 4 = 0.25
    probability = np.array([0.4, 0.6, 0.8, 1.0])
    correct = np.array([True, True, False, True])
    assert expected_calibration_error(probability, correct, bins=2) == pytest.approx(0.25)
    table = reliability(probability, correct, bins=2)
    np.testing.assert_array_equal(table.count, [1, 3])
    np.testing.assert_allclose(table.probability, [0.4, 0.8])
    np.testing.assert_allclose(table.accuracy, [1, 2 / 3])


def test_empty_bins_have_no_accuracy_and_do_not_count():
    table = reliability(np.array([0.9]), np.array([True]), bins=3)
    np.testing.assert_array_equal(np.isnan(table.accuracy), [True, True, False])
    assert table.error == pytest.approx(0.1)
    assert math.isnan(expected_calibration_error(np.empty(0), np.empty(0, bool)))


def test_gathered_logits_are_the_network_s_on_the_whole_sweep(tiny_model: Path, street: Cache):
    network, metadata = model_file.load(tiny_model)
    refs = [SweepRef(0, 0), SweepRef(0, 1)]
    logits, labels = gather_logits(network, [street], refs, metadata.max_range)
    sweeps = [street.sweep(i) for i in (0, 1)]
    assert len(labels) == sum(len(sweep.points) for sweep in sweeps)
    with torch.inference_mode():
        whole = network(torch.from_numpy(sweeps[1].points)).numpy()
    np.testing.assert_allclose(logits[len(sweeps[0].points) :], whole, rtol=1e-5, atol=1e-6)
    np.testing.assert_array_equal(labels[len(sweeps[0].points) :], sweeps[1].label)


def test_gathered_points_are_drawn_alike_each_time_and_lie_in_range(
    tiny_model: Path, street: Cache
):
    network, _ = model_file.load(tiny_model)
    refs = [SweepRef(0, 0), SweepRef(0, 1)]
    logits, labels = gather_logits(network, [street], refs, 100.0, points_per_sweep=50, seed=1)
    again, _ = gather_logits(network, [street], refs, 100.0, points_per_sweep=50, seed=1)
    other, _ = gather_logits(network, [street], refs, 100.0, points_per_sweep=50, seed=2)
    assert len(labels) == 100
    np.testing.assert_array_equal(logits, again)
    assert not np.array_equal(logits, other)
    with pytest.raises(InputError, match="none of 2 sweeps"):
        gather_logits(network, [street], refs, max_range=0.5)


@pytest.fixture
def eleven(tiny_model: Path, street: Cache):
    """A network of the street's 11 classes, so that its labels fit, and its header."""
    _, metadata = model_file.load(tiny_model)
    torch.manual_seed(0)
    network = model_file.build("sparse_unet", classes=11, voxel_size=0.5, channels=[4, 8])
    header = ModelMetadata(
        "sparse_unet",
        {"voxel_size": 0.5, "channels": [4, 8]},
        street.taxonomy,
        metadata.intensity,
        max_range=100.0,
        input_range=metadata.input_range,
    )
    return network.eval(), header


def test_calibration_finds_the_temperature_and_leaves_the_weights(eleven, street: Cache):
    network, header = eleven
    weights = {name: value.clone() for name, value in network.state_dict().items()}
    both = [SweepRef(0, 0), SweepRef(0, 1)]
    header, found = calibrate(header, [(network, both)], [street])
    assert header.temperature == found.temperature
    assert header.temperature != 1.0
    assert found.points == sum(len(street.sweep(i).points) for i in (0, 1))
    assert all(torch.equal(value, network.state_dict()[name]) for name, value in weights.items())
    # What the node compares its own entropy with
    entropy = torch.distributions.Categorical(
        logits=torch.from_numpy(
            gather_logits(network, [street], [SweepRef(0, 0), SweepRef(0, 1)], header.max_range)[0]
        )
        / header.temperature
    ).entropy()
    assert header.sensor.entropy == pytest.approx(float(entropy.mean()), rel=1e-4)
    # The errors are those of the header's temperature on the same points.
    logits, labels = gather_logits(
        network, [street], [SweepRef(0, 0), SweepRef(0, 1)], header.max_range
    )
    p = torch.softmax(torch.from_numpy(logits).double() / header.temperature, 1).numpy()
    assert found.error_after == pytest.approx(
        expected_calibration_error(p.max(1), p.argmax(1) == labels)
    )


def test_of_many_sweeps_fewer_points_each_are_taken(eleven, street, monkeypatch):
    network, header = eleven
    monkeypatch.setattr(temperature, "POINTS", 600)
    _, found = calibrate(header, [(network, 3 * [SweepRef(0, 0)])], [street])
    assert found.points == 600


def test_networks_that_stand_for_a_model_are_asked_each_about_its_own_sweeps(eleven, street):
    network, header = eleven
    louder = copy.deepcopy(network)
    for value in louder.classifier.parameters():
        value.data *= 100
    first, second = [SweepRef(0, 0)], [SweepRef(0, 1)]
    _, alone = calibrate(header, [(network, first)], [street])
    _, apart = calibrate(header, [(network, first), (louder, second)], [street])
    _, together = calibrate(header, [(network, first + second)], [street])
    assert apart.points == together.points > alone.points
    # Wrong as often, and a hundred times as sure of it
    assert apart.temperature > together.temperature


def test_how_many_labels_are_sure_enough_and_how_many_of_them_right():
    # Bins of a fifth: 0.5 in the third, 0.9 and 1 in the last
    said = reliability(np.array([0.5, 0.5, 0.9, 1.0]), np.array([False, True, True, True]), bins=5)
    assert said.at_least(0.0) == (1.0, 0.75)
    assert said.at_least(0.4) == (1.0, 0.75)
    assert said.at_least(0.6) == (0.5, 1.0)
    nothing = reliability(np.array([0.5]), np.array([True]), bins=5)
    share, right = nothing.at_least(0.8)
    assert share == 0
    assert math.isnan(right)
