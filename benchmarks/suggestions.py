"""Whether suggested sweeps teach more than others.

`python benchmarks/suggestions.py --pool CACHE ... --test CACHE ... --first CACHE ... --out FOLDER`

A first model of each seed is trained on a few sweeps of other recordings, so that nothing of the
pool is labelled. By it `haskd suggest` chooses sweeps of the pool; a student of the same seed is
trained on the labels of these alone, and scored on the test recordings. To compare with: as many
sweeps at random, and the middles of as many equal parts of the pool. Each training's counts are a
line of FOLDER/results.jsonl; called again, it goes on with those that are missing.
"""

from __future__ import annotations

# Before numpy, whose threads it keeps from spinning.
import haskd_ros  # noqa: F401

# isort: split

import argparse
import json
from collections.abc import Sequence
from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rich.console import Console
from rich.table import Table

from haskd_training.data.caches.cache import Cache
from haskd_training.data.splits import Split
from haskd_training.data.sweep_ref import SweepRef, all_sweeps
from haskd_training.evaluation.scoring import class_predictor, sweep_confusions
from haskd_training.learning.baseline import baseline
from haskd_training.learning.student import StudentConfig
from haskd_training.metrics.intervals import (
    mean_iou_of,
    paired_interval,
    seeds_and_sweeps_interval,
)
from haskd_training.suggestions.config import SuggestConfig
from haskd_training.suggestions.suggest import suggest

RESULTS = "results.jsonl"
OTHERS = ("even", "random")
STRATEGIES = (*OTHERS, "suggested")
DRAWS = 2000
BLOCK = 5
"""Consecutive test sweeps that are resampled together."""


def evenly(total: int, count: int) -> list[int]:
    """The middles of `count` equal parts of `total` sweeps."""
    return [int((part + 0.5) * total / count) for part in range(count)]


def choose(
    strategy: str, pool: Sequence[Cache], count: int, seed: int, model: Path, out: Path
) -> list[SweepRef]:
    """Sweeps of the pool by one of `STRATEGIES`.

    Args:
        model: the first model, for the suggestions, which go into `out`.
    """
    refs = all_sweeps(pool)
    if strategy == "even":
        return [refs[k] for k in evenly(len(refs), count)]
    if strategy == "random":
        drawn = np.random.default_rng([seed, count]).choice(len(refs), count, replace=False)
        return [refs[k] for k in sorted(drawn.tolist())]
    hidden = [cache.without_labels(cache.taxonomy) for cache in pool]
    found = suggest(hidden, model, count, out, SuggestConfig(seed=seed))
    return [suggestion.ref for suggestion in found.chosen]


def train(
    caches: Sequence[Cache], sweeps: Sequence[SweepRef], out: Path, *, steps: int, seed: int,
    voxel_size: float,
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
    alike = [replace(cache, stand_in=caches[0].missing_intensity) for cache in caches]
    return baseline(Split(alike, list(sweeps), [], [], [], []), out, config).model


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    for name, what in (
        ("pool", "to choose sweeps from, labelled"),
        ("test", "to score on"),
        ("first", "to train the first model on"),
    ):
        parser.add_argument(f"--{name}", type=Path, nargs="+", required=True, help=f"caches {what}")
    parser.add_argument("--of-first", type=int, default=3, help="sweeps of each of the last")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--counts", type=int, nargs="+", default=[3, 6])
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--steps", type=int, default=150)
    parser.add_argument("--voxel-size", type=float, default=0.3)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument(
        "--spread", action="store_true", help="train no students: say what the choices hold"
    )
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    pool, test, first = (
        [Cache.open(path) for path in paths]
        for paths in (arguments.pool, arguments.test, arguments.first)
    )
    settings = {"steps": arguments.steps, "voxel_size": arguments.voxel_size}
    of_first = [
        SweepRef(number, i)
        for number, cache in enumerate(first)
        for i in evenly(len(cache), arguments.of_first)
    ]
    for seed in range(arguments.seeds):
        out = arguments.out / f"first-{seed}"
        model = train(first, of_first, out, seed=seed, **settings)
        if arguments.spread:
            tell_spread(pool, arguments.counts, seed, model, arguments.out)
            continue
        for count, strategy in product(arguments.counts, STRATEGIES):
            key = {"strategy": strategy, "count": count, "seed": seed}
            if any(key.items() <= row.items() for row in read(arguments.out)):
                continue
            suggestions = arguments.out / f"suggestions-{seed}"
            refs = choose(strategy, pool, count, seed, model, suggestions)
            student = train(
                pool, refs, arguments.out / f"{strategy}-{count}-{seed}", seed=seed, **settings
            )
            counts = score(student, test)
            sweeps = [[ref.cache, ref.sweep] for ref in refs]
            write(arguments.out, key | {"sweeps": sweeps, "counts": counts.tolist()})
    if not arguments.spread:
        show(read(arguments.out))


def tell_spread(
    pool: Sequence[Cache], counts: Sequence[int], seed: int, model: Path, out: Path
) -> None:
    """How many recordings of the pool and how many classes the choices hold; random ones on average
    over `DRAWS`."""

    def spread(refs: Sequence[SweepRef]) -> tuple[int, int]:
        rows = [pool[ref.cache].sweeps[ref.sweep].class_counts for ref in refs]
        return len({ref.cache for ref in refs}), int(np.any(rows, axis=0).sum())

    for count, strategy in product(counts, STRATEGIES):
        draws = range(DRAWS) if strategy == "random" else (seed,)
        found = [
            spread(choose(strategy, pool, count, draw, model, out / f"suggestions-{seed}"))
            for draw in draws
        ]
        recordings, classes = np.mean(found, axis=0)
        Console().print(
            f"seed {seed}, {count} sweeps, {strategy}: {recordings:.1f} of {len(pool)} recordings, "
            f"{classes:.1f} classes"
        )


def score(model: Path, test: Sequence[Cache]) -> np.ndarray:
    """[S, C, C + 1] counts of the labelled sweeps of some caches."""
    refs = [
        SweepRef(number, i)
        for number, cache in enumerate(test)
        for i, row in enumerate(cache.sweeps)
        if any(row.class_counts)
    ]
    split = Split(list(test), [], [], [], refs, [])
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
