"""The ablation's result: JSON for machines, Markdown for people, and under which circumstances."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch

from haskd_ros.files import write_atomically
from haskd_training.core.machine import machine
from haskd_training.data.splits import Split
from haskd_training.data.stacked_sweeps import stacked
from haskd_training.evaluation.student_cost import compare_costs, same_network
from haskd_training.experiments.ablation import RECORDED, Scores
from haskd_training.experiments.ablation_rows import (
    LABELS_LONGER,
    LABELS_ORACLE,
    METHODS,
    TEACHER,
    AblationConfig,
    teacher_shown,
    teacher_with,
)
from haskd_training.metrics.confusion import iou, number_or_null
from haskd_training.metrics.intervals import (
    common_classes,
    mean_iou_of,
    paired_interval,
    seeds_and_sweeps_interval,
)
from haskd_training.reports.markdown import gain_cells, line, percent

BLOCK = 10
"""Test sweeps in a row that the bootstrap draws together: a second of driving."""

TIMED = 10
"""Test sweeps that the latency is measured on, evenly spread."""

ROLES = ("train", "calibration", "validation", "test", "unlabelled")


def summarise(scores: Mapping[str, Scores], split: Split, config: AblationConfig) -> dict[str, Any]:
    """Every row with its mean, its gain over the first one (labels alone, unless another control is
    asked for) and what it cost, as JSON values; IoU and gains 0..1."""
    first = next(iter(scores))
    reference = scores[first]
    plain = reference.counts[RECORDED]
    common = common_classes(plain[0].sum((0, 2)))
    rows = {}
    for name, row in scores.items():
        counts = row.counts[RECORDED]
        by_seed = mean_iou_of(counts.sum(1))
        by_class = np.stack([iou(table) for table in counts.sum(1)])
        rows[name] = {
            "miou": by_seed.tolist(),
            "miou_common": mean_iou_of(counts.sum(1), common).tolist(),
            "iou": [number_or_null(value) for value in by_class.mean(0)],
            "seconds": row.seconds.tolist(),
        }
        if name != first:
            rows[name] |= _gains(counts, plain, common)
    conditions = {
        condition: {
            name: mean_iou_of(row.counts[condition].sum(1)).tolist()
            for name, row in scores.items()
            if condition in row.counts
        }
        for condition in reference.counts
        if condition != RECORDED
    }
    return {
        "seeds": list(config.seeds),
        "classes": list(split.taxonomy.names),
        "common": [name for name, on in zip(split.taxonomy.names, common) if on],
        "data": _data(split),
        "rows": rows,
        "over": {
            better: {
                name: _gains(scores[better].counts[RECORDED], scores[name].counts[RECORDED], common)
                for name in names
                if name != better
            }
            for better, names in _compared(scores, config).items()
        },
        "corrupted": conditions,
        "computing_s": _computing(scores.values()),
        "code": sorted({state for row in scores.values() for state in row.code}),
        "student": _student(scores, stacked(split, config.method.student.sweeps)),
        "config": config.model_dump(mode="json"),
    }


def _compared(scores: Mapping[str, Scores], config: AblationConfig) -> dict[str, Sequence[str]]:
    """Rows that other rows than the first are compared with too, and those others."""
    compared: dict[str, Sequence[str]] = {
        method: list(scores) for method in METHODS if method in scores
    }
    teachers = [teacher_shown(strategy) for strategy in config.strategies]
    own = teacher_shown(config.method.selection.strategy)
    compared |= {own: teachers} if own in teachers else {}
    others = [teacher_with(name) for name in config.teachers]
    return compared | {name: [TEACHER] for name in others if TEACHER in scores}


def _gains(counts: np.ndarray, plain: np.ndarray, common: np.ndarray) -> dict[str, Any]:
    """Of one row over another, over all classes and over the common ones."""
    return {"gain": _gain(counts, plain, None), "gain_common": _gain(counts, plain, common)}


def _gain(counts: np.ndarray, plain: np.ndarray, classes: np.ndarray | None) -> dict[str, Any]:
    """Over seeds, and over seeds and sweeps."""
    differences = mean_iou_of(counts.sum(1), classes) - mean_iou_of(plain.sum(1), classes)
    return {
        "by_seed": differences.tolist(),
        "over_seeds": paired_interval(differences.tolist()).to_json(),
        "over_seeds_and_sweeps": seeds_and_sweeps_interval(
            counts, plain, classes=classes, block=min(BLOCK, counts.shape[1])
        ).to_json(),
    }


def circumstances(command: str, seconds: float) -> dict[str, Any]:
    """What a summary was made with.

    Args:
        command: as typed.
        seconds: wall time of that call.
    """
    return {"command": command, "machine": machine(), "wall_s": seconds}


def _data(split: Split) -> list[dict[str, Any]]:
    """Each cache with the sweeps that it gives to each role."""
    return [
        {
            "cache": cache.name,
            "recordings": sorted({row.recording for row in cache.sweeps}),
            "points_per_sweep": cache.statistics["points_per_sweep"]["median"],
            "fingerprint": cache.fingerprint,
            "sweeps": {
                role: sum(ref.cache == number for ref in getattr(split, role)) for role in ROLES
            },
        }
        for number, cache in enumerate(split.caches)
    ]


def _computing(rows: Iterable[Scores]) -> float:
    """s, every stage counted once, scoring included."""
    rows = list(rows)
    stages = {cost.folder: cost.seconds for row in rows for costs in row.costs for cost in costs}
    return sum(stages.values()) + sum(row.scoring_s for row in rows)


def _student(scores: Mapping[str, Scores], split: Split) -> dict[str, Any] | None:
    """What the students of the first seed cost a robot; None without a row of the whole method."""
    method = next((name for name in METHODS if name in scores), None)
    if method is None:
        return None
    first = next(iter(scores))
    models = {
        name: path for name in (first, method) if (path := scores[name].models[0]()) is not None
    }
    spread = np.linspace(0, len(split.test) - 1, min(TIMED, len(split.test))).round().astype(int)
    clouds = [split.sweep(split.test[number]).stacked for number in spread]
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    found = compare_costs(models, clouds, device)
    return {
        "same_network": same_network(models[first], models[method]),
        "models": {name: asdict(cost) for name, cost in found.items()},
    }


def markdown(summary: Mapping[str, Any]) -> str:
    """Tables of a summary, in percent."""
    lines = [*_made_by(summary), *_score_lines(summary)]
    for name, gains in summary["over"].items():
        lines += _over_lines(name, gains)
    lines += _class_lines(summary)
    if summary["corrupted"]:
        lines += _corrupted_lines(summary)
    if summary["student"]:
        lines += _student_lines(summary["student"])
    return "\n".join(lines) + "\n"


def _made_by(summary: Mapping[str, Any]) -> list[str]:
    lines = []
    if "command" in summary:
        wall, computing = summary["wall_s"] / 60, summary["computing_s"] / 60
        lines += [
            "```sh", summary["command"], "```", "",
            f"{summary['machine']}. This call took {wall:.1f} minutes; computing over all calls "
            f"{computing:.1f} minutes.", "",
        ]  # fmt: skip
    if len(summary["code"]) > 1:
        lines += [
            f"THE ROWS WERE TRAINED BY {len(summary['code'])} STATES OF THE CODE "
            f"({', '.join(summary['code'])}): differences between rows may come from what was "
            "changed in between.", "",
        ]  # fmt: skip
    lines += [line(["data", *ROLES, "points a sweep"]), line(["---"] * (len(ROLES) + 2))]
    for cache in summary["data"]:
        name = f"{cache['cache']} ({', '.join(cache['recordings'])})"
        sweeps = (str(cache["sweeps"][role] or "") for role in ROLES)
        lines.append(line([name, *sweeps, f"{cache['points_per_sweep']:,.0f}"]))
    return lines


def _unpaired(summary: Mapping[str, Any]) -> str:
    if not (count := sum(cache["sweeps"]["unlabelled"] for cache in summary["data"])):
        return ""
    return (
        f" Rows that learn from the {count} unlabelled sweeps too take another number of steps, in "
        f"another order: only their initial weights are the same, and {LABELS_LONGER!r} is what to "
        "compare them with."
    )


def _score_lines(summary: Mapping[str, Any]) -> list[str]:
    rows = summary["rows"]
    first = next(iter(rows))
    rare = sorted(set(summary["classes"]) - set(summary["common"]))
    seeds = summary["seeds"]
    lines = [
        "",
        f"Seeds {', '.join(map(str, seeds))}, paired: same initial weights, order and steps. mIoU "
        f"in %, mean over seeds; gains over {first} with their 95 % intervals: over seeds "
        "(Student's t of the paired differences), and over seeds and test sweeps (the bootstrap's "
        "variance over sweeps added). Common classes are those with at least 0.1 % of the test "
        "points"
        + (f": all but {', '.join(rare)}." if rare else ": here all.")
        + _unpaired(summary)
        + f" Cost: computing of all that a row needs, relative to {first}. Averages of "
        "weights, the ensemble and teachers are bounds, not students: on a robot the ensemble "
        "costs as many times as much as it has snapshots, and a teacher needs images; those of "
        "the test sweeps, which teachers alone are scored with, are in the cost of every row "
        "that has a teacher."
        + (
            f" {LABELS_ORACLE!r} is a bound too: a teacher who is always right."
            if LABELS_ORACLE in rows
            else ""
        ),
        "",
        "| row | mIoU | gain | over seeds | over seeds and sweeps | mIoU common | gain | over "
        "seeds | over seeds and sweeps | cost |",
        "| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    unit = np.mean(rows[first]["seconds"])
    for name, row in rows.items():
        cells = [name]
        for suffix in ("", "_common"):
            cells.append(percent(np.mean(row[f"miou{suffix}"])))
            gain = row.get(f"gain{suffix}")
            cells += _gain_cells(gain) if gain else ["", "", ""]
        cells.append(f"{np.mean(row['seconds']) / unit:.2f}")
        lines.append(line(cells))
    return lines


def _over_lines(name: str, gains: Mapping[str, Any]) -> list[str]:
    lines = [
        "",
        f"{name}, over each of these rows, with the same intervals:",
        "",
        "| over | gain | over seeds | over seeds and sweeps | gain common | over seeds | over "
        "seeds and sweeps |",
        "| --- | --- | --- | --- | --- | --- | --- |",
    ]
    for other, found in gains.items():
        cells = [*_gain_cells(found["gain"]), *_gain_cells(found["gain_common"])]
        lines.append(line([other, *cells]))
    return lines


def _class_lines(summary: Mapping[str, Any]) -> list[str]:
    lines = ["", "IoU by class, mean over seeds:", ""]
    lines += [line(["row", *summary["classes"]]), line(["---"] * (len(summary["classes"]) + 1))]
    for name, row in summary["rows"].items():
        lines.append(line([name, *map(percent, row["iou"])]))
    return lines


def _corrupted_lines(summary: Mapping[str, Any]) -> list[str]:
    names = list(next(iter(summary["corrupted"].values())))
    lines = ["", "mIoU under corrupted clouds, mean over seeds:", ""]
    lines += [line(["clouds", *names]), line(["---"] * (len(names) + 1))]
    for condition, found in summary["corrupted"].items():
        lines.append(line([condition, *(percent(np.mean(found[name])) for name in names)]))
    return lines


def _student_lines(student: Mapping[str, Any]) -> list[str]:
    lines = [
        "",
        (
            "Both models are the same architecture with tensors of equal shapes (checked), and so "
            "run the same operations. "
            if student["same_network"]
            else "THE MODELS DIFFER in architecture or tensors. "
        )
        + "Measured in turn, model by model on the same clouds; the files' headers differ, since "
        "they hold how each was trained.",
        "",
        "| student | ms a cloud, median | quartiles | tensors, bytes | file, bytes |",
        "| --- | --- | --- | --- | --- |",
    ]
    for name, cost in student["models"].items():
        low, median, high = cost["latency_ms"]
        sizes = (f"{cost['tensor_bytes']:,}", f"{cost['file_bytes']:,}")
        lines.append(line([name, f"{median:.1f}", f"{low:.1f} to {high:.1f}", *sizes]))
    return lines


def _gain_cells(gain: Mapping[str, Any]) -> list[str]:
    return gain_cells(gain["over_seeds"], gain["over_seeds_and_sweeps"])


def write(summary: Mapping[str, Any], folder: Path) -> None:
    """`ablation.json` and `ablation.md`."""
    folder.mkdir(parents=True, exist_ok=True)
    write_atomically(folder / "ablation.json", json.dumps(summary, indent=1).encode())
    write_atomically(folder / "ablation.md", markdown(summary).encode())
