"""The range-view network: where points are drawn, how they get their labels, its ONNX form."""

from __future__ import annotations

import json
import math
import re
from types import SimpleNamespace

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional as F

from haskd_ros import model_file
from haskd_ros.errors import InputError
from haskd_ros.model_header import ModelMetadata
from haskd_ros.models import build, of_size
from haskd_ros.models.blocks import fold_batch_norm
from haskd_ros.models.panorama import Panorama, project, relative_depth
from haskd_ros.models.range_view import RangeViewUNet
from haskd_ros.segmenter import Segmenter
from haskd_training.data.splits import Split
from haskd_training.data.sweep_ref import SweepRef
from haskd_training.learning.student import elevation_span
from haskd_training.robot.onnx_export import export_onnx, probe

# 45 degrees a column and 10 degrees a row
ROWS, COLUMNS, ELEVATION = 4, 8, (-20.0, 20.0)


def at(azimuth: float, elevation: float, distance: float = 10.0) -> list[float]:
    """A point by its angles in degrees, intensity 0.5."""
    a, e = math.radians(azimuth), math.radians(elevation)
    flat = distance * math.cos(e)
    return [flat * math.cos(a), flat * math.sin(a), distance * math.sin(e), 0.5]


def network(channels=(4, 8), rows=8, columns=16, classes=3) -> RangeViewUNet:
    torch.manual_seed(0)
    return RangeViewUNet(classes, channels, rows, columns)


@pytest.fixture(scope="module")
def cloud() -> torch.Tensor:
    """300 points in the 128 pixels of `network()`: up to several in one."""
    return probe(network(), 300)


@pytest.mark.parametrize(
    ("azimuth", "elevation", "pixel", "offset"),
    [
        # Column (180 - azimuth) / 45, row (20 - elevation) / 10; .5 is a pixel's centre.
        (22.5, 5, (1, 3), (0, 0)),  # 3.5 and 1.5
        (-22.5, 5, (1, 4), (0, 0)),  # 4.5
        (90 + 9, 15 - 2, (0, 1), (0.2, 0.3)),  # 1.8 and 0.7
        (-157.5, -15, (3, 7), (0, 0)),  # 7.5 and 3.5
        (22.5, 60, (0, 3), (-0.5, 0)),  # above the span: upper edge of the first row
        (22.5, -60, (3, 3), (0.5, 0)),  # below it: lower edge of the last row
    ],
)
def test_a_point_is_drawn_into_the_pixel_worked_out_by_hand(azimuth, elevation, pixel, offset):
    points = torch.tensor([at(azimuth, elevation)])
    found, inside = project(points, ROWS, COLUMNS, ELEVATION)
    assert tuple(found[0].tolist()) == pixel
    # Offsets run down and right: (down, right) = (row, column) - pixel - 0.5
    expected = (offset[0], offset[1])
    np.testing.assert_allclose(inside[0], expected, atol=1e-5)


def test_the_ends_of_the_image_meet_behind_the_sensor():
    behind = torch.tensor(
        [[-1, 1e-3, 0, 0], [-1, -1e-3, 0, 0], [-1, 0.0, 0, 0], [-1, -0.0, 0, 0], [0, 0, 0, 0]]
    )
    pixel, offset = project(behind, ROWS, COLUMNS, ELEVATION)
    # +180 degrees is the left edge of column 0; -180 the same line; the origin looks ahead.
    assert pixel[:, 1].tolist() == [0, 7, 0, 0, 4]
    assert (offset.abs() <= 0.5).all()


@given(
    azimuth=st.floats(-180, 180),
    elevation=st.floats(-89, 89),
    distance=st.floats(0.1, 200),
    rows=st.integers(1, 128),
    columns=st.integers(1, 2048),
)
def test_pixel_and_offset_together_give_the_direction_back(
    azimuth, elevation, distance, rows, columns
):
    low, high = -25.0, 15.0
    points = torch.tensor([at(azimuth, elevation, distance)])
    (pixel,), (offset,) = project(points, rows, columns, (low, high))
    row, column = pixel.tolist()
    assert 0 <= row < rows
    assert 0 <= column < columns
    assert (offset.abs() <= 0.5 + 1e-3).all()
    down, right = (pixel + offset + 0.5).tolist()
    turn = 180 - right * 360 / columns - azimuth
    assert abs((turn + 180) % 360 - 180) < 0.01
    drawn = high - down * (high - low) / rows
    assert drawn == pytest.approx(min(max(elevation, low), high), abs=0.01)


