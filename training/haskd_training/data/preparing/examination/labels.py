"""Labels of a recording, counted."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from haskd_ros.clouds.pointcloud import CloudError
from haskd_ros.errors import InputError
from haskd_ros.taxonomy import Taxonomy
from haskd_training.data.preparing.examination.examination import LabelSummary
from haskd_training.recordings.findings import Finding
from haskd_training.recordings.labels import LabelSource
from haskd_training.recordings.readers.bag import Unusable, stamp_ns


class LabelCounts:
    """Counts the labels of one cloud after another.

    Args:
        path: of the recording, for messages.
        taxonomy: classes.
        source: labels by cloud.
    """

    def __init__(self, path: Path, taxonomy: Taxonomy, source: LabelSource) -> None:
        self._path, self._taxonomy, self._source = path, taxonomy, source
        self._seen = 0
        self._recorded: list[int] = []
        self._stamps: list[int] = []
        self._counts: list[np.ndarray] = []

    def add(self, cloud: Any, recorded_ns: int, is_used: bool) -> np.ndarray | None:
        """Count the labels of the next cloud, if it is used.

        Returns:
            Its class ids [N] uint8; None where it has none.

        Raises:
            InputError: they fit neither cloud nor label map.
        """
        number, self._seen = self._seen, self._seen + 1
        if not is_used or not cloud.width * cloud.height:
            return None
        try:
            ids = self._source.of(cloud, number, stamp_ns(cloud))
        except (Unusable, CloudError):
            return None  # told by the findings of the clouds, or of the source
        except InputError as error:
            at = f"cloud {number} (stamp {stamp_ns(cloud)})"
            raise InputError(f"{self._path}, {at}: {error}") from error
        self._recorded.append(recorded_ns)
        self._stamps.append(stamp_ns(cloud))
        self._counts.append(np.bincount(ids, minlength=256))
        return ids

    def summary(
        self, stop_ns: int | None, seen: Mapping[str, float | None] | None = None
    ) -> LabelSummary:
        """Of what was recorded before a time.

        Args:
            seen: as of `cameras.seen_by_class`.
        """
        used = np.array([stop_ns is None or at < stop_ns for at in self._recorded], bool)
        counts = np.array(self._counts, np.int64).reshape(-1, 256)[used]
        classes = len(self._taxonomy)
        points = counts.sum(0)
        return LabelSummary(
            taxonomy=self._taxonomy,
            classes=dict(zip(self._taxonomy.names, points[:classes].tolist(), strict=True)),
            ignored=int(points[classes:].sum()),
            stamps=np.array(self._stamps, np.int64)[used],
            counts=counts[:, :classes],
            seen=dict(seen or {}),
        )

    def findings(self, stop_ns: int | None) -> Iterator[Finding]:
        """Of the source, and clouds without a label."""
        yield from self._source.findings()
        summary = self.summary(stop_ns)
        clouds, labelled = len(summary.stamps), summary.labelled
        if not labelled:
            message = f"none of the {clouds} clouds has a label that the label map gives a class"
            yield Finding("no-labels", "labels", "doubtful", message)
        elif labelled < clouds:
            numbers = np.flatnonzero(summary.counts.sum(1))
            message = (
                f"{labelled} of {clouds} clouds are labelled, the first is cloud {numbers[0]}, "
                f"the last cloud {numbers[-1]}"
            )
            yield Finding("labels-in-part", "labels", "noted", message)
