"""The files of a recording: what can be read as it was meant, and what mends the rest."""

from __future__ import annotations

import shutil
import sqlite3
import struct
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml
from backports import zstd
from rosbags.rosbag2 import StoragePlugin
from street_scene import START_NS, TENTH_NS, clouds, static, write

from haskd_ros.errors import InputError
from haskd_training.recordings.readers.bag import Bag, open_bag
from recorded_bags import write_bag

POINTS = "/points"


def bag_of(folder: Path, storage: StoragePlugin = StoragePlugin.MCAP, name: str = "drive") -> Path:
    """A bag of four clouds and a static transform."""
    return write(folder / name, [static(), *clouds(4)], storage)


def read(path: Path) -> tuple[list[str], Bag]:
    """Topics of all messages, and the bag (closed)."""
    with open_bag(path) as bag:
        return [topic for topic, _ in bag.messages(list(bag.topics))], bag


def refusal(path: Path) -> str:
    with pytest.raises(InputError) as error:
        read(path)
    return str(error.value)


def metadata(path: Path) -> dict:
    return yaml.safe_load((path / "metadata.yaml").read_text())["rosbag2_bagfile_information"]


def with_metadata(path: Path, **changes: object) -> None:
    content = {"rosbag2_bagfile_information": {**metadata(path), **changes}}
    (path / "metadata.yaml").write_text(yaml.safe_dump(content))


def contents(path: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in path.iterdir()}


def test_a_sound_recording_has_no_findings(tmp_path: Path) -> None:
    topics, bag = read(bag_of(tmp_path))
    assert topics.count(POINTS) == bag.count([POINTS]) == bag.expected[POINTS] == 4
    assert bag.findings == []


def test_a_renamed_storage_file_is_read_for_the_one_that_is_named(tmp_path: Path) -> None:
    path = bag_of(tmp_path)
    (path / "drive.mcap").rename(path / "monday morning.mcap")
    before = contents(path)
    topics, bag = read(path)
    assert topics.count(POINTS) == 4
    (finding,) = bag.findings
    assert finding.outcome == "repaired"
    assert "names drive.mcap, which is not there; monday morning.mcap is read" in finding.message
    assert finding.remedy == f"`ros2 bag reindex {path}` writes metadata.yaml anew"
    assert contents(path) == before


def split(folder: Path) -> Path:
    """A recording of three files of two clouds each."""
    path = folder / "drive"
    path.mkdir(parents=True)
    names = []
    every = list(clouds(6))
    for part in range(3):
        one = write(folder / f"part{part}", every[2 * part : 2 * part + 2])
        names.append(f"drive_{part}.mcap")
        shutil.move(one / f"part{part}.mcap", path / names[-1])
    shutil.copy(folder / "part0" / "metadata.yaml", path)
    (topic,) = metadata(path)["topics_with_message_count"]
    with_metadata(
        path,
        relative_file_paths=names,
        message_count=6,
        topics_with_message_count=[{**topic, "message_count": 6}],
    )
    return path


def test_renamed_parts_are_told_by_their_numbers(tmp_path: Path) -> None:
    path = split(tmp_path)
    for part in range(3):
        (path / f"drive_{part}.mcap").rename(path / f"monday_{part}.mcap")
    topics, bag = read(path)
    assert topics.count(POINTS) == 6
    assert {finding.code for finding in bag.findings} == {"file-renamed"}


def test_renamed_parts_without_numbers_are_refused_with_what_mends_it(tmp_path: Path) -> None:
    path = split(tmp_path)
    for part, name in enumerate(("red", "green", "blue")):
        (path / f"drive_{part}.mcap").rename(path / f"{name}.mcap")
    message = refusal(path)
    assert "names drive_0.mcap, drive_1.mcap, drive_2.mcap" in message
    assert "blue.mcap, green.mcap, red.mcap" in message
    assert f"`ros2 bag reindex {path}`" in message
    assert "cut off" not in message


def test_of_a_split_recording_that_lacks_a_part_the_others_are_read(tmp_path: Path) -> None:
    path = split(tmp_path)
    (path / "drive_1.mcap").unlink()
    topics, bag = read(path)
    assert topics.count(POINTS) == bag.count([POINTS]) == 4
    missing, counted = bag.findings
    assert missing.outcome == counted.outcome == "left out"
    assert "1 of 3 storage files are missing: drive_1.mcap" in missing.message
    assert "holds 4 of the 6 messages" in counted.message


