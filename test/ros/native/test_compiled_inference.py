"""The compiled kernels that inference alone uses, against plain torch and numpy."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from kernel_checks import (
    assert_equal_to_rounding,
    channels,
    keys_of,
    needs_kernels,
    street_like_keys,
)

from haskd_ros.native import dispatch, library
from haskd_ros.segmenter import Segmenter, classify_logits
from haskd_ros.sparse import (
    Epilogue,
    Grouping,
    Linear,
    SubmanifoldConv,
    TorchGeometry,
    group_by_key,
    pool,
    voxel_keys,
)
from haskd_training.data.sweep_ref import within_range

pytestmark = needs_kernels


def grouping_of(rows: int, groups: int) -> Grouping:
    """Every group has a row."""
    drawn = torch.randint(groups, (rows,), generator=torch.Generator().manual_seed(rows))
    drawn[:groups] = torch.arange(groups)
    return group_by_key(drawn)[1]


@torch.no_grad()
def compare_epilogue(rows, width, bias, relu, with_addend, groups):
    generator = torch.Generator().manual_seed(rows + width)
    layer = Linear(7, width, bias=bias)
    x = torch.randn(rows, 7, generator=generator)
    grouping = grouping_of(rows, groups) if groups else None
    addend = torch.randn(groups or rows, width, generator=generator) if with_addend else None
    actual = layer(x, Epilogue(addend=addend, grouping=grouping, relu=relu))
    expected = x.double() @ layer.weight.double().t()
    if bias:
        expected += layer.bias.double()
    if with_addend:
        expected += addend.double() if grouping is None else addend.double()[grouping.inverse]
    assert_equal_to_rounding([actual], [expected.relu() if relu else expected], terms=1.0)


@settings(max_examples=60)
@given(
    rows=st.sampled_from([1, 63, 64, 65, 200]),
    width=channels,
    bias=st.booleans(),
    relu=st.booleans(),
    with_addend=st.booleans(),
    groups=st.sampled_from([0, 1]),
)
def test_the_epilogue_of_a_layer_is_computed_in_the_same_pass(
    rows, width, bias, relu, with_addend, groups
):
    compare_epilogue(rows, width, bias, relu, with_addend, groups)


def test_each_row_gets_the_addend_of_its_group():
    # over many blocks of rows, and with ends of rows that fill no vector
    compare_epilogue(30_000, 11, True, True, True, 500)
    compare_epilogue(30_000, 32, False, True, True, 500)


def test_a_relu_keeps_what_is_not_a_number():
    x = torch.tensor([[math.nan], [-1.0], [2.0]])
    with torch.no_grad():
        layer = Linear(1, 1, bias=False)
        layer.weight.fill_(1.0)
        y = layer(x, Epilogue(relu=True))
    assert y[0].isnan()
    assert y[1:].tolist() == [[0.0], [2.0]]


@pytest.mark.parametrize(
    "epilogue, complaint",
    [
        (Epilogue(bias=torch.zeros(3)), r"bias is \(3,\), not \(2,\)"),
        (Epilogue(addend=torch.zeros(4, 2)), r"addend is \(4, 2\), not \(5, 2\)"),
        (Epilogue(addend=torch.zeros(5, 3)), r"addend is \(5, 3\), not \(5, 2\)"),
        (
            Epilogue(addend=torch.zeros(3, 2), grouping=grouping_of(4, 3)),
            "4 rows are grouped, not 5",
        ),
        (Epilogue(addend=torch.zeros(2, 2), grouping=grouping_of(5, 3)), r"not \(3, 2\)"),
    ],
)
def test_what_does_not_fit_the_result_is_refused(epilogue, complaint):
    layer = Linear(3, 2, bias=False).requires_grad_(False)
    with pytest.raises(ValueError, match=complaint):
        layer(torch.zeros(5, 3), epilogue)


@settings(max_examples=40)
@given(left=channels, right=channels, outputs=channels)
def test_two_tensors_side_by_side_are_convolved_as_one(left, right, outputs):
    keys = street_like_keys(300)
    layer = SubmanifoldConv(left + right, outputs).requires_grad_(False)
    x, y = torch.randn(len(keys), left), torch.randn(len(keys), right)
    actual = layer((x, y), TorchGeometry(keys), 0)
    with dispatch.plain_torch():
        expected = layer.double()(torch.cat([x, y], 1).double(), TorchGeometry(keys), 0)
    assert_equal_to_rounding([actual], [expected], terms=1.0)


def test_a_weight_that_changes_is_packed_anew():
    keys = street_like_keys(50)
    layer, x = SubmanifoldConv(3, 5, bias=False), torch.randn(len(keys), 3)
    with torch.inference_mode():
        once = layer(x, TorchGeometry(keys), 0)
    # As an optimizer does, and as a state dict is loaded
    with torch.no_grad():
        layer.weight.mul_(2)
        twice = layer(x, TorchGeometry(keys), 0)
    layer.load_state_dict({"weight": layer.weight / 2})
    with torch.inference_mode():
        again = layer(x, TorchGeometry(keys), 0)
    assert torch.equal(twice, 2 * once)
    assert torch.equal(again, once)


def test_two_tensors_that_do_not_fit_are_refused():
    geometry = TorchGeometry(keys_of([(0, 0, z) for z in range(5)]))
    for rows, width in ((4, 2), (5, 1)):
        with pytest.raises(ValueError, match=rf"\(5, 1\) and \({rows}, {width}\), not \(5, 3\)"):
            SubmanifoldConv(3, 2)((torch.zeros(5, 1), torch.zeros(rows, width)), geometry, 0)


coordinates = st.floats(-1000, 1000, width=32)


@given(
    points=st.lists(st.tuples(*[coordinates] * 4), max_size=40),
    voxel_size=st.sampled_from([0.05, 0.1, 0.2, 1.0]),
    batched=st.booleans(),
)
def test_voxels_are_those_of_torch_bit_for_bit(points, voxel_size, batched):
    points = torch.tensor(points, dtype=torch.float32).view(-1, 4)
    batch = torch.arange(len(points)) // 3 if batched else None
    actual = voxel_keys(points, batch, voxel_size)
    with dispatch.plain_torch():
        expected = voxel_keys(points, batch, voxel_size)
    assert torch.equal(actual[0], expected[0])
    assert torch.equal(actual[1], expected[1])


def test_points_beyond_the_keys_are_refused_by_both():
    # 131070 voxels of 0.1 m are the last that a key can tell apart
    inside, outside = torch.tensor([[13106.9, 0, 0, 0]]), torch.tensor([[-13107.15, 0, 0, 0]])
    for context in (torch.no_grad, dispatch.plain_torch):
        with context():
            voxel_keys(inside, None, 0.1)
            with pytest.raises(ValueError, match="voxel coordinate 131072"):
                voxel_keys(outside, None, 0.1)
            with pytest.raises(ValueError, match="at most 512 clouds, not 513"):
                voxel_keys(inside, torch.tensor([512]), 0.1)


@given(
    groups=st.lists(st.integers(0, 9), min_size=1, max_size=300),
    width=channels,
)
def test_compiled_pooling_is_the_one_of_torch(groups, width):
    _, grouping = group_by_key(torch.tensor(groups))
    rows = torch.randn(len(groups), width)
    assert_equal_to_rounding([pool(rows, grouping)], [pool(rows.double(), grouping)], terms=1.0)


@settings(max_examples=60)
@given(
    rows=st.integers(0, 200),
    classes=st.sampled_from([1, 2, 11, 16, 33, 255]),
    spread=st.sampled_from([0.1, 1.0, 30.0, 1000.0]),
    temperature=st.sampled_from([0.25, 1.0, 3.0]),
)
def test_compiled_scores_are_those_of_torch(rows, classes, spread, temperature):
    generator = torch.Generator().manual_seed(rows)
    logits = spread * torch.randn(rows, classes, generator=generator)
    actual = classify_logits(logits, temperature)
    expected = classify_logits(logits.double(), temperature)
    assert torch.equal(actual[0], expected[0])
    for one, other in zip(actual[1:], expected[1:]):
        torch.testing.assert_close(one.double(), other, rtol=3e-6, atol=3e-6 * max(1, spread))


def test_scores_by_hand():
    # e^0 : e^(-ln 3) = 3 : 1, entropy ln 4 - 3/4 ln 3; then one class alone; then a tie of two
    logits = torch.tensor([[0.0, -2 * math.log(3)], [5.0, -math.inf], [1.0, 1.0]])
    class_id, probability, entropy = classify_logits(logits, 2.0)
    assert class_id.tolist() == [0, 0, 0]
    assert probability.tolist() == pytest.approx([0.75, 1.0, 0.5], rel=1e-6)
    expected = [math.log(4) - 0.75 * math.log(3), 0.0, math.log(2)]
    assert entropy.tolist() == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("bad", [math.nan, math.inf])
@pytest.mark.parametrize("place", [0, 1, 2])
def test_scores_that_are_no_numbers_show_in_probability_and_entropy(bad, place):
    logits = torch.zeros(3, 3)
    logits[1, place] = bad
    for actual in (classify_logits(logits, 1.0)[1:], classify_logits(logits.double(), 1.0)[1:]):
        for values in actual:
            assert values.isnan().tolist() == [False, True, False]


numbers = st.one_of(
    st.floats(-150, 150, width=32), st.sampled_from([0.0, math.nan, math.inf, -math.inf, 3e38])
)


@pytest.fixture(scope="module")
def segmenter(tiny_model):
    return Segmenter.load(tiny_model, device="cpu")


@given(
    rows=st.lists(st.tuples(*[numbers] * 4), max_size=30),
    width=st.sampled_from([3, 4]),
    limits=st.sampled_from([(0.0, math.inf), (2.0, 90.0)]),
    apart=st.booleans(),
)
def test_the_same_points_are_valid_as_by_numpy(segmenter, rows, width, limits, apart):
    points = np.array(rows, np.float32).reshape(-1, 4)[:, :width]
    if apart:
        # As in a message: rows that begin at any byte, 22 bytes apart.
        buffer = np.zeros(22 * len(points) + 3, np.uint8)
        view = np.ndarray(points.shape, np.float32, buffer, 3, (22, 4))
        view[:] = points
        points = view
    compare_valid_points(segmenter, points, *limits)


def compare_valid_points(segmenter, points, *limits) -> np.ndarray:
    """Compiled and by numpy; which are valid [N] bool."""
    valid, mask, beyond = segmenter._valid_points(points, *limits, 255.0)
    with dispatch.plain_torch():
        expected, expected_mask, expected_beyond = segmenter._valid_points(points, *limits, 255.0)
    np.testing.assert_array_equal(mask, expected_mask)
    np.testing.assert_array_equal(valid, expected)
    assert beyond == expected_beyond
    return mask


def test_at_the_limit_of_the_range_the_same_points_are_valid_as_by_numpy_and_in_training(segmenter):
    # As near to 90 m as float32 gets: a last bit of a coordinate is 8e-8 of it
    directions = np.random.default_rng(0).normal(size=(20_000, 3))
    directions *= 90 / np.linalg.norm(directions, axis=1, keepdims=True)
    points = np.zeros((len(directions), 4), np.float32)
    points[:, :3] = directions
    mask = compare_valid_points(segmenter, points, 0.0, 90.0)
    # About as many within as beyond
    assert 0.4 < mask.mean() < 0.6
    np.testing.assert_array_equal(within_range(points, 90.0), mask)
    # 3-4-5: 54, 72, 90 m; the next float32 after 72 is beyond
    edge = np.array(
        [[54, 72, 0, 0], [54, np.nextafter(np.float32(72), np.float32(73)), 0, 0]], "f4"
    )
    assert compare_valid_points(segmenter, edge, 0.0, 90.0).tolist() == [True, False]
    assert compare_valid_points(segmenter, edge, 90.0, 100.0).tolist() == [True, True]


def test_every_instruction_set_gives_the_same_results(instruction_set, monkeypatch):
    monkeypatch.setattr(library, "_loaded", instruction_set)
    compare_epilogue(500, 11, True, True, True, 9)
    logits = torch.randn(500, 11, generator=torch.Generator().manual_seed(0))
    for one, other in zip(classify_logits(logits, 1.5), classify_logits(logits.double(), 1.5)):
        torch.testing.assert_close(one.double(), other.double(), rtol=3e-6, atol=3e-6)


def test_own_threads_within_own_threads_are_as_many():
    before = torch.get_num_threads()
    torch.set_num_threads(3)
    try:
        with dispatch.own_threads():
            with dispatch.own_threads():
                # Below 0: as many of their own.
                assert (dispatch.thread_count(), torch.get_num_threads()) == (-3, 1)
            assert (dispatch.thread_count(), torch.get_num_threads()) == (-3, 1)
        assert (dispatch.thread_count(), torch.get_num_threads()) == (3, 3)
    finally:
        torch.set_num_threads(before)
