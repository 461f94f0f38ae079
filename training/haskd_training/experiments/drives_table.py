"""The benchmark by drive: JSON for machines, Markdown for people."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from haskd_ros.files import write_atomically
from haskd_training.evaluation.trust import Trust, together
from haskd_training.experiments.ablation_rows import METHODS
from haskd_training.experiments.drives import Drive, DriveBenchmarkConfig
from haskd_training.metrics.confusion import accuracy, iou, number_or_null
from haskd_training.metrics.intervals import drives_and_seeds_interval, mean_iou_of
from haskd_training.reports.markdown import gain_cells, line, percent

NAME = "drives"

SURE = (0.6, 0.8)
"""Least probabilities at which labels are counted; edges of the reliability's bins."""


_COLUMNS = ("row", "pooled", "mean of drives", "worst", "accuracy", "ECE", "AUROC")


def summarise(
    drives: Sequence[Drive], classes: Sequence[str], config: DriveBenchmarkConfig
) -> dict[str, Any]:
    """Every row with its scores over all drives and on each, and its gains, as JSON values; IoU,
    errors and gains 0..1."""
    rows = list(drives[0].counts)
    counts = {row: np.stack([drive.counts[row] for drive in drives]) for row in rows}
    first = rows[0]
    better = [first, *(method for method in METHODS if method in rows)]
    folds = [drive.fold for drive in drives]
    return {
        "seeds": list(config.seeds),
        "classes": list(classes),
        "drives": [
            {
                "name": drive.name,
                "fold": drive.fold,
                "points": [int(count) for count in drive.counts[first][0].sum(1)],
            }
            for drive in drives
        ],
        "rows": {
            row: _row(counts[row], [drive.trust.get(row) for drive in drives]) for row in rows
        },
        "over": {name: _over(name, counts, folds) for name in better},
        "corrupted": {
            condition: {
                row: mean_iou_of(
                    np.stack([drive.corrupted[condition][row] for drive in drives])
                ).tolist()
                for row in of_rows
            }
            for condition, of_rows in drives[0].corrupted.items()
        },
        "config": config.model_dump(mode="json"),
    }


def _row(counts: np.ndarray, trust: Sequence[Sequence[Trust] | None]) -> dict[str, Any]:
    """
    Args:
        counts: [D, seeds, C, C + 1].
        trust: of each drive its seeds', None for what is no model file.
    """
    by_drive = mean_iou_of(counts)
    known = [one for one in trust if one is not None]
    seeds = [together(of_seed) for of_seed in zip(*known, strict=True)] if known else []
    return {
        "miou_by_drive": by_drive.tolist(),
        "miou_pooled": mean_iou_of(counts.sum(0)).tolist(),
        "accuracy_by_drive": [[accuracy(table) for table in drive] for drive in counts],
        "iou_pooled": [
            number_or_null(value)
            for value in np.mean([iou(table) for table in counts.sum(0)], axis=0)
        ],
        "calibration_error": [number_or_null(one.reliability.error) for one in seeds],
        "calibration_error_by_drive": [
            [number_or_null(one.reliability.error) for one in drive] for drive in known
        ],
        "error_auroc": [number_or_null(one.error_auroc) for one in seeds],
        "at_least": {
            f"{probability:.1f}": [
                [number_or_null(value) for value in one.reliability.at_least(probability)]
                for one in seeds
            ]
            for probability in SURE
        },
    }


def _over(
    name: str, counts: Mapping[str, np.ndarray], folds: Sequence[int]
) -> dict[str, dict[str, Any]]:
    """What each of the other rows is over the first, or a method over each of the others."""
    first = next(iter(counts))
    return {
        row: _gain(of, counts[first], folds) if name == first else _gain(counts[name], of, folds)
        for row, of in counts.items()
        if row != name
    }


def _gain(row: np.ndarray, reference: np.ndarray, folds: Sequence[int]) -> dict[str, Any]:
    return {
        "by_drive": (mean_iou_of(row) - mean_iou_of(reference)).mean(1).tolist(),
        "mean": drives_and_seeds_interval(row, reference, folds).to_json(),
        "pooled": drives_and_seeds_interval(row, reference, folds, pooled=True).to_json(),
    }


