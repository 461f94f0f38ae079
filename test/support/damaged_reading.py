"""Damaged files, read in processes of their own: a library that crashes is a fault as well."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

_CHILD = Path(__file__).with_name("reading_child.py")


@dataclass
class Readings:
    """tried: files read. faults: a line each: kind, seed, and what came of it."""

    tried: int = 0
    faults: list[str] = field(default_factory=list)


def read_damaged(
    kinds: Iterable[str], scratch: Path, seconds: float, tries: int = 10**9, seed: int = 0
) -> Readings:
    """Read damaged files of some kinds by turns, see `damaged_files`.

    Args:
        scratch: an empty folder.
        seconds: after which no more are read.
        tries: of each kind at most.
        seed: of each kind's first file.
    """
    readings = Readings()
    next_seeds = dict.fromkeys(kinds, seed)
    until = time.monotonic() + seconds
    for part in range(10**6):
        left = until - time.monotonic()
        next_seeds = {name: at for name, at in next_seeds.items() if at < seed + tries}
        if left <= 0 or not next_seeds:
            break
        most = seed + tries - min(next_seeds.values())
        folder = scratch / f"part{part}"
        folder.mkdir()
        asked = [f"{name}={first}" for name, first in next_seeds.items()]
        command = [sys.executable, str(_CHILD), str(folder), f"{left}", f"{most}", *asked]
        done = subprocess.run(command, capture_output=True, check=False)
        last = None
        for line in done.stdout.splitlines():
            told = json.loads(line)
            if isinstance(told, str):
                readings.faults.append(f"{last}: {told}")
            else:
                last = f"{told[0]}, seed {told[1]}"
                next_seeds[told[0]] = told[1] + 1
                readings.tried += 1
        if done.returncode == 0:
            break
        ending = done.stderr.decode(errors="replace").strip().splitlines()[-1:]
        if last is None:
            raise RuntimeError(f"the reading process did not start: {ending}")
        readings.faults.append(f"{last}: the process ended with {done.returncode} {ending}")
    return readings
