"""Attacks on everything that is read, and on everything that is being written: `python
benchmarks/attack.py`.

Prints one table: attacks tried against faults found, and each fault in a line. `--only NAME` makes
those whose name begins so, `--seconds` is how long each that draws at random goes on, `--list`
names them. Exit code 1 where a fault was found.
"""

from __future__ import annotations

import argparse
import importlib
import pkgutil
import sys
import tempfile
import time
import traceback
from pathlib import Path

import attacks
from attacks.outcome import Attack, Outcome
from rich.console import Console
from rich.table import Table


def all_attacks() -> dict[str, Attack]:
    """By name, `module: kind`."""
    found: dict[str, Attack] = {}
    for module in pkgutil.iter_modules(attacks.__path__):
        content = importlib.import_module(f"attacks.{module.name}")
        for name, attack in getattr(content, "ATTACKS", {}).items():
            found[f"{module.name}: {name}"] = attack
    return found


def made(attack: Attack, seconds: float) -> Outcome:
    """The outcome of an attack; one that broke off is a fault itself."""
    with tempfile.TemporaryDirectory(prefix="attack-") as scratch:
        try:
            return attack(Path(scratch), seconds)
        except Exception:
            return Outcome(1, [f"the attack broke off: {traceback.format_exc(limit=-6)}"])


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", default="", help="beginning of the names of those to make")
    parser.add_argument("--seconds", type=float, default=60.0, help="for each that draws at random")
    parser.add_argument("--list", action="store_true", help="name them and make none")
    asked = parser.parse_args()
    chosen = {name: a for name, a in all_attacks().items() if name.startswith(asked.only)}
    console = Console()
    if asked.list:
        for name in chosen:
            console.print(name, markup=False)
        return 0
    table = Table("attack", "tried", "faults", "s", "remark", title="attacks and what came of them")
    outcomes = []
    for name, attack in chosen.items():
        started = time.perf_counter()
        outcome = made(attack, asked.seconds)
        outcomes.append(outcome)
        seconds = time.perf_counter() - started
        for fault in outcome.faults:
            console.print(f"{name}: {fault}", style="red", markup=False)
        row = (name, f"{outcome.tried}", f"{len(outcome.faults)}", f"{seconds:.0f}", outcome.remark)
        table.add_row(*row)
    faults = sum(len(outcome.faults) for outcome in outcomes)
    table.add_section()
    table.add_row("all", f"{sum(outcome.tried for outcome in outcomes)}", f"{faults}")
    console.print(table)
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