def markdown(summary: Mapping[str, Any]) -> str:
    """Tables of a summary, in percent."""
    seeds, drives = summary["seeds"], [drive["name"] for drive in summary["drives"]]
    lines = []
    if "command" in summary:
        lines += ["```sh", summary["command"], "```", "", f"{summary['machine']}.", ""]
    folds: dict[int, list[str]] = {}
    for drive in summary["drives"]:
        folds.setdefault(drive["fold"], []).append(drive["name"])
    tested = "; ".join(" and ".join(names) for names in folds.values())
    lines += [
        f"Tested together, by what the others taught: {tested}. Seeds "
        f"{', '.join(map(str, seeds))}, paired. In %: mIoU over the points of all drives, mean "
        "over drives of the mIoU over the classes that are there, the worst drive; accuracy, mean "
        "over drives; expected calibration error; how likely a wrong point has more entropy than a "
        "right one (AUROC); and of the points whose class has at least a probability (the node's "
        "`min_probability`), which share of all they are and which share of them is right.",
        "",
        line([*_COLUMNS, *(f"{kind} at {p}" for p in SURE for kind in ("labelled", "right"))]),
        line(["---"] * (len(_COLUMNS) + 2 * len(SURE))),
    ]
    for name, row in summary["rows"].items():
        by_drive = np.mean(row["miou_by_drive"], axis=1)
        scores = [np.mean(row["miou_pooled"]), by_drive.mean(), by_drive.min()]
        scores += [np.mean(row["accuracy_by_drive"])]
        scores += [_mean(row["calibration_error"]), _mean(row["error_auroc"])]
        for sure in row["at_least"].values():
            scores += [_mean([share for share, _ in sure]), _mean([right for _, right in sure])]
        lines.append(line([name, *map(percent, scores)]))
    unsaid = (
        " One seed alone says nothing of seeds: they are over drives." if len(seeds) == 1 else ""
    )
    for name, gains in summary["over"].items():
        first = next(iter(summary["rows"]))
        title = f"Over {name}" if name == first else f"{name}, over each of these rows"
        lines += [
            "",
            f"{title}, with 95 % intervals over drives and seeds (hierarchical bootstrap).{unsaid}",
            "",
            line(["row", "mean of drives", "95 %", "pooled", "95 %", *drives]),
            line(["---"] * (5 + len(drives))),
        ]
        for other, gain in gains.items():
            cells = [cell for kind in ("mean", "pooled") for cell in gain_cells(gain[kind])]
            cells += [f"{100 * value:+.1f}" for value in gain["by_drive"]]
            lines.append(line([other, *cells]))
    lines += ["", "mIoU on each drive, mean over seeds:", ""]
    lines += [line(["row", *drives]), line(["---"] * (1 + len(drives)))]
    for name, row in summary["rows"].items():
        lines.append(line([name, *map(percent, np.mean(row["miou_by_drive"], axis=1))]))
    lines += ["", "IoU by class over the points of all drives, mean over seeds:", ""]
    lines += [line(["row", *summary["classes"]]), line(["---"] * (1 + len(summary["classes"])))]
    for name, row in summary["rows"].items():
        lines.append(line([name, *map(percent, row["iou_pooled"])]))
    if summary["corrupted"]:
        under = list(next(iter(summary["corrupted"].values())))
        lines += ["", "mIoU under corrupted clouds, mean over drives and seeds:", ""]
        lines += [line(["clouds", *under]), line(["---"] * (1 + len(under)))]
        for condition, found in summary["corrupted"].items():
            lines.append(line([condition, *(percent(np.mean(found[row])) for row in under)]))
    return "\n".join(lines) + "\n"


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return float(np.mean(known)) if known else None


def write(summary: Mapping[str, Any], folder: Path) -> None:
    """`drives.json` and `drives.md`."""
    folder.mkdir(parents=True, exist_ok=True)
    write_atomically(folder / f"{NAME}.json", json.dumps(summary, indent=1).encode())
    write_atomically(folder / f"{NAME}.md", markdown(summary).encode())
