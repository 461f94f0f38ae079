"""Labels of all points of prepared recordings from masks of their images."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from haskd_ros.errors import InputError
from haskd_ros.taxonomy import UNLABELLED, Taxonomy
from haskd_training.core.progress import Progress, no_progress
from haskd_training.data.caches.cache import Cache, Sweep
from haskd_training.data.caches.label_sets import LabelSets
from haskd_training.data.caches.point_labels import PointLabels
from haskd_training.data.projection import transform_points
from haskd_training.image_labels.carried import carried
from haskd_training.image_labels.class_sets import ImageClasses
from haskd_training.image_labels.ground import find_ground
from haskd_training.image_labels.mask_files import Mask
from haskd_training.image_labels.masks import MaskFolder
from haskd_training.image_labels.observations import Observations, observe
from haskd_training.image_labels.shapes import Shapes
from haskd_training.image_labels.votes import (
    Evidence,
    Place,
    Voted,
    Voting,
    agreement_curve,
    visible_height,
)
from haskd_training.images.visibility import VisibilityConfig

LEAST_PAIRS = 1000
"""Voxels seen by both halves of the views, from which on their agreement says how sure a label is.
"""

MASKS_KEPT = 24
"""Two of each camera of a large rig."""

HIGHEST = 0.999
"""The share of a sweep's points below its highest beam: the rest may be stray."""


