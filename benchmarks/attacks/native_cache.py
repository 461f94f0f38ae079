"""Attacks on the cache of compiled kernels: damaged files, other users' files, compilations that
are killed, disks that are full, compilers that don't do what they should."""

from __future__ import annotations

import hashlib
import os
import random
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

from attacks.outcome import Attack, Outcome

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "test" / "support"))

from kernel_cache import (
    Start,
    foreign_library,
    libraries,
    quick_compiler,
    replaced,
    script,
    start_process,
)

OTHER_USER = 1000


class Machine:
    """A user's machine, on which the kernels have been compiled once."""

    def __init__(self, scratch: Path) -> None:
        self.scratch = scratch
        compiled = start_process({}, timeout_s=600.0)
        if not compiled.loaded:
            raise RuntimeError(f"no compiled kernels on this machine: {compiled.log}")
        self.compiler = quick_compiler(scratch, Path(compiled.library))
        self._built = scratch / "built"
        self.start(self._built)
        (self._library,) = libraries(self._built)
        self.content = self._library.read_bytes()

    def cache(self) -> tuple[Path, Path]:
        """A new cache with the library, and the library in it."""
        folder = Path(tempfile.mkdtemp(prefix="cache-", dir=self.scratch))
        shutil.copytree(self._built, folder, dirs_exist_ok=True)
        return folder, libraries(folder)[0]

    def start(
        self,
        cache: Path | str,
        folder: Path | None = None,
        timeout_s: float = 120.0,
        **environment: str,
    ) -> Start:
        """A process that loads the kernels."""
        environment = {"CXX": str(self.compiler), "XDG_CACHE_HOME": str(cache), **environment}
        return start_process(environment, folder, timeout_s)

    def harm(self, cache: Path, **environment: str) -> str:
        """What is wrong with the next two starts; empty where nothing is: both have the kernels,
        the second without building them, and nothing but them is left in the cache."""
        for number in ("first", "second"):
            start = self.start(cache, **environment)
            if start.exit_code:
                return f"the {number} start ended with {start.exit_code}"
            if not start.loaded:
                return f"the {number} start had no kernels: {' | '.join(start.log)}"
        if any("built" in line for line in start.log):
            return "the second start built them again"
        if [path for path in libraries(cache) if sha256(path) != sha256(self._library)]:
            return "the file is still there and counts as the library"
        if left := list((cache / "haskd_ros").glob("building-*")):
            return f"{left[0].name} stayed"
        return ""


def sha256(path: Path) -> str:
    if path.is_symlink() or not path.is_file():
        return "no file"
    return hashlib.sha256(path.read_bytes()).hexdigest()


def damaged_files(scratch: Path, seconds: float) -> Outcome:
    """Whatever may be found where the library was."""
    machine, outcome = Machine(scratch), Outcome()
    size = len(machine.content)
    for name, damage in damages(machine.content, random.Random(0), seconds):
        cache, library = machine.cache()
        damage(library)
        outcome.tried += 1
        if harm := machine.harm(cache):
            outcome.faults.append(f"{name}: {harm}")
        shutil.rmtree(cache)
    outcome.remark = f"library of {size >> 10} KiB"
    return outcome


