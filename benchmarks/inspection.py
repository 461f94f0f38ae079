"""How long `haskd inspect` takes beside reading: `python benchmarks/inspection.py BAG...`.

For each bag the seconds of reading and decoding every message, of the examination, and of the
command `haskd inspect BAG` as a program of its own, start included: processor time (of all threads)
and wall clock, the least of some turns each, and the ratios to reading.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from rich.console import Console
from rich.table import Table

from haskd_training.data.preparing.examination.examine import examine
from haskd_training.recordings.readers.bag import open_bag
from haskd_training.recordings.recording import RecordingConfig


def read(bag: Path) -> None:
    with open_bag(bag) as opened:
        for _ in opened.messages(list(opened.topics)):
            pass


def inspect(bag: Path) -> None:
    command = [sys.executable, "-m", "haskd_training", "inspect", str(bag)]
    subprocess.run(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=True)


def start_only() -> None:
    command = [sys.executable, "-m", "haskd_training", "inspect", "--help"]
    subprocess.run(command, stdout=subprocess.DEVNULL, check=True)


def seconds(work: Callable[[], object]) -> tuple[float, float]:
    """Processor time, of this program and those it starts, and wall clock."""
    before, wall = os.times(), time.perf_counter()
    work()
    after = os.times()
    return sum(after[:4]) - sum(before[:4]), time.perf_counter() - wall


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("bags", nargs="+", type=Path)
    parser.add_argument("--turns", type=int, default=3)
    given = parser.parse_args()
    table = Table("bag", "", "reading s", "examining s", "ratio", "haskd inspect s", "ratio")
    for bag in given.bags:
        works = (
            lambda bag=bag: read(bag),
            lambda bag=bag: examine(bag, bag.name, RecordingConfig()),
            lambda bag=bag: inspect(bag),
        )
        turns = [[seconds(work) for work in works] for _ in range(given.turns)]
        for column, name in enumerate(("processor", "wall")):
            reading, examining, command = (
                min(turn[work][column] for turn in turns) for work in range(len(works))
            )
            table.add_row(
                bag.name if column == 0 else "", name, f"{reading:.2f}", f"{examining:.2f}",
                f"{examining / reading:.2f}", f"{command:.2f}", f"{command / reading:.2f}",
            )  # fmt: skip
    start = [seconds(start_only) for _ in range(given.turns)]
    processor, wall = (min(turn[column] for turn in start) for column in range(2))
    table.caption = f"start of the program: {processor:.2f} s processor, {wall:.2f} s wall"
    Console(width=100).print(table)


if __name__ == "__main__":
    main()
