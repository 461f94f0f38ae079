"""What labels from images are worth: students taught by them, by people, and by both.

`python benchmarks/images_know.py --train CACHE ... --test CACHE ... --labels LABELS \
    --masks FOLDER --image-classes cityscapes --out FOLDER`

Every row of a seed has the same initial weights, the same sweeps in the same order and as many
steps; only where the labels come from differs. Nothing is held back, and the last epoch counts: no
label by hand chooses anything but in the rows that say so. Each training's counts on the test
recordings are a line of FOLDER/results.jsonl; called again, it goes on with those that are missing,
and with other training and test recordings it adds a fold, over which the table averages.

Rows that begin with a number have so many sweeps by hand, evenly spaced, or so many points of each
sweep, chosen at random ("clicks"); "first" is the first training recording by hand, all of it.
"carried": the map gives these labels to the other sweeps (`image_labels.carried`); "sure": the
images label what is left, where their confidence is 0.9.
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
from haskd_training.data.caches.cache import Cache
from haskd_training.data.caches.point_labels import PointLabels
from haskd_training.data.caches.rows import SweepRow
from haskd_training.data.projection import transform_points
from haskd_training.data.splits import Split
from haskd_training.data.sweep_ref import SweepRef, all_sweeps
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
CLICKS = 100
ROWS = (
    BY_HAND, NEAREST, VOTED, SURE, "sure, symmetric", "sure, bootstrap", "sure, sums",
    *(f"{n}{how}" for n in FEW for how in ("", ", sure", ", carried", ", carried, sure")),
    *(f"{CLICKS} clicks{how}" for how in ("", ", sure", ", carried", ", carried, sure")),
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
    sources = Sources(train, labels, given.masks, given.image_classes, fold)
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


def split_of(row: str, sources: Sources) -> Split:
    """All sweeps to train on, each with the labels that the row gives it."""
    train, refs = sources.train, all_sweeps(sources.train)
    caches = [replace(cache, stand_in=train[0].missing_intensity) for cache in train]
    hidden = [cache.without_labels(cache.taxonomy) for cache in caches]
    if row in (NEAREST, VOTED):
        labels = sources.labels if row == VOTED else from_nearest_images(sources)
        return _all_of([cache.taught_by(labels) for cache in hidden])
    if "clicks" in row:
        clicks = clicked(sources)
        hidden = [cache.taught_by(clicks) for cache in hidden]
        by_hand: list[SweepRef] = []
    elif row.startswith("first"):
        by_hand = [ref for ref in refs if ref.cache == 0]
    elif row[0].isdigit():
        by_hand = [refs[k] for k in evenly(len(refs), int(row.partition(",")[0]))]
    else:
        by_hand = refs if row == BY_HAND else []
    if SURE not in row and "carried" not in row:
        if not by_hand:
            return _all_of(hidden)
        # As many steps as the others.
        return Split(caches, [by_hand[k % len(by_hand)] for k in range(len(refs))], *[[]] * 4)
    told = [_with_own(cache, n, by_hand) for n, cache in enumerate(caches)] if by_hand else hidden
    labels = told_labels(
        told,
        sources.labels,
        sources.out / row.replace(", ", "-"),
        carry="carried" in row,
        images_too=SURE in row,
    )
    blank = [cache.without_labels(cache.taxonomy) for cache in caches]
    taught = [cache.taught_by(labels.surer_than(LEAST)) for cache in blank]
    others = [SweepRef(len(train) + ref.cache, ref.sweep) for ref in refs]
    chosen = [ref if ref in by_hand else other for ref, other in zip(refs, others, strict=True)]
    return Split([*caches, *taught], chosen, [], [], [], [])


def _all_of(caches: Sequence[Cache]) -> Split:
    return Split(list(caches), all_sweeps(caches), [], [], [], [])


def _with_own(cache: Cache, number: int, by_hand: Sequence[SweepRef]) -> Cache:
    """The cache as if nobody had labelled other sweeps than those."""
    nothing = [0] * len(cache.taxonomy)
    rows = [
        row if SweepRef(number, i) in by_hand else replace(row, class_counts=nothing)
        for i, row in enumerate(cache.sweeps)
    ]
    return replace(cache, sweeps=rows)


def clicked(sources: Sources) -> PointLabels:
    """`CLICKS` points of each sweep with their labels by hand."""
    labels = replace(sources.labels, folder=sources.out / "clicks", origin={"clicks": CLICKS})
    for number, cache in enumerate(sources.train):
        for i, row in enumerate(cache.sweeps):
            true = cache.sweep(i).label
            known = np.flatnonzero(true != UNLABELLED)
            random = np.random.default_rng([number, i])
            chosen = random.choice(known, min(CLICKS, len(known)), replace=False)
            label = np.full(row.points, UNLABELLED, np.uint8)
            label[chosen] = true[chosen]
            _write(labels, row, label, label != UNLABELLED)
    labels.write_index()
    return labels


def told_labels(
    caches: Sequence[Cache], images: PointLabels, out: Path, *, carry: bool, images_too: bool
) -> PointLabels:
    """The labels that a sweep has, then what the map tells of those of other sweeps, then what
    images say."""
    labels = replace(images, folder=out, origin={"images": images.origin})
    for cache in caches:
        if all(labels.has(row.recording, row.stamp_ns) for row in cache.sweeps):
            continue
        sweeps = [cache.sweep(i) for i in range(len(cache))]
        first = np.cumsum([0, *(row.points for row in cache.sweeps)])
        if carry:
            poses = [np.array(row.T_world_lidar) for row in cache.sweeps]
            points = [transform_points(pose, one.points) for pose, one in zip(poses, sweeps)]
            every = range(len(cache))
            told = carried(cache, every, sweeps, np.concatenate(points), len(cache))
        for row, sweep, start, end in zip(cache.sweeps, sweeps, first, first[1:]):
            own = sweep.label if any(row.class_counts) else np.full(row.points, UNLABELLED)
            label, confidence = own, (own != UNLABELLED).astype(np.float32)
            if carry:
                share = told.share[start:end]
                missing = (label == UNLABELLED) & (share > 0)
                label = np.where(missing, told.label[start:end], label)
                confidence = np.where(missing, share, confidence)
            if images_too:
                of_images = images.with_confidence(row.recording, row.stamp_ns, row.points)
                # A voxel whose labels by hand are at odds has a share, and no label.
                missing = (label == UNLABELLED) & (confidence == 0)
                label = np.where(missing, of_images[0], label)
                confidence = np.where(missing, of_images[1], confidence)
            _write(labels, row, label.astype(np.uint8), confidence)
    labels.write_index()
    return labels


def _write(labels: PointLabels, row: SweepRow, label: np.ndarray, confidence: np.ndarray) -> None:
    labels.write(
        row.recording, row.stamp_ns, label=label, confidence=confidence, seen=label != UNLABELLED
    )


def from_nearest_images(sources: Sources) -> PointLabels:
    """Labels without votes: a point has what the surest image of its own moment says of it."""
    classes = load_image_classes(sources.image_classes)
    taxonomy = sources.train[0].taxonomy
    meant = classes.sets(taxonomy)
    sets = label_sets(classes, taxonomy, load_shapes("simulation"))
    labels = PointLabels(sources.out / "nearest", taxonomy, sets, {"votes": False})
    images = [row for cache in sources.train for row in cache.images]
    folder = MaskFolder(sources.masks, images, classes)
    id_of = np.array([label_of(row, sets) for row in meant], np.uint8)
    settings = PointLabelConfig()
    for cache in sources.train:
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
            _write(labels, row, label, confidence)
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
        mean = np.ma.masked_invalid(list(found.values())).mean(0).filled(np.nan)
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
