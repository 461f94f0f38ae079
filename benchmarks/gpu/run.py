"""Runs the parts of the GPU benchmark one after the other: see `benchmarks/gpu.sh --help`.

Needs nothing but Python's own library, so that whatever a part lacks is that part's failure.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent

PARTS = {
    "install": 150,
    "machine": 60,
    "parity": 60,
    "latency": 100,
    "training": 60,
    "node": 50,
    "range_view": 60,
    "distillation": 100,
}
"""The most valuable first, and the most seconds that each may take."""

FEWEST_S = 5.0
GRACE_S = 5.0

Command = Callable[[str, Path], Sequence[str]]
"""(part, file for its rows) -> what runs it."""


def run_parts(
    names: Sequence[str],
    command: Command,
    out: Path,
    *,
    limits: dict[str, float],
    seconds: float,
    facts: dict[str, Any],
) -> dict[str, Any]:
    """Run parts as processes of their own and write `out`/gpu.json after each.

    Args:
        limits: seconds that each part may take.
        seconds: that all of them may take; what begins later than that is not started.
        facts: written beside the parts.

    Returns:
        what gpu.json holds: of each part its `state` (done, failed, out of time or not started),
        `seconds`, `limit_s`, the `rows` that it wrote until then, and of a failed one the `error`,
        the last line that it printed.
    """
    started = time.monotonic()
    document: dict[str, Any] = {**facts, "seconds": 0.0, "parts": {}}
    for name in names:
        left = seconds - (time.monotonic() - started)
        part = document["parts"][name] = {"state": "not started", "rows": []}
        if left >= FEWEST_S:
            limit = min(limits[name], left)
            part |= _run(command(name, out / f"{name}.json"), out / name, limit)
        document["parts"][name] = part
        document["seconds"] = round(time.monotonic() - started, 1)
        write(out / "gpu.json", document)
        _say(f"{name}: {part['state']}, {part.get('seconds', 0)} s {part.get('error', '')}")
    return document


def _run(command: Sequence[str], path: Path, limit: float) -> dict[str, Any]:
    """The entry of a part that `command` runs, whose rows are in `path`.json."""
    rows, log = path.with_suffix(".json"), path.with_suffix(".log")
    rows.unlink(missing_ok=True)
    started = time.monotonic()
    with log.open("w", encoding="utf-8") as output:
        # A session of its own, so that whatever it starts ends with it.
        process = subprocess.Popen(command, stdout=output, stderr=output, start_new_session=True)
        try:
            code: int | None = process.wait(limit)
        except subprocess.TimeoutExpired:
            code = None
        finally:
            _end(process)
    found = {
        "state": {0: "done", None: "out of time"}.get(code, "failed"),
        "seconds": round(time.monotonic() - started, 1),
        "limit_s": round(limit, 1),
        "rows": json.loads(rows.read_text(encoding="utf-8")) if rows.exists() else [],
    }
    if found["state"] == "failed":
        said = log.read_text(encoding="utf-8", errors="replace").strip().splitlines()
        found["error"] = said[-1] if said else f"ended with {code}"
    return found


def _end(process: subprocess.Popen[bytes]) -> None:
    """All that is left of a process's session."""
    for kind in (signal.SIGTERM, signal.SIGKILL):
        try:
            os.killpg(process.pid, kind)
        except ProcessLookupError:
            break
        try:
            process.wait(GRACE_S)
        except subprocess.TimeoutExpired:
            continue


def write(path: Path, document: Any) -> None:
    """As JSON, all of it or nothing."""
    new = path.with_suffix(".new")
    new.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
    new.replace(path)


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def _commit() -> str:
    command = ["git", "-C", str(HERE), "describe", "--always", "--dirty", "--abbrev=12"]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return "unknown"


def main() -> None:
    parser = argparse.ArgumentParser(description="See benchmarks/gpu.sh --help.")
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda")
    parser.add_argument("--bag", type=Path)
    parser.add_argument("--topic")
    parser.add_argument("--labels")
    parser.add_argument("--install", action="store_true")
    parser.add_argument("--wheels", type=Path)
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=list(PARTS))
    parser.add_argument("--minutes", type=float, default=8.0)
    parser.add_argument("--out", type=Path, default=Path("gpu"))
    given = parser.parse_args()
    if given.bag is not None and not given.bag.exists():
        parser.error(f"{given.bag} is not there")
    given.out.mkdir(parents=True, exist_ok=True)

    case = {name: getattr(given, name) for name in ("device", "topic", "labels")}
    for name in ("bag", "wheels"):
        path = getattr(given, name)
        case[name] = None if path is None else str(path.resolve())

    def command(part: str, rows: Path) -> list[str]:
        return [sys.executable, "-m", "gpu.part", part, str(rows.resolve()), json.dumps(case)]

    # As an interrupt from the keyboard: what has been started is ended, and the JSON stays.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    facts = {
        "date": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "commit": _commit(),
        "device": given.device,
        "clouds": "a simulated street" if given.bag is None else given.bag.resolve().name,
    }
    names = [name for name in PARTS if name in given.parts]
    if not given.install:
        names = [name for name in names if name != "install"]
    limits = {name: float(limit) for name, limit in PARTS.items()}
    seconds = 60 * given.minutes - GRACE_S
    try:
        run_parts(names, command, given.out, limits=limits, seconds=seconds, facts=facts)
    except KeyboardInterrupt:
        _say(f"interrupted; the parts before are in {given.out / 'gpu.json'}")
        raise SystemExit(130) from None
    _say(f"written to {given.out / 'gpu.json'}")


if __name__ == "__main__":
    main()
