"""What labels from images are worth: students taught by them, by people, and by both.

`python benchmarks/images_know.py --train CACHE ... --test CACHE ... --labels LABELS \
    --masks FOLDER --image-classes cityscapes --out FOLDER`

Every row of a seed has the same initial weights, the same sweeps in the same order and as many
steps; only where the labels come from differs. Nothing is held back, and the last epoch counts: no
label by hand chooses anything but in the rows that say so. Each training's counts on the test
recordings are a line of FOLDER/results.jsonl; called again, it goes on with those that are missing.
"""

from __future__ import annotations

# Before numpy, whose threads it keeps from spinning.
import haskd_ros  # noqa: F401

# isort: split

import argparse
from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rich.console import Console
from rich.table import Table
from suggestions import evenly, read, score, write

from haskd_ros.taxonomy import UNLABELLED
from haskd_training.data.cache import Cache
from haskd_training.data.point_labels import PointLabels
from haskd_training.data.splits import Split
from haskd_training.data.sweep_ref import SweepRef
from haskd_training.image_labels.class_sets import load_image_classes
from haskd_training.image_labels.labelling import PointLabelConfig, label_sets
from haskd_training.image_labels.masks import MaskFolder
from haskd_training.image_labels.observations import observe
from haskd_training.image_labels.shapes import load_shapes
from haskd_training.image_labels.votes import label_of
from haskd_training.learning.baseline import baseline
from haskd_training.learning.student import StudentConfig
from haskd_training.metrics.confusion import iou, mean_iou
from haskd_training.metrics.intervals import paired_interval

BY_HAND, NEAREST, VOTED = "by hand", "nearest image", "voted"
SURE = 0.9
ROWS = (
    BY_HAND, NEAREST, VOTED, "voted, sure", "voted, sure, symmetric", "voted, sure, bootstrap",
    "voted, sure, sums", "3 by hand", "voted, sure, 3 by hand",
)  # fmt: skip


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--train", type=Path, nargs="+", required=True, help="labelled caches")
    options.add_argument("--test", type=Path, nargs="+", required=True, help="labelled caches")
    options.add_argument("--labels", type=Path, required=True, help="made by label-images")
    options.add_argument("--masks", type=Path, required=True, help="that they were made from")
    options.add_argument("--image-classes", default="cityscapes")
    options.add_argument("--rows", nargs="+", choices=ROWS, default=ROWS)
    options.add_argument("--seeds", type=int, nargs="+", default=range(5))
    options.add_argument("--epochs", type=int, default=12)
    options.add_argument("--out", type=Path, required=True)
    given = options.parse_args()
    torch.set_num_threads(1)
    train, test = ([Cache.open(path) for path in paths] for paths in (given.train, given.test))
    labels = PointLabels.open(given.labels)
    classes = load_image_classes(given.image_classes)
    given.out.mkdir(parents=True, exist_ok=True)

    def nearest() -> PointLabels:
        return from_nearest_images(train, given.masks, given.image_classes, given.out / "nearest")

    done = {(row["row"], row["seed"]) for row in read(given.out)}
    for seed, row in product(given.seeds, given.rows):
        if (row, seed) in done:
            continue
        split = split_of(row, train, labels, nearest)
        noise = next((kind for kind in ("symmetric", "bootstrap") if kind in row), "none")
        loop = {"epochs": given.epochs, "seed": seed, "device": "cpu"}
        config = StudentConfig.model_validate(
            {
                "snapshots": 1,
                "label_noise": noise,
                "open_labels": "sum" if "sums" in row else "likeliest",
                "loop": loop,
            }
        )
        result = baseline(split, given.out / f"{row.replace(', ', '-')}-{seed}", config)
        counts = score(result.model, test).sum(0)
        write(given.out, {"row": row, "seed": seed, "counts": counts.tolist()})
    # A class that an image class may be besides its likeliest one is nothing that the network has.
    names = {means[0] for means in classes.means if means}
    known = np.array([name in names for name in train[0].taxonomy.names])
    show(read(given.out), train[0].taxonomy.names, known)