def damages(
    content: bytes, draw: random.Random, seconds: float
) -> Iterator[tuple[str, Callable[[Path], object]]]:
    """Ways to damage a library in place, and their names."""

    def holds(data: bytes) -> Callable[[Path], object]:
        return lambda path: path.write_bytes(data)

    def instead(make: Callable[[Path], object]) -> Callable[[Path], object]:
        def damage(path: Path) -> None:
            path.unlink()
            make(path)

        return damage

    def link_to_copy(path: Path) -> None:
        copy = path.with_name("copy")
        copy.write_bytes(content)
        path.symlink_to(copy)

    size = len(content)
    for cut in (0, 1, 63, 64, 512, 4095, 4096, size // 4, size // 2, size - 4096, size - 1):
        yield f"cut to {cut} bytes", holds(content[:cut])
    for start in (0, 64, 4096, size // 2, size - 4096):
        yield f"0 from byte {start} on", holds(content[:start] + bytes(size - start))
    yield "0 in one page", holds(content[:8192] + bytes(4096) + content[12288:])
    yield "text", holds(b"not a library")
    yield "1 MB appended", holds(content + bytes(1 << 20))
    yield "a folder", instead(Path.mkdir)
    yield "a folder with files", instead(lambda path: (path.mkdir(), (path / "x").touch()))
    yield "a link to itself", instead(lambda path: path.symlink_to(path))
    yield "a link to nothing", instead(lambda path: path.symlink_to("/nonexistent/kernels.so"))
    yield "a link to a library", instead(link_to_copy)
    yield "a named pipe", instead(os.mkfifo)
    yield "a device", instead(lambda path: path.symlink_to("/dev/zero"))
    yield "an old name", lambda path: path.rename(path.with_name("kernels-0123456789abcdef0123.so"))
    yield "missing", Path.unlink
    for _ in range(max(8, int(seconds / 3))):
        bit = draw.randrange(8 * size)
        flipped = bytearray(content)
        flipped[bit // 8] ^= 1 << bit % 8
        yield f"bit {bit} flipped", holds(bytes(flipped))


def other_users(scratch: Path, _: float) -> Outcome:
    """Another user's library under the name that root's process looks for."""
    if os.geteuid():
        return Outcome(remark="needs root")
    machine, outcome = Machine(scratch), Outcome()
    scratch.chmod(0o755)
    marker = scratch / "ran"
    foreign = foreign_library(scratch, marker)

    def give(*paths: Path) -> None:
        for path in paths:
            os.chown(path, OTHER_USER, OTHER_USER)

    def all_theirs(cache: Path, library: Path) -> None:
        give(cache, cache / "haskd_ros", library)

    def parent_theirs(cache: Path, library: Path) -> None:
        give(cache)

    def file_theirs(cache: Path, library: Path) -> None:
        give(library)

    def folder_for_all(cache: Path, library: Path) -> None:
        (cache / "haskd_ros").chmod(0o777)

    def parent_for_all(cache: Path, library: Path) -> None:
        cache.chmod(0o777)

    def folder_for_group(cache: Path, library: Path) -> None:
        os.chown(cache / "haskd_ros", 0, 100)
        (cache / "haskd_ros").chmod(0o775)

    def file_for_all(cache: Path, library: Path) -> None:
        library.chmod(0o777)

    def folder_in_shared(cache: Path, library: Path) -> None:
        cache.chmod(0o1777)
        give(cache / "haskd_ros", library)

    def link_to_theirs(cache: Path, library: Path) -> None:
        theirs = cache.with_name(cache.name + "-theirs")
        (cache / "haskd_ros").rename(theirs)
        (cache / "haskd_ros").symlink_to(theirs)
        give(theirs)

    for access in (
        all_theirs,
        parent_theirs,
        file_theirs,
        folder_for_all,
        parent_for_all,
        folder_for_group,
        file_for_all,
        folder_in_shared,
        link_to_theirs,
    ):
        cache, library = machine.cache()
        library = replaced(library, foreign)
        access(cache, library)
        start = machine.start(cache)
        judge(outcome, access.__name__, start, marker)

    # In the working directory, by a relative path.
    cache, library = machine.cache()
    replaced(library, foreign)
    home = scratch / "home"
    home.mkdir()
    for relative in (".", "./", "x/.."):
        (cache / "x").mkdir(exist_ok=True)
        start = machine.start(relative, cache, HOME=str(home))
        judge(outcome, f"XDG_CACHE_HOME={relative}", start, marker)
    start = machine.start("", cache, HOME=".")
    judge(outcome, "HOME=.", start, marker)
    return outcome


def judge(outcome: Outcome, name: str, start: Start, marker: Path) -> None:
    """Whether the foreign library ran, or what stood in its way cost the kernels."""
    outcome.tried += 1
    if marker.exists():
        outcome.faults.append(f"{name}: the other user's library was loaded")
        marker.unlink()
    elif start.exit_code or not start.loaded:
        outcome.faults.append(f"{name}: exit code {start.exit_code}, no kernels: {start.log}")
    elif "WARNING" not in str(start.log):
        outcome.faults.append(f"{name}: not a word about it: {start.log}")


def killed_compilations(scratch: Path, _: float) -> Outcome:
    """The process is killed before or after each step of the compilation."""
    machine, outcome = Machine(scratch), Outcome()
    steps = 9  # 8 sources and the linking
    for step in range(1, steps + 1):
        for moment in ("before", "after"):
            cache = Path(tempfile.mkdtemp(prefix="cache-", dir=scratch))
            counter = cache / "steps"
            counter.mkdir()
            killing = script(
                scratch / "killing-g++",
                f"""number=1
while ! mkdir {counter}/$number 2>/dev/null; do number=$((number + 1)); done
[ "$number" -eq {step} ] && [ {moment} = before ] && kill -9 $PPID
{machine.compiler} "$@" || exit 1
[ "$number" -eq {step} ] && [ {moment} = after ] && kill -9 $PPID
exit 0""",
            )
            start = machine.start(cache, CXX=str(killing))
            outcome.tried += 1
            if start.exit_code != -9:
                outcome.faults.append(f"{moment} step {step}: was not killed: {start}")
            elif harm := machine.harm(cache):
                outcome.faults.append(f"killed {moment} step {step}: {harm}")
    return outcome


def full_disks(scratch: Path, _: float) -> Outcome:
    """A disk, or the size that files may have, ends during the compilation."""
    machine, outcome = Machine(scratch), Outcome()
    size = len(machine.content)
    for room in (4096, size // 2, size, 2 * size, 3 * size):
        cache = Path(tempfile.mkdtemp(prefix="cache-", dir=scratch))
        with small_disk(cache, room) as mounted:
            if not mounted:
                outcome.remark = "no small disk could be mounted"
                break
            outcome.tried += 1
            judge_full(outcome, f"{room} bytes left", machine.start(cache))
            subprocess.run(["mount", "-o", "remount,size=64m", str(cache)], check=True)
            if harm := machine.harm(cache):
                outcome.faults.append(f"{room} bytes left, then more: {harm}")
    for limit in (0, 4096, size // 2, size - 1):
        cache = Path(tempfile.mkdtemp(prefix="cache-", dir=scratch))
        limited = script(
            scratch / "limited-g++", f'ulimit -f {limit // 512}\nexec {machine.compiler} "$@"'
        )
        outcome.tried += 1
        judge_full(
            outcome, f"files of {limit} bytes at most", machine.start(cache, CXX=str(limited))
        )
        if harm := machine.harm(cache):
            outcome.faults.append(f"files of {limit} bytes at most, then more: {harm}")
    return outcome


def judge_full(outcome: Outcome, name: str, start: Start) -> None:
    if start.exit_code:
        outcome.faults.append(f"{name}: ended with {start.exit_code}")
    elif not start.loaded and not any("WARNING no compiled kernels" in line for line in start.log):
        outcome.faults.append(f"{name}: without a reason: {start.log}")


@contextmanager
def small_disk(folder: Path, room: int) -> Iterator[bool]:
    command = ["mount", "-t", "tmpfs", "-o", f"size={room}", "tmpfs", str(folder)]
    mounted = shutil.which("mount") is not None and not os.geteuid()
    mounted = mounted and subprocess.run(command, capture_output=True).returncode == 0
    try:
        yield mounted
    finally:
        if mounted:
            subprocess.run(["umount", str(folder)], check=True)


def at_once(scratch: Path, _: float) -> Outcome:
    """Processes that start at the same time, beside what a killed one left."""
    machine, outcome = Machine(scratch), Outcome()
    for processes in (2, 4):
        cache = Path(tempfile.mkdtemp(prefix="cache-", dir=scratch))
        (cache / "haskd_ros").mkdir(mode=0o700)
        (cache / "haskd_ros" / "building-left").mkdir()
        with ThreadPoolExecutor(processes) as pool:
            starts = list(pool.map(machine.start, [cache] * processes))
        outcome.tried += processes
        for start in starts:
            if start.exit_code or not start.loaded:
                outcome.faults.append(f"{processes} at once: {start}")
        if harm := machine.harm(cache):
            outcome.faults.append(f"after {processes} at once: {harm}")
    return outcome


REASON = "error: that is the reason"


def compilers(scratch: Path, _: float) -> Outcome:
    """Compilers with arguments, compilers that fail in their own ways."""
    machine, outcome = Machine(scratch), Outcome()
    spaced = scratch / "a folder"
    spaced.mkdir()
    wrapper = script(spaced / "wrapper", 'exec "$@"')
    works = {
        "with a wrapper": f"'{wrapper}' {machine.compiler}",
        "with an argument": f"{machine.compiler} -m64",
        "with spaces": f"  {machine.compiler}  -pipe ",
    }
    for name, value in works.items():
        cache = Path(tempfile.mkdtemp(prefix="cache-", dir=scratch))
        outcome.tried += 1
        if harm := machine.harm(cache, CXX=value):
            outcome.faults.append(f"{name}: {harm}")
    included = "In file included from convolution.cpp:1:"
    fails = {
        "the reason comes late": f"echo '{included}' >&2; echo 'x.h:3:1: {REASON}' >&2; exit 1",
        "the reason is on stdout": f"echo '{REASON}'; exit 1",
        "after a warning": f"echo 'x.h:1: warning: no error here' >&2; echo '{REASON}' >&2; exit 1",
        "among megabytes": "yes 'a line of nothing' | head -c 30000000 >&2; echo >&2; "
        f"echo '{REASON}' >&2; "
        "yes | head -c 3000000 >&2; exit 1",
        "in no encoding": f"printf '\\377\\376\\n{REASON} \\200\\n' >&2; exit 1",
        "with escapes": f"printf '\\033[31m{REASON}\\033[0m\\n' >&2; exit 1",
        "in one line of megabytes": f"printf '{REASON}' >&2; yes | tr -d '\\n' | head -c 30000000 "
        ">&2; exit 1",
    }
    for name, text in fails.items():
        cache = Path(tempfile.mkdtemp(prefix="cache-", dir=scratch))
        start = machine.start(cache, CXX=str(script(scratch / "failing", text)))
        outcome.tried += 1
        log = "".join(start.log)
        if start.exit_code or start.loaded:
            outcome.faults.append(f"{name}: {start}")
        elif REASON.removeprefix("error: ") not in log:
            outcome.faults.append(f"{name}: says {log[:200]!r}")
        elif len(log) > 600 or not log.isprintable():
            outcome.faults.append(f"{name}: not one short line: {log[:100]!r}, {len(log)} long")
    for name, value in {
        "missing": "no-such-compiler -O2",
        "open quotes": f'{machine.compiler} "',
        "nothing but spaces": "  ",
        "a folder": str(spaced),
        "no program": str(Path(__file__)),
    }.items():
        cache = Path(tempfile.mkdtemp(prefix="cache-", dir=scratch))
        start = machine.start(cache, CXX=value)
        outcome.tried += 1
        if start.exit_code or (value.strip() and "plain torch" not in "".join(start.log)):
            outcome.faults.append(f"{name}: {start}")
    return outcome


ATTACKS: dict[str, Attack] = {
    "damaged files": damaged_files,
    "other users": other_users,
    "killed compilations": killed_compilations,
    "full disks": full_disks,
    "at once": at_once,
    "compilers": compilers,
}
