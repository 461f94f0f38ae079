"""Outputs of ONNX networks as feature maps, at pixels that are worked out by hand."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper
from onnx_networks import conv_network
from painted_wall import wall_cache
from pydantic import ValidationError

from haskd_ros.errors import InputError
from haskd_training.images.encoded_images import EncodedImages
from haskd_training.images.encoder import CHANNELS, EncoderConfig
from haskd_training.images.network_input import NetworkInputConfig
from haskd_training.images.onnx_maps import OnnxMaps
from haskd_training.images.pixel_features import PixelFeatures

RED_AND_GREEN = [[1, 0, 0], [0, 1, 0]]
EVERY_PIXEL = NetworkInputConfig(size_multiple=1)


def maps_of(
    path: Path, output: str | None = None, multiple: int = 1, reduction: int = 1
) -> OnnxMaps:
    return OnnxMaps(path, output, NetworkInputConfig(size_multiple=multiple), reduction)


def picture(height: int, width: int) -> np.ndarray:
    """Red counts columns and green rows, 4 a px."""
    image = np.zeros((height, width, 3), np.uint8)
    image[:, :, 0] = 4 * np.arange(width)
    image[:, :, 1] = 4 * np.arange(height)[:, None]
    return image


def at(maps: OnnxMaps, image: np.ndarray, *pixels: tuple[float, float]) -> list[list[float]]:
    values = maps.encode(image)
    found: list[list[float]] = maps.sample(values, torch.tensor(pixels), image.shape[:2]).tolist()
    return found


def two_outputs(path: Path, rank: int = 4) -> Path:
    """`mean` [1, 3], then `scores` [1, 2, h, w] of squares of 4 px, then `tokens` [1, 1 + h w, 2]
    with the same and a first one of another kind."""
    kernel = np.zeros((2, 3, 4, 4), np.float32)
    kernel[0, 0], kernel[1, 1] = 1 / 16, 1 / 16
    nodes = [
        helper.make_node("ReduceMean", ["image"], ["mean"], axes=[2, 3], keepdims=0),
        helper.make_node("Conv", ["image", "kernel"], ["scores"], strides=[4, 4]),
        helper.make_node("Reshape", ["scores", "flat"], ["rows"]),
        helper.make_node("Transpose", ["rows"], ["patches"], perm=[0, 2, 1]),
        helper.make_node("Concat", ["class", "patches"], ["tokens"], axis=1),
        helper.make_node("ArgMax", ["scores"], ["classes"], axis=1),
    ]
    constants = {
        "kernel": kernel,
        "flat": np.array([1, 2, -1]),
        "class": np.full((1, 1, 2), 1e3, np.float32),
    }
    outputs = [("mean", TensorProto.FLOAT), ("tokens", TensorProto.FLOAT)]
    if rank == 4:
        outputs.append(("scores", TensorProto.FLOAT))
    graph = helper.make_graph(
        nodes,
        "network",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, [1, 3, "height", "width"])],
        [
            helper.make_tensor_value_info(name, kind, None)
            for name, kind in [*outputs, ("classes", TensorProto.INT64)]
        ],
        [numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    onnx.save(
        helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path
    )
    return path


@pytest.mark.parametrize("output", [None, "scores", "tokens"])
def test_a_cell_stands_for_the_middle_of_its_own_pixels(output, tmp_path):
    maps = maps_of(two_outputs(tmp_path / "n.onnx"), output, multiple=4)
    # A cell of 4 px covers 4 to 7, middle 5.5, and has the mean of 16 to 28 there, 22 = 4 * 5.5;
    # between middles it is linear: u = 8 lies between 5.5 and 9.5. Before the first middle, 1.5,
    # the edge.
    assert at(maps, picture(12, 20), (5.5, 9.5), (8.0, 6.25), (0.0, 1.5)) == [
        [22, 38],
        [32, 25],
        [6, 6],
    ]


def test_the_first_output_of_four_dimensions_is_taken_whatever_comes_before(tmp_path):
    values = maps_of(two_outputs(tmp_path / "n.onnx"), multiple=4).encode(picture(8, 12))
    assert values.shape == (2, 2, 3)


def test_what_is_padded_does_not_move_the_pixels(tmp_path):
    # 10 x 18 is filled up to 12 x 20; the cells of 0..3 and 4..7 are those of the image as before
    maps = maps_of(two_outputs(tmp_path / "n.onnx"), multiple=4)
    assert at(maps, picture(10, 18), (5.5, 3.5)) == [[22, 14]]


def test_an_image_within_a_fixed_size_is_found_where_it_lies(tmp_path):
    # 16 x 32 within 8 x 8: a quarter of its size, 4 x 8 px, the lower half is filled up. Pixel
    # u = 5.5 is in the middle of 4..7, which the second input pixel is the mean of: 22.
    maps = maps_of(conv_network(tmp_path / "n.onnx", RED_AND_GREEN, size=(8, 8)))
    assert at(maps, picture(16, 32), (5.5, 9.5)) == [[22, 38]]


def test_the_reduction_takes_smaller_images(tmp_path):
    maps = maps_of(conv_network(tmp_path / "n.onnx", RED_AND_GREEN), reduction=2)
    assert maps.encode(picture(8, 16)).shape == (2, 4, 8)
    assert at(maps, picture(8, 16), (4.5, 2.5)) == [[18, 10]]


def test_maps_are_channels_last_where_the_input_is(tmp_path):
    maps = maps_of(conv_network(tmp_path / "n.onnx", RED_AND_GREEN, channels_last=True))
    assert at(maps, picture(5, 9), (3.0, 2.0)) == [[12, 8]]


def test_scores_are_taken_as_they_are_and_probabilities_by_their_logarithm(tmp_path):
    image = np.array([[[2, 0, 0], [30, 0, 0]]], np.uint8)
    scores = maps_of(conv_network(tmp_path / "a.onnx", RED_AND_GREEN))
    assert at(scores, image, (0.0, 0.0), (1.0, 0.0)) == [[2, 0], [30, 0]]
    sure = maps_of(conv_network(tmp_path / "b.onnx", RED_AND_GREEN, last=["Softmax"]))
    # -ln(1 + e^-2) and 2 less; then a probability of e^-30, which is taken as 1e-4: -9.2103
    found = at(sure, image, (0.0, 0.0), (1.0, 0.0))
    assert found[0] == pytest.approx([-0.1269, -2.1269], abs=1e-4)
    assert found[1] == pytest.approx([0, -9.2103], abs=1e-4)


WRONG = {
    "name": (
        two_outputs,
        {"output": "logits"},
        r"has the outputs mean .*tokens .*wanted is 'logits'",
    ),
    "four": (
        lambda path: two_outputs(path, 3),
        {},
        "wanted is one of 4 dimensions",
    ),
    "rank": (two_outputs, {"output": "mean"}, r"'mean' is float32 of shape '?\[1, 3\]'?; wanted"),
    "index": (two_outputs, {"output": "classes"}, "is int64 of shape"),
    "tokens": (
        two_outputs,
        {"output": "tokens", "multiple": 2},
        "has 4 tokens, which no square patches of an input of 12 x 6 px are",
    ),
    "cells": (two_outputs, {"multiple": 2}, "for an input of 12 x 6 px, no squares of a whole"),
    "numbers": (
        lambda path: conv_network(path, 1e38 * np.eye(3)),
        {},
        "values that are no finite numbers",
    ),
    "channels": (
        lambda path: conv_network(path, np.zeros((4097, 3))),
        {},
        "has 4097 channels; at most 4096",
    ),
    "fixed": (
        lambda path: conv_network(path, RED_AND_GREEN, size=(6, 12)),
        {"reduction": 2},
        "a fixed size; scales must be",
    ),
    "file": (lambda path: path.write_text("network") and path, {}, "cut off or damaged"),
    "missing": (lambda path: path, {}, "does not exist"),
}


@pytest.mark.parametrize("kind", WRONG)
def test_what_gives_no_map_is_refused_with_what_it_gives(kind, tmp_path):
    make, options, message = WRONG[kind]
    path = make(tmp_path / "n.onnx")
    with pytest.raises(InputError, match=message) as raised:
        maps_of(path, **options).encode(picture(6, 12))
    assert "\n" not in str(raised.value)


def test_fewer_channels_than_components_are_kept_whole_beside_efficientnets(tmp_path):
    path = conv_network(tmp_path / "n.onnx", RED_AND_GREEN)
    network = PixelFeatures(
        EncoderConfig(weights=str(path), beside=True, channels=4, input=EVERY_PIXEL)
    ).eval()
    image = torch.from_numpy(picture(32, 40)).permute(2, 0, 1)
    pixels = torch.tensor([[3.0, 5.0], [20.0, 9.0], [30.0, 22.0]])
    with torch.inference_mode():
        sampled = network.sample(image, network.encode(image), pixels)
    assert sampled.shape == (3, sum(CHANNELS) + 2)
    assert sampled[:, -2:].tolist() == [[12, 20], [80, 36], [120, 88]]
    torch.manual_seed(0)
    many = torch.randn(500, sampled.shape[1])
    network.fit(many)
    # 4 components of EfficientNet's 512 channels, the 2 of the scores, and the colours
    assert network.width == 4 + 2 + 3
    # Neither network's components read the other's channels.
    assert not network.reduce.weight[:4, -2:].any() and not network.reduce.weight[4:, :-2].any()
    with torch.no_grad():
        assert network.reduce(many).std(0) == pytest.approx(np.ones(6), abs=1e-2)


def test_the_last_images_are_kept_as_far_as_memory_allows(tmp_path):
    cache = wall_cache(tmp_path / "cache", sweeps=3)
    path = conv_network(tmp_path / "n.onnx", RED_AND_GREEN)
    network = PixelFeatures(EncoderConfig(weights=str(path), input=EVERY_PIXEL))
    # an image of 64 x 96 px takes 3 bytes of colours and 2 x 4 of maps a px: room for two
    encoded = EncodedImages(network, [cache], kept_bytes=2 * 11 * 64 * 96)
    first, second = encoded(0, 0), encoded(0, 1)
    assert encoded(0, 0) is first
    encoded(0, 2)
    assert encoded(0, 0) is first
    assert encoded(0, 1) is not second


def test_settings_of_onnx_networks_that_make_no_sense_are_refused():
    with pytest.raises(ValidationError, match="an ONNX network can't be trained: it needs frozen"):
        EncoderConfig(weights="a.onnx", frozen=False)
    for setting in ({"output": "logits"}, {"beside": True}, {"input": {"size_multiple": 14}}):
        (name,) = setting
        with pytest.raises(
            ValidationError, match=f"{name} is for an ONNX network, and weights are"
        ):
            EncoderConfig.model_validate(setting)
