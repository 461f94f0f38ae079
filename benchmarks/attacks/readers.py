"""On everything that is read: files of every kind, damaged at random, and those made to harm."""

from __future__ import annotations

import sys
from functools import partial
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "test" / "support"))

from damaged_files import KINDS
from damaged_reading import read_damaged
from hostile_files import CASES

from attacks.outcome import Attack, Outcome

GROUPS = {
    "cloud files": [name for name in KINDS if name.split(".")[-1] in
                    ("pcd", "ply", "las", "laz", "e57", "npy", "npz", "bin") and " " not in name],
    "label files": [name for name in KINDS if name.startswith("labels ")],
    "bags": [name for name in KINDS if name.startswith("bag ") or name == "metadata.yaml"],
    "KITTI's files": [name for name in KINDS if name.startswith("kitti ")],
    "images": [name for name in KINDS if name.startswith("image ")],
    "YAML": ["label map", "settings"],
}  # fmt: skip


def damaged(kinds: list[str], scratch: Path, seconds: float) -> Outcome:
    """Sound files with a few bits, bytes, lengths or pieces changed at random, kind by kind."""
    readings = read_damaged(kinds, scratch, seconds)
    return Outcome(readings.tried, readings.faults)


def made_to_harm(scratch: Path, seconds: float) -> Outcome:
    """Bombs, lies, pipes and loops, each in a process of its own with limited memory."""
    readings = read_damaged(CASES, scratch, 600.0, tries=1)
    return Outcome(readings.tried, readings.faults)


ATTACKS: dict[str, Attack] = {
    **{f"damaged {name}": partial(damaged, kinds) for name, kinds in GROUPS.items()},
    "files made to harm": made_to_harm,
}
