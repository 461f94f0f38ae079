"""Files that are whole or not there, and locks that end with their process."""

from __future__ import annotations

import os
import re
import resource
import signal
import subprocess
import sys

import pytest

from haskd_ros.errors import InputError
from haskd_ros.file_lock import LOCK, is_held, locked
from haskd_ros.files import write_atomically, written_atomically

HOLDER = """
import sys, time
from pathlib import Path
from haskd_ros.file_lock import locked
sys.argv = ["/usr/bin/haskd", "run"]
with locked(Path(FILE), Path("out")):
    print("held", flush=True)
    time.sleep(60)
"""


@pytest.fixture
def holder(tmp_path):
    """A process that holds the lock of `tmp_path / "out"`."""
    code = HOLDER.replace("FILE", repr(str(tmp_path / "out" / LOCK)))
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    process = subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, env=environment
    )
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == b"held\n"
        yield process
    finally:
        process.kill()
        process.wait()


def test_who_comes_second_is_told_by_whom_the_folder_is_used(holder, tmp_path):
    out = tmp_path / "out"
    wanted = (
        rf"{out} is in use by haskd run \(host \S+, process {holder.pid}, since \d\d:\d\d on "
        r"[\d-]{10}\); wait for it or choose another place$"
    )
    with pytest.raises(InputError, match=wanted), locked(out / LOCK, out):
        pass


def test_a_lock_ends_with_a_process_that_is_killed(holder, tmp_path):
    out = tmp_path / "out"
    assert is_held(out / LOCK)
    holder.send_signal(signal.SIGKILL)
    holder.wait()
    assert (out / LOCK).exists() and not is_held(out / LOCK)
    with locked(out / LOCK, out):
        assert is_held(out / LOCK)
    assert not (out / LOCK).exists()


def test_a_fork_does_not_hold_the_lock_of_its_parent(tmp_path):
    reading, writing = os.pipe()
    with locked(tmp_path / LOCK, tmp_path):
        child = os.fork()
        if child == 0:
            os.close(writing)
            os.read(reading, 1)  # until the parent is done
            os._exit(0)
    with locked(tmp_path / LOCK, tmp_path):
        pass
    os.close(writing)
    os.waitpid(child, 0)
    os.close(reading)


def test_a_folder_that_was_made_for_the_lock_alone_goes_with_it(tmp_path):
    with locked(tmp_path / "a/b" / LOCK, tmp_path / "a/b"):
        assert (tmp_path / "a/b").is_dir()
    assert list(tmp_path.iterdir()) == []
    with locked(tmp_path / "a/b" / LOCK, tmp_path / "a/b"):
        (tmp_path / "a/b/model").touch()
    assert [path.name for path in (tmp_path / "a/b").iterdir()] == ["model"]


def test_a_file_with_the_content_already_is_not_written_again(tmp_path):
    path = tmp_path / "file"
    write_atomically(path, b"one")
    first = path.stat()
    write_atomically(path, b"one")
    assert path.stat().st_ino == first.st_ino
    write_atomically(path, b"two")
    assert path.read_bytes() == b"two"
    assert path.stat().st_ino != first.st_ino
    assert [entry.name for entry in tmp_path.iterdir()] == ["file"]


def test_two_writers_of_one_file_do_not_meet(tmp_path):
    path = tmp_path / "file"
    with written_atomically(path) as temporary:
        temporary.write_text("first")
        with pytest.raises(InputError, match=f"{path} is in use by"):
            write_atomically(path, b"second")
    assert path.read_text() == "first"


def test_what_a_killed_writer_left_is_replaced_and_what_is_someone_s_own_is_not(tmp_path):
    left = tmp_path / "file.partial"
    left.mkdir()
    (left / LOCK).write_text("haskd run (host h, process 1, since then)")
    (left / "file").write_text("hal")
    write_atomically(tmp_path / "file", b"half")
    assert [entry.name for entry in tmp_path.iterdir()] == ["file"]

    left.mkdir()
    (left / "thesis.tex").write_text("precious")
    with pytest.raises(InputError, match=r"file.partial is in the way of writing file; move"):
        write_atomically(tmp_path / "file", b"other")
    assert (left / "thesis.tex").read_text() == "precious"
    assert (tmp_path / "file").read_bytes() == b"half"


def test_a_full_disk_is_told_with_what_is_needed_and_what_is_free(tmp_path):
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1_000_000, before[1]))
    try:
        with pytest.raises(OSError, match="needed") as raised:
            write_atomically(tmp_path / "model", bytes(3_000_000))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert raised.value.filename == str(tmp_path / "model")
    assert re.fullmatch(
        r"File too large: 3\.0 MB needed, [\d,]+\.\d MB free", raised.value.strerror
    )
    assert list(tmp_path.iterdir()) == []
