"""A recorded sweep and the images nearest to it in time."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from haskd_ros.segmenter import Segmenter
from haskd_ros.taxonomy import Taxonomy
from haskd_training.data.caches.rows import ImageRow, SweepRow
from haskd_training.recordings.findings import Finding

IMAGE_WINDOW_S = 0.5
"""An image further than this from every sweep shows another scene."""


@dataclass(frozen=True)
class Labels:
    """One labelling of a sweep of N points.

    Attributes:
        class_id: [N] uint8, 255 not labelled.
        entropy: [N] float32, nats; None: not known.
    """

    class_id: np.ndarray
    entropy: np.ndarray | None


@dataclass(frozen=True)
class SweepWithImages:
    """A sweep of N points and the images that were taken nearest to it.

    Attributes:
        number: of the sweep, from 0, over all that was opened.
        row: of the sweep, with its pose where there is one.
        points: [N, >= 3] x y z in m in the sensor frame.
        truth: [N] uint8 class ids, 255 not labelled; None without labels.
        published: what a node published of it; None where nothing is recorded.
        label: labels of a model.
        images: rows with their poses, and JPEG bytes [n] uint8.
    """

    number: int
    row: SweepRow
    points: np.ndarray
    truth: np.ndarray | None
    published: Labels | None
    label: Callable[[Segmenter], Labels]
    images: Sequence[tuple[ImageRow, np.ndarray]]


@dataclass(frozen=True)
class RecordedSweeps:
    """The sweeps of caches or of a bag.

    Attributes:
        taxonomy: of the labels; None where there are none.
        published: whether a node's labels are recorded.
        published_taxonomy: its classes; None where they are not recorded with them.
        cameras: names of each recording's cameras.
        count: sweeps in all.
        read: the chosen ones, in the order of their recordings.
        findings: of the examination of a bag.
        findings_of: what there is to say of the clouds for a model, to be asked before it labels.
        skipped: of clouds and images that could not be read, filled while reading.
    """

    taxonomy: Taxonomy | None
    published: bool
    cameras: Mapping[str, Sequence[str]]
    count: int
    read: Callable[[range], Iterator[SweepWithImages]]
    findings_of: Callable[[Segmenter], Sequence[Finding]]
    findings: Sequence[Finding] = ()
    published_taxonomy: Taxonomy | None = None
    skipped: Counter[str] = field(default_factory=Counter)