def test_an_empty_part_is_told_and_the_others_are_read(tmp_path: Path) -> None:
    path = split(tmp_path)
    (path / "drive_1.mcap").write_bytes(b"")
    topics, bag = read(path)
    assert topics.count(POINTS) == 4
    assert "1 of 3 storage files are missing: drive_1.mcap (empty)" in bag.findings[0].message


@pytest.mark.parametrize("storage", [StoragePlugin.MCAP, StoragePlugin.SQLITE3])
def test_a_recording_whose_only_file_is_empty_says_so(
    tmp_path: Path, storage: StoragePlugin
) -> None:
    path = bag_of(tmp_path, storage)
    (file,) = path.glob("drive.*")
    file.write_bytes(b"")
    message = refusal(path)
    assert f"{file.name} is empty" in message and "cut off" not in message


def test_of_a_split_recording_the_part_that_is_cut_off_is_named(tmp_path: Path) -> None:
    path = split(tmp_path)
    last = path / "drive_2.mcap"
    last.write_bytes(last.read_bytes()[:-40])
    message = refusal(path)
    assert message.startswith(f"{last} is cut off") and f"`mcap recover {last} -o" in message


@pytest.mark.parametrize("name", ["drive.mcap", "drive.db3", "drive.bag"])
@pytest.mark.parametrize(("data", "expected"), [(b"", "is empty"), (b"text", "is no recording")])
def test_a_file_that_holds_no_recording_is_not_said_to_be_cut_off(
    tmp_path: Path, name: str, data: bytes, expected: str
) -> None:
    path = tmp_path / name
    path.write_bytes(data)
    message = refusal(path)
    assert expected in message and "cut off" not in message and "recover" not in message


def test_metadata_without_a_topic_that_the_file_holds_is_refused(tmp_path: Path) -> None:
    path = bag_of(tmp_path, StoragePlugin.SQLITE3)
    topics = metadata(path)["topics_with_message_count"]
    kept = [one for one in topics if one["topic_metadata"]["name"] != POINTS]
    with_metadata(path, topics_with_message_count=kept)
    message = refusal(path)
    assert "lacks topics that the storage files hold (/points)" in message
    assert f"`ros2 bag reindex {path}`" in message


def test_more_messages_than_metadata_counts_are_read_and_told(tmp_path: Path) -> None:
    path = bag_of(tmp_path, StoragePlugin.SQLITE3)
    topics = metadata(path)["topics_with_message_count"]
    with_metadata(path, topics_with_message_count=[one | {"message_count": 1} for one in topics])
    read_topics, bag = read(path)
    assert read_topics.count(POINTS) == 4
    # 4 clouds and 1 transform; 1 and 1 are counted.
    (finding,) = bag.findings
    assert finding.outcome == "noted"
    assert "holds 5 messages where metadata.yaml counts 2 (/points 4 of 1)" in finding.message


def test_a_part_that_is_not_named_is_told(tmp_path: Path) -> None:
    path = split(tmp_path)
    with_metadata(path, relative_file_paths=["drive_0.mcap", "drive_1.mcap"], message_count=4)
    _, bag = read(path)
    codes = {finding.code: finding for finding in bag.findings}
    assert "drive_2.mcap is not named" in codes["file-not-named"].message


def test_a_recording_without_any_of_its_files_says_so(tmp_path: Path) -> None:
    path = bag_of(tmp_path)
    (path / "drive.mcap").unlink()
    message = refusal(path)
    assert "no storage file is there; metadata.yaml names drive.mcap" in message
    assert "cut off" not in message


def test_a_ros_2_recording_may_be_named_like_a_ros_1_file(tmp_path: Path) -> None:
    topics, bag = read(bag_of(tmp_path, name="drive.bag"))
    assert topics.count(POINTS) == 4
    assert not bag.is_ros1


@pytest.mark.parametrize("kind", ["mcap", "sqlite3", "ros1"])
@pytest.mark.parametrize("name", ["drive.dat", "drive.bag", "drive.mcap", "drive.db3", "drive"])
def test_a_file_is_what_its_first_bytes_say(tmp_path: Path, kind: str, name: str) -> None:
    path = write_bag(tmp_path / "whole", kind=kind)
    file = path if path.is_file() else next(path.glob("*.[md][cb]*"))
    renamed = tmp_path / name
    shutil.copy(file, renamed)
    topics, _ = read(renamed)
    assert topics.count("/lidar/points") == 4


