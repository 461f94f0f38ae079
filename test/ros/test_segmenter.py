"""Points in, labels out."""

import math
from contextlib import nullcontext
from dataclasses import replace

import numpy as np
import pytest
import torch

from haskd_ros.errors import InputError
from haskd_ros.model_header import Extent, InputRange, Intensity, ModelMetadata
from haskd_ros.models import build
from haskd_ros.native import dispatch
from haskd_ros.segmenter import Segmenter


@pytest.fixture(scope="module")
def segmenter(tiny_model):
    return Segmenter.load(tiny_model, device="cpu")


def cloud(count, seed=0):
    generator = np.random.default_rng(seed)
    points = generator.uniform(-20, 20, (count, 4)).astype(np.float32)
    points[:, 3] = generator.uniform(0, 255, count)
    return points


def test_every_point_gets_a_class_a_probability_and_an_entropy(segmenter):
    result = segmenter(cloud(1000))
    assert result.class_id.shape == result.probability.shape == result.entropy.shape == (1000,)
    assert result.class_id.dtype == np.uint8
    assert (result.class_id < 3).all()
    # The most probable of three classes has at least a third; entropy is at most log 3.
    assert ((result.probability >= 1 / 3) & (result.probability <= 1)).all()
    assert ((result.entropy >= 0) & (result.entropy <= math.log(3) + 1e-6)).all()


def test_labels_follow_their_points_when_the_cloud_is_shuffled(segmenter):
    points = cloud(2000)
    order = np.random.default_rng(1).permutation(len(points))
    straight, shuffled = segmenter(points), segmenter(points[order])
    np.testing.assert_allclose(
        shuffled.probability, straight.probability[order], rtol=1e-4, atol=1e-5
    )


def test_points_that_are_not_finite_or_out_of_range_get_no_label_and_disturb_no_other(segmenter):
    points = cloud(1000)
    alone = segmenter(points)
    bad = np.array(
        [
            [np.nan, 0, 0, 1],
            [0, np.inf, 0, 1],
            [0, 0, -np.inf, 1],
            [101, 0, 0, 1],  # the model's own range is 100 m
            [3e38, 3e38, 0, 1],  # its square overflows
        ],
        np.float32,
    )
    mixed = segmenter(np.insert(points, [0, 10, 10, 999, 1000], bad, axis=0))
    places = [0, 11, 12, 1002, 1004]
    assert (mixed.class_id[places] == 255).all()
    assert (mixed.probability[places] == 0).all()
    np.testing.assert_allclose(mixed.entropy[places], math.log(3), rtol=1e-6)
    np.testing.assert_array_equal(np.delete(mixed.class_id, places), alone.class_id)


@pytest.mark.parametrize(
    ("absurd", "limit"),
    # Seen are 0 to 1 of a scale of 255, to which a quarter is added: 1.25 * 255
    [(1e6, 318.75), (3e38, 318.75), (-1.0, 0.0), (-3e38, 0.0), (math.nan, 25.5), (math.inf, 25.5)],
)
def test_an_absurd_intensity_counts_as_the_limit_and_none_as_the_mean(segmenter, absurd, limit):
    points, sane = cloud(1000), cloud(1000)
    points[[3, 700], 3], sane[[3, 700], 3] = absurd, limit
    found, wanted = segmenter(points), segmenter(sane)
    np.testing.assert_array_equal(found.class_id, wanted.class_id)
    np.testing.assert_array_equal(found.probability, wanted.probability)
    assert (found.class_id < 3).all()
    assert (found.beyond_training, segmenter(cloud(1000)).beyond_training) == (2, 0)


