"""A model that reads channels, on clouds with and without them."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
import yard
from coloured import packed, rgb_model

from haskd_ros import model_file
from haskd_ros.errors import InputError
from haskd_ros.model_header import ChannelInput, Extent, ModelMetadata
from haskd_ros.models import build
from haskd_ros.native import dispatch
from haskd_ros.node.labelling import label_cloud
from haskd_ros.node.loaded_model import LoadedModel
from haskd_ros.node.parameters.values import DEFAULTS
from haskd_ros.segmenter import Segmenter

COUNT = 2000


@pytest.fixture(scope="module")
def model(tiny_metadata, tmp_path_factory):
    return rgb_model(tmp_path_factory.mktemp("rgb") / "rgb.safetensors", tiny_metadata)


@pytest.fixture(scope="module")
def segmenter(model):
    return Segmenter.load(model, device="cpu")


@pytest.fixture(scope="module")
def points():
    return np.random.default_rng(0).uniform(-20, 20, (COUNT, 4)).astype(np.float32)


@pytest.fixture(scope="module")
def colours():
    return np.random.default_rng(1).integers(0, 256, (COUNT, 3))


def test_colours_take_part(segmenter, points, colours):
    coloured = segmenter(points, channels={"rgb": colours})
    others = segmenter(points, channels={"rgb": 255 - colours})
    assert (coloured.class_id != others.class_id).sum() > COUNT / 20


def test_where_there_are_none_the_mean_stands_in(segmenter, points, colours):
    middle = np.full((COUNT, 3), 127.5, np.float32)
    expected = segmenter(points, channels={"rgb": middle})
    for channels in ({}, {"rgb": None}, {"rgb": np.full((COUNT, 3), np.nan)}):
        found = segmenter(points, channels=channels)
        np.testing.assert_array_equal(found.probability, expected.probability)
    # For single points too
    some = colours.astype(np.float32)
    some[:100] = np.nan
    found = segmenter(points, channels={"rgb": some})
    some[:100] = 127.5
    np.testing.assert_array_equal(
        found.probability, segmenter(points, channels={"rgb": some}).probability
    )
    assert found.beyond_training >= 100


def test_values_beyond_the_training_count_as_the_limit(segmenter, points, colours):
    # Seen are 0 to 1, to which a quarter is added: 1.25 * 255
    loud, limit = colours.astype(np.float32), colours.astype(np.float32)
    loud[:50], limit[:50] = 1e30, 318.75
    np.testing.assert_array_equal(
        segmenter(points, channels={"rgb": loud}).probability,
        segmenter(points, channels={"rgb": limit}).probability,
    )


def test_points_without_a_label_keep_the_colours_of_the_others_in_place(segmenter, points, colours):
    alone = segmenter(points, channels={"rgb": colours})
    mixed = segmenter(
        np.insert(points, [0, 700], np.nan, axis=0),
        channels={"rgb": np.insert(colours, [0, 700], 255, axis=0)},
    )
    assert mixed.class_id[[0, 701]].tolist() == [255, 255]
    np.testing.assert_array_equal(np.delete(mixed.class_id, [0, 701]), alone.class_id)


def test_compiled_and_plain_torch_agree(model, points, colours):
    fast = Segmenter.load(model, device="cpu", precision="fp32")
    quick = fast(points, channels={"rgb": colours})
    with dispatch.plain_torch():
        slow = Segmenter.load(model, device="cpu", precision="fp32")(
            points, channels={"rgb": colours}
        )
    assert (quick.class_id == slow.class_id).mean() > 0.999
    np.testing.assert_allclose(quick.probability, slow.probability, atol=1e-3)


def test_a_cloud_is_labelled_by_its_own_colours(segmenter, points, colours):
    rows = np.zeros(COUNT, [*yard.POINT[:4], ("rgb", "<f4")])
    for place, name in enumerate(("x", "y", "z", "intensity")):
        rows[name] = points[:, place]
    rows["rgb"] = packed(colours)
    found = label_cloud(yard.cloud(0, rows), segmenter, DEFAULTS)
    assert found.missing_channels == ()
    expected = segmenter(points, intensity_scale=found.intensity_scale, channels={"rgb": colours})
    np.testing.assert_array_equal(found.result.class_id, expected.class_id)

    grey = label_cloud(yard.cloud(0, rows[["x", "y", "z", "intensity"]]), segmenter, DEFAULTS)
    assert grey.missing_channels == ("rgb",)


def test_a_model_may_require_a_channel(tiny_metadata, tmp_path, points, colours):
    path = rgb_model(tmp_path / "strict.safetensors", tiny_metadata, required=True)
    segmenter = Segmenter.load(path, device="cpu")
    with pytest.raises(InputError, match="requires rgb, and the cloud has no fields of it: rgb"):
        segmenter(points)
    assert len(segmenter(points, channels={"rgb": colours}).class_id) == COUNT
    with pytest.raises(InputError, match=r"rgb of shape \(2000, 2\), wanted \(2000, 3\)"):
        segmenter(points, channels={"rgb": colours[:, :2]})
    LoadedModel(segmenter, "0" * 64, path).warm_up(100)


def test_a_model_file_keeps_what_its_network_reads(model):
    network, metadata = model_file.load(model)
    assert network.extra_inputs == 3
    assert [each.name for each in metadata.channels] == ["rgb"]
    assert ModelMetadata.from_json(metadata.to_json()) == metadata


def test_a_header_that_contradicts_its_network_is_refused(tiny_metadata):
    seen = Extent(0.0, 1.0)
    rgb = ChannelInput("rgb", 255.0, (0.5,) * 3, (seen,) * 3)
    with pytest.raises(ValueError, match="channels give 3 inputs, the network takes 0"):
        replace(tiny_metadata, channels=(rgb,))
    arguments = {**tiny_metadata.arguments, "extra_inputs": 6}
    with pytest.raises(ValueError, match="stands twice among rgb, rgb"):
        replace(tiny_metadata, arguments=arguments, channels=(rgb, rgb))
    with pytest.raises(ValueError, match="channel normal needs 3 means and ranges"):
        ChannelInput("normal", 1.0, (0.0,), (seen,))


def test_range_view_reads_channels_too(points, colours):
    network = build("range_view", classes=3, channels=(8, 16), extra_inputs=3).eval()
    coloured = torch.from_numpy(np.concatenate([points, colours / 255], 1).astype(np.float32))
    with torch.inference_mode():
        found = network(coloured)
        coloured[:, 4:] = 1 - coloured[:, 4:]
        assert found.shape == (COUNT, 3) and not torch.allclose(found, network(coloured))