@settings(max_examples=15)
@given(turns=st.integers(-8, 8))
def test_turning_the_sensor_by_whole_pixels_changes_no_score(turns):
    # Two levels: a pixel of the coarse one is two columns, of 16 in all: 45 degrees
    model = network().eval()
    points = probe(model, 200)
    angle = math.radians(45 * turns)
    turned = points.clone()
    turned[:, 0] = math.cos(angle) * points[:, 0] - math.sin(angle) * points[:, 1]
    turned[:, 1] = math.sin(angle) * points[:, 0] + math.cos(angle) * points[:, 1]
    torch.testing.assert_close(model(turned), model(points), rtol=1e-3, atol=1e-4)


def test_scores_follow_their_points(cloud):
    model = network().eval()
    order = torch.randperm(len(cloud), generator=torch.Generator().manual_seed(1))
    torch.testing.assert_close(model(cloud[order]), model(cloud)[order], rtol=1e-4, atol=1e-5)


def test_clouds_of_a_batch_do_not_see_each_other(cloud):
    model = network().eval()
    # A batch may hold a cloud without points: number 1
    batch = torch.repeat_interleave(torch.tensor([0, 2]), torch.tensor([200, 100]))
    together = model(cloud, batch)
    torch.testing.assert_close(together[:200], model(cloud[:200]), rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(together[200:], model(cloud[200:]), rtol=1e-4, atol=1e-5)


def test_a_fuse_that_changes_nothing_changes_nothing_and_meets_every_level(cloud):
    model = network().eval()
    met = []

    def fuse(level, x, to_rows):
        met.append((level, tuple(x.shape), float(to_rows(level, torch.ones(300, 1)).sum())))
        return x

    assert torch.equal(model.features(cloud, fuse=fuse), model.features(cloud))
    # 8 x 16 pixels, then 4 x 8; every point is in one pixel of each
    assert met == [(0, (128, 4), 300.0), (1, (32, 8), 300.0)]
    assert model.fusion_widths == (4, 8)
    assert model.features(cloud).shape == (300, model.feature_width)


def test_what_fuse_returns_reaches_the_scores_from_every_level(cloud):
    model = network().eval()
    for changed in (0, 1):
        fused = model.features(cloud, fuse=lambda level, x, _, at=changed: x + (level == at))
        assert not torch.allclose(fused, model.features(cloud))


def test_values_of_points_are_summed_over_the_pixels_of_a_level():
    model = RangeViewUNet(3, (4, 4), ROWS, COLUMNS, ELEVATION).eval()
    # Pixels (1, 3) twice, (0, 2) beside it within the same 2 x 2 block, and (3, 7)
    points = torch.tensor([at(22.5, 5), at(22.5, 5, 30), at(67.5, 15), at(-157.5, -15)])
    values = torch.tensor([[1.0], [2.0], [4.0], [8.0]])
    sums = {}

    def fuse(level, x, to_rows):
        sums[level] = to_rows(level, values).flatten().tolist()
        return x

    model.features(points, fuse=fuse)
    fine, coarse = [0.0] * 32, [0.0] * 8
    fine[1 * 8 + 3], fine[0 * 8 + 2], fine[3 * 8 + 7] = 1.0 + 2.0, 4.0, 8.0
    coarse[0 * 4 + 1], coarse[1 * 4 + 3] = 1.0 + 2.0 + 4.0, 8.0
    assert sums == {0: fine, 1: coarse}


def test_relative_depth_is_what_a_point_lies_behind_its_surroundings():
    # Two clouds of 2 x 2 pixels: two points share pixel 0, one is in pixel 3; the last one is alone
    # in pixel 6, of the second cloud.
    panorama = Panorama(2, 2, 2)
    number = torch.tensor([0, 0, 3, 6])
    # log(1 + distance) = 1, 2, 3 and 5
    points = torch.zeros(4, 4)
    points[:, 0] = torch.tensor([1.0, 2.0, 3.0, 5.0]).expm1()

    def sum_to_level(level, values):
        return panorama.sum_blocks(torch.zeros(8, 2).index_add(0, number, values), level)

    # Level 0: means 1.5, 1.5, 3, 5; level 1, all four pixels of a cloud: 2 and 5
    expected = torch.tensor([[-0.5, -1.0], [0.5, 0.0], [0.0, 1.0], [0.0, 0.0]])
    found = relative_depth(points, number, panorama, 2, sum_to_level)
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=0)