@pytest.mark.parametrize("architecture", ["sparse_unet", "range_view"])
def test_a_height_that_the_training_did_not_see_counts_as_the_limit(tiny_metadata, architecture):
    arguments = dict(tiny_metadata.arguments)
    if architecture == "range_view":
        arguments = {"channels": [4, 8], "rows": 16, "columns": 64}
    # Seen are -2 to 8 m: the limits are a span of 10 m further, -12 and 18 m
    seen = InputRange(Extent(-2.0, 8.0), Extent(0.0, 0.5))
    metadata = replace(
        tiny_metadata, architecture=architecture, arguments=arguments, input_range=seen
    )
    network = build(architecture, classes=3, **arguments)
    inputs = []
    network.point_encoder.register_forward_pre_hook(lambda _, given: inputs.append(given[0]))
    points = np.array([[9, 9, z, 100] for z in (-50, -12, 0, 18, 19)], np.float32)
    result = Segmenter(network, metadata, device="cpu", precision="fp32")(points)
    given = inputs[0] if torch.is_tensor(inputs[0]) else torch.cat(inputs[0], 1)
    assert given[:, -2].tolist() == [-12, -12, 0, 18, 18]
    assert result.beyond_training == 2


def test_range_limits_are_distances_from_the_sensor(segmenter):
    # 3-4-5 triangles: 5 m, 10 m and 50 m away
    points = np.array([[3, 4, 0, 9], [0, 6, 8, 9], [30, 0, 40, 9]], np.float32)
    labelled = segmenter(points, min_range=6.0, max_range=20.0).class_id != 255
    assert labelled.tolist() == [False, True, False]


def test_an_empty_cloud_gives_empty_labels(segmenter):
    for points in (np.empty((0, 4), np.float32), np.empty((0, 3), np.float32)):
        result = segmenter(points)
        assert len(result.class_id) == len(result.probability) == len(result.entropy) == 0


def test_without_intensity_the_training_mean_stands_in(segmenter):
    points = cloud(500)
    points[:, 3] = 0.1 * 255  # the model's mean is 0.1 at a scale of 255
    np.testing.assert_array_equal(segmenter(points).class_id, segmenter(points[:, :3]).class_id)


def test_a_model_that_requires_intensity_refuses_a_cloud_without(tiny_metadata):
    metadata = ModelMetadata(
        **{**vars(tiny_metadata), "intensity": Intensity(255.0, 0.1, required=True)}
    )
    network = build("sparse_unet", classes=3, **metadata.arguments)
    with pytest.raises(InputError, match="requires intensity"):
        Segmenter(network, metadata, device="cpu")(cloud(10)[:, :3])


def test_the_input_array_is_left_alone(segmenter):
    points = cloud(100)
    before = points.copy()
    segmenter(points)
    np.testing.assert_array_equal(points, before)


def test_bf16_agrees_with_fp32_on_almost_every_point(tiny_model):
    points = cloud(3000)
    exact = Segmenter.load(tiny_model, device="cpu", precision="fp32")(points)
    reduced = Segmenter.load(tiny_model, device="cpu", precision="bf16")(points)
    assert (exact.class_id == reduced.class_id).mean() > 0.95


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        ({"device": "tpu"}, "'tpu' is not known; allowed are auto, cpu, cuda:N"),
        ({"device": "cuda:99"}, "cuda:99 is not there"),
        ({"device": "cpu", "precision": "int8"}, "'int8' is not known"),
    ],
)
def test_devices_and_precisions_that_are_not_there_are_refused(tiny_model, arguments, complaint):
    with pytest.raises(InputError, match=complaint):
        Segmenter.load(tiny_model, **arguments)


@pytest.mark.parametrize("shape", [(5, 2), (5, 5), (5,)])
def test_arrays_that_are_no_clouds_are_refused(segmenter, shape):
    with pytest.raises(InputError, match="wanted"):
        segmenter(np.zeros(shape, np.float32))


@pytest.mark.parametrize("plain", [False, True])
def test_probabilities_may_be_refined_before_they_are_labels(segmenter, plain):
    points = cloud(500)
    seen = []

    def certain_of_the_last(given, probabilities):
        seen.append((given, probabilities))
        result = torch.zeros_like(probabilities)
        result[:, 2] = 5.0
        return result

    with dispatch.plain_torch() if plain else nullcontext():
        found = segmenter(points, refine=certain_of_the_last)
    assert (found.class_id == 2).all()
    assert found.probability == pytest.approx(1.0)
    assert found.entropy == pytest.approx(0.0, abs=1e-6)
    ((given, probabilities),) = seen
    assert given.numpy()[:, :3] == pytest.approx(points[:, :3])
    assert probabilities.max(1).values.numpy() == pytest.approx(
        segmenter(points).probability, abs=5e-3
    )
