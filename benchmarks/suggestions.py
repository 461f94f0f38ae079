"""Whether suggested sweeps teach more than others: `python benchmarks/suggestions.py TRAIN TEST
--first CACHE ... --out FOLDER`.

A first model of each seed is trained on a few sweeps of other recordings, so that nothing of the
recording at hand is labelled. By it `haskd suggest`'s choice is made; a student of the same seed is
trained on the labels of the sweeps chosen alone, and scored on another recording. To compare with:
as many sweeps at random, and the middles of as many equal parts of the recording. Each training's
counts are a line of FOLDER/results.jsonl; called again, it goes on with those that are missing.
"""

from __future__ import annotations

# Before numpy, whose threads it keeps from spinning.
import haskd_ros  # noqa: F401

# isort: split

import argparse
import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rich.console import Console
from rich.table import Table

from haskd_training.data.cache import Cache
from haskd_training.data.splits import Split
from haskd_training.data.sweep_ref import SweepRef
from haskd_training.evaluation.scoring import class_predictor, sweep_confusions
from haskd_training.learning.baseline import baseline
from haskd_training.learning.student import StudentConfig
from haskd_training.metrics.intervals import (
    mean_iou_of,
    paired_interval,
    seeds_and_sweeps_interval,
)

RESULTS = "results.jsonl"
OTHERS = ("even", "random")
BLOCK = 5
"""Consecutive test sweeps that are resampled together."""


def evenly(total: int, count: int) -> list[int]:
    """The middles of `count` equal parts of `total` sweeps."""
    return [int((part + 0.5) * total / count) for part in range(count)]


def train(
    cache: Cache, sweeps: Sequence[SweepRef], caches: Sequence[Cache], out: Path, *, steps: int,
    seed: int, voxel_size: float,
) -> Path:  # fmt: skip
    """The model of a student taught by the labels of these sweeps alone, after the last step."""
    config = StudentConfig.model_validate(
        {
            "voxel_size": voxel_size,
            "snapshots": 1,
            "loop": {"epochs": max(1, round(steps / len(sweeps))), "seed": seed, "device": "cpu"},
        }
    )
    # What is not measured is taken to be of one mean, as `make_split` does.
    stand_in = [replace(each, stand_in=cache.missing_intensity) for each in caches]
    return baseline(Split(stand_in, list(sweeps), [], [], [], []), out, config).model


def suggested(strategy: str, cache: Cache, model: Path, count: int, seed: int) -> list[int]:
    """The sweeps that are suggested by a model."""
    from haskd_training.suggestions.choice import choose
    from haskd_training.suggestions.open_points import look_at

    found = look_at([cache], model, seed=seed)
    return [suggestion.ref.sweep for suggestion in choose(found, strategy, count)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("train", type=Path, help="cache of the recording to choose from, labelled")
    parser.add_argument("test", type=Path, help="cache to score on")
    parser.add_argument("--first", type=Path, nargs="+", required=True, help="of the first model")
    parser.add_argument("--of-first", type=int, default=3, help="sweeps of each of them")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--strategies", nargs="+", default=[*OTHERS, "look"])
    parser.add_argument("--counts", type=int, nargs="+", default=[3, 6])
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--steps", type=int, default=150)
    parser.add_argument("--voxel-size", type=float, default=0.3)
    parser.add_argument("--threads", type=int, default=1)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    cache, test = Cache.open(arguments.train), Cache.open(arguments.test)
    settings = {"steps": arguments.steps, "voxel_size": arguments.voxel_size}
    for seed in range(arguments.seeds):
        for count in arguments.counts:
            for strategy in arguments.strategies:
                key = {"strategy": strategy, "count": count, "seed": seed}
                if key in [{name: row[name] for name in key} for row in read(arguments.out)]:
                    continue
                if strategy == "even":
                    chosen = evenly(len(cache), count)
                elif strategy == "random":
                    draw = np.random.default_rng([seed, count])
                    chosen = sorted(draw.choice(len(cache), count, replace=False).tolist())
                else:
                    chosen = suggested(
                        strategy, cache, first_model(arguments, seed, settings), count, seed
                    )
                out = arguments.out / f"{strategy}-{count}-{seed}"
                refs = [SweepRef(0, sweep) for sweep in chosen]
                model = train(cache, refs, [cache], out, seed=seed, **settings)
                counts = score(model, test)
                write(arguments.out, key | {"sweeps": chosen, "counts": counts.tolist()})
                Console().print(key, chosen, f"{100 * mean_iou_of(counts.sum(0)):.1f}")
    show(read(arguments.out))


def first_model(arguments: argparse.Namespace, seed: int, settings: dict[str, Any]) -> Path:
    """Trained on a few sweeps, evenly spaced, of each of the other recordings."""
    caches = [Cache.open(path) for path in arguments.first]
    refs = [
        SweepRef(number, sweep)
        for number, each in enumerate(caches)
        for sweep in evenly(len(each), arguments.of_first)
    ]
    return train(caches[0], refs, caches, arguments.out / f"first-{seed}", seed=seed, **settings)


def score(model: Path, test: Cache) -> np.ndarray:
    """[S, C, C + 1] counts of the labelled sweeps of a cache."""
    refs = [SweepRef(0, i) for i, row in enumerate(test.sweeps) if any(row.class_counts)]
    split = Split([test], [], [], [], refs, [])
    return sweep_confusions(class_predictor(model, torch.device("cpu")), split, refs)


def read(folder: Path) -> list[dict[str, Any]]:
    """The trainings that are finished."""
    path = folder / RESULTS
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def write(folder: Path, row: dict[str, Any]) -> None:
    with (folder / RESULTS).open("a") as file:
        file.write(json.dumps(row) + "\n")


def show(rows: Sequence[dict[str, Any]]) -> None:
    """mIoU by strategy, and what the others gain over each of those to compare with: the interval
    over seeds alone, and that over seeds and test sweeps."""
    counts = {(row["strategy"], row["count"], row["seed"]): np.array(row["counts"]) for row in rows}
    table = Table(title="mIoU in %, 95 % intervals of the gains: over seeds; seeds and sweeps")
    for column in ("sweeps", "strategy", "seeds", "mIoU", *(f"over {other}" for other in OTHERS)):
        table.add_column(column)
    for count in sorted({row["count"] for row in rows}):
        for strategy in dict.fromkeys(row["strategy"] for row in rows):
            seeds = sorted(seed for one, n, seed in counts if (one, n) == (strategy, count))
            own = np.array([counts[strategy, count, seed] for seed in seeds])
            scores = 100 * mean_iou_of(own.sum(1))
            cells = []
            for other in OTHERS:
                paired = [k for k, seed in enumerate(seeds) if (other, count, seed) in counts]
                if other == strategy or len(paired) < 2:
                    cells.append("")
                    continue
                theirs = np.array([counts[other, count, seeds[k]] for k in paired])
                gains = scores[paired] - 100 * mean_iou_of(theirs.sum(1))
                over_seeds = paired_interval(gains)
                both = seeds_and_sweeps_interval(own[paired], theirs, block=BLOCK)
                cells.append(
                    f"{over_seeds.mean:+.1f} ({over_seeds.low:+.1f} to {over_seeds.high:+.1f}; "
                    f"{100 * both.low:+.1f} to {100 * both.high:+.1f})"
                )
            mean = f"{scores.mean():.1f} ({', '.join(f'{score:.1f}' for score in scores)})"
            table.add_row(str(count), strategy, str(len(seeds)), mean, *cells)
    Console(width=160).print(table)


if __name__ == "__main__":
    main()