def test_a_file_of_another_kind_is_not_said_to_be_cut_off(tmp_path: Path) -> None:
    path = tmp_path / "drive.mcap.zst"
    path.write_bytes(zstd.compress(b"anything"))
    message = refusal(path)
    assert "compressed as a whole" in message and f"`zstd -d {path}`" in message


def in_ros1_profile(data: bytes) -> bytes:
    return data.replace(b"\x04\x00\x00\x00ros2", b"\x04\x00\x00\x00ros1", 1)


def as_file(path: Path) -> Path:
    return path / "drive.mcap"


@pytest.mark.parametrize("target", [as_file, lambda path: path])
def test_ros_1_in_mcap_is_named_with_what_converts_it(
    tmp_path: Path, target: Callable[[Path], Path]
) -> None:
    path = bag_of(tmp_path)
    as_file(path).write_bytes(in_ros1_profile(as_file(path).read_bytes()))
    message = refusal(target(path))
    assert "holds ROS 1 messages in MCAP" in message
    assert "`rosbags-convert --src drive.bag --dst drive`" in message
    assert "cut off" not in message


def without_profile(data: bytes) -> bytes:
    """The header of another recorder: no profile, and a library's name that is longer by that."""
    assert data[17:25] == b"\x04\x00\x00\x00ros2"
    (length,) = struct.unpack_from("<I", data, 25)
    library = b"our " + data[29 : 29 + length]
    header = struct.pack("<II", 0, len(library)) + library
    return data[:17] + header + data[29 + length :]


@pytest.mark.parametrize("target", [as_file, lambda path: path])
def test_an_mcap_of_another_recorder_needs_no_profile(
    tmp_path: Path, target: Callable[[Path], Path]
) -> None:
    path = bag_of(tmp_path)
    as_file(path).write_bytes(without_profile(as_file(path).read_bytes()))
    before = as_file(path).read_bytes()
    assert read(target(path))[0].count(POINTS) == 4
    assert as_file(path).read_bytes() == before


def test_messages_that_are_not_ros_2_s_are_named(tmp_path: Path) -> None:
    path = bag_of(tmp_path)
    as_file(path).write_bytes(as_file(path).read_bytes().replace(b"ros2msg", b"ros1msg"))
    message = refusal(path)
    assert "holds messages that aren't ROS 2's (ros1msg)" in message
    assert "cut off" not in message