def test_points_hidden_in_the_same_pixel_learn_labels_of_their_own():
    # In each of 128 pixels a near and a far point: only the distance tells the classes apart, and
    # which distance is near differs from pixel to pixel.
    model = network()
    near = probe(model, 128)
    rows, columns = torch.meshgrid(torch.arange(8), torch.arange(16), indexing="ij")
    up = torch.deg2rad(15 - 5 * (rows.flatten() + 0.5))
    azimuth = torch.deg2rad(180 - 22.5 * (columns.flatten() + 0.5))
    ahead = torch.stack([up.cos() * azimuth.cos(), up.cos() * azimuth.sin(), up.sin()], 1)
    distance = near[:, :3].norm(dim=1, keepdim=True)
    points = torch.cat(
        [F.pad(ahead * distance, (0, 1), value=0.5), F.pad(ahead * distance * 2, (0, 1), value=0.5)]
    )
    labels = torch.arange(2).repeat_interleave(128)
    optimizer = torch.optim.AdamW(model.parameters(), 0.02)
    losses = []
    for _ in range(40):
        loss = F.cross_entropy(model(points), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.1 * losses[0]
    assert all(parameter.grad is not None for parameter in model.parameters())
    assert (model.eval()(points).argmax(1) == labels).float().mean() > 0.98


def test_no_points_have_no_scores_and_one_point_can_be_learned_from():
    model = network()
    nothing = model(torch.empty(0, 4))
    assert nothing.shape == (0, 3)
    nothing.sum().backward()
    assert torch.isfinite(model(torch.tensor([at(0, 0)]))).all()


def test_batch_norm_folds_away_without_changing_a_score(cloud):
    model = network()
    for _ in range(3):  # running statistics that are not those of fresh weights
        model(cloud)
    wanted = model.eval()(cloud)
    folded = fold_batch_norm(model)
    torch.testing.assert_close(folded(cloud), wanted, rtol=1e-4, atol=1e-5)
    # What is left is the normalisation of the input.
    names = [name for name, _ in folded.named_buffers()]
    assert all(name.startswith("scale.") for name in names)


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        ({"rows": 30}, "30 x 1024 can't be halved 2 times; .* multiples of 4"),
        ({"columns": 2}, "64 x 2 can't be halved"),
        ({"elevation": (10, -10)}, r"elevation is 10\.0\.\.-10\.0 degrees"),
        ({"elevation": (-100, 0)}, "greater than or equal to -90, found -100"),
        ({"voxel_size": 0.2}, "voxel_size: unexpected keyword argument"),
    ],
)
def test_images_that_make_no_sense_are_refused(arguments, complaint):
    with pytest.raises(InputError, match=complaint):
        build("range_view", classes=3, channels=(4, 4, 4), **arguments)


def test_the_size_r_is_one_of_the_registered():
    architecture, arguments = of_size("R", voxel_size=0.2)
    assert architecture == "range_view"
    assert build(architecture, classes=11, **arguments).fusion_widths == (32, 48, 64, 96)


