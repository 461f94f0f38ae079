"""How long the examination of recordings takes: `python benchmarks/inspection.py BAG...`.

CPU seconds of reading every message of a bag, of examining it, and their ratio; the least of three
turns each. `haskd inspect` is the examination and the start of the program.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

from rich.console import Console
from rich.table import Table

from haskd_training.data.examination.examine import examine
from haskd_training.recordings.readers.bag import open_bag
from haskd_training.recordings.recording import RecordingConfig

TURNS = 3


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("bags", nargs="+", type=Path)
    table = Table("bag", "reading s", "examining s", "ratio", "findings")
    for bag in parser.parse_args().bags:
        reading, examining = [], []
        for _ in range(TURNS):
            start = time.process_time()
            with open_bag(bag) as opened:
                for _ in opened.messages(list(opened.topics)):
                    pass
            middle = time.process_time()
            found = examine(bag, bag.name, RecordingConfig())
            reading.append(middle - start)
            examining.append(time.process_time() - middle)
        ratio = min(examining) / min(reading)
        codes = sorted({finding.code for finding in found.findings})
        seconds = f"{min(reading):.2f}", f"{min(examining):.2f}"
        table.add_row(bag.name, *seconds, f"{ratio:.2f}", ", ".join(codes))
    Console().print(table)


if __name__ == "__main__":
    main()
