"""The point transformer: curves, patches, and what its scores may and may not depend on."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from haskd_ros import model_file
from haskd_ros.errors import InputError
from haskd_ros.model_header import ModelMetadata
from haskd_ros.models import build, of_size
from haskd_ros.models.blocks import fold_batch_norm
from haskd_ros.models.input_limits import InputLimits
from haskd_ros.models.point_transformer import PointTransformer
from haskd_ros.models.serialization import CURVES, hilbert, morton, serialize
from haskd_ros.segmenter import Segmenter
from haskd_ros.sparse import pack

VOXEL = 0.5
ARGUMENTS = {"voxel_size": VOXEL, "channels": [8, 32, 16], "patch": 8}


def network() -> PointTransformer:
    """Three levels, patches of eight voxels; its norms have seen a cloud."""
    torch.manual_seed(0)
    made = build("point_transformer", classes=3, **ARGUMENTS)
    made.train()(cloud(400, seed=1))
    return made.eval()


def cloud(count: int = 300, seed: int = 0) -> torch.Tensor:
    """[count, 4] in 8 x 8 x 4 m, in voxels of 0.5 m: up to several in one. No point lies so near to
    a voxel's border that rounding could move it over."""
    generator = torch.Generator().manual_seed(seed)
    voxels = torch.randint(0, 16, (count, 3), generator=generator) // torch.tensor([1, 1, 2])
    inside = 0.1 + 0.8 * torch.rand(count, 3, generator=generator)
    intensity = torch.rand(count, 1, generator=generator)
    return torch.cat([(voxels + inside) * VOXEL, intensity], 1)


def grid(side: int) -> torch.Tensor:
    axis = torch.arange(side)
    return torch.cartesian_prod(axis, axis, axis)


def test_morton_takes_the_axes_bits_in_turn():
    # x = 101, y = 011, z = 110 in binary: 101 011 110 read by columns is 101, 011, 110
    assert morton(torch.tensor([[0b101, 0b011, 0b110]])).tolist() == [0b101_011_110]


def test_hilbert_goes_through_every_cell_by_steps_to_a_neighbour():
    cells = grid(8)
    code = hilbert(cells, bits=3)
    assert sorted(code.tolist()) == list(range(512))
    walked = cells[code.argsort()]
    assert ((walked[1:] - walked[:-1]).abs().sum(1) == 1).all()


@pytest.mark.parametrize("curve", range(CURVES))
def test_a_coarser_voxel_is_one_piece_of_every_curve(curve):
    fine, coarse = serialize(pack(grid(8)).sort().values, levels=2, patch=16)
    code = fine.codes[curve]
    assert len(code.unique()) == 512
    # The eight children of a voxel share their code but for three bits, which coarser drops
    assert torch.equal(code >> 3, coarse.codes[curve][coarse.children.inverse])
    assert len(coarse.codes[curve].unique()) == 64


@pytest.mark.parametrize(
    ("sizes", "expected"),
    [
        # 10 voxels in patches of 4 at most: three of 4, 3 and 3; a cloud of its own has its own
        ([10], [4, 3, 3]),
        ([10, 1], [4, 3, 3, 1]),
        ([4, 5], [4, 3, 2]),
        ([1], [1]),
    ],
)
def test_patches_are_even_and_hold_voxels_of_one_cloud(sizes, expected):
    batch = torch.repeat_interleave(torch.arange(len(sizes)), torch.tensor(sizes))
    within = torch.cat([torch.arange(size) for size in sizes])
    keys = pack(torch.stack([within, 0 * within, 0 * within], 1), batch)
    (level,) = serialize(keys, levels=1, patch=4)
    patches = level.patches(0)
    assert patches.taken.sum(1).tolist() == expected
    # Along x, Morton's curve is the order of x: neighbours stay together
    assert patches.cut(within[:, None].float())[0, :, 0].tolist()[: expected[0]] == list(
        range(expected[0])
    )
    owners = patches.cut(batch[:, None].float() + 1)[..., 0]
    for row, taken in zip(owners, patches.taken):
        assert len(row[taken].unique()) == 1
    rows = torch.rand(len(keys), 3)
    assert torch.equal(patches.join(patches.cut(rows)), rows)


def test_the_size_p_has_about_a_million_parameters():
    architecture, arguments = of_size("P", voxel_size=0.2)
    made = build(architecture, classes=11, **arguments)
    assert made.voxel_size == 0.2
    assert 0.9e6 < sum(weight.numel() for weight in made.parameters()) < 1.1e6


def test_scores_follow_their_points():
    model, points = network(), cloud()
    order = torch.randperm(len(points), generator=torch.Generator().manual_seed(1))
    with torch.inference_mode():
        torch.testing.assert_close(model(points[order]), model(points)[order], rtol=0, atol=1e-4)
        assert torch.equal(model(points), model(points))


def test_clouds_of_a_batch_do_not_see_each_other():
    model, points = network(), cloud()
    # A batch may hold a cloud without points: number 1
    batch = torch.repeat_interleave(torch.tensor([0, 2]), torch.tensor([200, 100]))
    with torch.inference_mode():
        together = model(points, batch)
        torch.testing.assert_close(together[:200], model(points[:200]), rtol=0, atol=1e-4)
        torch.testing.assert_close(together[200:], model(points[200:]), rtol=0, atol=1e-4)