def test_a_ros_1_bag_that_was_not_closed_can_be_reindexed(tmp_path: Path) -> None:
    whole = write_bag(tmp_path, kind="ros1").read_bytes()
    active = tmp_path / "drive.bag.active"
    # The index comes at the end, and its place in the header last of all.
    active.write_bytes(whole[: len(whole) // 2])
    assert f"`rosbag reindex {active}`" in refusal(active)


def test_a_recording_may_be_the_current_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = bag_of(tmp_path)
    (path / "drive.mcap").rename(path / "monday.mcap")
    monkeypatch.chdir(path)
    assert read(Path())[0].count(POINTS) == 4


def test_a_newer_format_is_not_said_to_be_cut_off(tmp_path: Path) -> None:
    path = bag_of(tmp_path)
    with_metadata(path, version=99)
    message = refusal(path)
    assert "is of a kind that can't be read" in message and "version 99" in message
    assert "cut off" not in message


def test_metadata_that_is_empty_can_be_written_anew(tmp_path: Path) -> None:
    path = bag_of(tmp_path)
    information = metadata(path)
    del information["version"]
    no_version = yaml.safe_dump({"rosbag2_bagfile_information": information})
    for text in (no_version, "", "rosbag2_bagfile_information:\n  version: 9\n", "- a list\n", "{"):
        (path / "metadata.yaml").write_text(text)
        assert f"`ros2 bag reindex {path}` writes it anew" in refusal(path)


def test_the_folder_above_recordings_names_them(tmp_path: Path) -> None:
    bag_of(tmp_path)
    bag_of(tmp_path, name="another")
    assert "name those in it: another, drive" in refusal(tmp_path)


def compressed(path: Path) -> Path:
    """The recording's sqlite file compressed as `ros2 bag record --compression-mode file` does."""
    (file,) = path.glob("*.db3")
    Path(f"{file}.zstd").write_bytes(zstd.compress(file.read_bytes()))
    file.unlink()
    with_metadata(
        path,
        compression_mode="FILE",
        compression_format="zstd",
        relative_file_paths=[f"{file.name}.zstd"],
    )
    return file


def test_file_compression_is_read_as_every_release_wrote_its_paths(tmp_path: Path) -> None:
    path = bag_of(tmp_path, StoragePlugin.SQLITE3)
    file = compressed(path)
    assert read(path)[0].count(POINTS) == 4
    for name in (f"drive/{file.name}.zstd", file.name, f"drive/{file.name}"):
        with_metadata(path, relative_file_paths=[name])
        assert read(path)[0].count(POINTS) == 4


def test_files_that_were_compressed_or_decompressed_by_hand_are_read(tmp_path: Path) -> None:
    path = bag_of(tmp_path, StoragePlugin.SQLITE3)
    (file,) = path.glob("*.db3")
    whole = file.read_bytes()
    Path(f"{file}.zstd").write_bytes(zstd.compress(whole))
    file.unlink()
    assert read(path)[0].count(POINTS) == 4
    compressed_path = tmp_path / "other"
    shutil.copytree(path, compressed_path)
    with_metadata(compressed_path, compression_mode="FILE", compression_format="zstd")
    Path(compressed_path / f"{file.name}.zstd").unlink()
    (compressed_path / file.name).write_bytes(whole)
    assert read(compressed_path)[0].count(POINTS) == 4


def with_log(folder: Path) -> tuple[Path, sqlite3.Connection]:
    """A recording whose last two clouds are in its write-ahead log alone, while the connection is
    open."""
    path = bag_of(folder, StoragePlugin.SQLITE3)
    connection = sqlite3.connect(path / "drive.db3")
    connection.execute("pragma journal_mode=wal")
    connection.execute("pragma wal_autocheckpoint=0")
    late = START_NS + 2 * TENTH_NS
    rows = connection.execute(
        "select id, topic_id, timestamp, data from messages where timestamp >= ?", (late,)
    ).fetchall()
    connection.execute("delete from messages where timestamp >= ?", (late,))
    connection.commit()
    connection.execute("pragma wal_checkpoint(truncate)")
    connection.executemany("insert into messages values (?, ?, ?, ?)", rows)
    connection.commit()
    return path, connection


def test_a_write_ahead_log_is_taken_in_and_the_files_stay_as_they_are(tmp_path: Path) -> None:
    path, connection = with_log(tmp_path)
    copied = tmp_path / "copied" / "drive"
    shutil.copytree(path, copied, ignore=shutil.ignore_patterns("*-shm"))
    connection.close()
    before = contents(copied)
    assert set(before) == {"drive.db3", "drive.db3-wal", "metadata.yaml"}
    for opened in (copied, copied / "drive.db3"):
        topics, bag = read(opened)
        assert topics.count(POINTS) == 4
        (finding,) = bag.findings
        assert (finding.code, finding.outcome) == ("write-ahead-log", "repaired")
    assert contents(copied) == before


def test_a_write_ahead_log_that_was_left_behind_is_told(tmp_path: Path) -> None:
    path, connection = with_log(tmp_path)
    copied = tmp_path / "copied" / "drive"
    shutil.copytree(path, copied, ignore=shutil.ignore_patterns("*-shm", "*-wal"))
    connection.close()
    topics, bag = read(copied)
    assert topics.count(POINTS) == bag.count([POINTS]) == 2
    assert bag.expected[POINTS] == 4
    (finding,) = bag.findings
    assert finding.outcome == "left out"
    assert "holds 3 of the 5 messages that metadata.yaml counts (/points 2 of 4)" in finding.message
    assert finding.remedy.startswith("copy drive.db3-wal beside drive.db3")


def test_a_storage_identifier_that_is_wrong_is_corrected(tmp_path: Path) -> None:
    path = bag_of(tmp_path)
    with_metadata(path, storage_identifier="sqlite3")
    assert read(path)[0].count(POINTS) == 4
