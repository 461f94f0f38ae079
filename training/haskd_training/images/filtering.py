"""Information-oriented filtering: the few images of a sequence that are most informative about one
sweep.

Of the candidates the greedy algorithm chooses those that together show the most, where voxels whose
class is uncertain from the cloud alone weigh more. Labels are not used. The abstract of Wu, Hou et
al., arXiv 2606.25278, gives the idea; the rules and formulas are this project's own reading of it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from haskd_ros.segmentation import Segmentation
from haskd_ros.sparse import group_by_key, pack, pool
from haskd_ros.taxonomy import UNLABELLED, Taxonomy
from haskd_training.data.caches.cache import Cache, Sweep
from haskd_training.images.candidates import (
    CandidateImage,
    SelectionConfig,
    Strategy,
    near_duplicates,
    usable_images,
)
from haskd_training.images.facility_location import gains_in_order, greedy
from haskd_training.images.visibility import View, views

COVERAGE_STRATEGIES = ("iof", "coverage_entropy", "coverage")
"""Strategies that choose images by the voxels that they show."""


@dataclass(frozen=True)
class WeightedVoxels:
    """The V voxels of a sweep that images are to show, and their weights.

    Attributes:
        centroids: [V, 3] float32, m in the sensor frame.
        times: [V] float32, s relative to the sweep's stamp, mean of the points.
        counts: [V] float32 points.
        movable: [V] bool, whether at least half of the points were predicted to be of a movable
            class.
        weights: [V] float32, w = 0.5 + 0.5 * H / log C, H the mean entropy of the points.
    """

    centroids: np.ndarray
    times: np.ndarray
    counts: np.ndarray
    movable: np.ndarray
    weights: np.ndarray

    def share(self, shown: np.ndarray) -> float:
        """Share of the points in the voxels `shown` [V] bool."""
        return float(self.counts[shown].sum() / max(self.counts.sum(), 1))


def weighted_voxels(
    sweep: Sweep, predicted: Segmentation, taxonomy: Taxonomy, size: float
) -> WeightedVoxels:
    """Voxels of `size` m of the points that have a predicted class: training does not use those
    beyond the model's range."""
    classified = predicted.class_id != UNLABELLED
    movable = np.array([info.movable for info in taxonomy.classes])
    rows = np.column_stack(
        [
            sweep.points[classified, :3],
            sweep.time[classified],
            movable[predicted.class_id[classified]],
            predicted.entropy[classified],
        ]
    ).astype(np.float32)
    _, grouping = group_by_key(pack(torch.from_numpy(np.floor(rows[:, :3] / size)).int()))
    means = pool(torch.from_numpy(rows), grouping).numpy()
    return WeightedVoxels(
        centroids=means[:, :3],
        times=means[:, 3],
        counts=grouping.counts.numpy(),
        movable=means[:, 4] >= 0.5,
        weights=0.5 + 0.5 * means[:, 5] / math.log(len(taxonomy)),
    )


def filter_images(
    cache: Cache,
    sweep: int,
    *,
    predicted: Segmentation,
    taxonomy: Taxonomy,
    config: SelectionConfig,
    image_quality: Callable[[int], float],
    generator: np.random.Generator,
) -> list[CandidateImage]:
    """Choose the images for a sweep.

    Args:
        cache, sweep: the cache and the sweep's index in it.
        predicted: the baseline's segmentation of the sweep's points.
        taxonomy: of the baseline.
        image_quality: of an image by its index, 0..1; see `visibility.image_qualities`.
        generator: of strategy random.

    Returns:
        Every candidate once: the chosen ones by rank, then the others, nearest in time first. The
        order of the images in the cache makes no difference.
    """
    recorded = cache.sweep(sweep)
    voxels = weighted_voxels(recorded, predicted, taxonomy, config.voxel_size)
    usable, rejected = usable_images(cache, sweep, config)

    def view_images(images: Sequence[int]) -> dict[int, View]:
        of_images = views(
            cache,
            sweep,
            points=voxels.centroids,
            images=images,
            movable=voxels.movable,
            config=config.visibility,
            image_quality=image_quality,
            times=voxels.times,
            occluders=recorded.points,
        )
        return {view.image: view for view in of_images}

    if config.strategy in COVERAGE_STRATEGIES:
        gains, seen, not_chosen = _choose_by_coverage(
            cache, usable, voxels, view_images, config, image_quality
        )
    else:
        images = _choose_unfiltered(cache, list(usable), config, generator)
        seen = view_images(images)
        gains = dict(zip(images, gains_in_order(*_objective("iof", voxels, seen.values()))))
        not_chosen = [CandidateImage(j, usable[j], "K reached") for j in usable if j not in gains]

    chosen = []
    shown = np.zeros(len(voxels.counts), bool)
    for rank, (image, gain) in enumerate(gains.items(), 1):
        visible = seen[image].quality > 0
        shown |= visible
        shares = voxels.share(visible), voxels.share(shown)
        chosen.append(CandidateImage(image, usable[image], "chosen", rank, gain, *shares))
    return chosen + sorted(rejected + not_chosen, key=lambda other: abs(other.dt_s))


