"""Residual blocks of the sparse U-Net: how many, and that one each is what it always was."""

from __future__ import annotations

import hashlib

import pytest
import torch

from haskd_ros import model_file
from haskd_ros.errors import InputError
from haskd_ros.model_header import ModelMetadata
from haskd_ros.models import build, of_size
from haskd_ros.models.sparse_unet import SparseUNet

DEEP = {"voxel_size": 0.5, "channels": [4, 8, 8], "blocks": [1, 3, 2], "decoder_blocks": [2, 0]}


def digest(network: torch.nn.Module) -> str:
    found = hashlib.sha256()
    for name, value in network.state_dict().items():
        found.update(f"{name} {tuple(value.shape)} {value.dtype}".encode())
    return found.hexdigest()[:16]


# Of commit 4f36477, which knew of no blocks
@pytest.mark.parametrize(("size", "known"), [("S", "5d8449f572a4b665"), ("M", "43844f7f3b3af4b2")])
def test_files_of_s_and_m_from_before_there_were_blocks_still_fit(size, known):
    torch.manual_seed(0)
    architecture, arguments = of_size(size, 0.2)
    assert digest(build(architecture, classes=11, **arguments)) == known


def test_a_level_has_as_many_blocks_as_it_is_given():
    network = SparseUNet(3, 0.5, (4, 8, 8), (1, 3, 2), (2, 0))
    names = [name for name in network.state_dict() if name.endswith("first.layer.weight")]
    assert names == [
        "encoder.0.first.layer.weight",
        *(f"encoder.1.{i}.first.layer.weight" for i in range(3)),
        *(f"encoder.2.{i}.first.layer.weight" for i in range(2)),
        *(f"refine.0.{i}.first.layer.weight" for i in range(2)),
    ]


def test_every_block_takes_part_and_learns():
    torch.manual_seed(0)
    network = build("sparse_unet", classes=3, **DEEP)
    points = torch.rand(400, 4) * 8
    network(points).square().sum().backward()
    for name, weight in network.named_parameters():
        assert weight.grad is not None, name
        assert weight.grad.abs().max() > 0, name


def test_a_deep_network_survives_its_file(tiny_metadata, tmp_path):
    metadata = ModelMetadata(**{**vars(tiny_metadata), "arguments": DEEP})
    network = build("sparse_unet", classes=3, **DEEP).eval()
    model_file.save(tmp_path / "deep.safetensors", network, metadata)
    loaded, found = model_file.load(tmp_path / "deep.safetensors")
    assert found.arguments == DEEP
    points = torch.rand(200, 4) * torch.tensor([8.0, 8.0, 8.0, 1.0])
    with torch.inference_mode():
        assert torch.equal(loaded(points), network(points))


@pytest.mark.parametrize(
    ("changed", "complaint"),
    [
        ({"blocks": [1, 2]}, "blocks has 2 numbers, 3 levels want 3"),
        ({"decoder_blocks": [1, 1, 1]}, "decoder_blocks has 3 numbers, 3 levels want 2"),
        ({"blocks": [1, 0, 1]}, r"blocks\.1: input should be greater than or equal to 1"),
        ({"blocks": [1, 33, 1]}, r"blocks\.1: input should be less than or equal to 32"),
    ],
)
def test_blocks_that_fit_no_level_are_refused(changed, complaint):
    with pytest.raises(InputError, match=complaint):
        build("sparse_unet", classes=3, **{**DEEP, **changed})
