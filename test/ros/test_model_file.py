"""One file holds a model; anything else gets one clear line."""

import json
import resource
import struct

import psutil
import pytest
import torch
from forged_models import (
    HOSTILE_TEXTS,
    NONSENSE,
    resealed,
    with_document,
    with_header,
    with_tensor,
    with_text,
)
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load as load_tensors
from safetensors.torch import save_file

from haskd_ros import model_file
from haskd_ros.errors import InputError
from haskd_ros.model_content import ModelFileError
from haskd_ros.model_header import Intensity, ModelMetadata, Provenance
from haskd_ros.models import SIZES, build, of_size
from haskd_ros.models.blocks import fold_batch_norm
from haskd_ros.segmentation import DEFAULT_MODEL


def test_a_saved_model_comes_back_with_all_that_inference_needs(tmp_path, tiny_metadata):
    original = build("sparse_unet", classes=3, **tiny_metadata.arguments).eval()
    model_file.save(tmp_path / "model.safetensors", original, tiny_metadata)
    network, metadata = model_file.load(tmp_path / "model.safetensors")
    assert metadata == tiny_metadata
    points = torch.rand(200, 4) * torch.tensor([10.0, 10.0, 10.0, 1.0])  # within the input range
    with torch.inference_mode():
        assert torch.equal(network(points), original(points))


def refusal(content, tmp_path):
    """The line by which a file is refused."""
    path = tmp_path / "broken.safetensors"
    path.write_bytes(content)
    with pytest.raises(ModelFileError) as raised:
        model_file.load(path)
    line = str(raised.value)
    assert line.startswith(f"model {path}: ")
    assert "\n" not in line and line.isprintable() and len(line) < 600
    return line


@pytest.mark.parametrize(
    ("damage", "complaint"),
    [
        (lambda content: content[:-100], "doesn't match its checksum"),
        (lambda content: content + b"more", "doesn't match its checksum"),
        (lambda content: resealed(content[:-100]), "damaged or no model file"),
        (lambda content: content[:20], "damaged or no model file"),
        (lambda content: content[:7], "damaged or no model file"),
        (lambda content: b"", "damaged or no model file"),
        (lambda content: b"PK\x03\x04 a torch checkpoint" * 100, "damaged or no model file"),
        (lambda content: struct.pack("<Q", 1 << 62) + content, "damaged or no model file"),
        (
            lambda content: struct.pack("<Q", 3 << 20) + b" " * (3 << 20),
            "JSON of 3,145,728 characters, allowed are 1,048,576",
        ),
    ],
)
def test_a_damaged_or_foreign_file_is_refused_in_one_line(tiny_model, tmp_path, damage, complaint):
    assert complaint in refusal(damage(tiny_model.read_bytes()), tmp_path)


@settings(max_examples=60)
@given(data=st.data())
def test_one_flipped_bit_anywhere_is_noticed(tiny_model, data):
    content = bytearray(tiny_model.read_bytes())
    length = int.from_bytes(content[:8], "little")
    # Half of them in the header, which is a small part of the file.
    byte = data.draw(st.integers(0, 8 + length - 1) | st.integers(8 + length, len(content) - 1))
    content[byte] ^= 1 << data.draw(st.integers(0, 7))
    with pytest.raises(ModelFileError):
        model_file.decode(bytes(content), "flipped")


@pytest.mark.parametrize("change", NONSENSE)
def test_a_header_that_makes_no_sense_is_refused_in_one_line(tiny_model, tmp_path, change):
    edit, complaint = NONSENSE[change]
    assert complaint in refusal(with_document(tiny_model.read_bytes(), edit), tmp_path)


@pytest.mark.parametrize(("text", "complaint"), HOSTILE_TEXTS)
def test_hostile_text_in_a_header_is_refused_in_one_line(tiny_model, tmp_path, text, complaint):
    assert complaint in refusal(with_text(tiny_model.read_bytes(), text), tmp_path)


NORM = "point_encoder.0.norm"


