"""Kills, full disks, interruptions and a second process, at the writes of what this package makes.

`test/support/injection.py` makes the faults, `injected_jobs.py` are the jobs.
"""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path

from attacks.outcome import Attack, Outcome

SUPPORT = Path(__file__).resolve().parents[2] / "test/support"
sys.path.insert(0, str(SUPPORT))

from injected_jobs import BAG, CACHE, STUDENT, make_inputs  # noqa: E402
from injection import FAULTS, FULL, Attempt, attempt, inject  # noqa: E402
from small_run import METHOD, small_drive  # noqa: E402

_RUN_SECONDS = 1800
_DISK_MIB = (1, 4)
"""Sizes of disks that are too small for the small run, which writes 14 MB."""


def every_write(job: str, scratch: Path, _: float) -> Outcome:
    """All faults at every write of a small job."""
    make_inputs(scratch / "inputs")
    root = _work_folder(scratch)
    made = inject(f"injected_jobs:{job}", root)
    return Outcome(made.tried, made.faults, f"{made.events} events")


def finished_model(scratch: Path, _: float) -> Outcome:
    """A finished model of an older calibration is made again: it, or the new one, always stands."""
    make_inputs(scratch / "inputs")
    root = _work_folder(scratch)
    finished = root / "finished"
    attempt("injected_jobs:ship", finished)
    new = (finished / "model.safetensors").read_bytes()
    old = new[:-1] + bytes([new[-1] ^ 1])
    (finished / "model.safetensors").write_bytes(old)

    def wrong(folder: Path) -> str:
        is_whole = (folder / "model.safetensors").read_bytes() in (old, new)
        return "" if is_whole else "the model that stands there is neither the old nor the new one"

    made = inject(
        "injected_jobs:ship",
        root,
        begin=lambda folder: shutil.copytree(finished, folder),
        check=wrong,
    )
    return Outcome(made.tried, made.faults, f"{made.events} events")


