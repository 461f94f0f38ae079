"""What the runtime without Python makes of model files that anybody may have written: it takes
those that `model_file` takes, and no others."""

from __future__ import annotations

import os
import struct
from dataclasses import replace

import numpy as np
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
from runtime_library import REFUSED, Refused
from safetensors.torch import load as load_tensors

from haskd_ros import model_file
from haskd_ros.errors import InputError
from haskd_ros.models import SIZES, build
from haskd_ros.text import STEERING


@pytest.fixture(scope="module")
def content(tiny_model):
    return tiny_model.read_bytes()


@pytest.fixture(scope="module")
def opened(runtime, tmp_path_factory):
    """Opens a file of this content, and labels a cloud with it; raises `Refused`."""
    path = tmp_path_factory.mktemp("forged") / "forged.safetensors"
    cloud = np.random.default_rng(0).uniform(-9, 9, (50, 4)).astype(np.float32)

    def open_content(content):
        path.write_bytes(content)
        with runtime.open(path) as model:
            model.label_rows(cloud)

    return open_content


def refusal(opened, content):
    """The line by which it is refused."""
    with pytest.raises(Refused) as raised:
        opened(content)
    line = str(raised.value)
    assert raised.value.status == REFUSED
    assert line.startswith("model '") and line.isprintable() and len(line) < 1000
    return line


def python_takes(content):
    try:
        model_file.decode(content, "forged")
    except InputError:
        return False
    return True


def runtime_takes(opened, content):
    try:
        opened(content)
    except Refused as refused:
        assert refused.status == REFUSED
        return False
    return True


@pytest.mark.parametrize("change", NONSENSE)
def test_a_header_that_makes_no_sense_is_refused(opened, content, change):
    refusal(opened, with_document(content, NONSENSE[change][0]))


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        *HOSTILE_TEXTS,
        ('{"temperature": 1e999}', "a number that no double holds"),
        ('{"format": 2, "sha256": 3}', "no checksum"),
        ('{"format": 02}', "no JSON"),
        ('{"format": 2.}', "no JSON"),
        ('{"format": 2e}', "no JSON"),
        ('{"format": -}', "no JSON"),
        ('{"format": "\\ud800\\u0041"}', "half of a pair"),
        ('{"format": "\\u12"}', "an escape without four digits"),
        ('{"format": "\t"}', "a control character"),
        ("", "no JSON"),
    ],
)
def test_hostile_text_in_a_header_is_refused(opened, content, text, complaint):
    assert complaint in refusal(opened, with_text(content, text))


@pytest.mark.parametrize("head", [b"", b"\0" * 7, b"\0" * 8, struct.pack("<Q", 1 << 62)])
def test_a_file_that_is_none_of_these_is_refused(opened, content, head):
    for forged in (head, head + b"PK\x03\x04" * 100, (head or b"more") + content):
        assert "damaged or no model file" in refusal(opened, forged)


NORM = "point_encoder.0.norm"


@pytest.mark.parametrize(
    ("name", "edit", "complaint"),
    [
        ("classifier.bias", lambda v: v.to(torch.int8), "is of type 'I8'"),
        ("classifier.bias", lambda v: v.long(), "is of type I64, wanted F32"),
        ("classifier.bias", lambda v: v.double(), "is of type 'F64'"),
        ("classifier.bias", lambda v: v * torch.nan, "weight classifier.bias is not finite"),
        ("classifier.bias", lambda v: v * 0 + 3e38, "as large as 3e+38, allowed is up to 1e+12"),
        ("classifier.bias", lambda v: v[:2], "has shape [2], the architecture wants [3]"),
        ("classifier.bias", lambda v: v[:, None], "has shape [3, 1], the architecture wants [3]"),
        ("classifier.more", lambda v: torch.zeros(3), "it has no 'classifier.more'"),
        (f"{NORM}.running_var", lambda v: v - 2, f"weight {NORM}.running_var is negative (-1)"),
        (f"{NORM}.num_batches_tracked", lambda v: v - 1, "num_batches_tracked is negative (-1)"),
        (f"{NORM}.num_batches_tracked", lambda v: v[None], "has shape [1]"),
    ],
)
def test_weights_that_a_network_cannot_have_are_refused(opened, content, name, edit, complaint):
    forged = with_tensor(content, name, edit(load_tensors(content).get(name)))
    assert complaint in refusal(opened, forged)


@pytest.mark.parametrize(
    "entry",
    [
        *(7, [], {}, {"dtype": "F32", "shape": "all"}, {"dtype": [], "shape": [3]}),
        {"dtype": "F32", "shape": [3], "data_offsets": [0, 12, 12]},
        {"dtype": "F32", "shape": [3], "data_offsets": [12, 0]},
        {"dtype": "F32", "shape": [3], "data_offsets": [0, 12], "more": 1},
        {"dtype": "F32", "shape": [3], "data_offsets": [0, 12]},  # overlaps another one
        {"dtype": "F32", "shape": [-3], "data_offsets": [0, -12]},
        {"dtype": "F32", "shape": [1 << 62, 1 << 62], "data_offsets": [0, 0]},
        {"dtype": "F32", "shape": [1 << 31] * 9, "data_offsets": [0, 1 << 63]},
        {"dtype": "F32", "shape": [3], "data_offsets": [(1 << 63) - 13, (1 << 63) - 1]},
        {"dtype": "F32", "shape": [3.0], "data_offsets": [0, 12]},
        {"dtype": "F32", "shape": [0, 1 << 62], "data_offsets": [0, 0]},
    ],
)
def test_a_tensor_that_cannot_be_where_the_header_says_is_refused(opened, content, entry):
    refusal(opened, with_header(content, lambda header: header.update({"classifier.bias": entry})))