def test_no_gradient_leads_from_one_cloud_to_another():
    model = network()
    points = cloud().requires_grad_()
    batch = torch.arange(300) // 150
    model(points, batch)[:150].sum().backward()
    assert points.grad[:150].abs().max() > 0
    assert points.grad[150:].abs().max() == 0


@pytest.mark.parametrize("voxels", [(1, 0, 0), (-7, 3, 0), (100, -1, 0)])
def test_a_shift_along_the_ground_by_whole_voxels_changes_no_score(voxels):
    model, points = network(), cloud()
    shifted = points.clone()
    shifted[:, :3] += VOXEL * torch.tensor(voxels)
    with torch.inference_mode():
        torch.testing.assert_close(model(shifted), model(points), rtol=0, atol=1e-3)


def test_a_fuse_that_changes_nothing_changes_nothing_and_meets_every_level():
    model, points = network(), cloud()
    met = []

    def fuse(level, x, to_rows):
        counted = to_rows(level, torch.ones(300, 1))
        met.append((level, x.shape[1], len(counted) == len(x), round(float(counted.sum()))))
        return x

    with torch.inference_mode():
        assert torch.equal(model.features(points, fuse=fuse), model.features(points))
    assert met == [(0, 8, True, 300), (1, 32, True, 300), (2, 16, True, 300)]
    assert model.fusion_widths == (8, 32, 16)


@pytest.mark.parametrize("changed", range(3))
def test_what_fuse_returns_reaches_the_scores_from_every_level(changed):
    model, points = network(), cloud()
    with torch.inference_mode():
        fused = model.features(points, fuse=lambda level, x, _: x + (level == changed))
        assert not torch.allclose(fused, model.features(points), atol=1e-3)


def test_every_weight_learns_and_a_simple_rule_is_learned():
    # Which of two heights a point has, and whether its neighbourhood is bright: four classes
    torch.manual_seed(0)
    model = build("point_transformer", classes=4, **ARGUMENTS)
    points = cloud(600)
    bright = points[:, 0] > 4
    points[:, 3] = torch.where(bright, 0.6, 0.4) + 0.3 * (torch.rand(600) - 0.5)
    labels = 2 * bright.long() + (points[:, 2] > 2).long()
    optimizer = torch.optim.AdamW(model.parameters(), 0.01)
    losses = []
    for _ in range(40):
        loss = F.cross_entropy(model(points), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert all(weight.grad is not None for weight in model.parameters())
    assert losses[-1] < 0.2 * losses[0]


@pytest.mark.parametrize("count", [0, 1, 2])
def test_few_points_can_be_labelled_and_learned_from(count):
    model = network().train()
    scores = model(cloud(count))
    assert scores.shape == (count, 3)
    assert torch.isfinite(scores).all()
    scores.sum().backward()


def test_inputs_beyond_the_limits_are_cut_off():
    model, points = network(), cloud()
    model.limit_inputs(InputLimits(height=(0.0, 8.0), intensity=(0.0, 1.0)))
    bright, brightest = points.clone(), points.clone()
    bright[:, 3], brightest[:, 3] = 1.0, 1e30
    with torch.inference_mode():
        assert torch.equal(model(bright), model(brightest))


def test_further_values_of_a_point_are_read():
    torch.manual_seed(0)
    model = build("point_transformer", classes=3, **ARGUMENTS, extra_inputs=2).eval()
    points = torch.cat([cloud(), torch.rand(300, 2)], 1)
    changed = points.clone()
    changed[:, 5] += 1
    with torch.inference_mode():
        assert not torch.allclose(model(points), model(changed), atol=1e-3)


def test_batch_norm_folds_away_without_changing_a_score():
    model, points = network(), cloud()
    with torch.inference_mode():
        wanted = model(points)
        torch.testing.assert_close(fold_batch_norm(model)(points), wanted, rtol=0, atol=1e-4)
    assert not [name for name, _ in model.named_buffers()]


def test_a_width_that_has_no_whole_heads_is_refused():
    with pytest.raises(InputError, match="a level of 24 channels; wanted up to 16, or a multiple"):
        build("point_transformer", classes=3, voxel_size=VOXEL, channels=(8, 24))


def test_it_survives_its_file_and_the_segmenter_takes_it_like_any_other(tiny_metadata, tmp_path):
    metadata = ModelMetadata(
        **{**vars(tiny_metadata), "architecture": "point_transformer", "arguments": ARGUMENTS}
    )
    path, points = tmp_path / "model.safetensors", cloud()
    model_file.save(path, network(), metadata)
    loaded, found = model_file.load(path)
    assert found == metadata
    with torch.inference_mode():
        wanted = loaded(points)
        assert torch.equal(wanted, network()(points))
    raw = points.numpy() * np.array([1, 1, 1, 255], np.float32)
    labelled = Segmenter.load(path, device="cpu")(raw)
    assert (labelled.class_id == wanted.argmax(1).numpy()).mean() > 0.99
    assert len(Segmenter.load(path, device="cpu")(raw[:0]).class_id) == 0
