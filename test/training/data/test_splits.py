"""Which sweeps serve what."""

from __future__ import annotations

import logging
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from haskd_ros.errors import InputError
from haskd_training.data.caches.cache import Cache
from haskd_training.data.caches.rows import SweepRow
from haskd_training.data.cuts import block_sizes, cut_in_parts
from haskd_training.data.splits import ROLES, SplitConfig, make_split
from haskd_training.data.sweep_ref import SweepRef, runs
from haskd_training.recordings.labels import load_label_map

SHARES = [0.7, 0.1, 0.1, 0.1]


def cache(**drives: str) -> Cache:
    """Sweeps by recording: L labelled, - not."""
    taxonomy = load_label_map("simulation").taxonomy
    rows = [
        SweepRow(name, 100_000_000 * number, 10, [5 * (letter == "L")] * len(taxonomy))
        for name, letters in drives.items()
        for number, letter in enumerate(letters)
    ]
    return Cache(Path("cache"), taxonomy, 1.0, {}, rows, [], "fingerprint")


def numbers(given: Cache, config: SplitConfig | None = None) -> dict[str, list[int]]:
    split = make_split([given], config or SplitConfig(distil_held_out=False))
    roles = ("train", "calibration", "validation", "test", "unlabelled")
    return {role: [ref.sweep for ref in getattr(split, role)] for role in roles}


def test_of_a_drive_whose_first_half_is_labelled_that_half_is_split() -> None:
    # 20 labelled sweeps: 14 to train on, 2 to calibrate, 2 to validate, 2 to test
    assert numbers(cache(drive=20 * "L" + 20 * "-")) == {
        "train": [*range(14)], "calibration": [14, 15], "validation": [16, 17], "test": [18, 19],
        "unlabelled": [*range(20, 40)],
    }  # fmt: skip


def test_sweeps_without_labels_among_held_out_ones_are_left_out() -> None:
    # Ten labelled sweeps, 0, 3, ... 27: 0 to 18 train, 21 calibrates, 24 validates, 27 tests.
    # 19 and 20 lie in the calibration block, which begins behind 18; 28 and 29 behind the last one.
    found = numbers(cache(drive=10 * "L--"))
    assert found["train"] == [*range(0, 21, 3)]
    assert [found[role] for role in ("calibration", "validation", "test")] == [[21], [24], [27]]
    assert found["unlabelled"] == [n for n in range(18) if n % 3] + [28, 29]


@pytest.mark.parametrize(
    ("sweeps", "sizes"),
    [
        (200, [140, 20, 20, 20]),
        (60, [42, 6, 6, 6]),
        # 16.8 19.2 21.6: rounded 17 19 22
        (24, [17, 2, 3, 2]),
        (10, [7, 1, 1, 1]),
        # Rounded 4 4 4 5: calibration and validation would have none
        (5, [2, 1, 1, 1]),
        (4, [1, 1, 1, 1]),
        # Too few for a test: it is scored on the validation sweep
        (3, [1, 1, 1, 0]),
        (1, [1, 0, 0, 0]),
    ],
)
def test_every_role_gets_a_sweep_where_there_are_enough(sweeps: int, sizes: list[int]) -> None:
    assert block_sizes([sweeps], SHARES) == [sizes]


def test_six_drives_of_ten_sweeps_give_each_role_the_last_ones_of_all() -> None:
    # With a test drive of its own: 8, 1 and 1 of each
    assert block_sizes([10] * 6, [0.8, 0.1, 0.1, 0.0]) == [[8, 1, 1, 0]] * 6


def test_many_drives_of_few_sweeps_give_each_role_its_share() -> None:
    # Each is cut at 2.8 3.2 3.6 4: 3, 0, 1, 0. Of 40 sweeps, 4 have to calibrate and 4 to test.
    sizes = block_sizes([4] * 10, SHARES)
    assert [sum(own[role] for own in sizes) for role in range(4)] == [22, 4, 10, 4]