class PointLabelConfig(BaseModel):
    """How masks become labels of points."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    window_s: float = Field(
        0.15, gt=0, le=10, description="largest time between a point and an image that shows it"
    )
    map_sweeps: int = Field(
        60, ge=1, description="sweeps of a recording whose views vote together: bounds the memory"
    )
    carry_labels: bool = Field(
        False,
        description="labels by hand, read by --labels, hold for their place in all sweeps but "
        "their own, before what images say",
    )
    visibility: VisibilityConfig = VisibilityConfig()


def label_sets(classes: ImageClasses, taxonomy: Taxonomy, shapes: Shapes) -> LabelSets:
    """All sets that may be left of what the image classes mean, where some classes can't be, each
    in the order of its image class; those with a class that may be too low for it with the rest."""
    several: dict[frozenset[int], tuple[int, ...]] = {}
    own = [tuple(taxonomy.id_of(name) for name in means) for means in classes.means]
    subsets = [
        tuple(c for bit, c in enumerate(one) if subset >> bit & 1)
        for one in own
        for subset in range(1, 2 ** len(one))
    ]
    if shapes.rest is not None:
        subsets += [(*one, shapes.rest) for one in subsets if (shapes.reaches[list(one)] > 0).any()]
    for chosen in subsets:
        if len(set(chosen)) > 1:
            several.setdefault(frozenset(chosen), tuple(dict.fromkeys(chosen)))
    return LabelSets(len(taxonomy), tuple(several.values()))


def label_points(
    caches: Sequence[Cache],
    masks: MaskFolder,
    classes: ImageClasses,
    shapes: Shapes,
    out: Path,
    *,
    origin: dict[str, Any],
    config: PointLabelConfig | None = None,
    progress: Progress = no_progress,
) -> PointLabels:
    """Label the points of prepared recordings.

    Args:
        origin: where the masks came from, for the index.
        out: folder of the labels; sweeps that have some in it are not done again.

    Returns:
        The labels. Their index, which marks the folder as finished, is not written yet.

    Raises:
        InputError: a mask can't be read, or no point is seen by any image.
    """
    config = config or PointLabelConfig()
    taxonomy = caches[0].taxonomy
    meant = classes.sets(taxonomy)
    labels = PointLabels(out, taxonomy, label_sets(classes, taxonomy, shapes), origin)
    total, done, labelled = sum(map(len, caches)), 0, 0
    for cache in caches:
        for block in _blocks(cache, config.map_sweeps):
            rows = [cache.sweeps[i] for i in block]
            if not all(labels.has(row.recording, row.stamp_ns) for row in rows):
                labelled += _label_block(cache, block, masks, shapes, meant, labels, config)
            else:
                labelled += 1
            done += len(block)
            progress(done, total)
    if not labelled:
        raise InputError(
            "no image shows a point of these recordings: look at the overlays that prepare leaves"
        )
    return labels


def _blocks(cache: Cache, sweeps: int) -> Iterator[list[int]]:
    """Sweeps of one recording in time, as many together as vote together. Without poses there is no
    map: each sweep is one of its own."""
    by_recording: dict[str, list[int]] = {}
    for i, row in enumerate(cache.sweeps):
        by_recording.setdefault(row.recording, []).append(i)
    for members in by_recording.values():
        members.sort(key=lambda i: cache.sweeps[i].stamp_ns)
        if any(cache.sweeps[i].T_world_lidar is None for i in members):
            yield from ([i] for i in members)
            continue
        parts = -(-len(members) // sweeps)
        yield from (part.tolist() for part in np.array_split(np.array(members), parts))


def _label_block(
    cache: Cache,
    block: Sequence[int],
    masks: MaskFolder,
    shapes: Shapes,
    meant: np.ndarray,
    labels: PointLabels,
    config: PointLabelConfig,
) -> int:
    """Label some sweeps together; returns the number of points with a label."""

    # Sweeps that follow each other are shown by the same images.
    @lru_cache(maxsize=MASKS_KEPT)
    def mask_of(image: int) -> Mask | None:
        return masks.of(cache.images[image])

    sweeps = [cache.sweep(i) for i in block]
    seen = [
        observe(cache, i, sweep, mask_of, window_s=config.window_s, visibility=config.visibility)
        for i, sweep in zip(block, sweeps, strict=True)
    ]
    first = np.cumsum([0, *(len(sweep.points) for sweep in sweeps)])
    place = _place(cache, block, sweeps)
    voted = Voting(place, shapes, meant, labels.sets).vote(_evidence(cache, seen, first))
    label, confidence = voted.label, _confidence(voted)
    if config.carry_labels and cache.sweeps[block[0]].T_world_lidar is not None:
        told = carried(cache, block, sweeps, place.points, config.map_sweeps)
        by_hand = told.share > 0
        label = np.where(by_hand, told.label, label)
        confidence = np.where(by_hand, told.share, confidence)
    for i, start, end in zip(block, first[:-1], first[1:], strict=True):
        row = cache.sweeps[i]
        own = slice(start, end)
        labels.write(
            row.recording,
            row.stamp_ns,
            label=label[own],
            confidence=confidence[own],
            seen=voted.seen[own],
        )
    return int((label != UNLABELLED).sum())


def _evidence(cache: Cache, seen: Sequence[Observations], first: np.ndarray) -> Evidence:
    """The observations of several sweeps; the halves are the earlier and the later images: those
    of one moment show the same errors."""
    image = np.concatenate([one.image for one in seen])
    stamps = np.array([row.stamp_ns for row in cache.images])
    used = np.unique(image)
    middle = np.median(stamps[used]) if len(used) else 0
    return Evidence(
        point=np.concatenate([one.point + start for one, start in zip(seen, first)]),
        later=stamps[image] > middle,
        class_id=np.concatenate([one.class_id for one in seen]),
        confidence=np.concatenate([one.confidence for one in seen]),
    )


def _place(cache: Cache, block: Sequence[int], sweeps: Sequence[Sweep]) -> Place:
    poses = [np.array(cache.sweeps[i].T_world_lidar or np.eye(4)) for i in block]
    points = np.concatenate(
        [transform_points(pose, sweep.points) for pose, sweep in zip(poses, sweeps)]
    )
    origins = np.array([pose[:3, 3] for pose in poses])
    ground = find_ground(points, origins)
    highest = visible_height(ground, origins, _highest_beam(sweeps))
    return Place(points, ground.above(points), ground, highest)


def _highest_beam(sweeps: Sequence[Sweep]) -> float:
    """Slope of the highest beam, the rise over the distance. Few of its rays come back."""
    slopes = [
        np.quantile(sweep.points[:, 2] / np.hypot(*sweep.points[:, :2].T).clip(0.1), HIGHEST)
        for sweep in sweeps[:: max(1, len(sweeps) // 10)]
    ]
    return float(max(slopes))


def _confidence(voted: Voted) -> np.ndarray:
    """[N] 0..1: how likely other views say the same; the score itself where too little was seen
    twice to tell."""
    if len(voted.agreement) < 2 * LEAST_PAIRS:
        return voted.score
    slope, offset = agreement_curve(voted.agreement)
    agreed = 1 / (1 + np.exp(-(slope * voted.score + offset)))
    confidence: np.ndarray = np.where(voted.label == UNLABELLED, 0, agreed)
    return confidence
