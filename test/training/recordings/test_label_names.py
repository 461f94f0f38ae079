"""Which label file belongs to which cloud."""

from __future__ import annotations

import re
from fractions import Fraction
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from haskd_training.recordings.label_names import CloudTime, NameNumber, match, name_number

EPOCH = 1_600_000_000_123_456_789
"""A stamp of today, in ns."""


def at_10_hz(count: int, start_ns: int, recorded_after_ns: int = 0) -> list[CloudTime]:
    stamps = [start_ns + 100_000_000 * number for number in range(count)]
    return [CloudTime(stamp, stamp + recorded_after_ns) for stamp in stamps]


def matched(stems: list[str], clouds: list[CloudTime]) -> tuple[str, dict[int, str]]:
    numbers = {stem: number for stem in stems if (number := name_number(stem))}
    found = match(numbers, clouds)
    assert found is not None
    return found.naming, dict(found.files)


@pytest.mark.parametrize(
    ("stem", "number"),
    [
        ("000012", NameNumber(Fraction(12))),
        ("12", NameNumber(Fraction(12))),
        ("cloud_000012", NameNumber(Fraction(12))),
        ("drive_2_000012", NameNumber(Fraction(12))),
        ("000012_lidarseg", NameNumber(Fraction(12))),
        # nuScenes: the date is no part of the stamp
        (
            "n015-2018-07-24-11-22-45+0800__LIDAR_TOP__1532402927647951",
            NameNumber(Fraction(1532402927647951)),
        ),
        ("1600000000.25", NameNumber(Fraction(6400000001, 4), digits=2)),
        # seconds and nanoseconds, padded or not
        ("1600000000_000005000", NameNumber(Fraction(1600000000000005000), is_pair=True)),
        ("1600000000_5000", NameNumber(Fraction(1600000000000005000), is_pair=True)),
        ("12-500000000", NameNumber(Fraction(12500000000), is_pair=True)),
        ("readme", None),
    ],
)
def test_the_number_in_a_name(stem: str, number: NameNumber | None) -> None:
    assert name_number(stem) == number


@pytest.mark.parametrize(
    ("naming", "names"),
    [
        ("stamp in ns", [1_600_000_000_123_456_789, 1_600_000_000_223_456_789]),
        ("stamp in us", [1_600_000_000_123_456, 1_600_000_000_223_457]),
        ("stamp in ms", [1_600_000_000_123, 1_600_000_000_223]),
        ("stamp in s", ["1600000000.123457", "1600000000.223457"]),
        # 10 ms are less than half of the 100 ms between clouds: cut off, .12 is .123
        ("stamp in s", ["1600000000.12", "1600000000.22"]),
        ("stamp in ns", ["1600000000_123456789", "1600000000_223456789"]),
        ("time of recording in ns", [1_600_000_000_163_456_789, 1_600_000_000_263_456_789]),
        ("time of recording in ms", [1_600_000_000_163, 1_600_000_000_263]),
        ("index from 0", ["000000", "000001"]),
        ("index from 0", ["0", "1"]),
        ("index from 1", ["000001", "000002"]),
    ],
)
def test_files_are_named_by_stamp_in_any_unit_or_by_index(naming: str, names: list[object]) -> None:
    """Two clouds at 10 Hz, recorded 40 ms after their stamps."""
    stems = [str(name) for name in names]
    found = matched(stems, at_10_hz(2, EPOCH, recorded_after_ns=40_000_000))
    assert found == (naming, {0: stems[0], 1: stems[1]})


@pytest.mark.parametrize("start_ns", [0, 20_000_000_000])
@pytest.mark.parametrize("unit_ns", [1, 1_000, 1_000_000])
def test_stamps_of_a_simulator_are_not_taken_for_indices(start_ns: int, unit_ns: int) -> None:
    """20 clouds; in ms from 0 on they are named 0, 100, ... 1900: numbers that could count."""
    clouds = at_10_hz(20, start_ns)
    stems = [str(cloud.stamp_ns // unit_ns) for cloud in clouds]
    naming, files = matched(stems, clouds)
    assert naming.startswith("stamp in")
    assert files == dict(enumerate(stems))


def test_indices_are_not_taken_for_stamps_of_a_simulator() -> None:
    """In ms, 0 to 19 would all lie near the cloud at 0 s."""
    stems = [f"{number:06d}" for number in range(20)]
    assert matched(stems, at_10_hz(20, 0)) == ("index from 0", dict(enumerate(stems)))


def test_a_name_too_coarse_to_tell_clouds_apart_counts_for_none() -> None:
    """1600000000.1 may be the cloud at .123 or, cut off, the one at .19."""
    clouds = [CloudTime(EPOCH, EPOCH), CloudTime(EPOCH + 70_000_000, EPOCH + 70_000_000)]
    numbers = {"a": name_number("1600000000.1")}
    assert match({"a": numbers["a"]}, clouds) is None  # type: ignore[dict-item]


def test_an_index_that_may_count_from_0_or_1_is_said_to_be_unsure() -> None:
    clouds = at_10_hz(20, EPOCH)

    def found(*numbers: int) -> tuple[str, bool]:
        matching = match({str(n): NameNumber(Fraction(n)) for n in numbers}, clouds)
        assert matching is not None
        return matching.naming, matching.ambiguous

    assert found(5, 10, 15) == ("index from 0", True)
    assert found(0, 5, 10) == ("index from 0", False)
    assert found(10, 20) == ("index from 1", False)


@given(
    stamps=st.sets(st.integers(0, 2 * 10**18 // 10**7), min_size=2, max_size=30),
    unit=st.sampled_from(["ns", "us", "ms", "pair", "seconds"]),
)
def test_every_cloud_gets_its_own_file_back(stamps: set[int], unit: str) -> None:
    """Clouds at least 10 ms apart, named by stamps that are whole ms."""
    clouds = [CloudTime(10**7 * number, 0) for number in sorted(stamps)]
    texts = {
        "ns": lambda ns: f"{ns}",
        "us": lambda ns: f"{ns // 10**3}",
        "ms": lambda ns: f"{ns // 10**6}",
        "pair": lambda ns: f"{ns // 10**9}_{ns % 10**9:09d}",
        "seconds": lambda ns: f"{ns // 10**9}.{ns % 10**9:09d}",
    }
    stems = [texts[unit](cloud.stamp_ns) for cloud in clouds]
    assert matched(stems, clouds)[1] == dict(enumerate(stems))


def test_the_folders_in_the_documentation_are_matched() -> None:
    page = Path(__file__).parents[3] / "docs" / "label_maps.md"
    by_stamp, by_index = re.findall(r"```text\n(.*?)```", page.read_text(), re.DOTALL)
    # Named for a cloud of stamp 1600000000.1 s and the next one
    clouds = at_10_hz(2, 1_600_000_000_100_000_000)
    folders = [*by_stamp.split("labels/")[1:], *re.split(r"drive\d/", by_index)[1:]]
    namings = []
    for folder in folders:
        stems = [Path(name).stem for name in re.findall(r"── (\S+\.\w+)", folder)]
        naming, files = matched(stems, clouds)
        assert files == dict(enumerate(stems))
        namings.append(naming)
    assert namings == [
        "stamp in ns", "stamp in us", "stamp in ms", "stamp in s", "stamp in ns",
        "index from 0", "index from 1",
    ]  # fmt: skip
