"""What labels from images are worth: students taught by them, by people, and by both.

`python benchmarks/images_know.py --train CACHE ... --test CACHE ... --labels LABELS \
    --masks FOLDER --image-classes cityscapes --out FOLDER`

Every row of a seed has the same initial weights, the same sweeps in the same order and as many
steps; only where the labels come from differs. Nothing is held back, and the last epoch counts: no
label by hand chooses anything but in the rows that say so. Each training's counts on the test
recordings are a line of FOLDER/results.jsonl; called again, it goes on with those that are missing,
and with other training and test recordings it adds a fold, over which the table averages.

Rows that begin with a number have so many sweeps by hand, evenly spaced; "first" is the first
training recording by hand, all of it. "carried": the map gives them to the other sweeps
(`image_labels.carried`); "sure": the images label the others, too, where their confidence is 0.9.
"""

from __future__ import annotations

# Before numpy, whose threads it keeps from spinning.
import haskd_ros  # noqa: F401

# isort: split

import argparse
from collections.abc import Sequence
from dataclasses import dataclass, replace
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
from haskd_training.data.projection import transform_points
from haskd_training.data.splits import Split
from haskd_training.data.sweep_ref import SweepRef
from haskd_training.image_labels.carried import carried
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

BY_HAND, NEAREST, VOTED, SURE = "by hand", "nearest image", "voted", "sure"
LEAST = 0.9
NOISE = ("symmetric", "bootstrap")
FEW = (1, 3, 6)
ROWS = (
    BY_HAND, NEAREST, VOTED, SURE, "sure, symmetric", "sure, bootstrap", "sure, sums",
    *(f"{n}{how}" for n in FEW for how in ("", ", sure", ", carried", ", carried, sure")),
    "first", "first, sure",
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
    options.add_argument("--size", default="S")
    options.add_argument("--voxel-size", type=float, default=0.2)
    options.add_argument("--out", type=Path, required=True)
    given = options.parse_args()
    torch.set_num_threads(1)
    train, test = ([Cache.open(path) for path in paths] for paths in (given.train, given.test))
    labels = PointLabels.open(given.labels)
    classes = load_image_classes(given.image_classes)
    given.out.mkdir(parents=True, exist_ok=True)

    tested = [cache.sweeps[0].recording for cache in test]
    fold = given.out / "-".join(tested)
    done = {(row["row"], row["seed"]) for row in read(given.out) if row["test"] == tested}
    for seed, row in product(given.seeds, given.rows):
        if (row, seed) in done:
            continue
        settings = {
            "size": given.size,
            "voxel_size": given.voxel_size,
            "snapshots": 1,
            "label_noise": next((kind for kind in NOISE if kind in row), "none"),
            "open_labels": "sum" if "sums" in row else "likeliest",
        }
        config = StudentConfig.model_validate(settings)
        sources = Sources(train, labels, given.masks, given.image_classes, fold)
        split = split_of(row, sources)
        # As many steps in all rows, though labels by hand are shown more often beside images.
        shown = len(split.repeated(split.train, config.by_hand))
        epochs = max(1, round(given.epochs * sum(map(len, train)) / shown))
        loop = config.loop.model_copy(update={"epochs": epochs, "seed": seed, "device": "cpu"})
        out = fold / f"{row.replace(', ', '-')}-{seed}"
        result = baseline(split, out, config.model_copy(update={"loop": loop}))
        counts = score(result.model, test).sum(0)
        write(given.out, {"row": row, "seed": seed, "test": tested, "counts": counts.tolist()})
    # A class that an image class may be besides its likeliest one is nothing that the network has.
    names = {means[0] for means in classes.means if means}
    known = np.array([name in names for name in train[0].taxonomy.names])
    show(read(given.out), train[0].taxonomy.names, known)


@dataclass(frozen=True)
class Sources:
    """Where labels of the training recordings may come from.

    Attributes:
        train: with the labels by hand of all their sweeps.
        labels: of images.
        masks, image_classes: that those were made from.
        out: folder for labels that are made here.
    """

    train: Sequence[Cache]
    labels: PointLabels
    masks: Path
    image_classes: str
    out: Path

    @property
    def refs(self) -> list[SweepRef]:
        return [SweepRef(number, i) for number, c in enumerate(self.train) for i in range(len(c))]


def split_of(row: str, sources: Sources) -> Split:
    """All sweeps to train on, each with the labels that the row gives it."""
    train, refs = sources.train, sources.refs
    if row == BY_HAND:
        by_hand = refs
    elif row.startswith("first"):
        by_hand = [ref for ref in refs if ref.cache == 0]
    else:
        number = row.partition(",")[0]
        by_hand = [refs[k] for k in evenly(len(refs), int(number))] if number.isdigit() else []
    if row == NEAREST:
        labels: PointLabels | None = from_nearest_images(
            train, sources.masks, sources.image_classes, sources.out / "nearest"
        )
    elif "carried" in row:
        images = sources.labels.surer_than(LEAST) if SURE in row else None
        name = f"{len(by_hand)}-carried{'-sure' if images else ''}"
        labels = carried_labels(sources, by_hand, images, sources.out / name).surer_than(LEAST)
    elif SURE in row:
        labels = sources.labels.surer_than(LEAST)
    else:
        labels = sources.labels if row == VOTED else None
    caches = [replace(cache, stand_in=train[0].missing_intensity) for cache in train]
    if labels is None:
        # As many steps as the others.
        return Split(caches, [by_hand[k % len(by_hand)] for k in range(len(refs))], *[[]] * 4)
    taught = [cache.without_labels(cache.taxonomy).taught_by(labels) for cache in caches]
    others = [SweepRef(len(train) + ref.cache, ref.sweep) for ref in refs]
    chosen = [ref if ref in by_hand else other for ref, other in zip(refs, others, strict=True)]
    return Split([*caches, *taught], chosen, [], [], [], [])


def carried_labels(
    sources: Sources, by_hand: Sequence[SweepRef], images: PointLabels | None, out: Path
) -> PointLabels:
    """What the map tells of some sweeps' labels by hand, and images where it tells nothing."""
    labels = replace(sources.labels, folder=out, origin={"carried": len(by_hand)})
    for number, cache in enumerate(sources.train):
        own = {ref.sweep for ref in by_hand if ref.cache == number}
        rows = [
            row if i in own else replace(row, class_counts=[0] * len(cache.taxonomy))
            for i, row in enumerate(cache.sweeps)
        ]
        few = replace(cache, sweeps=rows)
        for i, row in enumerate(rows):
            if labels.has(row.recording, row.stamp_ns):
                continue
            sweep = cache.sweep(i)
            points = transform_points(np.array(row.T_world_lidar), sweep.points)
            told = carried(few, [i], [sweep], points, len(rows))
            label, confidence = told.label, told.share
            if images is not None:
                of_images = images.with_confidence(row.recording, row.stamp_ns, row.points)
                label = np.where(told.share > 0, label, of_images[0])
                confidence = np.where(told.share > 0, confidence, of_images[1])
            labels.write(
                row.recording, row.stamp_ns, label=label, confidence=confidence,
                seen=label != UNLABELLED,
            )  # fmt: skip
    labels.write_index()
    return labels


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
    of what labels by hand give. Means over folds and seeds; a class counts where it is."""
    counts = {(row["row"], row["seed"], *row["test"]): np.array(row["counts"]) for row in rows}
    table = Table(title="IoU in %; gains with 95 % intervals over the pairs of folds and seeds")
    of_known = "mIoU, the network's classes"
    for column in ("row", "runs", "mIoU", of_known, "over by hand", "share of it", *names):
        table.add_column(column)
    by_row: dict[str, dict[tuple[Any, ...], np.ndarray]] = {}
    for (row, *run), table_of in counts.items():
        by_row.setdefault(row, {})[tuple(run)] = iou(table_of)
    hand = by_row.get(BY_HAND, {})
    for row, found in by_row.items():
        own = {run: 100 * float(np.nanmean(scores[known])) for run, scores in found.items()}
        best = {run: 100 * float(np.nanmean(hand[run][known])) for run in own if run in hand}
        gain = paired_interval([own[run] - best[run] for run in best]) if best else None
        share = sum(own[run] for run in best) / sum(best.values()) if best else None
        total = [100 * mean_iou(counts[(row, *run)]) for run in found]
        mean = np.nanmean(list(found.values()), axis=0)
        table.add_row(
            row,
            f"{len(found)}",
            f"{np.mean(total):.1f}",
            f"{np.mean(list(own.values())):.1f}",
            "" if gain is None else f"{gain.mean:+.1f} ({gain.low:+.1f} to {gain.high:+.1f})",
            "" if share is None else f"{100 * share:.0f} %",
            *(f"{100 * value:.1f}" for value in mean),
        )  # fmt: skip
    Console(width=240).print(table)


if __name__ == "__main__":
    main()
