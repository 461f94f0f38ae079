"""What `public.sh` reads and writes: data sets, settings, rows of results.

check ROOT ...   looks at files and settings; prints the splits, the data's folder, the device and
                 the run's folder, then the settings of `haskd baseline`, then of `haskd ablate`
row RUN ROW ...  adds a row to results.jsonl and results.md
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import sys
from collections.abc import Iterable, Sequence
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Any

from haskd_ros.errors import InputError
from haskd_training.data.readers.all_readers import reader_of
from haskd_training.data.readers.interface import DatasetReader

if TYPE_CHECKING:  # takes seconds
    from haskd_training.data.caches.cache import Cache

HEADER = """\
| data set | split | whole? | network | recipe | learned from | mIoU, % | commit | machine | s |
| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |
"""


def check(given: argparse.Namespace) -> None:
    reader = reader_of(given.reader)
    train, val = splits_of(reader, given.splits)
    folder = given.root
    if not folder.is_dir():
        raise InputError(f"{folder} is no folder")
    names = {split: reader.choose(folder, split, None) for split in (train, val)}
    if both := set(names[train]) & set(names[val]):
        raise InputError(f"{', '.join(sorted(both))} would be learned from and scored")
    # Of both at once, so that one error has all that is missing.
    opened = {drive.name: drive for drive in reader.open_drives(folder, sum(names.values(), ()))}
    for split, drives in names.items():
        there, published = [opened[name] for name in drives], reader.splits[split]
        if unlabelled := [drive.name for drive in there if not drive.labelled]:
            raise InputError(f"split {split} has no labels: {', '.join(unlabelled[:3])} ...")
        say(
            f"{split}: {len(there)} of {published.drives} drives, "
            f"{sum(drive.frames for drive in there)} sweeps (published with labels: "
            f"{published.sweeps}), "
            f"{sum(drive.images for drive in there)} images"
        )
    from haskd_training.core.machine import machine
    from haskd_training.core.settings import load_settings
    from haskd_training.learning.student import StudentConfig

    # The benchmark's own split is the test: none of the training split is kept for one.
    settings = load_settings(StudentConfig, given.recipe, ["split.test=0", *given.set])
    if given.method == "has-kd":
        if not any(opened[name].images for name in names[train]):
            raise InputError(f"has-kd learns from images, and split {train} has none")
        if not settings.split.calibration:
            raise InputError("has-kd needs split.calibration above 0")
    if settings.split.folds:
        raise InputError("split.folds is for haskd run: nothing here is trained out of fold")
    say(f"{settings.size}, voxels of {settings.voxel_size} m, {settings.loop.epochs} epochs")
    say(machine())
    recipe = Path(given.recipe).stem if given.recipe else "defaults"
    device = "cpu" if settings.loop.device == "cpu" else "auto"
    student = settings.model_dump(mode="json")
    # Other files are other caches, another recipe is another run.
    files = (file for drive in opened.values() for file in drive.files)
    data, run = digest(states(folder, files)), digest(student)
    print(train, val, f"{reader.name}-{data}", device, f"{recipe}-{run}")
    print(json.dumps(student))
    print(json.dumps(ablation(student)) if given.method == "has-kd" else "")


def splits_of(reader: DatasetReader, given: str | None) -> tuple[str, str]:
    if reader.rule is None:
        raise InputError(f"{reader.title} has no benchmark: there is nothing to compare with")
    if given is None:
        return "train", reader.rule.split
    train, comma, val = given.partition(",")
    if not comma:
        raise InputError(f"--splits {given}: two are needed, TRAIN,VAL")
    return train, val


def states(root: Path, files: Iterable[Path]) -> list[tuple[str, int, int]]:
    """Name, size and time of change of each file."""
    found = ((file, file.stat()) for file in sorted(files))
    return [(os.path.relpath(file, root), at.st_size, at.st_mtime_ns) for file, at in found]


def digest(value: Any) -> str:
    return hashlib.sha256(json.dumps(value).encode()).hexdigest()[:8]


def ablation(student: dict[str, Any]) -> dict[str, Any]:
    """Settings of `haskd ablate` for the rows of labels alone and of HAS-KD, on one seed."""
    from haskd_training.experiments.ablation_rows import LABELS, METHOD, ROWS

    return {
        "seeds": [student["loop"]["seed"]],
        "controls": [LABELS],
        "rows": {METHOD: ROWS[METHOD]},
        "corrupted": [],
        "bounds": False,
        "method": {"student": student},
    }


def add_row(given: argparse.Namespace) -> None:
    from haskd_training.core.machine import machine
    from haskd_training.data.caches.cache import Cache

    run, caches, reader = given.run, Path(given.caches), reader_of(given.reader)
    scores = run / f"scores-{given.method}-{given.row}" / "evaluation.json"
    score = json.loads(scores.read_text())["protocol"]
    settings = json.loads((run / "student.json").read_text())
    training = "train" if given.method == "labels" else "ablate"
    steps = {
        name: (folder / "steps" / name).read_text().splitlines()
        for folder, name in (
            (caches, f"prepare-{given.train}"),
            (caches, f"prepare-{given.val}"),
            (run, training),
            (run, f"evaluate-{given.method}-{given.row}"),
        )
    }
    commits = list(dict.fromkeys(lines[1] for lines in steps.values()))
    row = {
        "time": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "reader": reader.name,
        "split": given.val,
        "is_whole_split": score["is_whole_split"],
        "sweeps": sum(score["sweeps"].values()),
        "trained_on": part(reader, given.train, Cache.open(caches / given.train)),
        "learned_from": given.row,
        "network": settings["size"],
        "recipe": given.recipe,
        "settings": settings,
        "miou": score["miou"],
        "iou": score["iou"],
        "accuracy": score["accuracy"],
        "mean_accuracy": score["mean_accuracy"],
        "commits": commits,
        "machine": machine(),
        "seconds": {name: int(lines[0]) for name, lines in steps.items()},
        "model": given.model,
    }
    results = Path(given.results)
    with (results / "results.jsonl").open("a") as file:
        file.write(json.dumps(row) + "\n")
    table = results / "results.md"
    new = not table.exists()
    with table.open("a") as file:
        file.write((HEADER if new else "") + markdown(row, reader) + "\n")
    print(markdown(row, reader))


def part(reader: DatasetReader, split: str, cache: Cache) -> dict[str, Any]:
    """How much of a split a cache has."""
    drives = len({row.recording for row in cache.sweeps})
    sweeps = sum(any(row.class_counts) for row in cache.sweeps)
    published = reader.splits[split]
    return {
        "split": split,
        "drives": drives,
        "labelled_sweeps": sweeps,
        "is_whole": (drives, sweeps) == (published.drives, published.sweeps),
    }


def markdown(row: dict[str, Any], reader: DatasetReader) -> str:
    published = reader.splits[row["split"]].sweeps
    whole = "yes" if row["is_whole_split"] else f"NO, {row['sweeps']} of {published} sweeps"
    if not row["trained_on"]["is_whole"]:
        whole += f"; NOT all of {row['trained_on']['split']} learned from"
    cells = (
        reader.title,
        row["split"],
        whole,
        f"{row['network']}, {row['settings']['voxel_size']} m",
        Path(row["recipe"]).name,
        row["learned_from"],
        f"{100 * row['miou']:.1f}",
        ", ".join(row["commits"]),
        row["machine"],
        str(sum(row["seconds"].values())),
    )
    return f"| {' | '.join(cells)} |"


def say(line: str) -> None:
    print(line, file=sys.stderr)


def parser() -> argparse.ArgumentParser:
    whole = argparse.ArgumentParser(description=__doc__)
    parts = whole.add_subparsers(dest="part", required=True)
    checks = parts.add_parser("check")
    checks.add_argument("root", type=Path)
    checks.add_argument("--splits")
    checks.add_argument("--recipe", type=Path)
    checks.add_argument("--set", action="append", default=[])
    row = parts.add_parser("row")
    row.add_argument("run", type=Path)
    row.add_argument("row")
    for option in ("caches", "train", "val", "recipe", "model", "results"):
        row.add_argument(f"--{option}", required=True)
    for part in (checks, row):
        part.add_argument("--reader", required=True)
        part.add_argument("--method", required=True)
    return whole


def main(arguments: Sequence[str] | None = None) -> None:
    given = parser().parse_args(arguments)
    try:
        (check if given.part == "check" else add_row)(given)
    except InputError as error:
        say(f"error: {error}")
        raise SystemExit(2) from None


if __name__ == "__main__":
    main()
