"""Reads damaged files in a process of its own, see `damaged_reading`:
`python reading_child.py FOLDER SECONDS TRIES KIND=FIRST_SEED ...`.

Prints kind and seed before each try, and a fault as a line of JSON behind it. Memory is limited,
and a try that takes too long is a fault. A crash ends this process.
"""

from __future__ import annotations

import faulthandler
import json
import logging
import resource
import signal
import sys
import time
import traceback
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from damaged_files import ALLOWED, KINDS, Kind, damaged
from hostile_files import CASES

from haskd_ros.errors import InputError
from haskd_ros.text import shown

EVERY = KINDS | CASES

MEMORY = 3 << 30
"""Bytes beyond what the process has when it begins."""

SECONDS = 10.0
"""Of computing that one file may take, on all cores together."""

LONGEST = 3000
"""Characters of a message."""


class _TooSlow(BaseException):
    pass


def _late(*_: object) -> None:
    raise _TooSlow


def fault_of(read: Callable[[Path], Any], path: Path) -> str | None:
    """What came of reading it that should not have; None where it was right."""
    signal.setitimer(signal.ITIMER_PROF, SECONDS)
    # Where no signal is heard: the process ends, and its last try is a fault.
    faulthandler.dump_traceback_later(4 * SECONDS, exit=True)
    try:
        read(path)
    except InputError as error:
        text = str(error)
        if len(text) > LONGEST or shown(text) != text:
            return f"a message of {len(text)} characters: {text[:80]!r}"
    except ALLOWED:
        return None
    except BaseException as error:
        where = traceback.extract_tb(error.__traceback__)[-1]
        place = f"{Path(where.filename).name}:{where.lineno}"
        return f"{type(error).__name__} at {place}: {str(error)[:120]}"
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        faulthandler.cancel_dump_traceback_later()
    return None


def prepared(name: str, folder: Path) -> tuple[Kind, Path, bytes]:
    """A kind, its sound file and the content of that."""
    kind = EVERY[name]
    folder.mkdir()
    path = kind.write(folder)
    if not kind.is_sound:
        return kind, path, b""
    kind.read(path)  # what is imported late is imported before memory is limited
    return kind, path, path.read_bytes()


def main() -> None:
    folder, seconds, tries, *kinds = sys.argv[1:]
    until = time.monotonic() + float(seconds)
    warnings.simplefilter("ignore")
    logging.disable(logging.CRITICAL)
    signal.signal(signal.SIGPROF, _late)
    first = {name: int(seed) for name, _, seed in (kind.rpartition("=") for kind in kinds)}
    sound = {name: prepared(name, Path(folder) / str(number)) for number, name in enumerate(first)}
    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + MEMORY,) * 2)
    for number in range(int(tries)):
        for name, (kind, path, content) in sound.items():
            if time.monotonic() > until:
                return
            seed = first[name] + number
            print(json.dumps([name, seed]), flush=True)
            if kind.is_sound:
                numbers = np.random.default_rng(seed)
                altered = damaged(content, numbers)
                path.write_bytes(kind.seal(altered) if numbers.random() < 0.8 else altered)
            if fault := fault_of(kind.read, path):
                print(json.dumps(fault), flush=True)


if __name__ == "__main__":
    main()