def _choose_by_coverage(
    cache: Cache,
    usable: Mapping[int, float],
    voxels: WeightedVoxels,
    view_images: Callable[[Sequence[int]], dict[int, View]],
    config: SelectionConfig,
    image_quality: Callable[[int], float],
) -> tuple[dict[int, float], dict[int, View], list[CandidateImage]]:
    """Reject, then choose by the voxels that the images show.

    Args:
        usable: s from the sweep by image, nearest first.

    Returns:
        gains: by image in order of rank.
        seen: the views of the images that are no near-duplicates.
        not_chosen: the usable images that were not chosen.
    """

    def worth(image: int) -> float:
        return image_quality(image) * math.exp(-abs(usable[image]) / config.visibility.static_s)

    best_first = sorted(usable, key=worth, reverse=True)
    duplicates = near_duplicates(cache, best_first, config.min_move_m, config.min_turn_deg)
    not_chosen = [
        CandidateImage(image, usable[image], "near-duplicate", duplicate_of=original)
        for image, original in duplicates.items()
    ]
    seen = view_images([image for image in usable if image not in duplicates])
    share = {image: voxels.share(view.quality > 0) for image, view in seen.items()}
    left = [
        image for image in seen if share[image] > 0 and share[image] >= config.min_visible_share
    ]
    not_chosen += [
        CandidateImage(image, usable[image], "too few points seen", seen=share[image])
        for image in seen
        if image not in left
    ]
    weights, quality = _objective(config.strategy, voxels, [seen[image] for image in left])
    picks = greedy(
        weights,
        quality,
        max_count=config.images,
        min_gain=config.min_gain,
        target_coverage=config.target_coverage,
    )
    gains = {left[pick]: gain for pick, gain in zip(picks.chosen, picks.gains)}
    not_chosen += [
        CandidateImage(image, usable[image], picks.stop, gain=float(gain), seen=share[image])
        for image, gain in zip(left, picks.remaining_gains)
        if image not in gains
    ]
    return gains, seen, not_chosen


def _objective(
    strategy: Strategy, voxels: WeightedVoxels, seen: Collection[View]
) -> tuple[np.ndarray, np.ndarray]:
    """Weights w [V] and qualities q [F, V] of the facility-location objective."""
    quality = np.array([view.quality for view in seen]).reshape(-1, len(voxels.weights))
    if strategy == "iof":
        return voxels.weights, quality
    visible = (quality > 0).astype(np.float32)
    return (np.ones_like(voxels.weights) if strategy == "coverage" else voxels.weights), visible


def _choose_unfiltered(
    cache: Cache, usable: list[int], config: SelectionConfig, generator: np.random.Generator
) -> list[int]:
    """At most K of the images, nearest in time first, whatever they show."""
    count = len(usable)
    most = min(config.images, count)
    if config.strategy == "nearest":
        return usable[:most]
    if config.strategy == "random":
        return [usable[index] for index in generator.permutation(count)[:most]]
    if config.strategy == "stride":
        in_time = sorted(
            usable, key=lambda image: (cache.images[image].stamp_ns, cache.images[image].camera)
        )
        # The middles of K equal parts.
        return [in_time[int((part + 0.5) * count / most)] for part in range(most)]
    return usable
