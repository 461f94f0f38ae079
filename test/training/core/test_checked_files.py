"""Documents and tensors with checksums: one flipped bit anywhere is noticed or changes nothing."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from damage import with_flipped_bit
from hypothesis import given, settings
from hypothesis import strategies as st

from haskd_ros.errors import InputError
from haskd_training.core.checked_json import from_text, read_json, to_text, write_json
from haskd_training.core.tensor_file import TensorFile, checksum, write_tensors

DOCUMENT = {"pose": [1.25, -3.0, float("nan")], "name": "Straße", "none": None, "n": 12}
TENSORS = {
    "points": np.arange(12, dtype=np.float32).reshape(3, 4),
    "seen": np.array([True, False]),
    "none": np.zeros((0, 5), np.float16),
    "step": np.array(7, np.int64),
}


@pytest.mark.parametrize("indent", [None, 2])
@pytest.mark.parametrize("document", [DOCUMENT, {}])
def test_a_document_reads_back_and_is_json_for_everybody(document: dict, indent: int) -> None:
    text = to_text(document, indent)
    read = json.loads(text)
    assert list(read)[:1] == ["checksum"]
    assert json.dumps(from_text(text)) == json.dumps(document)


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 8 * len(to_text(DOCUMENT).encode()) - 1))
def test_a_flipped_bit_in_a_document_is_noticed(bit: int) -> None:
    damaged = with_flipped_bit(to_text(DOCUMENT).encode(), bit)
    with pytest.raises(ValueError, match=r"checksum|doesn't begin"):
        from_text(damaged)


def test_a_damaged_document_is_named_with_what_to_do(tmp_path: Path) -> None:
    write_json(tmp_path / "result.json", {"mIoU": 51.25})
    text = (tmp_path / "result.json").read_text().replace("51.25", "61.25")
    (tmp_path / "result.json").write_text(text)
    with pytest.raises(InputError, match=r"result\.json is missing or damaged: .*; delete it$"):
        read_json(tmp_path / "result.json", "delete it")


def test_tensors_of_all_kinds_read_back_with_the_header(tmp_path: Path) -> None:
    write_tensors(tmp_path / "a.safetensors", TENSORS, {"rows": [1, 2]})
    file = TensorFile(tmp_path / "a.safetensors", "")
    assert file.header == {"rows": [1, 2]}
    read = file.read_all()
    assert read.keys() == TENSORS.keys()
    for name, tensor in TENSORS.items():
        assert (read[name].dtype, read[name].shape) == (tensor.dtype, tensor.shape)
        assert np.array_equal(read[name], tensor)


@pytest.fixture(scope="module")
def tensor_file(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, bytes]:
    path = tmp_path_factory.mktemp("tensors") / "a.safetensors"
    write_tensors(path, TENSORS, {"rows": [1, 2]})
    return path, path.read_bytes()


@settings(max_examples=80, deadline=None)
@given(share=st.floats(0, 1, exclude_max=True))
def test_a_flipped_bit_in_a_file_of_tensors_is_noticed_or_changes_nothing(
    tensor_file: tuple[Path, bytes], share: float
) -> None:
    path, whole = tensor_file
    path.write_bytes(with_flipped_bit(whole, int(share * 8 * len(whole))))
    try:
        read = TensorFile(path, "delete it").read_all()
    except InputError as error:
        assert str(path) in str(error) and str(error).endswith("; delete it")
    else:
        assert all(np.array_equal(read[name], TENSORS[name]) for name in TENSORS)


def test_a_file_under_the_name_of_another_is_refused(tmp_path: Path) -> None:
    write_tensors(tmp_path / "a-1.safetensors", TENSORS)
    (tmp_path / "a-1.safetensors").rename(tmp_path / "a-2.safetensors")
    with pytest.raises(InputError, match=r"a-2\.safetensors .*: it is a copy of a-1\.safetensors"):
        TensorFile(tmp_path / "a-2.safetensors", "")


def test_a_checksum_is_of_the_kind_of_numbers_too() -> None:
    zeros = np.zeros((2, 3), np.float32)
    others = (zeros.astype(np.int32), zeros.reshape(3, 2), zeros.astype(np.float16))
    assert len({checksum(zeros), *map(checksum, others)}) == 4
    # Of a view that is not contiguous it is that of what the view shows.
    assert checksum(np.arange(6.0).reshape(2, 3).T) == checksum(
        np.array([[0.0, 3.0], [1.0, 4.0], [2.0, 5.0]])
    )
