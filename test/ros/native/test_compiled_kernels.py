"""The compiled kernels against plain torch: values and gradients."""

import functools

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
    voxels,
)
from torch.nn import functional as F

from haskd_ros.models.blocks import BatchNorm, fold_batch_norm
from haskd_ros.models.sparse_unet import SparseUNet
from haskd_ros.native import dispatch, kernels, library
from haskd_ros.sparse import (
    InverseConv,
    Linear,
    StridedConv,
    SubmanifoldConv,
    TorchGeometry,
    group_by_key,
    norm_rows,
)
from haskd_ros.sparse.kernel_map import downsampling_map, submanifold_map


def results(run, *inputs: torch.Tensor) -> list[torch.Tensor]:
    """The result of `run` and the gradients of `inputs` for a fixed upstream gradient."""
    inputs = [x.clone().requires_grad_() for x in inputs]
    y = run(*inputs)
    upstream = torch.randn(y.shape, generator=torch.Generator().manual_seed(1)).to(y.dtype)
    return [y.detach(), *torch.autograd.grad(y, inputs, upstream)]


def compare_convolution(kind, keys, inputs, outputs):
    x, weight = random_operands(kind, keys, inputs, outputs)

    def run(x, weight):
        return convolve(kind, keys, x, weight)

    # float64 takes the torch path
    expected = results(run, x.double(), weight.double())
    assert_equal_to_rounding(results(run, x, weight), expected, terms=1.0)


@needs_kernels
@pytest.mark.parametrize("kind", [SubmanifoldConv, StridedConv, InverseConv])
@settings(max_examples=40)
@given(coordinates=voxels, inputs=channels, outputs=channels)
def test_compiled_convolution_is_the_one_of_torch(kind, coordinates, inputs, outputs):
    compare_convolution(kind, keys_of(coordinates), inputs, outputs)


@needs_kernels
@pytest.mark.parametrize("kind", [SubmanifoldConv, StridedConv, InverseConv])
@pytest.mark.parametrize("inputs, outputs", [(16, 16), (33, 70), (96, 48), (64, 130)])
def test_compiled_convolution_is_the_one_of_torch_over_many_blocks(kind, inputs, outputs):
    compare_convolution(kind, street_like_keys(12_000), inputs, outputs)


@needs_kernels
@pytest.mark.parametrize("rows", [0, 1, 7, 20_000])
@pytest.mark.parametrize("inputs, outputs", [(5, 32), (32, 11), (16, 64)])
def test_compiled_linear_layer_is_the_one_of_torch(rows, inputs, outputs):
    layer = Linear(inputs, outputs)
    x = torch.randn(rows, inputs)
    expected = results(lambda x, w, b: F.linear(x, w, b), x.double(), *layer.double().parameters())
    layer.float()

    def run(x, weight, bias):
        return torch.func.functional_call(layer, {"weight": weight, "bias": bias}, x)

    assert_equal_to_rounding(results(run, x, *layer.parameters()), expected, terms=1.0)


@needs_kernels
def test_rows_that_do_not_lie_side_by_side_are_taken_as_they_are():
    layer = Linear(3, 4, bias=False)
    wide = torch.randn(10, 6)
    assert_equal_to_rounding([layer(wide[:, ::2])], [wide[:, ::2] @ layer.weight.t()], terms=1.0)


@pytest.mark.parametrize("rows, width", [(4, 2), (6, 2), (5, 3)])
def test_features_of_another_shape_are_refused(rows, width):
    # 5 voxels, 2 channels; kernels that are not asked would read beyond the memory
    geometry = TorchGeometry(keys_of([(0, 0, z) for z in range(5)]))
    with pytest.raises(ValueError, match=rf"\({rows}, {width}\), not \(5, 2\)"):
        SubmanifoldConv(2, 3)(torch.zeros(rows, width), geometry, 0)
    with pytest.raises(ValueError, match=r"not \(\d, 4\)"):
        Linear(4, 3)(torch.zeros(rows, width))


@needs_kernels
@settings(max_examples=40)
@given(
    rows=st.sampled_from([2, 3, 255, 256, 257, 1500]),
    width=channels,
    relu=st.booleans(),
    with_addend=st.booleans(),
)
def test_compiled_norm_is_the_one_of_torch(rows, width, relu, with_addend):
    generator = torch.Generator().manual_seed(rows + width)
    x = 3 * torch.randn(rows, width, generator=generator) + 2
    weight, bias = torch.randn(2, width, generator=generator)
    addend = torch.randn(rows, width, generator=generator)

    def norm_of(dtype):
        norm = BatchNorm(width).to(dtype).train()
        del norm.weight, norm.bias

        def run(x, weight, bias, *addend):
            norm.weight, norm.bias = weight, bias
            return norm_rows(x, norm, *addend, relu=relu)

        return norm, run

    inputs = [x, weight, bias, *([addend] if with_addend else [])]
    compiled, run = norm_of(torch.float32)
    actual = results(run, *inputs)
    reference, run = norm_of(torch.float64)
    expected = results(run, *[one.double() for one in inputs])
    # Two rows of nearly the same value have a variance that float32 knows to few digits only.
    # The sums over the rows come and go by the root of their number.
    if rows > 3:
        assert_equal_to_rounding(actual, expected, terms=rows**0.5 / 4)
    assert_equal_to_rounding(
        [compiled.running_mean, compiled.running_var],
        [reference.running_mean, reference.running_var],
    )
    assert int(compiled.num_batches_tracked) == 1