def split_of(
    row: str, train: Sequence[Cache], labels: PointLabels, nearest: Callable[[], PointLabels]
) -> Split:
    """All sweeps to train on, each with the labels that the row gives it."""
    hidden = [cache.without_labels(cache.taxonomy) for cache in train]
    if row == NEAREST:
        taught = [cache.taught_by(nearest()) for cache in hidden]
    else:
        least = 0.0 if row == VOTED else SURE
        taught = [cache.taught_by(labels.surer_than(least)) for cache in hidden]
    refs = [SweepRef(number, i) for number, cache in enumerate(train) for i in range(len(cache))]
    few = [refs[k] for k in evenly(len(refs), 3)]
    caches = [replace(cache, stand_in=train[0].missing_intensity) for cache in [*train, *taught]]
    if row == BY_HAND:
        chosen = refs
    elif row == "3 by hand":
        # As many steps as the others.
        chosen = [few[k % 3] for k in range(len(refs))]
    else:
        by_hand = few if "3 by hand" in row else []
        chosen = [
            ref if ref in by_hand else SweepRef(len(train) + ref.cache, ref.sweep) for ref in refs
        ]
    return Split(caches, chosen, [], [], [], [])


def from_nearest_images(
    caches: Sequence[Cache], masks: Path, image_classes: str, out: Path
) -> PointLabels:
    """Labels without votes: a point has what the surest image of its own moment says of it."""
    classes = load_image_classes(image_classes)
    taxonomy = caches[0].taxonomy
    meant = classes.sets(taxonomy)
    sets = label_sets(classes, taxonomy, load_shapes("simulation"))
    labels = PointLabels(out, taxonomy, sets, {"votes": False})
    folder = MaskFolder(masks, [row for cache in caches for row in cache.images], classes)
    id_of = np.array([label_of(row, sets) for row in meant], np.uint8)
    settings = PointLabelConfig()
    for cache in caches:
        for i, row in enumerate(cache.sweeps):
            if labels.has(row.recording, row.stamp_ns):
                continue
            seen = observe(
                cache, i, cache.sweep(i),
                lambda j, images=cache.images: folder.of(images[j]),
                window_s=settings.window_s, visibility=settings.visibility,
            )  # fmt: skip
            label = np.full(row.points, UNLABELLED, np.uint8)
            confidence = np.zeros(row.points, np.float32)
            order = np.argsort(seen.confidence, kind="stable")  # the surest one is written last
            label[seen.point[order]] = id_of[seen.class_id[order]]
            confidence[seen.point[order]] = seen.confidence[order]
            labels.write(
                row.recording, row.stamp_ns, label=label, confidence=confidence,
                seen=confidence > 0,
            )  # fmt: skip
    labels.write_index()
    return labels


def show(rows: Sequence[dict[str, Any]], names: Sequence[str], known: np.ndarray) -> None:
    """IoU by row: of all classes, of those that the image network has, and of each; and the share
    of what labels by hand give."""
    counts = {(row["row"], row["seed"]): np.array(row["counts"]) for row in rows}
    table = Table(title="IoU in %, mean over seeds; 95 % intervals over paired seeds")
    of_known = "mIoU, the network's classes"
    for column in ("row", "seeds", "mIoU", of_known, "over by hand", "share of it", *names):
        table.add_column(column)
    by_row: dict[str, dict[int, np.ndarray]] = {}
    for (row, seed), table_of in counts.items():
        by_row.setdefault(row, {})[seed] = iou(table_of)
    for row, found in by_row.items():
        own = {seed: 100 * float(np.nanmean(scores[known])) for seed, scores in found.items()}
        hand = {
            seed: 100 * float(np.nanmean(scores[known]))
            for seed, scores in by_row.get(BY_HAND, {}).items()
            if seed in own
        }
        gain = paired_interval([own[seed] - hand[seed] for seed in hand]) if hand else None
        total = [100 * mean_iou(counts[row, seed]) for seed in found]
        mean = np.nanmean(list(found.values()), axis=0)
        table.add_row(
            row,
            f"{len(found)}",
            f"{np.mean(total):.1f}",
            f"{np.mean(list(own.values())):.1f}",
            "" if gain is None else f"{gain.mean:+.1f} ({gain.low:+.1f} to {gain.high:+.1f})",
            "" if gain is None
            else f"{100 * np.mean([own[s] for s in hand]) / np.mean(list(hand.values())):.0f} %",
            *(f"{100 * value:.1f}" for value in mean),
        )  # fmt: skip
    Console(width=240).print(table)


if __name__ == "__main__":
    main()
