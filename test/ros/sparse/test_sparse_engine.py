"""Every sparse operation against dense convolution in float64, values and gradients."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scattered import scattered_voxels
from torch.nn import functional as F

from haskd_ros.errors import InputError
from haskd_ros.models.sparse_unet import SparseUNet
from haskd_ros.native import dispatch
from haskd_ros.sparse import (
    InverseConv,
    StridedConv,
    SubmanifoldConv,
    TorchGeometry,
    group_by_key,
    make_geometry,
    pack,
    pool,
    spconv_backend,
    unpool,
)
from haskd_ros.sparse.keys import BIAS, MAX_BATCH, unpack


def to_dense(features: torch.Tensor, occupied: torch.Tensor) -> torch.Tensor:
    dense = features.new_zeros(*occupied.shape, features.shape[1])
    dense = dense.index_put((occupied,), features)
    return dense.permute(0, 4, 1, 2, 3)


def at(dense: torch.Tensor, occupied: torch.Tensor) -> torch.Tensor:
    return dense.permute(0, 2, 3, 4, 1)[occupied]


def dense_weight(layer: torch.nn.Module) -> torch.Tensor:
    return layer.weight.permute(0, 4, 1, 2, 3)


def assert_same_with_gradients(sparse, dense, x, layer):
    torch.testing.assert_close(sparse, dense, rtol=0, atol=1e-11)
    upstream = torch.randn(sparse.shape, dtype=sparse.dtype)
    wanted = torch.autograd.grad((dense * upstream).sum(), [x, layer.weight, layer.bias])
    found = torch.autograd.grad((sparse * upstream).sum(), [x, layer.weight, layer.bias])
    for one, other in zip(found, wanted):
        torch.testing.assert_close(one, other, rtol=0, atol=1e-10)


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("share", [0.02, 0.3, 1.0])
def test_submanifold_convolution_is_dense_convolution_at_the_occupied_voxels(seed, share):
    occupied, keys = scattered_voxels(seed, share)
    layer = SubmanifoldConv(3, 5).double()
    x = torch.randn(len(keys), 3, dtype=torch.float64, requires_grad=True)
    sparse = layer(x, TorchGeometry(keys), 0)
    dense = F.conv3d(to_dense(x, occupied), dense_weight(layer), layer.bias, padding=1)
    assert_same_with_gradients(sparse, at(dense, occupied), x, layer)


@pytest.mark.parametrize("seed", range(4))
def test_strided_convolution_is_dense_convolution_with_stride_2(seed):
    occupied, keys = scattered_voxels(seed)
    coarse = F.max_pool3d(occupied.double()[:, None], 2)[:, 0] > 0
    layer = StridedConv(3, 5).double()
    x = torch.randn(len(keys), 3, dtype=torch.float64, requires_grad=True)
    sparse = layer(x, TorchGeometry(keys), 0)
    dense = F.conv3d(to_dense(x, occupied), dense_weight(layer), layer.bias, stride=2)
    assert_same_with_gradients(sparse, at(dense, coarse), x, layer)


@pytest.mark.parametrize("seed", range(4))
def test_inverse_convolution_is_dense_transposed_convolution_at_the_finer_voxels(seed):
    occupied, keys = scattered_voxels(seed)
    coarse = F.max_pool3d(occupied.double()[:, None], 2)[:, 0] > 0
    layer = InverseConv(3, 5).double()
    x = torch.randn(int(coarse.sum()), 3, dtype=torch.float64, requires_grad=True)
    sparse = layer(x, TorchGeometry(keys), 0)
    weight = layer.weight.permute(4, 0, 1, 2, 3)
    dense = F.conv_transpose3d(to_dense(x, coarse), weight, layer.bias, stride=2)
    assert_same_with_gradients(sparse, at(dense, occupied), x, layer)


def test_coarser_levels_convolve_among_their_own_voxels():
    occupied, keys = scattered_voxels(0)
    coarse = F.max_pool3d(occupied.double()[:, None], 2)[:, 0] > 0
    layer = SubmanifoldConv(2, 2).double()
    x = torch.randn(int(coarse.sum()), 2, dtype=torch.float64)
    sparse = layer(x, TorchGeometry(keys), 1)
    dense = F.conv3d(to_dense(x, coarse), dense_weight(layer), layer.bias, padding=1)
    torch.testing.assert_close(sparse, at(dense, coarse), rtol=0, atol=1e-11)


def test_one_voxel_alone_meets_only_the_centre_of_the_kernel():
    layer = SubmanifoldConv(1, 1, bias=False)
    x = torch.tensor([[2.0]])
    result = layer(x, TorchGeometry(pack(torch.tensor([[7, -3, 0]]))), 0)
    assert torch.equal(result, 2.0 * layer.weight[:, 1, 1, 1, :])


def test_clouds_of_one_batch_do_not_see_each_other():
    layer = SubmanifoldConv(2, 2)
    # The same two neighbouring voxels twice: in one cloud they meet, in two they do not.
    coordinates = torch.tensor([[0, 0, 0], [0, 0, 1]])
    x = torch.randn(2, 2)
    apart = layer(x, TorchGeometry(pack(coordinates, torch.tensor([0, 1]))), 0)
    alone = torch.cat(
        [layer(x[i : i + 1], TorchGeometry(pack(coordinates[i : i + 1])), 0) for i in (0, 1)]
    )
    torch.testing.assert_close(apart, alone)
    together = layer(x, TorchGeometry(pack(coordinates)), 0)
    assert not torch.allclose(together, alone)


coordinate = st.integers(-(BIAS - 2), BIAS - 2)


@given(st.lists(st.tuples(st.integers(0, MAX_BATCH - 1), coordinate, coordinate, coordinate)))
def test_keys_give_back_their_coordinates_and_sort_like_them(voxels):
    voxels = sorted(set(voxels))
    table = torch.tensor(voxels, dtype=torch.int64).view(-1, 4)
    keys = pack(table[:, 1:], table[:, 0])
    assert (keys >= 0).all()
    assert torch.equal(keys, keys.sort().values)
    found = unpack(keys).long()
    found[:, 1:] -= BIAS
    assert torch.equal(found, table)


@pytest.mark.parametrize("beyond", [BIAS - 1, -(BIAS - 1)])
def test_a_coordinate_too_large_for_a_key_is_refused(beyond):
    with pytest.raises(ValueError, match="beyond"):
        pack(torch.tensor([[0, beyond, 0]]))


@settings(max_examples=50)
@given(st.lists(st.integers(0, 9), min_size=1, max_size=60))
def test_pooling_is_the_mean_of_each_group_and_unpooling_its_way_back(groups):
    keys = torch.tensor(groups)
    unique, grouping = group_by_key(keys)
    assert unique.tolist() == sorted(set(groups))
    x = torch.randn(len(groups), 3, dtype=torch.float64, requires_grad=True)
    pooled = pool(x, grouping)
    for row, key in enumerate(unique.tolist()):
        torch.testing.assert_close(pooled[row], x[keys == key].mean(0))
    unpooled = unpool(pooled, grouping)
    assert torch.equal(unpooled, pooled[torch.searchsorted(unique, keys)])
    torch.autograd.gradcheck(lambda rows: unpool(pool(rows, grouping), grouping), [x])


def test_a_voxel_of_many_points_does_not_overflow_half_precision():
    # 100,000 points of 30.0 add up to 3,000,000; half precision ends at 65,504
    _, grouping = group_by_key(torch.zeros(100_000, dtype=torch.int64))
    for dtype in (torch.float16, torch.bfloat16):
        rows = torch.full((100_000, 2), 30.0, dtype=dtype)
        assert torch.equal(pool(rows, grouping), torch.full((1, 2), 30.0, dtype=dtype))


def test_training_goes_on_after_inference_in_the_same_thread():
    _, keys = scattered_voxels(0, 0.5)
    layer = SubmanifoldConv(4, 4)
    x = torch.randn(len(keys), 4)
    with torch.inference_mode():
        # Larger than what follows, so that its buffers are used again.
        layer(torch.cat([x, x]), TorchGeometry(torch.cat([keys, keys + (2 << 54)])), 0)
    layer(x, TorchGeometry(keys), 0).sum().backward()
    assert layer.weight.grad is not None


@pytest.mark.parametrize("precision", [torch.float16, torch.bfloat16])
def test_a_network_infers_and_learns_in_the_precisions_of_a_gpu(precision):
    # What autocast turns to half is the same on a CPU, with plain torch.
    torch.manual_seed(0)
    points = torch.rand(3_000, 4) * torch.tensor([20.0, 20.0, 2.0, 1.0])
    network = SparseUNet(5, 0.5, (8, 24, 16))
    expected = torch.log_softmax(network.eval()(points), 1)
    half = torch.autocast("cpu", precision)
    with dispatch.plain_torch(), half, torch.no_grad():
        found = network(points)
    assert found.dtype == precision
    # Of 2^-11 and 2^-8 each, over a dozen layers
    bound = {torch.float16: 0.01, torch.bfloat16: 0.08}[precision]
    assert (torch.log_softmax(found.float(), 1) - expected).abs().max() < bound

    with dispatch.plain_torch(), half:
        loss = network.train()(points).float().square().mean()
    loss.backward()
    gradients = [weight.grad for weight in network.parameters()]
    assert all(g.dtype == torch.float32 and g.isfinite().all() and g.any() for g in gradients)


def test_unknown_backend_is_refused_by_name():
    with pytest.raises(InputError, match=r"'cuda'.*auto, torch, spconv, triton"):
        make_geometry(pack(torch.zeros(1, 3, dtype=torch.int64)), "cuda")


@pytest.mark.skipif(
    bool(spconv_backend.import_error()), reason=f"no spconv: {spconv_backend.import_error()}"
)
def test_spconv_and_torch_give_the_same_features_and_gradients():
    _, keys = scattered_voxels(3, 0.3)
    inner, down, coarse, up = (
        SubmanifoldConv(4, 8),
        StridedConv(8, 16),
        SubmanifoldConv(16, 16),
        InverseConv(16, 4),
    )
    weights = [layer.weight for layer in (inner, down, coarse, up)]
    start = torch.randn(len(keys), 4)

    def run(backend: str) -> list[torch.Tensor]:
        geometry = make_geometry(keys, backend)
        x = start.clone().requires_grad_()
        y = inner(x, geometry, 0)
        y = up(coarse(down(y, geometry, 0), geometry, 1), geometry, 0)
        return [y, *torch.autograd.grad(y.square().sum(), [x, *weights])]

    for one, other in zip(run("torch"), run("spconv")):
        # float32 sums in another order
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-4 * float(other.abs().max()))
