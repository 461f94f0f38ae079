"""What all images together say of each place of a map: views of many sweeps vote.

A voxel that holds still is seen from several cameras and at several times; a thing that moves
leaves in each voxel what was seen while it was there, since every view is of the moment at which
its points were measured.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import ndimage, optimize

from haskd_ros.taxonomy import UNLABELLED
from haskd_training.data.caches.label_sets import LabelSets
from haskd_training.image_labels.ground import CELL_M, Ground
from haskd_training.image_labels.shapes import Shapes
from haskd_training.image_labels.voxels import VOXEL_M, cells, extents, tops, voxels, widths

ON_GROUND_M = 0.15
"""A point up to here above the ground is of the ground, if nothing stands there."""
BARE_M = 0.35
"""Nothing stands in a cell of the ground whose highest point is lower."""
MARGIN_M = 0.3
"""A thing's height is known where the sensor can see this much more than it is to reach."""
UNSURE_M = 1.0
"""What is seen to end, or not seen to go on, less than this above the height that its class has to
reach may be of the rest as well: a low house looks like a garden wall."""
THING_LENGTH_M = 15.0
"""Longer things are several that touch, whose height says nothing of each of them."""
THING_POINTS = 50


@dataclass(frozen=True)
class Place:
    """What is known of N points of a map besides their images.

    Attributes:
        points: [N, 3] float64 m in the map frame.
        above: [N] float32 m above the ground, NaN where that is not known.
        ground: their ground.
        visible_up_to: [X, Y] m above the ground, up to where the sensor sees a cell of the ground.
    """

    points: np.ndarray
    above: np.ndarray
    ground: Ground
    visible_up_to: np.ndarray


@dataclass(frozen=True)
class Evidence:
    """Votes: point [K] of `Place`, which half of the views it is of [K] bool, image class [K]
    uint8, confidence [K] float32."""

    point: np.ndarray
    later: np.ndarray
    class_id: np.ndarray
    confidence: np.ndarray

    def half(self, later: bool) -> Evidence:
        own = self.later == later
        return Evidence(self.point[own], self.later[own], self.class_id[own], self.confidence[own])


@dataclass(frozen=True)
class Voted:
    """label: [N] uint8 ids of `LabelSets`, `UNLABELLED` where no image says anything that can be;
    seen: [N] bool, whether an image shows the point's voxel; score: [N] float32, 0..1, grows with
    the number of views and their agreement; agreement: pairs of halves of the views, see
    `agreement_curve`."""

    label: np.ndarray
    seen: np.ndarray
    score: np.ndarray
    agreement: np.ndarray


