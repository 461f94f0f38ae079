"""One file holds a model; anything else gets one clear line."""

import json
import struct

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file

from haskd_ros import model_file
from haskd_ros.errors import InputError
from haskd_ros.model_file import Intensity, ModelFileError, ModelMetadata
from haskd_ros.models import SIZES, build, fold_batch_norm, of_size


def test_a_saved_model_comes_back_with_all_that_inference_needs(tmp_path, tiny_metadata):
    original = build("sparse_unet", classes=3, **tiny_metadata.arguments).eval()
    model_file.save(tmp_path / "model.safetensors", original, tiny_metadata)
    network, metadata = model_file.load(tmp_path / "model.safetensors")
    assert metadata == tiny_metadata
    points = torch.rand(200, 4) * 10
    with torch.inference_mode():
        assert torch.equal(network(points), original(points))


def rewritten_header(path, change):
    """The file's bytes with its metadata document changed."""
    content = path.read_bytes()
    (length,) = struct.unpack("<Q", content[:8])
    header = json.loads(content[8 : 8 + length])
    document = json.loads(header["__metadata__"]["haskd_ros"])
    change(document)
    header["__metadata__"]["haskd_ros"] = json.dumps(document)
    text = json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + content[8 + length :]


@pytest.mark.parametrize(
    ("damage", "complaint"),
    [
        (lambda path: path.read_bytes()[:-100], "damaged or no model file"),
        (lambda path: path.read_bytes()[:20], "damaged or no model file"),
        (lambda path: b"", "damaged or no model file"),
        (lambda path: b"PK\x03\x04 a torch checkpoint" * 100, "damaged or no model file"),
        (
            lambda path: rewritten_header(path, lambda d: d.update(format=2)),
            "model format 2, this version reads format 1",
        ),
        (
            lambda path: rewritten_header(path, lambda d: d.update(architecture="resnet")),
            "unknown architecture 'resnet'; there are sparse_unet",
        ),
        (
            lambda path: rewritten_header(path, lambda d: d["arguments"].update(channels=[4, 16])),
            "has shape",
        ),
        (lambda path: rewritten_header(path, lambda d: d.pop("intensity")), "not understood"),
        (
            lambda path: rewritten_header(path, lambda d: d.update(temperature=0)),
            "temperature is 0, must be above 0",
        ),
    ],
)
def test_a_damaged_or_foreign_file_is_refused_in_one_line(tiny_model, tmp_path, damage, complaint):
    broken = tmp_path / "broken.safetensors"
    broken.write_bytes(damage(tiny_model))
    with pytest.raises(ModelFileError) as raised:
        model_file.load(broken)
    assert str(broken) in str(raised.value)
    assert complaint in str(raised.value)
    assert "\n" not in str(raised.value)


def test_safetensors_of_another_program_are_refused(tmp_path):
    path = tmp_path / "other.safetensors"
    save_file({"weight": torch.zeros(3)}, path)
    with pytest.raises(ModelFileError, match="not of haskd_ros"):
        model_file.load(path)


def test_weights_that_are_not_numbers_are_refused(tmp_path, tiny_metadata):
    network = build("sparse_unet", classes=3, **tiny_metadata.arguments)
    with torch.no_grad():
        network.classifier.bias[0] = float("nan")
    path = tmp_path / "diverged.safetensors"
    model_file.save(path, network, tiny_metadata)
    with pytest.raises(ModelFileError, match=r"classifier\.bias is not finite"):
        model_file.load(path)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(ModelFileError, match=r"none\.safetensors: no such file"):
        model_file.load(tmp_path / "none.safetensors")


def test_a_place_that_cannot_be_written_is_named_and_nothing_is_left(tmp_path, tiny_metadata):
    network = build("sparse_unet", classes=3, **tiny_metadata.arguments)
    blocked = tmp_path / "file"
    blocked.write_text("not a folder")
    with pytest.raises(InputError, match="can't be written"):
        model_file.save(blocked / "model.safetensors", network, tiny_metadata)
    assert [entry.name for entry in tmp_path.iterdir()] == ["file"]


@settings(max_examples=30)
@given(
    scale=st.floats(1e-3, 1e6),
    mean=st.floats(0, 1),
    max_range=st.floats(0.1, 1e4),
    text=st.text(max_size=20),
)
def test_metadata_survives_the_header(tiny_metadata, scale, mean, max_range, text):
    metadata = ModelMetadata(
        architecture="sparse_unet",
        arguments=tiny_metadata.arguments,
        taxonomy=tiny_metadata.taxonomy,
        intensity=Intensity(scale, mean, required=True),
        max_range=max_range,
        provenance={"attribution": text},
    )
    assert ModelMetadata.from_json(metadata.to_json()) == metadata


@pytest.mark.parametrize("size", SIZES)
def test_folding_batch_norm_changes_no_score(size):
    architecture, arguments = of_size(size, voxel_size=0.2)
    network = build(architecture, classes=11, **arguments)
    points = torch.rand(3000, 4) * torch.tensor([10.0, 10.0, 3.0, 1.0])
    # Running statistics that differ from the fresh ones, so that there is something to fold.
    network.train()(points)
    with torch.inference_mode():
        before = network.eval()(points)
        folded = fold_batch_norm(network)
        after = folded(points)
    torch.testing.assert_close(after, before, rtol=1e-4, atol=1e-4)
    left = [name for name, m in folded.named_modules() if "BatchNorm" in type(m).__name__]
    assert not left
