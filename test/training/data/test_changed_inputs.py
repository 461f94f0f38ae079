"""What was changed in place is not unchanged, and what only moved is."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from damage import change_in_place
from hypothesis import given, settings
from hypothesis import strategies as st
from prepared_inputs import PreparedInputs, prepared

from haskd_ros.errors import InputError
from haskd_training.core import file_digests
from haskd_training.data.preparing.prepare import prepare
from recorded_bags import write_bag


@pytest.fixture(scope="module", params=["mcap", "sqlite3 with a log", "ros1", "kitti", ".label"])
def inputs(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> PreparedInputs:
    return prepared(tmp_path_factory.mktemp("inputs"), request.param)


@settings(max_examples=6, deadline=None)
@given(data=st.data())
def test_a_byte_changed_anywhere_is_a_change(inputs: PreparedInputs, data: st.DataObject) -> None:
    assert inputs.look().finished is not None
    file = data.draw(st.sampled_from(inputs.files))
    place = data.draw(st.integers(0, file.stat().st_size - 1))
    mask = data.draw(st.integers(1, 255))
    change_in_place(file, place, mask)
    try:
        with pytest.raises(InputError):
            inputs.look()
    finally:
        change_in_place(file, place, mask)
    assert inputs.look().finished is not None


def test_labels_corrected_in_place_are_told_with_what_to_do(tmp_path: Path) -> None:
    inputs = prepared(tmp_path, ".label")
    change_in_place(inputs.files[-1], 400)
    expected = r"cache of other bags, labels or settings, or these have changed; delete it"
    with pytest.raises(InputError, match=expected):
        inputs.look()


def test_a_copied_bag_is_the_same_bag(tmp_path: Path) -> None:
    bag = write_bag(tmp_path / "here")
    prepare([bag], "pandaset", tmp_path / "cache")
    shutil.copytree(bag, tmp_path / "there" / bag.name, copy_function=shutil.copyfile)
    assert prepare([tmp_path / "there" / bag.name], "pandaset", tmp_path / "cache").up_to_date


def test_an_unchanged_bag_is_not_read_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(file_digests, "_SETTLED_NS", 0)
    bag = write_bag(tmp_path)
    prepare([bag], "pandaset", tmp_path / "cache")

    def read(name: str, number: int) -> bytes:
        raise AssertionError(f"{name} was read")

    monkeypatch.setattr(file_digests, "_of_piece", read)
    assert prepare([bag], "pandaset", tmp_path / "cache").up_to_date
    (bag / "metadata.yaml").touch()
    with pytest.raises(AssertionError, match=r"metadata\.yaml was read"):
        prepare([bag], "pandaset", tmp_path / "cache")


def test_a_bag_that_is_still_being_written_is_refused(tmp_path: Path) -> None:
    bag = write_bag(tmp_path)
    (file,) = bag.glob("*.mcap")

    def append(done: int, total: int, remark: str = "") -> None:
        if total == 8 and done == 8:  # 4 clouds and 4 images have been written
            with file.open("ab") as more:
                more.write(b"more")

    with pytest.raises(InputError, match=r"\.mcap changed while it was read"):
        prepare([bag], "pandaset", tmp_path / "cache", progress=append)
    assert not (tmp_path / "cache").exists()


def test_what_sqlite_leaves_beside_a_database_that_somebody_looked_at_is_no_change(
    tmp_path: Path,
) -> None:
    bag = write_bag(tmp_path, kind="sqlite3")
    prepare([bag], "pandaset", tmp_path / "cache")
    (database,) = bag.glob("*.db3")
    database.with_name(f"{database.name}-shm").write_bytes(bytes(32768))
    assert prepare([bag], "pandaset", tmp_path / "cache").up_to_date


def test_what_is_changed_here_is_what_the_cache_is_made_from(inputs: PreparedInputs) -> None:
    report = inputs.look().finished
    assert report is not None
    assert {share.name for share in report.classes if share.points} == {"car"}
    assert report.sweeps == (2 if inputs.bag.is_dir() and inputs.bag.name == "bag" else 4)
