"""Digests of files: content decides, and what can't have changed isn't read."""

from __future__ import annotations

import hashlib
import json
import os
import time
from pathlib import Path

import pytest
from damage import change_in_place
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from haskd_ros.errors import InputError
from haskd_training.core import file_digests
from haskd_training.core.checked_json import read_json, write_json
from haskd_training.core.file_digests import FileDigests, file_digest

CONTENT = bytes(range(256)) * 8


def settled(path: Path, content: bytes = CONTENT) -> Path:
    """A file that was written long enough ago for its state to be trusted."""
    path.write_bytes(content)
    os.utime(path, (0, 0))
    time.sleep(0.02)  # a step of the file system's clock
    return path


def digest(record: Path, *paths: Path) -> list[str]:
    digests = FileDigests(record)
    found = digests.of(paths)
    digests.save()
    return found


@pytest.fixture
def trusted_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """States are trusted without waiting for two seconds."""
    monkeypatch.setattr(file_digests, "_SETTLED_NS", 0)


@settings(
    max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(place=st.integers(0, len(CONTENT) - 1), mask=st.integers(1, 255), waited=st.booleans())
def test_a_byte_changed_in_place_is_noticed_though_its_time_is_set_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, place: int, mask: int, waited: bool
) -> None:
    # Either the state is trusted and the clock has gone on, or it is too young to be trusted.
    monkeypatch.setattr(file_digests, "_SETTLED_NS", 0 if waited else 2_000_000_000)
    path = settled(tmp_path / "a") if waited else tmp_path / "a"
    path.write_bytes(CONTENT)
    if waited:
        time.sleep(0.02)
    before = digest(tmp_path / "record", path)
    change_in_place(path, place, mask)
    assert digest(tmp_path / "record", path) != before


@pytest.mark.usefixtures("trusted_at_once")
def test_a_file_that_the_file_system_says_is_the_same_is_not_read_again(tmp_path: Path) -> None:
    path, record = settled(tmp_path / "a"), tmp_path / "record"
    (found,) = digest(record, path)
    assert found == hashlib.sha256(CONTENT).hexdigest() == file_digest(path)
    # A record that says something else shows whether the file was read.
    document = read_json(record, "")
    document["files"][str(path)][0] = "recorded"
    write_json(record, document)
    assert digest(record, path) == ["recorded"]
    path.touch()
    assert digest(record, path) == [found]


@pytest.mark.parametrize("damage", ["", "[]", '{"checksum": "00000000", "files": {}}'])
@pytest.mark.usefixtures("trusted_at_once")
def test_a_damaged_record_costs_no_more_than_reading(tmp_path: Path, damage: str) -> None:
    path, record = settled(tmp_path / "a"), tmp_path / "record"
    expected = digest(record, path)
    record.write_text(damage)
    assert digest(record, path) == expected


@pytest.mark.usefixtures("trusted_at_once")
def test_the_same_content_elsewhere_has_the_same_digest(tmp_path: Path) -> None:
    one, two = settled(tmp_path / "a"), settled(tmp_path / "b")
    assert len(set(digest(tmp_path / "record", one, two, one))) == 1
    assert json.loads((tmp_path / "record").read_text())["files"].keys() == {str(one), str(two)}


def test_every_piece_of_a_large_file_counts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # 2,048 bytes in pieces of 600: three whole ones and one of 248.
    monkeypatch.setattr(file_digests, "PIECE_BYTES", 600)
    path = tmp_path / "a"
    path.write_bytes(CONTENT)
    pieces = [hashlib.sha256(CONTENT[k : k + 600]).digest() for k in (0, 600, 1200, 1800)]
    assert file_digest(path) == hashlib.sha256(b"".join(pieces)).hexdigest()
    path.write_bytes(CONTENT[:-1])
    assert file_digest(path) != hashlib.sha256(b"".join(pieces)).hexdigest()
    path.write_bytes(b"")
    assert file_digest(path) == hashlib.sha256(b"").hexdigest()


def test_a_file_that_changes_while_it_is_used_is_named(tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.write_bytes(CONTENT)
    digests = FileDigests(tmp_path / "record")
    digests.of([path])
    digests.check_unchanged()
    with path.open("ab") as file:
        file.write(b"more")
    with pytest.raises(InputError, match=r"/a changed while it was read; run the command again"):
        digests.check_unchanged()
    path.unlink()
    with pytest.raises(InputError, match=r"/a changed while it was read"):
        digests.check_unchanged()
    with pytest.raises(InputError, match=r"/a can't be read: No such file"):
        FileDigests(tmp_path / "record").of([path])
