"""The cache of compiled kernels as a new process finds it, and compilers that do as one says."""

from __future__ import annotations

import hashlib
import logging
import os
import stat
import subprocess
from dataclasses import dataclass
from multiprocessing import get_context
from multiprocessing.connection import Connection
from pathlib import Path


@dataclass(frozen=True)
class Start:
    """What came of a process that loaded the kernels.

    Attributes:
        exit_code: below 0 the signal that ended it.
        loaded: whether it had compiled kernels in the end.
        log: its messages.
        library: path of the library that it loaded; empty where none.
    """

    exit_code: int
    loaded: bool = False
    log: tuple[str, ...] = ()
    library: str = ""


def start_process(
    environment: dict[str, str], folder: Path | None = None, timeout_s: float = 120.0
) -> Start:
    """Load the kernels in a process that has not loaded any, with these variables in the
    environment beside its own, in this working directory. One that hangs is killed."""
    context = get_context("forkserver")
    context.set_forkserver_preload(["haskd_ros.native.library"])
    receiver, sender = context.Pipe(duplex=False)
    process = context.Process(target=_load, args=(sender, environment, folder))
    process.start()
    sender.close()
    loaded, log, library = False, ("WARNING no answer",), ""
    try:
        if receiver.poll(timeout_s):
            loaded, log, library = receiver.recv()
    except EOFError:  # it died before it could tell
        pass
    process.join(timeout_s)
    process.kill()
    process.join()
    return Start(process.exitcode or 0, loaded, log, library)


def _load(sender: Connection, environment: dict[str, str], folder: Path | None) -> None:
    os.environ.update(environment)
    if folder is not None:
        os.chdir(folder)
    messages = _Messages()
    logging.getLogger("haskd_ros").addHandler(messages)
    logging.getLogger("haskd_ros").setLevel(logging.INFO)
    from haskd_ros.native import library, load_kernels

    loaded = load_kernels()
    sender.send((loaded, tuple(messages.texts), library.library()._name if loaded else ""))


class _Messages(logging.Handler):
    def __init__(self) -> None:
        super().__init__()
        self.texts: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.texts.append(f"{record.levelname} {record.getMessage()}")


def script(path: Path, text: str) -> Path:
    """An executable shell script."""
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    return path


def quick_compiler(folder: Path, library: Path, runtime: Path | None = None) -> Path:
    """A compiler that always makes this library, or, where it is to make libhaskd and that is
    given, this one: its objects are empty."""
    return script(
        folder / "quick-g++",
        f"""for word; do
  [ "$before" = -o ] && target=$word
  before=$word
done
case " $* " in
*" -c "*) : >"$target";;
*" -Wl,--version-script="*) cp {runtime or library} "$target";;
*) cp {library} "$target";;
esac""",
    )


def foreign_library(folder: Path, marker: Path) -> bytes:
    """A library that makes the file `marker` as soon as it is loaded."""
    source = folder / "foreign.cpp"
    source.write_text(
        "#include <cstdio>\n"
        "__attribute__((constructor)) static void ran() {"
        f' if (FILE* file = fopen("{marker}", "w")) fclose(file); }}\n'
    )
    subprocess.run(
        ["g++", "-shared", "-fPIC", str(source), "-o", str(folder / "foreign.so")], check=True
    )
    return (folder / "foreign.so").read_bytes()


def libraries(cache: Path) -> list[Path]:
    """What lies in a cache under a library's name."""
    return sorted((cache / "haskd_ros").glob("kernels-*.so"))


def replaced(library: Path, content: bytes) -> Path:
    """The library with other content, under the name that is right for it."""
    ours, theirs = (hashlib.sha256(data).hexdigest() for data in (library.read_bytes(), content))
    library.unlink()
    forged = library.with_name(library.name.replace(ours, theirs))
    forged.write_bytes(content)
    forged.chmod(stat.S_IRWXU)
    return forged