@settings(max_examples=40, deadline=None)
@given(data=st.data())
def test_a_damaged_file_is_refused(opened, content, data):
    damaged = bytearray(content)
    length = int.from_bytes(content[:8], "little")
    if data.draw(st.booleans()):
        byte = data.draw(st.integers(0, 8 + length - 1) | st.integers(8 + length, len(content) - 1))
        damaged[byte] ^= 1 << data.draw(st.integers(0, 7))
    else:
        del damaged[data.draw(st.integers(0, len(content) - 1)) :]
    refusal(opened, bytes(damaged))


@settings(max_examples=40, deadline=None)
@given(data=st.data())
def test_bytes_changed_under_a_right_checksum_never_end_the_process(opened, content, data):
    damaged = bytearray(content)
    length = int.from_bytes(content[:8], "little")
    for _ in range(data.draw(st.integers(1, 4))):
        damaged[data.draw(st.integers(0, 8 + length - 1))] = data.draw(st.integers(0, 255))
    runtime_takes(opened, resealed(bytes(damaged)))


SCALARS = st.none() | st.booleans() | st.integers(-3, 300) | st.floats(-1e12, 1e12) | st.text()
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=5,
)


def places_of(value, place=()):
    """Of all values within a document."""
    if isinstance(value, (dict, list)):
        for key, inner in value.items() if isinstance(value, dict) else enumerate(value):
            yield (*place, key)
            yield from places_of(inner, (*place, key))


@settings(max_examples=40, deadline=None)
@given(data=st.data())
def test_a_document_is_taken_where_python_takes_it(opened, content, data):
    def change(document):
        document["sensor"].update(
            range_m={"p5": 1.0, "median": 2.0, "p95": 3.0}, class_counts=[1, 2, 3], entropy=0.5
        )
        document["provenance"].update(
            sweeps=3,
            shipped={"student": "a", "validation_miou": {"a": 0.5}, "validation_sweeps": 4},
        )
        places = [place for place in places_of(document) if place[0] != "sha256"]
        place = data.draw(st.sampled_from(places))
        inner = document
        for key in place[:-1]:
            inner = inner[key]
        if data.draw(st.booleans()) and isinstance(inner, dict):
            del inner[place[-1]]
        else:
            inner[place[-1]] = data.draw(VALUES)

    forged = with_document(content, change)
    assert runtime_takes(opened, forged) == python_takes(forged)


@settings(max_examples=40, deadline=None)
@given(name=st.text(max_size=102) | st.text(st.characters(categories=sorted(STEERING)), max_size=2))
def test_a_name_of_a_class_is_taken_where_python_takes_it(opened, content, name):
    forged = with_document(content, lambda d: d["taxonomy"]["classes"][0].update(name=name))
    assert runtime_takes(opened, forged) == python_takes(forged)


@pytest.mark.parametrize("size", ["P", "R"])
def test_other_networks_are_refused_by_name(opened, tiny_metadata, tmp_path, size):
    arguments = {**SIZES[size], "channels": [8, 8]}
    architecture = arguments.pop("architecture")
    if architecture == "point_transformer":
        arguments["voxel_size"] = 0.5
    header = replace(tiny_metadata, architecture=architecture, arguments=arguments)
    network = build(architecture, classes=3, **arguments)
    model_file.save(tmp_path / "other.safetensors", network, header)
    line = refusal(opened, (tmp_path / "other.safetensors").read_bytes())
    assert f"its architecture is '{architecture}'; this library has sparse_unet alone" in line


def test_what_is_no_file_is_refused(runtime, tmp_path):
    os.mkfifo(tmp_path / "pipe")
    large = tmp_path / "large"
    with large.open("wb") as file:
        file.truncate((1 << 30) + 1)
    for path, complaint in (
        (tmp_path / "none", "No such file"),
        (tmp_path, "no file, but a folder"),
        (tmp_path / "pipe", "no file, but a folder, pipe"),
        (large, "1073741825 bytes, allowed are 1073741824"),
        (b"\xff\x1b[2J", "No such file"),
        ("a" * 100_000, "File name too long"),
    ):
        with pytest.raises(Refused, match=complaint) as refused:
            runtime.open(path)
        assert str(refused.value).isprintable()


def test_a_header_that_promises_gigabytes_costs_none(opened, content):
    def promise(document):
        document["arguments"]["channels"] = [4096] * 8
        document["arguments"]["blocks"] = [32] * 8

    assert "has shape" in refusal(opened, with_document(content, promise))


def test_a_document_may_lie_anywhere_in_the_header(opened, content):
    def move(header):
        header["__metadata__"] = {"another": "text", **header["__metadata__"]}

    forged = with_header(content, move)
    assert python_takes(forged) and runtime_takes(opened, forged)