def whole_run(scratch: Path, seconds: float) -> Outcome:
    """`haskd run`, disturbed at a write at random, again and again until it is done; then anew."""
    small_drive(scratch)
    whole = attempt("small_run_job:run", scratch / "whole")
    if whole.ended != "done":
        return Outcome(1, [f"undisturbed: {whole.ended}: {whole.message}"])
    outcome = Outcome(remark=f"{len(whole.events)} events a run")
    draw, runs, ends = random.Random(0), 0, time.monotonic() + seconds
    while time.monotonic() < ends:
        folder, runs = scratch / f"run-{runs}", runs + 1
        reach = len(whole.events)
        for _ in range(40):
            fault, at = draw.choice(FAULTS), draw.randrange(reach)
            made = attempt("small_run_job:run", folder, fault, at, _RUN_SECONDS)
            outcome.tried += 1
            if made.ended == "done" or time.monotonic() > ends:
                break
            if wrong := _wrong(made, fault):
                outcome.faults.append(f"{fault} at {at}: {wrong}")
                break
            reach = max(20, reach * 3 // 4)
        last = attempt("small_run_job:run", folder, seconds=_RUN_SECONDS)
        if last.ended != "done":
            outcome.faults.append(f"run {runs}: {last.ended}: {last.message}")
        elif json.dumps(last.result) != json.dumps(whole.result):
            outcome.faults.append(f"run {runs}: another result: {last.result}")
        shutil.rmtree(folder)
    return outcome


def _wrong(made: Attempt, fault: str) -> str:
    if made.ended == "broken":
        return made.message
    if made.ended == "refused" and fault != FULL:
        return f"refused: {made.message}"
    return ""


def full_disk(scratch: Path, _: float) -> Outcome:
    """`haskd run` on disks that are too small, then made larger."""
    bag = small_drive(scratch)
    outcome = Outcome()
    for mib in _DISK_MIB:
        disk = scratch / f"disk-{mib}"
        disk.mkdir()
        with _mounted(disk, mib) as is_mounted:
            if not is_mounted:
                outcome.remark = "file systems can't be mounted here"
                return outcome
            full = _haskd("run", bag, disk / "run")
            outcome.tried += 1
            said = full.stderr.strip().splitlines()[-1:] or [""]
            advice = "free some space and run the same command again: it goes on where it was"
            if full.returncode != 2 or "Traceback" in full.stderr or advice not in said[0]:
                outcome.faults.append(f"{mib} MiB: exit {full.returncode}: {full.stderr[-600:]}")
            subprocess.run(["mount", "-o", "remount,size=200m", str(disk)], check=True)
            again = _haskd("run", bag, disk / "run")
            if again.returncode:
                outcome.faults.append(f"{mib} MiB, made larger: {again.stderr[-600:]}")
    return outcome


def two_at_once(scratch: Path, _: float) -> Outcome:
    """A second `haskd run` in a folder, one after a kill, and one that is stopped."""
    bag, out = small_drive(scratch), scratch / "run"
    outcome = Outcome(tried=4)
    first = _started(bag, out)
    second = _haskd("run", bag, out)
    if second.returncode != 2 or f"process {first.pid}" not in second.stderr:
        outcome.faults.append(f"the second: exit {second.returncode}: {second.stderr[-600:]}")
    first.kill()
    first.wait()
    for number, code in ((signal.SIGINT, 130), (signal.SIGTERM, 143)):
        stopped = _started(bag, out)
        stopped.send_signal(number)
        _, said = stopped.communicate(timeout=_RUN_SECONDS)
        lines = said.strip().splitlines()
        if stopped.returncode != code or "goes on where it was" not in (lines or [""])[-1]:
            outcome.faults.append(f"{number.name}: exit {stopped.returncode}: {said[-600:]}")
    last = _haskd("run", bag, out)
    if last.returncode:
        outcome.faults.append(f"after a kill: exit {last.returncode}: {last.stderr[-600:]}")
    return outcome


def _work_folder(scratch: Path) -> Path:
    """A folder for jobs, with their inputs in it."""
    root = scratch / "work"
    root.mkdir()
    for name in (BAG, CACHE, STUDENT):
        (root / name).symlink_to(scratch / "inputs" / name)
    return root


def _command(bag: Path, out: Path) -> list[str]:
    options = [part for setting in METHOD for part in ("--set", setting)]
    command = [sys.executable, "-m", "haskd_training", "run", str(bag), "--labels", "simulation"]
    return [*command, "--out", str(out), *options]


def _haskd(_: str, bag: Path, out: Path) -> subprocess.CompletedProcess[str]:
    command = _command(bag, out)
    return subprocess.run(command, capture_output=True, text=True, check=False)


def _started(bag: Path, out: Path) -> subprocess.Popen[str]:
    """A run that has begun to write."""
    begun = time.time()
    process = subprocess.Popen(
        _command(bag, out),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        # A shell's job in the background, as this may be, ignores Ctrl-C.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    while process.poll() is None and _newest(out) <= begun:
        time.sleep(0.05)
    return process


def _newest(folder: Path) -> float:
    """When something below it was last made or changed; what goes in the meantime is left out."""
    changed = [0.0]
    for path in [folder, *folder.rglob("*")]:
        with suppress(FileNotFoundError):
            changed.append(path.stat().st_mtime)
    return max(changed)


@contextmanager
def _mounted(folder: Path, mib: int) -> Iterator[bool]:
    """A file system of so many MiB, if this user may mount one."""
    command = ["mount", "-t", "tmpfs", "-o", f"size={mib}m", "tmpfs", str(folder)]
    is_mounted = os.geteuid() == 0 and not subprocess.run(command, check=False).returncode
    try:
        yield is_mounted
    finally:
        if is_mounted:
            subprocess.run(["umount", str(folder)], check=True)


ATTACKS: dict[str, Attack] = {
    "faults at every write of a stage": partial(every_write, "stage"),
    "faults at every write of a calibrated model and a report": partial(every_write, "ship"),
    "faults at every write of a cache": partial(every_write, "cached"),
    "faults at every write of a bag": partial(every_write, "recorded"),
    "faults while a finished model is made again": finished_model,
    "a whole run, disturbed again and again": whole_run,
    "a whole run on a full disk": full_disk,
    "two runs in one folder, and runs that are stopped": two_at_once,
}
