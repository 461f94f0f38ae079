"""Which sweeps are used for training, calibration, validation and testing: by whole recording or by
contiguous block of time, never at random."""

from __future__ import annotations

import logging
import math
from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, field_validator

from haskd_ros.channels import ChannelName
from haskd_ros.errors import InputError
from haskd_ros.taxonomy import Taxonomy
from haskd_training.data.caches.cache import Cache, Sweep
from haskd_training.data.caches.label_sets import LabelSets
from haskd_training.data.caches.rows import SweepRow
from haskd_training.data.channel_inputs import channel_inputs
from haskd_training.data.cuts import cut_in_parts, split_by_time
from haskd_training.data.sweep_ref import SweepRef, runs

log = logging.getLogger(__name__)

ROLES = ("train", "calibration", "validation", "test", "unlabelled")


class SplitConfig(BaseModel):
    """Shares of the labelled sweeps, held out from the end of each training recording in this
    order. A share above 0 is at least one sweep of all recordings together."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    calibration: float = Field(
        0.1,
        ge=0,
        lt=1,
        description="share to choose expert snapshots and fit the temperature",
    )
    validation: float = Field(
        0.1, ge=0, lt=1, description="share to choose the best epoch; 0: the last epoch is used"
    )
    test: float = Field(0.1, ge=0, lt=1, description="share that training never reads")
    distil_held_out: bool = Field(
        True,
        description="distil on the calibration and validation sweeps too, without their labels",
    )
    folds: int = Field(
        0,
        ge=0,
        description="2 or more: out of fold, no label is kept from the student but those to test "
        "on: labelled sweeps are cut into so many parts, by recording where those are enough, and "
        "what teaches, judges and calibrates a part learns from the others; 0: `calibration` and "
        "`validation` are held back",
    )

    @field_validator("folds")
    @classmethod
    def _parts_are_several(cls, folds: int) -> int:
        if folds == 1:
            raise ValueError("one part leaves nothing to learn from; 0 switches folds off")
        return folds


@dataclass(frozen=True)
class Split:
    """Roles of sweeps.

    Attributes:
        caches: open, with one taxonomy; `SweepRef.cache` is an index of them.
        train, calibration, validation, test: labelled sweeps.
        unlabelled: sweeps to train on without their labels.
        parts: out of fold, the parts of `train`; `calibration` and `validation` are empty then.
    """

    caches: list[Cache]
    train: list[SweepRef]
    calibration: list[SweepRef]
    validation: list[SweepRef]
    test: list[SweepRef]
    unlabelled: list[SweepRef]
    parts: tuple[tuple[SweepRef, ...], ...] = ()

    @property
    def taxonomy(self) -> Taxonomy:
        return self.caches[0].taxonomy

    @property
    def label_sets(self) -> LabelSets:
        """What the label ids of all sweeps stand for."""
        sets = (cache.label_sets for cache in self.caches)
        return max(sets, key=len)

    @property
    def taught_by_images(self) -> bool:
        """Whether some labels come from images: then points without one were not seen."""
        return any(cache.point_labels is not None for cache in self.caches)

    @property
    def from_images(self) -> set[SweepRef]:
        """The sweeps whose labels come from images."""
        return {SweepRef(number, i) for number, c in enumerate(self.caches) for i in c.taught}

    def labelled_by_images(self, refs: Sequence[SweepRef]) -> bool:
        """Whether labels of some of these sweeps come from images."""
        return not self.from_images.isdisjoint(refs)

    def repeated(self, refs: Sequence[SweepRef], by_hand: float) -> list[SweepRef]:
        """These sweeps, those labelled by hand so often that they are at least a share of `by_hand`
        beside those that images label; where images label none, as they are."""
        taught = self.from_images.intersection(refs)
        own = set(self.train).intersection(refs) - taught
        if not own:
            return list(refs)
        # Less what rounding adds to 0.8 / 0.2.
        times = math.ceil(by_hand / (1 - by_hand) * len(taught) / len(own) - 1e-9)
        return [*refs, *[ref for ref in refs if ref in own] * (times - 1)]

    @property
    def image_labels_origin(self) -> dict[str, Any] | None:
        """Where the labels that come from images were made, and how sure they had to be."""
        found = (cache.point_labels for cache in self.caches)
        labels = next((one for one in found if one is not None), None)
        if labels is None:
            return None
        return labels.origin | {"min_confidence": labels.min_confidence}

    @property
    def train_and_unlabelled(self) -> list[SweepRef]:
        """All sweeps to train on, labelled ones first."""
        return self.train + self.unlabelled

    def labelled(self) -> Split:
        """The same without the unlabelled sweeps, for training on labels alone: it does not change
        when a recording without labels is added."""
        roles = (self.train, self.calibration, self.validation, self.test)
        used = 1 + max(ref.cache for role in roles for ref in role)
        return replace(self, caches=self.caches[:used], unlabelled=[])

    def out_of_fold(self, count: int) -> Split:
        """The same with nothing held back, in so many parts.

        Raises:
            InputError: fewer sweeps than parts.
        """
        whole = self.with_nothing_held_back()
        return replace(whole, parts=cut_in_parts(self.caches, whole.train, count))

    def without_part(self, number: int) -> Split:
        """What learns from all parts but one, which is there to calibrate on."""
        part = self.parts[number]
        left_out = set(part)
        others = [ref for ref in self.train if ref not in left_out]
        return replace(
            self,
            train=others,
            calibration=list(part),
            validation=[],
            test=[],
            unlabelled=self.told_of_part(number).unlabelled,
            parts=(),
        )

    def told_of_part(self, number: int) -> Split:
        """The sweeps that are told of by what has not learned from a part: those of the part, the
        unlabelled ones next to them, and its share of the recordings without labels."""
        return replace(
            self,
            train=list(self.parts[number]),
            unlabelled=[ref for ref, part in self._part_of_unlabelled.items() if part == number],
            test=[],
            parts=(),
        )

    @cached_property
    def _part_of_unlabelled(self) -> dict[SweepRef, int]:
        """Of each unlabelled sweep: the part of the nearest labelled one of its recording, which
        shows nearly the same; where that has none, each part in turn."""
        labelled: dict[tuple[int, str], list[tuple[int, int]]] = {}
        for number, part in enumerate(self.parts):
            for ref in part:
                row = self.row(ref)
                moments = labelled.setdefault((ref.cache, row.recording), [])
                moments.append((row.stamp_ns, number))
        for moments in labelled.values():
            moments.sort()
        found: dict[SweepRef, int] = {}
        for turn, ref in enumerate(self.unlabelled):
            row = self.row(ref)
            moments = labelled.get((ref.cache, row.recording), [])
            after = bisect_left(moments, (row.stamp_ns, 0))
            nearest = min(
                moments[max(after - 1, 0) : after + 1],
                key=lambda one: abs(one[0] - row.stamp_ns),
                default=None,
            )
            found[ref] = turn % len(self.parts) if nearest is None else nearest[1]
        return found

    def with_nothing_held_back(self) -> Split:
        """The same with the labels of calibration and validation sweeps to train on."""
        held_back = self.calibration + self.validation
        shown = set(held_back)
        return replace(
            self,
            train=self.train + held_back,
            calibration=[],
            validation=[],
            unlabelled=[ref for ref in self.unlabelled if ref not in shown],
        )

    def with_oracle_labels(self) -> Split:
        """The same with the labels of those unlabelled sweeps that have any: the upper bound that a
        teacher without errors would reach."""
        has_labels = {ref: any(self.row(ref).class_counts) for ref in self.unlabelled}
        return replace(
            self,
            train=self.train + [ref for ref in self.unlabelled if has_labels[ref]],
            unlabelled=[ref for ref in self.unlabelled if not has_labels[ref]],
        )

    def sweep(self, ref: SweepRef) -> Sweep:
        return self.caches[ref.cache].sweep(ref.sweep)

    def row(self, ref: SweepRef) -> SweepRow:
        return self.caches[ref.cache].sweeps[ref.sweep]

    def class_counts(self, sweeps: Sequence[SweepRef]) -> NDArray[np.int64]:
        """[C] labelled points of each class."""
        rows = [self.row(ref).class_counts for ref in sweeps]
        counts: NDArray[np.int64] = np.array(rows, np.int64).reshape(-1, len(self.taxonomy)).sum(0)
        return counts

    def fingerprint(self, *roles: str) -> dict[str, Any]:
        """Identity of this split in JSON values; equal for equal data and roles. Of sweeps that
        follow each other the first one and the one behind the last are told.

        Args:
            roles: of `ROLES`, those that matter; none: all of them.
        """
        return {"caches": [cache.fingerprint for cache in self.caches]} | {
            role: [list(run) for run in runs(getattr(self, role))] for role in roles or ROLES
        }


def make_split(
    caches: Sequence[Cache],
    config: SplitConfig,
    *,
    calibration: Sequence[Cache] = (),
    validation: Sequence[Cache] = (),
    test: Sequence[Cache] = (),
    unlabelled: Sequence[Cache] = (),
    channels: Sequence[ChannelName] = (),
    channels_required: bool = False,
) -> Split:
    """Give every sweep a role.

    Args:
        caches: to train on; the ends of their recordings' labelled parts are held out as `config`
            says.
        calibration, validation, test: caches of which every sweep has that role.
        unlabelled: caches whose labels, where they have any, are not read.
        channels: of the points, that networks are to read beside place and intensity.
        channels_required: a model of this split refuses clouds without them.

    Raises:
        InputError: no labelled sweep is left to train on, the classes differ, a sweep has two
            roles, or sweeps are too few for the parts.
    """
    _check_same_classes([*caches, *calibration, *validation, *test])
    if config.folds:
        if calibration or validation:
            raise InputError(
                "out of fold (split.folds) every labelled sweep is learned from: give the "
                "calibration and validation recordings as training ones"
            )
        config = config.model_copy(update={"calibration": 0.0, "validation": 0.0})
    fractions = {
        "train": 1 - config.calibration - config.validation - config.test,
        "calibration": config.calibration,
        "validation": config.validation,
        "test": config.test,
    }
    roles = split_by_time(caches, fractions)
    number = len(caches)
    for role, dedicated in (
        ("calibration", calibration),
        ("validation", validation),
        ("test", test),
        ("unlabelled", unlabelled),
    ):
        for cache in dedicated:
            roles[role] += [
                SweepRef(number, sweep)
                for sweep, row in enumerate(cache.sweeps)
                if role == "unlabelled" or any(row.class_counts)
            ]
            number += 1
    if config.distil_held_out:
        roles["unlabelled"] += roles["calibration"] + roles["validation"]
    if not roles["train"]:
        raise InputError(
            "no labelled sweep is left to train on: prepare the caches with --labels, "
            "or hold out less (split.calibration, split.validation, split.test)"
        )
    for role, share in fractions.items():
        if share and not roles[role]:
            log.warning("no sweep is left for %s: there are too few labelled sweeps", role)
    hidden = [cache.without_labels(caches[0].taxonomy) for cache in unlabelled]
    mean = _mean_intensity(caches)
    every = [*caches, *calibration, *validation, *test, *hidden]
    inputs = channel_inputs(caches, channels, required=channels_required)
    seen = [replace(cache, stand_in=mean, channels=inputs) for cache in every]
    split = Split(seen, **roles, parts=())
    _check_no_sweep_twice(split, config.distil_held_out)
    return split.out_of_fold(config.folds) if config.folds else split


def _mean_intensity(caches: Sequence[Cache]) -> float:
    """The mean intensity of the first cache to train on that has any, 0..1; what was not measured
    is taken to be of that one in all caches, as on a robot."""
    means = [cache.missing_intensity for cache in caches]
    return next((mean for mean in means if mean > 0), 0.0)


def _check_no_sweep_twice(split: Split, distil_held_out: bool) -> None:
    """A score on a sweep that was trained on would be invalid."""
    first_roles: dict[tuple[str, int], tuple[str, int]] = {}
    twice: dict[tuple[str, str, str], list[bool]] = {}
    for role in ROLES:
        for ref in getattr(split, role):
            row = split.row(ref)
            first, points = first_roles.setdefault(
                (row.recording, row.stamp_ns), (role, row.points)
            )
            held_out = first in ("calibration", "validation")
            if first != role and not (distil_held_out and role == "unlabelled" and held_out):
                twice.setdefault((row.recording, first, role), []).append(points == row.points)
    for (recording, first, role), equal in twice.items():
        # Two recordings may share a name and, simulated, their stamps: then their points differ.
        if all(equal):
            raise InputError(
                f"recording {recording} is both {first} and {role} data "
                f"({len(equal)} of its sweeps are in both)"
            )


def _check_same_classes(caches: Sequence[Cache]) -> None:
    if not caches:
        raise InputError("no cache given")
    for cache in caches[1:]:
        if cache.taxonomy.names != caches[0].taxonomy.names:
            raise InputError(
                f"{cache.path} has the classes {', '.join(cache.taxonomy.names)}; "
                f"{caches[0].path} has {', '.join(caches[0].taxonomy.names)}"
            )