@pytest.mark.parametrize(
    ("seen", "span"),
    [
        ([(-25, 15)], (-29, 19)),
        # Of the sensors that are trained on; the third is not
        ([(-25, 15), (-16, 35)], (-31, 41)),
        ([(-88, 80)], (-90, 90)),
        # A planar scanner
        ([(0, 0)], (-0.5, 0.5)),
    ],
)
def test_the_panorama_spans_what_the_training_s_sensors_see(seen, span):
    caches = [
        SimpleNamespace(statistics={"elevation_deg": {"min": low, "max": high}})
        for low, high in [*seen, (-60, 60)]
    ]
    trained = [SweepRef(cache, 0) for cache in range(len(seen))]
    others = [SweepRef(len(seen), 0)]
    found = elevation_span(Split(caches, trained, others, others, others, others))
    assert found == pytest.approx(span)
    _, arguments = of_size("R", 0.2, found)
    assert build("range_view", classes=3, **arguments).elevation == pytest.approx(span)


@pytest.fixture(scope="module")
def model(tiny_metadata, tmp_path_factory, cloud):
    """A model file whose batch norm has seen a cloud."""
    arguments = {"channels": [4, 8], "rows": 8, "columns": 16, "elevation": [-25.0, 15.0]}
    metadata = ModelMetadata(
        **{**vars(tiny_metadata), "architecture": "range_view", "arguments": arguments}
    )
    made = build("range_view", classes=3, **arguments)
    made(cloud)
    path = tmp_path_factory.mktemp("range") / "model.safetensors"
    model_file.save(path, made, metadata)
    return path


def test_the_segmenter_takes_a_range_view_model_like_any_other(model, cloud):
    wanted = model_file.load(model)[0](cloud).argmax(1)
    raw = cloud.numpy() * np.array([1, 1, 1, 255], np.float32)
    found = Segmenter.load(model, device="cpu")(raw)
    assert (found.class_id == wanted.numpy()).mean() > 0.99
    empty = Segmenter.load(model, device="cpu")(raw[:0])
    assert len(empty.class_id) == 0


def test_the_exported_network_gives_the_scores_of_torch(haskd, model, tmp_path):
    exported = tmp_path / "deep/model.onnx"
    done = haskd("export", model, "--onnx", exported)
    assert done.returncode == 0, done.stderr
    said = " ".join(done.stdout.split())
    (difference,) = re.findall(r"differ from torch's by at most (\S+) of the largest", said)
    assert float(difference) < 1e-4
    network, metadata = model_file.load(model)
    session = onnxruntime.InferenceSession(exported, providers=["CPUExecutionProvider"])
    # Other numbers of points than the graph was made with, several in a pixel and one alone
    for points in (probe(network, 500), probe(network, 77), probe(network, 1)):
        (found,) = session.run(["logits"], {"points": points.numpy()})
        with torch.inference_mode():
            np.testing.assert_allclose(found, network(points), rtol=1e-3, atol=1e-4)

    # However many threads add up what lies in a pixel, here 2000 points in 128 of them
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 4
    session = onnxruntime.InferenceSession(exported, options, ["CPUExecutionProvider"])
    crowd = {"points": probe(network, 2000).numpy()}
    (first,) = session.run(["logits"], crowd)
    for _ in range(20):
        np.testing.assert_array_equal(session.run(["logits"], crowd)[0], first)

    document = onnx.load(exported)
    assert "ScatterND" not in {node.op_type for node in document.graph.node}
    (entry,) = document.metadata_props
    assert json.loads(entry.value) == json.loads(metadata.to_json())
    assert all(not node.metadata_props for node in document.graph.node)


def test_a_network_that_onnx_can_not_express_is_refused(tiny_model, tmp_path):
    with pytest.raises(InputError, match=r"is a sparse_unet, .*; wanted a range_view"):
        export_onnx(tiny_model, tmp_path / "model.onnx")
    assert list(tmp_path.iterdir()) == []


def test_a_file_that_can_not_be_written_is_named(model, tmp_path):
    (tmp_path / "taken").write_text("a file, not a folder")
    with pytest.raises(InputError, match=r"model\.onnx can't be written"):
        export_onnx(model, tmp_path / "taken/model.onnx")
