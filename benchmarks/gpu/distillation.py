"""Part `distillation`: all of HAS-KD once, short, by `haskd run`; a few sweeps, two epochs."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from gpu.part import Case, Rows

DRIVE = ("duration_s=2.4", "azimuth_steps=225", "image_width=320", "image_height=180")
SMALL_DRIVE = (
    "duration_s=2", "azimuth_steps=120", "cameras=[front]", "image_width=96", "image_height=64",
)  # fmt: skip
RUN = ("student.loop.epochs=2", "expertise.min_scans=2")
SMALL_RUN = (
    "student.voxel_size=1", "student.snapshots=2", "student.loop.epochs=1",
    "selection.window_s=0.3", "expertise.min_scans=2",
)  # fmt: skip


def run(case: Case, rows: Rows) -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        if case.bag is None or case.labels is None:
            bag, labels = folder / "drive", "simulation"
            seconds = _haskd("simulate", str(bag), _set(SMALL_DRIVE if case.small else DRIVE))
            rows.add(step="simulate a drive", seconds=seconds)
        else:
            bag, labels = Path(case.bag), case.labels
        settings = (*(SMALL_RUN if case.small else RUN), f"student.loop.device={case.device}")
        out = folder / "run"
        seconds = _haskd("run", str(bag), ["--labels", labels, "--out", str(out), *_set(settings)])
        rows.add(step="haskd run, all of it", seconds=seconds)
        for path in sorted(out.glob("stages/*/seconds.json"), key=lambda p: p.stat().st_mtime):
            stage = path.parent.name.rpartition("-")[0]
            rows.add(step=stage, seconds=json.loads(path.read_text(encoding="utf-8")))


def _set(settings: tuple[str, ...]) -> list[str]:
    return [word for setting in settings for word in ("--set", setting)]


def _haskd(command: str, subject: str, options: list[str]) -> float:
    """The seconds that it took; ends the part where it fails."""
    started = time.perf_counter()
    words = [sys.executable, "-m", "haskd_training", command, subject, *options]
    ended = subprocess.run(words, stdout=sys.stderr)
    if ended.returncode:
        raise SystemExit(f"haskd {command} ended with {ended.returncode}")
    return time.perf_counter() - started
