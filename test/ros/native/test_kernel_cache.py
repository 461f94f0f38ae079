"""What lies in the cache of compiled kernels, who else may write there, and what compilers say."""

import logging
import os
import shutil
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from kernel_cache import (
    foreign_library,
    libraries,
    quick_compiler,
    replaced,
    script,
    start_process,
)
from kernel_checks import needs_kernels

from haskd_ros.file_lock import LOCK, locked
from haskd_ros.native import build, compiler, dispatch, kept, library, load_kernels
from haskd_ros.native.compiler import Unavailable
from haskd_ros.native.own_folder import Unsuitable, cache_folder, own_folder

pytestmark = needs_kernels
needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="gives files to another user")


@pytest.fixture(scope="module")
def compiled(tmp_path_factory) -> Path:
    """A folder with a compiler and the cache that it has filled."""
    folder = tmp_path_factory.mktemp("compiled")
    with pytest.MonkeyPatch.context() as patch:
        library = build.build(build.native_flags(), cache_folder())
        patch.setenv("CXX", str(quick_compiler(folder, library)))
        build.build(build.native_flags(), folder / "cache" / "haskd_ros")
    return folder


@pytest.fixture
def cache(compiled, monkeypatch, tmp_path, fresh_process, caplog) -> Path:
    """A cache with the library, which this process has not loaded."""
    shutil.copytree(compiled / "cache", tmp_path / "cache")
    monkeypatch.setenv("CXX", str(compiled / "quick-g++"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    caplog.set_level(logging.INFO)
    return tmp_path / "cache"


def start_again(monkeypatch) -> None:
    monkeypatch.setattr(library, "_attempted", False)
    monkeypatch.setattr(library, "_loaded", None)


def link_to_copy(path: Path, content: bytes) -> None:
    path.with_name("copy").write_bytes(content)
    path.symlink_to("copy")


INSTEAD = {
    "nothing": lambda path, content: None,
    "half": lambda path, content: path.write_bytes(content[: len(content) // 2]),
    "one bit": lambda path, content: path.write_bytes(
        content[:200_000] + bytes([content[200_000] ^ 1]) + content[200_001:]
    ),
    "zeros": lambda path, content: path.write_bytes(bytes(len(content))),
    "a folder": lambda path, content: (path / "in it").mkdir(parents=True),
    "a link to the same": link_to_copy,
    "a pipe": lambda path, content: os.mkfifo(path),
    "the same for all to write": lambda path, content: (
        path.write_bytes(content),
        path.chmod(0o777),
    ),
}


@pytest.mark.parametrize("make", INSTEAD.values(), ids=INSTEAD)
def test_whatever_lies_in_the_place_of_the_library_it_is_built_again(
    make, cache, monkeypatch, caplog
):
    (path,) = libraries(cache)
    content = path.read_bytes()
    path.unlink()
    make(path, content)
    was_there = os.path.lexists(path)
    assert load_kernels()
    assert path.read_bytes() == content
    said = [record.message for record in caplog.records if record.levelname == "WARNING"]
    assert len(said) == was_there
    assert all("damaged" in message and str(path) in message for message in said)
    caplog.clear()
    start_again(monkeypatch)
    assert load_kernels()
    assert caplog.records == []


def test_a_library_that_can_not_be_loaded_is_built_again(cache, caplog):
    (path,) = libraries(cache)
    content = path.read_bytes()
    forged = replaced(path, b"whole, but no library")
    assert load_kernels()
    assert not forged.exists()
    assert path.read_bytes() == content
    assert "can't be loaded" in caplog.text


def test_what_a_killed_compilation_left_is_removed_unless_one_is_at_work(cache, monkeypatch):
    folder = cache / "haskd_ros"
    for name in ("building-x", "kernels-0-0.so.partial"):
        (folder / name).mkdir()
        (folder / name / "half.o").touch()
    with locked(folder / LOCK, folder):
        assert load_kernels()
        assert (folder / "building-x" / "half.o").exists()
    start_again(monkeypatch)
    assert load_kernels()
    assert list(folder.iterdir()) == libraries(cache)


def test_processes_that_build_at_once_build_one_library(cache, tmp_path):
    environment = {"XDG_CACHE_HOME": os.environ["XDG_CACHE_HOME"]}
    quick = os.environ["CXX"]
    counting = script(tmp_path / "counting-g++", f'echo >> {tmp_path}/calls; {quick} "$@"')
    environment["CXX"] = str(counting)
    shutil.rmtree(cache)
    with ThreadPoolExecutor(3) as pool:
        starts = list(pool.map(start_process, [environment] * 3))
    assert [(start.exit_code, start.loaded) for start in starts] == [(0, True)] * 3
    # Each source is compiled, then all are linked.
    assert len((tmp_path / "calls").read_text()) == len(build.KERNELS.sources) + 1
    assert len(libraries(cache)) == 1


def test_where_another_process_builds_for_too_long_the_library_is_built_elsewhere(
    cache, monkeypatch, caplog
):
    monkeypatch.setattr(build, "TIME_LIMIT_S", 0.2)
    shutil.rmtree(cache / "haskd_ros")
    own_folder(cache / "haskd_ros")
    with locked(cache / "haskd_ros" / LOCK, cache / "haskd_ros"):
        assert load_kernels()
    assert f"for this process alone, anew at each start: {cache / 'haskd_ros'} is in use by" in (
        caplog.text
    )
    assert libraries(cache) == []


def test_the_libraries_used_last_are_kept(tmp_path):
    for number in range(kept.LIBRARIES + 3):
        path = kept.add(tmp_path, f"{number:020}", bytes([number]))
        # The first one is the oldest but used today, the others lie two days and more apart.
        os.utime(path, times=(1, time.time() - 2 * 86400 * (kept.LIBRARIES + 3 - number)))
        assert kept.find(tmp_path, f"{0:020}") is not None
    names = {path.name.split("-")[1] for path in tmp_path.glob("kernels-*.so")}
    # 35 were made, one at a time; each from the 33rd on made the oldest but the first go.
    assert names == {f"{number:020}" for number in range(kept.LIBRARIES + 3) if not 0 < number < 4}


def forged_library(cache: Path, tmp_path: Path) -> Path:
    """Another's library under a name that is right for it; the file that it makes if it is ever
    loaded."""
    (path,) = libraries(cache)
    replaced(path, foreign_library(tmp_path, tmp_path / "ran"))
    return tmp_path / "ran"


@needs_root
@pytest.mark.parametrize("theirs", ["", "haskd_ros"])
def test_another_users_library_is_not_loaded(theirs, cache, tmp_path, caplog, monkeypatch):
    ran = forged_library(cache, tmp_path)
    # Of its own: other tests compile in the machine's.
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(temporary))
    os.chown(cache / theirs, 1000, 1000)
    assert load_kernels()
    assert not ran.exists()
    (warning,) = (record for record in caplog.records if record.levelname == "WARNING")
    assert f"{cache / theirs} belongs to user 1000, not to user 0" in warning.message
    assert "for this process alone" in warning.message
    assert not list(temporary.glob("haskd_ros-*/*.so"))


@pytest.mark.parametrize("relative", [".", "cache"])
def test_a_relative_cache_folder_is_not_used(relative, cache, tmp_path, monkeypatch, caplog):
    ran = forged_library(cache, tmp_path)
    shutil.copytree(cache / "haskd_ros", tmp_path / "haskd_ros")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", relative)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    assert cache_folder() == tmp_path / "home" / ".cache" / "haskd_ros"
    assert load_kernels()
    assert not ran.exists()
    assert f"XDG_CACHE_HOME='{relative}' is not absolute" in caplog.text


def test_a_folder_is_made_for_its_user_alone(tmp_path):
    made = own_folder(tmp_path / "a" / "b")
    assert [path.stat().st_mode & 0o777 for path in (made, made.parent)] == [0o700, 0o700]


@pytest.mark.parametrize(
    ("mode", "suitable"), [(0o755, True), (0o757, False), (0o777, False), (0o1777, False)]
)
def test_a_folder_that_all_can_write_to_is_not_suitable(mode, suitable, tmp_path):
    (tmp_path / "a").mkdir()
    (tmp_path / "a").chmod(mode)
    if suitable:
        assert own_folder(tmp_path / "a") == tmp_path / "a"
    else:
        with pytest.raises(Unsuitable, match="can be written by everybody"):
            own_folder(tmp_path / "a")
    # In one that all can write to the own one is safe only where nobody else can rename it.
    if suitable or mode & 0o1000:
        assert own_folder(tmp_path / "a" / "b").is_dir()
    else:
        with pytest.raises(Unsuitable, match="can be written by everybody"):
            own_folder(tmp_path / "a" / "b")


@needs_root
def test_a_group_may_write_where_nobody_else_is_in_it(tmp_path):
    tmp_path.chmod(0o770)
    assert own_folder(tmp_path) == tmp_path  # group root, of root alone
    os.chown(tmp_path, 0, 54321)
    with pytest.raises(Unsuitable, match="can be written by group 54321"):
        own_folder(tmp_path)


def test_links_in_a_path_are_followed_once(tmp_path):
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to("real")
    assert own_folder(tmp_path / "link" / "a") == tmp_path / "real" / "a"
    (tmp_path / "loop").symlink_to("loop")
    (tmp_path / "file").touch()
    for path in ("loop", "file", "file/a"):
        with pytest.raises(Unsuitable):
            own_folder(tmp_path / path)


def test_where_nothing_can_be_kept_the_kernels_are_built_for_the_process_alone(
    cache, monkeypatch, caplog
):
    (cache / "file").touch()
    monkeypatch.setenv("XDG_CACHE_HOME", str(cache / "file"))
    assert load_kernels()
    assert dispatch.usable()
    assert f"{cache / 'file'} is not a folder" in caplog.text


def test_a_disk_that_is_full_is_a_reason_and_forgotten_at_the_next_start(
    cache, tmp_path, monkeypatch, caplog
):
    shutil.rmtree(cache)
    full = script(tmp_path / "full-g++", f'ulimit -f 8\nexec {os.environ["CXX"]} "$@"')
    monkeypatch.setenv("CXX", str(full))
    assert not load_kernels()
    (record,) = (record for record in caplog.records if record.levelname == "WARNING")
    assert f"plain torch, slower: {full} failed: " in record.message
    full.write_text(full.read_text().replace("ulimit -f 8", ""))
    start_again(monkeypatch)
    assert load_kernels()


@pytest.mark.parametrize("value", ["'{folder}/the wrapper' {cxx} -m64", "{folder}/the wrapper"])
def test_a_compiler_can_have_arguments_and_spaces(value, cache, tmp_path, monkeypatch):
    cxx = os.environ["CXX"]
    script(tmp_path / "the wrapper", f'[ -x "$1" ] || set -- {cxx} "$@"\nexec "$@"')
    monkeypatch.setenv("CXX", value.format(folder=tmp_path, cxx=cxx))
    assert load_kernels()


REASONS = {
    # What is printed, and what is said of it.
    r"In file included from a.cpp:1:\nb.h:2:1: warning: no error\nb.h:3:4: error: what?\nend": (
        "b.h:3:4: error: what?"
    ),
    r"ld: final link failed: No space left on device\ncollect2: error: ld returned 1 exit status": (
        "ld: final link failed: No space left on device"
    ),
    r"\033[31mfatal error:\033[0m \377": "\\x1b[31mfatal error:\\x1b[0m \N{REPLACEMENT CHARACTER}",
    r"g++: nothing known\nmore": "g++: nothing known",
    r"In file included from a.cpp:1:": "In file included from a.cpp:1:",
    "": "exit code 3",
}


@pytest.mark.parametrize(("printed", "said"), REASONS.items())
def test_the_compilers_reason_is_said_in_one_line(printed, said, tmp_path):
    failing = script(tmp_path / "failing", f"printf '{printed}' >&{1 + len(printed) % 2}; exit 3")
    with pytest.raises(Unavailable) as refused:
        compiler.run([[str(failing)]], tmp_path)
    assert str(refused.value) == f"{failing} failed: {said}"


def test_of_megabytes_of_output_the_reason_is_kept(tmp_path):
    lines = "yes nothing | head -c 1000000; yes x | tr -d '\\n' | head -c 1000000; echo"
    failing = script(tmp_path / "failing", f"{lines}; echo 'error: why'; {lines}; exit 1")
    with pytest.raises(Unavailable, match=r"failed: error: why$"):
        compiler.run([[str(failing)]], tmp_path)


def test_a_compiler_that_hangs_or_is_killed_is_a_reason(tmp_path, monkeypatch):
    killed = script(tmp_path / "killed", "kill -9 $$")
    with pytest.raises(Unavailable, match=r"killed failed: ended by signal 9$"):
        compiler.run([[str(killed)]], tmp_path)
    monkeypatch.setattr(compiler, "TIME_LIMIT_S", 0.3)
    for text in ("exec sleep 60", "exec sleep 60 >&- 2>&-", "while echo .; do sleep 0.01; done"):
        hanging = script(tmp_path / "hanging", text)
        with pytest.raises(Unavailable, match=r"hanging did not end in 0\.3 s"):
            compiler.run([[str(hanging)]] * 3, tmp_path)


@pytest.mark.parametrize(
    ("value", "said"),
    [("no-such -O2", "no C++ compiler no-such"), ('g++ "', "is no command: No closing quotation")],
)
def test_a_command_that_is_none_is_a_reason(value, said, cache, monkeypatch, caplog):
    monkeypatch.setenv("CXX", value)
    assert not load_kernels()
    assert said in caplog.text
