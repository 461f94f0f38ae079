"""Items shared by processes, and what becomes of the others when one is lost."""

from __future__ import annotations

import os
import signal
import subprocess
from pathlib import Path

import numpy as np
import pytest
from forked_ranks import run_ranks
from typer.testing import CliRunner

from haskd_ros.errors import InputError
from haskd_ros.files import write_atomically
from haskd_training.commands.app import app
from haskd_training.core import exchange, processes
from haskd_training.core.progress import silent

ITEMS = list("abcdefg")


def write(folder: Path, item: str) -> None:
    write_atomically(folder / item, f"{item} by {processes.rank()}".encode())


def share(folder: Path, work=write, items=ITEMS) -> None:
    exchange.join(folder)
    folder.mkdir(exist_ok=True)
    with silent("counting letters"):
        exchange.share_files(items, folder.joinpath, lambda item: work(folder, item))


def test_alone_a_process_has_every_item_and_waits_for_nobody(tmp_path):
    share(tmp_path)
    assert [(tmp_path / item).read_text() for item in ITEMS] == [f"{item} by 0" for item in ITEMS]
    assert processes.own(ITEMS) == ITEMS
    processes.wait(tmp_path / "not there")


def test_three_processes_write_each_item_once_and_leave_what_is_there(tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out/c").write_text("before")
    (tmp_path / "out/.shared-0123").touch()  # of a process that was killed at its start
    [first, second, third] = run_ranks(tmp_path, lambda _: share(tmp_path / "out"), 3)
    assert [first.code, second.code, third.code] == [0, 0, 0], first.printed + second.printed
    # Of the six that are missing two for each
    written = {path.name: path.read_text() for path in (tmp_path / "out").iterdir()}
    assert written == {
        "a": "a by 0", "b": "b by 0", "c": "before", "d": "d by 1", "e": "e by 1", "f": "f by 2",
        "g": "g by 2",
    }  # fmt: skip


def test_all_get_the_arrays_of_all_in_order_bit_for_bit(tmp_path):
    # A process without rows, one with none of some items, fewer items than processes
    lengths = {"ragged": [3, 0, 1, 4, 2], "few": [2], "none of them has any": [0, 0], "no item": []}
    generator = np.random.default_rng(0)
    given = {
        name: [generator.normal(size=(n, 2)).astype(np.float32) for n in each]
        for name, each in lengths.items()
    }

    def gather(rank: int) -> None:
        exchange.join(tmp_path)
        for name, arrays in given.items():
            found = exchange.of_all(processes.own(arrays), len(arrays), np.float32)
            assert [f.tobytes() for f in found] == [a.tobytes() for a in arrays], name
        texts = ["ä", {"b": [1, None]}, ""]
        assert exchange.documents_of_all(processes.own(texts), 3) == texts
        with processes.alone():
            assert processes.own(texts) == texts and processes.is_first()
        assert exchange.sum_over_processes(np.array([rank, 1])).tolist() == [3, 3]
        assert exchange.first_says(rank == 0) and not exchange.first_says(rank == 1)

    ended = run_ranks(tmp_path, gather, 3)
    assert [one.code for one in ended] == [0, 0, 0], "".join(one.printed for one in ended)


def lost(folder: Path, how, **limits) -> tuple[list, list[str]]:
    """Ends of two processes, the second of which meets its end at its first item, and the lines
    about errors that both print."""

    def work(out: Path, item: str) -> None:
        if processes.rank() == 1:
            how()
        write(out, item)

    ended = run_ranks(folder, lambda _: share(folder / "out", work), **limits)
    lines = [line for one in ended for line in one.printed.splitlines() if "error: " in line]
    return ended, lines


def kill() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def fail() -> None:
    raise ValueError("no such letter")


def test_where_one_is_killed_the_others_end_and_one_line_says_which_and_where(tmp_path):
    ended, lines = lost(tmp_path, kill)
    assert [one.code for one in ended] == [1, -signal.SIGKILL]
    [line] = lines
    assert line.startswith(
        f"error: rank 1 on {os.uname().nodename}, counting letters, is not heard"
    )
    assert "the same command goes on" in line
    # It does: what the first one wrote is kept, and one process makes the rest.
    kept = (tmp_path / "out/a").stat().st_mtime_ns
    share(tmp_path / "out")
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ITEMS
    assert (tmp_path / "out/a").stat().st_mtime_ns == kept


def test_where_one_fails_it_says_so_and_the_others_end_without_a_word(tmp_path):
    ended, lines = lost(tmp_path, fail)
    assert [one.code for one in ended] == [1, 2]
    [line] = lines
    assert line == (
        f"error: ValueError: no such letter (rank 1 on {os.uname().nodename}, counting letters)"
    )
    assert ended[0].printed == ""


@pytest.fixture
def small_disk(tmp_path):
    """A file system of 100 kB, and what makes it larger."""
    disk = tmp_path / "disk"
    disk.mkdir()

    def mount(options: str) -> None:
        command = ["mount", "-t", "tmpfs", "-o", options, "tmpfs", disk]
        if subprocess.run(command, capture_output=True).returncode:
            pytest.skip("mounting a file system needs root")

    mount("size=100k")
    yield disk, lambda: mount("remount,size=10m")
    subprocess.run(["umount", disk], check=True)


def test_a_disk_that_is_full_for_one_ends_all_and_the_next_call_goes_on(tmp_path, small_disk):
    disk, enlarge = small_disk

    def work(out: Path, item: str) -> None:
        size = 1_000_000 if item == "g" else 1_000
        write_atomically(out / item, size * item.encode())

    ended = run_ranks(tmp_path, lambda _: share(disk, work))
    assert [one.code for one in ended] == [1, 2]
    [line] = ended[1].printed.splitlines()
    assert line.startswith(f"error: {disk / 'g'}: No space left on device: 1.0 MB needed, 0.1 MB")
    assert "free some space and run the same command again" in line
    assert line.endswith(f"(rank 1 on {os.uname().nodename}, counting letters)")
    assert ended[0].printed == ""
    assert sorted(path.name for path in disk.iterdir()) == ITEMS[:-1]
    enlarge()
    share(disk, work)
    assert (disk / "g").stat().st_size == 1_000_000


def test_one_that_is_silent_for_too_long_is_lost(tmp_path):
    # Stopped: its connections stay, as where a cable is pulled
    ended, lines = lost(
        tmp_path,
        lambda: os.kill(os.getpid(), signal.SIGSTOP),
        timeout_s=20,
        HASKD_PEER_TIMEOUT_S="4",
    )
    assert ended[0].code == 1
    [line] = lines
    assert "rank 1" in line and "counting letters" in line


def test_a_folder_that_is_not_shared_is_told_at_the_start(tmp_path):
    ended = run_ranks(tmp_path, lambda rank: share(tmp_path / f"disk of {rank}"))
    assert all(one.code in (1, 2) for one in ended)
    [line] = [line for one in ended for line in one.printed.splitlines() if "error: " in line]
    host = os.uname().nodename
    assert f"is not one folder on all machines: rank 1 on {host} does not see what" in line
    assert f"rank 0 on {host} writes there" in line
    assert not (tmp_path / "disk of 0").exists()


def test_a_time_that_is_no_number_is_refused(monkeypatch):
    monkeypatch.setenv("HASKD_PEER_TIMEOUT_S", "soon")
    from haskd_training.core.peers import patience_s

    with pytest.raises(InputError, match="HASKD_PEER_TIMEOUT_S is 'soon'"):
        patience_s()


def test_a_command_that_works_in_one_process_refuses_several(monkeypatch):
    for name, value in {
        "TORCHELASTIC_RUN_ID": "any", "WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2"
    }.items():  # fmt: skip
        monkeypatch.setenv(name, value)
    refused = CliRunner().invoke(app, ["simulate", "drive"]).exception
    assert isinstance(refused, InputError)
    assert "simulate works in one; those that share their work: run, baseline" in str(refused)