@pytest.mark.parametrize(
    ("name", "edit", "complaint"),
    [
        ("classifier.bias", lambda v: v.to(torch.int8), "is of type 'I8', wanted torch.float32"),
        ("classifier.bias", lambda v: v > 0, "is of type 'BOOL', wanted torch.float32"),
        ("classifier.bias", lambda v: v.double(), "is of type 'F64', wanted"),
        ("classifier.bias", lambda v: v.half(), "is of type 'F16', wanted"),
        ("classifier.bias", lambda v: v.to(torch.complex64), "is of type 'C64', wanted"),
        ("classifier.bias", lambda v: v * torch.nan, "weight classifier.bias is not finite"),
        ("classifier.bias", lambda v: v * 0 + 3e38, "is as large as 3e+38, allowed is up to 1e+12"),
        ("classifier.bias", lambda v: v[:2], "has shape [2], the architecture wants [3]"),
        ("classifier.more", lambda v: torch.zeros(3), "1 names differ, the first is 'classifier."),
        (f"{NORM}.running_var", lambda v: v - 2, f"weight {NORM}.running_var is negative (-1)"),
        (f"{NORM}.num_batches_tracked", lambda v: v - 1, "num_batches_tracked is negative (-1)"),
    ],
)
def test_weights_that_a_network_cannot_have_are_refused(
    tiny_model, tmp_path, name, edit, complaint
):
    content = tiny_model.read_bytes()
    forged = with_tensor(content, name, edit(load_tensors(content).get(name)))
    assert complaint in refusal(forged, tmp_path)


@pytest.mark.parametrize(
    "value", [7, [], {"dtype": "F32", "shape": "all"}, {"dtype": [], "shape": [3]}, {}]
)
def test_a_tensor_that_is_not_described_is_refused(tiny_model, tmp_path, value):
    forged = with_header(tiny_model.read_bytes(), lambda h: h.update({"classifier.bias": value}))
    assert "classifier.bias" in refusal(forged, tmp_path)


def test_a_header_that_promises_gigabytes_costs_none(tiny_model, tmp_path):
    def promise(header):
        document = json.loads(header["__metadata__"]["haskd_ros"])
        document["arguments"]["channels"] = [4096] * 8  # 27 * 4096^2 * 4 bytes a convolution
        header["__metadata__"]["haskd_ros"] = json.dumps(document)

    forged = with_header(tiny_model.read_bytes(), promise)
    limits = resource.getrlimit(resource.RLIMIT_AS)
    in_use = psutil.Process().memory_info().vms
    resource.setrlimit(resource.RLIMIT_AS, (in_use + (1 << 28), limits[1]))
    try:
        assert "names differ" in refusal(forged, tmp_path)
    finally:
        resource.setrlimit(resource.RLIMIT_AS, limits)


def test_the_model_of_the_package_loads_and_says_whom_to_credit():
    network, metadata = model_file.load(DEFAULT_MODEL)
    assert "PandaSet" in metadata.provenance.attribution
    assert not any(value.is_meta for value in network.state_dict().values())
    # The lidar stands about 2 m above the road, and sees no house of more than 15 m at either end.
    height, intensity = metadata.input_range.height, metadata.input_range.intensity
    assert -4 < height.min < -1.5 and 8 < height.max < 15
    assert (intensity.min, intensity.max) == (0.0, 1.0)


def test_safetensors_of_another_program_are_refused(tmp_path):
    path = tmp_path / "other.safetensors"
    save_file({"weight": torch.zeros(3)}, path)
    with pytest.raises(ModelFileError, match="not of haskd_ros"):
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
    max_range=st.floats(0.1, 1e3),
    text=st.text(st.characters(exclude_categories=["Cs"]), max_size=20),
)
def test_metadata_survives_the_header(tiny_metadata, scale, mean, max_range, text):
    metadata = ModelMetadata(
        architecture="sparse_unet",
        arguments=tiny_metadata.arguments,
        taxonomy=tiny_metadata.taxonomy,
        intensity=Intensity(scale, mean, required=True),
        max_range=max_range,
        input_range=tiny_metadata.input_range,
        provenance=Provenance(attribution=text),
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
    # Of many blocks without trained statistics the scores are in the hundreds.
    torch.testing.assert_close(after, before, rtol=0, atol=1e-5 * float(before.abs().max()))
    left = [name for name, m in folded.named_modules() if "BatchNorm" in type(m).__name__]
    assert not left
