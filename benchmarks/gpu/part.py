"""What a part of the GPU benchmark is given, and where it writes what it finds.

`python -m gpu.part PART ROWS.json CASE` runs one of them: the module of its name in this folder,
whose `run(case, rows)` is called.
"""

from __future__ import annotations

import importlib
import json
import signal
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gpu.run import write

NEEDS_GPU = "needs a GPU"
"""Stands where a figure would, had this been run on one."""


@dataclass(frozen=True)
class Case:
    """What is measured.

    Attributes:
        device: cuda, or cpu: then everything is small, to see that it works.
        bag, topic: a recording of clouds; None: a simulated street.
        labels: its label map.
        wheels: folder of wheels to install.
    """

    device: str
    bag: str | None = None
    topic: str | None = None
    labels: str | None = None
    wheels: str | None = None

    @property
    def small(self) -> bool:
        return self.device == "cpu"

    @property
    def on_gpu(self) -> bool:
        return self.device == "cuda"


class Rows:
    """A part's figures, on the disk after each of them.

    Args:
        path: a JSON list of them.
    """

    def __init__(self, path: Path) -> None:
        self._path, self.found = path, []

    def add(self, **row: Any) -> None:
        self.found.append(row)
        write(self._path, self.found)


def main() -> None:
    name, path, case = sys.argv[1:]
    # Out of time: what a part has opened is closed, a node and its shared memory, say.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("out of time"))
    # Not this file's own instance, whose classes would be others than those of the part.
    part = importlib.import_module("gpu.part")
    importlib.import_module(f"gpu.{name}").run(part.Case(**json.loads(case)), part.Rows(Path(path)))


if __name__ == "__main__":
    main()
