"""Convolutions whose products are of bfloat16, and when they are used."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from kernel_checks import (
    assert_equal_to_rounding,
    channels,
    convolve,
    keys_of,
    needs_kernels,
    random_operands,
    street_like_keys,
)

from haskd_ros.model_header import Intensity, ModelMetadata
from haskd_ros.models import build as build_network
from haskd_ros.native import dispatch, library
from haskd_ros.segmenter import Segmenter
from haskd_ros.sparse import InverseConv, Linear, StridedConv, SubmanifoldConv

pytestmark = needs_kernels
KINDS = (SubmanifoldConv, StridedConv, InverseConv)
ALONE = keys_of([(0, 0, 0)])


@torch.no_grad()
def compare(kind, keys, inputs, outputs, tail=0):
    """With torch's float64 convolution of rounded numbers."""
    x, weight = random_operands(kind, keys, inputs, outputs)
    parts = (x[:, :-tail], x[:, -tail:]) if tail else x
    with dispatch.bf16():
        actual = convolve(kind, keys, parts, weight)
    expected = convolve(kind, keys, x.bfloat16().double(), weight.bfloat16().double())
    assert_equal_to_rounding([actual], [expected], terms=1.0)


@settings(max_examples=60)
@given(kind=st.sampled_from(KINDS), inputs=channels, outputs=channels)
def test_products_are_those_of_rounded_numbers(kind, inputs, outputs):
    compare(kind, street_like_keys(300), inputs, outputs)


@pytest.mark.parametrize("inputs, outputs, tail", [(64, 130, 0), (96, 48, 48), (33, 16, 8)])
def test_over_many_blocks_and_from_two_tensors(inputs, outputs, tail):
    compare(SubmanifoldConv, street_like_keys(12_000), inputs, outputs, tail)


def test_every_instruction_set_rounds_alike(instruction_set, monkeypatch):
    monkeypatch.setattr(library, "_loaded", instruction_set)
    for kind in KINDS:
        compare(kind, street_like_keys(3_000), 15, 48)


@torch.no_grad()
def alone(x: float, weight: float) -> float:
    """Their product, by a convolution of one voxel."""
    taps = torch.zeros(1, 3, 3, 3, 1)
    taps[0, 1, 1, 1, 0] = weight
    with dispatch.bf16():
        return convolve(SubmanifoldConv, ALONE, torch.tensor([[x]]), taps).item()


def test_rounding_by_hand():
    # Above 1, numbers of bfloat16 are 2^-7 apart; of two equally near the even one is taken.
    step = 2.0**-7
    assert alone(1 + 0.4 * step, 1.0) == 1.0
    assert alone(1 + 0.5 * step, 1.0) == 1.0
    assert alone(1 + 0.6 * step, 1.0) == 1 + step
    assert alone(1 + 1.5 * step, 1.0) == 1 + 2 * step
    assert alone(1.0, -1 - 1.5 * step) == -1 - 2 * step
    # The product itself is not rounded.
    assert alone(1 + step, 1 + step) == 1 + 2 * step + step * step


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_what_is_not_a_number_stays_visible(bad):
    assert alone(bad, 1.0) == pytest.approx(bad, nan_ok=True)
    assert alone(1.0, bad) == pytest.approx(bad, nan_ok=True)


def test_each_precision_has_its_own_packed_weight():
    keys = street_like_keys(50)
    layer, x = SubmanifoldConv(3, 5).requires_grad_(False), torch.randn(len(keys), 3)
    exact = convolve(SubmanifoldConv, keys, x, layer.weight)
    with dispatch.bf16():
        rounded = convolve(SubmanifoldConv, keys, x, layer.weight)
    assert not torch.equal(exact, rounded)
    assert torch.equal(convolve(SubmanifoldConv, keys, x, layer.weight), exact)


def test_training_and_linear_layers_stay_float32():
    keys = street_like_keys(50)
    weight, x = torch.randn(5, 3, 3, 3, 3), torch.randn(len(keys), 3)
    linear = Linear(3, 4).requires_grad_(False)
    exact = convolve(SubmanifoldConv, keys, x, weight), linear(x)
    with dispatch.bf16():
        learning = convolve(SubmanifoldConv, keys, x, weight.clone().requires_grad_())
        assert torch.equal(learning.detach(), exact[0])
        assert torch.equal(linear(x), exact[1])


def test_a_sparse_network_takes_it_by_itself_where_it_pays(tiny_model, monkeypatch):
    def taken(precision="auto") -> str:
        return Segmenter.load(tiny_model, device="cpu", precision=precision).precision

    for pays, expected in ((True, "bf16"), (False, "fp32")):
        monkeypatch.setattr(dispatch, "bf16_is_faster", lambda pays=pays: pays)
        assert taken() == expected
    assert taken("bf16") == "bf16"


def test_a_network_without_sparse_convolutions_stays_float32(tiny_metadata, monkeypatch):
    monkeypatch.setattr(dispatch, "bf16_is_faster", lambda: True)
    arguments = {"channels": [8, 8, 8, 8]}
    metadata = ModelMetadata(
        "range_view",
        arguments,
        tiny_metadata.taxonomy,
        Intensity(1.0, 0.0),
        50.0,
        tiny_metadata.input_range,
    )
    network = build_network("range_view", classes=len(metadata.taxonomy), **arguments)
    assert Segmenter(network, metadata, device="cpu").precision == "fp32"