@needs_kernels
def test_a_mean_far_from_zero_costs_the_variance_no_digits():
    # 0, 1, 2, 3 over and over: variance 1.25; (x^2).mean() - x.mean()^2 would give anything
    x = (torch.arange(4096) % 4 + 30_000.0)[:, None].repeat(1, 3)
    mean, variance = kernels.moments(x)
    assert torch.equal(mean, torch.full((3,), 30_001.5))
    torch.testing.assert_close(variance, torch.full((3,), 1.25), rtol=1e-6, atol=0)


@needs_kernels
def test_what_is_not_a_number_stays_visible():
    x = torch.ones(4, 2)
    x[1, 0] = float("nan")
    y = norm_rows(x, BatchNorm(2).train(), relu=True)
    assert y[:, 0].isnan().all()
    assert not y[:, 1].isnan().any()
    assert Linear(2, 2)(x)[1].isnan().all()


@needs_kernels
@given(coordinates=voxels)
def test_compiled_kernel_maps_are_those_of_torch(coordinates):
    keys = keys_of(coordinates)
    actual = submanifold_map(keys), downsampling_map(keys).down(), downsampling_map(keys).up()
    with dispatch.plain_torch():
        expected = submanifold_map(keys), downsampling_map(keys).down(), downsampling_map(keys).up()
    for one, other in zip(actual, expected):
        assert torch.equal(one.sources, other.sources)
        assert torch.equal(one.targets, other.targets)
        assert (one.sizes, one.output_rows) == (other.sizes, other.output_rows)


@needs_kernels
@given(
    st.one_of(
        st.lists(st.integers(0, 9), max_size=60),
        # What voxels have: a few values of each field, but for the borders between them.
        st.lists(
            st.tuples(st.integers(0, 3), *[st.integers(131_070, 131_075)] * 3).map(
                lambda fields: functools.reduce(lambda key, field: key << 18 | field, fields)
            ),
            max_size=60,
        ),
        # So far apart that key and row together don't fit into 64 bits.
        st.lists(st.integers(-(2**63), 2**63 - 1), max_size=60),
        st.lists(st.sampled_from([-(2**63), -1, 0, 1, 2**18, 2**54, 2**63 - 1]), max_size=60),
    )
)
def test_compiled_grouping_is_that_of_torch(values):
    keys = torch.tensor(values, dtype=torch.int64)
    unique, actual = group_by_key(keys)
    with dispatch.plain_torch():
        expected_unique, expected = group_by_key(keys)
    assert torch.equal(unique, expected_unique)
    assert actual.order.tolist() == keys.numpy().argsort(kind="stable").tolist()
    assert torch.equal(actual.starts, expected.starts)
    assert torch.equal(actual.inverse, expected.inverse)


@needs_kernels
def test_any_number_of_threads_gives_the_same_bits():
    keys = street_like_keys(12_000)
    x, weight = torch.randn(len(keys), 20), torch.randn(24, 3, 3, 3, 20)
    norm = BatchNorm(24).train()

    def run(x, weight):
        return norm_rows(convolve(SubmanifoldConv, keys, x, weight), norm, relu=True)

    before = torch.get_num_threads()
    try:
        actual = []
        for threads in (1, 2, 3):
            torch.set_num_threads(threads)
            actual.append(results(run, x, weight))
    finally:
        torch.set_num_threads(before)
    for one in actual[1:]:
        assert all(torch.equal(a, b) for a, b in zip(one, actual[0]))


@needs_kernels
def test_other_numbers_and_autocast_are_left_to_torch():
    assert dispatch.usable(torch.zeros(1))
    assert not dispatch.usable(torch.zeros(1, dtype=torch.float64))
    assert not dispatch.usable(torch.zeros(1), torch.zeros(1, dtype=torch.bfloat16))
    with torch.autocast("cpu", torch.bfloat16):
        assert not dispatch.usable(torch.zeros(1))
        assert Linear(2, 2)(torch.zeros(1, 2)).dtype == torch.bfloat16
    with dispatch.plain_torch():
        assert not dispatch.usable(torch.zeros(1))


@needs_kernels
def test_a_whole_network_learns_and_predicts_what_it_does_on_torch():
    points = torch.rand(4_000, 4, generator=torch.Generator().manual_seed(0))
    points[:, :3] = points[:, :3] * torch.tensor([40.0, 40.0, 2.0]) - 20

    def run() -> list[torch.Tensor]:
        torch.manual_seed(0)
        network = SparseUNet(5, 0.5, (8, 24, 16))
        logits = network(points)
        logits.square().mean().backward()
        gradients = [weight.grad for weight in network.parameters()]
        with torch.inference_mode():
            predicted = fold_batch_norm(network)(points)
        return [logits.detach(), predicted, *gradients]

    actual = run()
    with dispatch.plain_torch():
        expected = run()
    for one, other in zip(actual, expected, strict=True):
        # Rounding grows through a dozen layers.
        torch.testing.assert_close(one, other, rtol=0, atol=1e-4 * float(other.abs().max()))


@needs_kernels
def test_every_instruction_set_gives_the_same_results(instruction_set, monkeypatch):
    monkeypatch.setattr(library, "_loaded", instruction_set)
    for kind, inputs, outputs in (
        (SubmanifoldConv, 16, 48),
        (SubmanifoldConv, 64, 13),
        (InverseConv, 7, 32),
    ):
        compare_convolution(kind, street_like_keys(3_000), inputs, outputs)