class Voting:
    """Votes in the voxels of one map.

    Args:
        meant: [256, C] bool, the classes that each image class may stand for.
        sets: that hold every set of classes that is left of those.
    """

    def __init__(self, place: Place, shapes: Shapes, meant: np.ndarray, sets: LabelSets) -> None:
        self._place, self._shapes, self._sets = place, shapes, sets
        self._groups, self._group_of = np.unique(meant, axis=0, return_inverse=True)
        self._group_of = self._group_of.reshape(-1)
        on_ground = place.above < ON_GROUND_M  # False where it is not known
        self._voxel, self._first = voxels(place.points, on_ground)
        self._possible, self._low = self._by_height(on_ground)
        self._wide = self._by_width(on_ground)

    def vote(self, evidence: Evidence) -> Voted:
        """The label of each point, and how sure it is."""
        votes, views = self._count(evidence)
        possible = self._possible & self._by_things(votes)
        label, score = self._winners(votes, views, possible)
        halves = [
            self._winners(*self._count(evidence.half(later)), possible) for later in (False, True)
        ]
        seen = np.zeros(len(self._first), bool)
        seen[self._voxel[evidence.point]] = True
        mine = self._voxel
        return Voted(label[mine], seen[mine], score[mine], self._agreement(*halves))

    def _count(self, evidence: Evidence) -> tuple[np.ndarray, np.ndarray]:
        """[V, G] summed weights of the views by group of image classes, and [V] their number. A
        view counts by its squared confidence: one that is half sure says a quarter."""
        group = self._group_of[evidence.class_id]
        says = self._groups[group].any(1)
        voxel = self._voxel[evidence.point[says]]
        cell = voxel * len(self._groups) + group[says]
        size = len(self._first) * len(self._groups)
        votes = np.bincount(cell, evidence.confidence[says] ** 2, size)
        return votes.reshape(-1, len(self._groups)), np.bincount(voxel, minlength=len(self._first))

    def _winners(
        self, votes: np.ndarray, views: np.ndarray, possible: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """[V] label id and [V] score of each voxel."""
        by_label = np.zeros((len(votes), len(self._sets)), np.float32)
        rules = np.concatenate((possible, self._low, self._wide), 1)
        patterns, pattern = np.unique(rules, axis=0, return_inverse=True)
        pattern = pattern.reshape(-1)
        for number, (own, low, wide) in enumerate(patterns.reshape(len(patterns), 3, -1)):
            rows = np.flatnonzero(pattern == number)
            for group, classes in enumerate(self._groups):
                label = UNLABELLED if wide[classes].all() else self._left(classes, own, low)
                if label != UNLABELLED:
                    by_label[rows, label] += votes[rows, group]
        best = by_label.argmax(1)
        score = by_label[np.arange(len(votes)), best] / (views + 1)
        return np.where(score > 0, best, UNLABELLED).astype(np.uint8), score.astype(np.float32)

    def _left(self, classes: np.ndarray, possible: np.ndarray, low: np.ndarray) -> int:
        """The label id of what is left of a set of classes where some can't be, and with those that
        are low for their class the rest; the rest where nothing is left of it."""
        if not classes.any():
            return UNLABELLED
        left = classes & possible
        rest = self._shapes.rest
        if rest is not None and possible[rest] and (not left.any() or (left & low).any()):
            left[rest] = True
        return label_of(left, self._sets)

    def _by_height(self, on_ground: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """[V, C] which classes a voxel can hold by its height and that of what stands there, and
        [V, C] for which of them that is low."""
        place, shapes = self._place, self._shapes
        cell = place.ground.cells(place.points)
        above = np.nan_to_num(place.above, nan=-np.inf)
        top = np.full(place.ground.height.size, -np.inf)
        np.maximum.at(top, cell, above)
        around = ndimage.maximum_filter(top.reshape(place.ground.shape), 3).reshape(-1)
        # A voxel is judged by its lowest point, what stands there by all that is near.
        first = self._first
        lowest = np.full(len(first), np.inf)
        np.minimum.at(lowest, self._voxel, np.nan_to_num(place.above, nan=np.inf))
        known = np.isfinite(lowest)
        cell, ground = cell[first], on_ground[first]
        visible = place.visible_up_to.reshape(-1)[cell]

        possible = np.ones((len(first), len(shapes.ground)), bool)
        possible[np.ix_(known & ~ground, shapes.ground)] = False
        stands = np.isfinite(shapes.up_to) | (shapes.reaches > 0)
        if shapes.rest is not None:
            stands[shapes.rest] = True
        bare = known & ground & (top[cell] < BARE_M)
        possible[np.ix_(bare, stands)] = False
        possible &= ~(known[:, None] & (lowest[:, None] > shapes.up_to))
        too_low = (around[cell][:, None] < shapes.reaches) & (
            visible[:, None] > shapes.reaches + MARGIN_M
        )
        possible &= ~(known[:, None] & too_low)
        height = around[cell][:, None]
        # It is seen to end, or was seen as high as the class has to reach and no further.
        may_end = np.minimum(height + MARGIN_M, shapes.reaches) < visible[:, None]
        low = known[:, None] & may_end & (height < shapes.reaches + UNSURE_M)
        return possible, low & (shapes.reaches > 0)

    def _by_width(self, on_ground: np.ndarray) -> np.ndarray:
        """[V, C] for which classes what is around a voxel at its height is too wide: a poster hangs
        on a wall, a sign stands free."""
        limit = self._shapes.wide_up_to
        wide = np.zeros((len(self._first), len(limit)), bool)
        standing = np.flatnonzero(~on_ground[self._first])
        if np.isfinite(limit).any() and len(standing):
            cell = cells(self._place.points[self._first[standing]])
            wide[standing] = widths(cell)[:, None] * VOXEL_M > limit
        return wide

    def _by_things(self, votes: np.ndarray) -> np.ndarray:
        """[V, C] which classes a voxel can hold by the height of the thing that it is a part of:
        connected voxels that images call things of a limited height."""
        limited = np.isfinite(self._shapes.up_to)
        possible = np.ones((len(votes), len(limited)), bool)
        of_things = self._groups.any(1) & ~(self._groups & ~limited).any(1)
        is_thing = of_things[votes.argmax(1)] & (votes.max(1) > 0)
        is_thing &= self._place.above[self._first] >= ON_GROUND_M
        mine = np.flatnonzero(is_thing[self._voxel])
        if not len(mine):
            return possible
        xy = cells(self._place.points[mine, :2])
        xy -= xy.min(0)
        grid = np.zeros(xy.max(0) + 1, bool)
        grid[tuple(xy.T)] = True
        thing = ndimage.label(grid)[0][tuple(xy.T)] - 1
        top, points = tops(thing, self._place.above[mine])
        long = (extents(thing, xy) - 1) * VOXEL_M > THING_LENGTH_M
        known = ~long & (points >= THING_POINTS)
        can_be = ~known[:, None] | (top[:, None] <= self._shapes.up_to)
        possible[self._voxel[mine]] = can_be[thing] | ~limited
        return possible

    def _agreement(
        self, one: tuple[np.ndarray, np.ndarray], other: tuple[np.ndarray, np.ndarray]
    ) -> np.ndarray:
        """[A, 2] score of what one half of the views says of a voxel, and whether the other half
        says the same."""
        members = self._sets.table
        both = (one[0] != UNLABELLED) & (other[0] != UNLABELLED)
        agree = (members[one[0][both]] & members[other[0][both]]).any(1)
        return np.concatenate([np.stack((half[1][both], agree), 1) for half in (one, other)])


def label_of(classes: np.ndarray, sets: LabelSets) -> int:
    """The label id of a set of classes [C] bool; `UNLABELLED` of none."""
    chosen = np.flatnonzero(classes)
    if len(chosen) == 0:
        return UNLABELLED
    if len(chosen) == 1:
        return int(chosen[0])
    return sets.classes + [set(one) for one in sets.several].index(set(chosen.tolist()))


def agreement_curve(pairs: np.ndarray) -> tuple[float, float]:
    """How likely another half of the views says the same, by the score: the slope a and the offset
    b of 1 / (1 + exp(-(a score + b))), the likeliest ones (Platt, "Probabilistic outputs for
    support vector machines", 1999). No label is asked.

    Args:
        pairs: [A, 2] score and whether the halves agree.
    """
    edges = np.linspace(0, 1, 51)
    bins = np.digitize(pairs[:, 0], edges)
    total = np.bincount(bins, minlength=52)
    agreed = np.bincount(bins, pairs[:, 1], minlength=52)
    used = total > 0
    score = (np.bincount(bins, pairs[:, 0], minlength=52)[used] / total[used]).astype(np.float64)
    total, agreed = total[used], agreed[used]

    def surprise(line: np.ndarray) -> float:
        z = line[0] * score + line[1]
        # log(1 + exp(z)) - share z: what a share of agreements says against the curve
        return float((total * np.logaddexp(0, z) - agreed * z).sum() / total.sum())

    # The slope stays above 0: more agreement must not make a label less sure.
    found = optimize.minimize(surprise, [4.0, 0.0], bounds=[(0.1, 50), (-20, 20)])
    return float(found.x[0]), float(found.x[1])


def visible_height(ground: Ground, origins: np.ndarray, highest_beam: float) -> np.ndarray:
    """[X, Y] m above the ground up to where a sensor saw each cell, -inf where the ground is not
    known.

    Args:
        origins: [S, 3] m, where the sensor was.
        highest_beam: its rise over the distance.
    """
    rows, columns = ground.shape
    centres = ground.origin[:, None, None] + CELL_M * (
        np.stack(np.meshgrid(np.arange(rows), np.arange(columns), indexing="ij")) + 0.5
    )
    seen = np.full(ground.shape, -np.inf)
    for x, y, z in origins[:: max(1, len(origins) // 10)]:
        distance = np.hypot(centres[0] - x, centres[1] - y)
        np.fmax(seen, z - ground.height + distance * highest_beam, out=seen)
    return seen