@given(
    counts=st.lists(st.integers(0, 60), min_size=1, max_size=8),
    held_out=st.lists(st.sampled_from([0.0, 0.05, 0.1, 0.2, 0.25]), min_size=3, max_size=3),
)
@example(counts=[2, 2], held_out=[0.05, 0.05, 0.2])
def test_no_sweep_is_lost_and_no_role_left_without(
    counts: list[int], held_out: list[float]
) -> None:
    shares = [1 - sum(held_out), *held_out]
    sizes = block_sizes(counts, shares)
    assert [sum(own) for own in sizes] == counts
    assert all(size >= 0 for own in sizes for size in own)
    totals = [sum(own[role] for own in sizes) for role in range(4)]
    wanted = [role for role, share in enumerate(shares) if share > 0]
    if sum(counts) >= len(wanted):
        assert all(totals[role] for role in wanted)
    for role, share in enumerate(shares):
        assert share or not totals[role]


def test_a_role_without_a_sweep_is_warned_of(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        numbers(cache(drive="LLL"))
    assert [record.getMessage() for record in caplog.records] == [
        "no sweep is left for test: there are too few labelled sweeps"
    ]
    caplog.clear()
    with caplog.at_level(logging.WARNING):
        numbers(cache(drive="LLL"), replace_shares(test=0.0))
    assert not caplog.records


def replace_shares(**shares: float) -> SplitConfig:
    return SplitConfig(distil_held_out=False).model_copy(update=shares)


def test_a_recording_without_labels_is_trained_on_as_a_whole() -> None:
    labelled, other = cache(first=10 * "L"), cache(second=10 * "-")
    split = make_split([labelled, replace(other, path=Path("b"))], replace_shares())
    assert [(ref.cache, ref.sweep) for ref in split.unlabelled] == [(1, n) for n in range(10)]


# Out of fold


def test_parts_are_whole_recordings_where_those_are_enough() -> None:
    given = cache(a=4 * "L", b=4 * "L", c=4 * "L", d=4 * "L")
    split = make_split([given], SplitConfig(folds=2, test=0))
    assert [[ref.sweep for ref in part] for part in split.parts] == [[*range(8)], [*range(8, 16)]]
    assert split.train == [SweepRef(0, i) for i in range(16)]
    assert split.calibration == split.validation == split.test == []


def test_a_long_recording_and_short_ones_are_parts_of_about_the_same_size() -> None:
    given = cache(a=10 * "L", b=2 * "L", c=3 * "L", d=4 * "L")
    (first, second) = make_split([given], SplitConfig(folds=2, test=0)).parts
    assert ([ref.sweep for ref in first], len(second)) == ([*range(10)], 9)


def test_recordings_of_very_different_length_are_cut_by_time() -> None:
    (first, second) = make_split([cache(a=19 * "L", b="L")], SplitConfig(folds=2, test=0)).parts
    assert [len(first), len(second)] == [10, 10]


def test_an_unlabelled_sweep_is_told_of_by_what_has_not_learned_from_its_neighbours() -> None:
    # a: labelled 0 and 3, b: 0 and 3; what lies between is nearer to one of them.
    split = make_split([cache(a="L--L", b="L--L")], SplitConfig(folds=2, test=0))
    assert [[ref.sweep for ref in part] for part in split.parts] == [[0, 3], [4, 7]]
    told = [[ref.sweep for ref in split.told_of_part(number).unlabelled] for number in (0, 1)]
    assert told == [[1, 2], [5, 6]]
    # One recording, two parts: the nearest labelled sweep says which.
    split = make_split([cache(drive="LL--L-LL")], SplitConfig(folds=2, test=0))
    told = [[ref.sweep for ref in split.told_of_part(number).unlabelled] for number in (0, 1)]
    assert [[ref.sweep for ref in part] for part in split.parts] == [[0, 1], [4, 6, 7]]
    assert told == [[2], [3, 5]]


def test_one_recording_is_cut_in_blocks_of_time_and_its_end_tests() -> None:
    split = make_split([cache(drive=20 * "L")], SplitConfig(folds=3, test=0.1))
    assert [ref.sweep for ref in split.test] == [18, 19]
    assert [[ref.sweep for ref in part] for part in split.parts] == [
        [*range(6)], [*range(6, 12)], [*range(12, 18)],
    ]  # fmt: skip


def test_what_tells_of_a_part_has_not_learned_from_it() -> None:
    labelled, silent = cache(a=3 * "L", b=3 * "L", c=3 * "L"), cache(quiet=5 * "-")
    split = make_split([labelled], SplitConfig(folds=3, test=0), unlabelled=[silent])
    told: list[SweepRef] = []
    for number in range(3):
        learner, teller = split.without_part(number), split.told_of_part(number)
        assert set(learner.train) | set(teller.train) == set(split.train)
        assert not set(learner.train) & set(teller.train)
        assert learner.calibration == teller.train
        assert learner.unlabelled == teller.unlabelled
        told += teller.train_and_unlabelled
    # Every sweep, labelled or not, is told of by one of them.
    assert sorted((r.cache, r.sweep) for r in told) == sorted(
        (r.cache, r.sweep) for r in split.train_and_unlabelled
    )


@given(
    st.dictionaries(st.text("abcdef", min_size=1, max_size=2), st.integers(1, 9), min_size=1),
    st.integers(2, 5),
)
def test_parts_hold_every_sweep_once_and_none_is_empty(lengths, count) -> None:
    one = cache(**{name: n * "L" for name, n in lengths.items()})
    sweeps = [SweepRef(0, i) for i in range(len(one.sweeps))]
    if len(sweeps) < count:
        with pytest.raises(InputError, match=f"fewer than split.folds={count} parts"):
            cut_in_parts([one], sweeps, count)
        return
    parts = cut_in_parts([one], sweeps, count)
    assert len(parts) == count
    assert all(parts)
    # By time a part is off by one sweep at most.
    assert max(map(len, parts)) <= max(1.5 * len(sweeps) / count, len(sweeps) / count + 1)
    assert sorted(ref.sweep for part in parts for ref in part) == [ref.sweep for ref in sweeps]


def test_folds_leave_no_recording_to_calibrate_on() -> None:
    with pytest.raises(InputError, match="every labelled sweep is learned from"):
        make_split(
            [cache(drive=20 * "L")], SplitConfig(folds=2), calibration=[cache(other=2 * "L")]
        )
    with pytest.raises(ValueError, match="one part leaves nothing to learn from"):
        SplitConfig(folds=1)


def test_each_of_many_drives_is_cut_alike_whatever_the_order_in_which_they_are_given() -> None:
    # Ten labelled sweeps each: 7, 1, 1 and 1
    drives = [cache(**{f"drive{number}": 10 * "L" + 3 * "-"}) for number in range(12)]

    def roles(given: list[Cache]) -> dict[str, set[tuple[str, int]]]:
        split = make_split(given, SplitConfig())
        rows = {role: map(split.row, getattr(split, role)) for role in ROLES}
        return {role: {(row.recording, row.stamp_ns) for row in rows[role]} for role in ROLES}

    assert roles(drives) == roles(drives[::-1]) == roles(drives[5:] + drives[:5])
    assert len(roles(drives)["train"]) == 84


def test_a_split_is_told_by_runs_of_sweeps() -> None:
    split = make_split([cache(one=10 * "L", two=10 * "L"), cache(three=10 * "L")], SplitConfig())
    assert split.fingerprint("train", "test") == {
        "caches": 2 * ["fingerprint"],
        "train": [[0, 0, 7], [0, 10, 17], [1, 0, 7]],
        "test": [[0, 9, 10], [0, 19, 20], [1, 9, 10]],
    }


@given(st.lists(st.builds(SweepRef, st.integers(0, 1), st.integers(0, 5))))
def test_runs_are_the_sweeps_in_their_order(refs: list[SweepRef]) -> None:
    found = list(runs(refs))
    assert [SweepRef(c, i) for c, first, end in found for i in range(first, end)] == refs
