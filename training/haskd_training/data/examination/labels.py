"""Labels of a recording, counted."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from haskd_ros.clouds.pointcloud import CloudError
from haskd_ros.errors import InputError
from haskd_ros.taxonomy import Taxonomy
from haskd_training.data.examination.examination import LabelSummary
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
        self._counts = np.zeros(256, np.int64)
        self._seen = 0
        self._labelled: list[int] = []

    def add(self, cloud: Any) -> None:
        """
        Raises:
            InputError: the labels fit neither cloud nor label map.
        """
        number, self._seen = self._seen, self._seen + 1
        if not cloud.width * cloud.height:
            return
        try:
            ids = self._source.of(cloud, number, stamp_ns(cloud))
        except (Unusable, CloudError):
            return  # counted where the cloud, or the source, tells its findings
        except InputError as error:
            at = f"cloud {number} (stamp {stamp_ns(cloud)})"
            raise InputError(f"{self._path}, {at}: {error}") from error
        counts = np.bincount(ids, minlength=256)
        self._counts += counts
        if counts[: len(self._taxonomy)].any():
            self._labelled.append(number)

    def summary(self) -> LabelSummary:
        classes = len(self._taxonomy)
        return LabelSummary(
            classes=dict(zip(self._taxonomy.names, self._counts[:classes].tolist(), strict=True)),
            ignored=int(self._counts[classes:].sum()),
            labelled=tuple(self._labelled),
        )

    def findings(self) -> Iterator[Finding]:
        """Of the source, and clouds without a label."""
        yield from self._source.findings()
        if not self._labelled:
            yield Finding(
                "no-labels", "labels", "doubtful", f"none of the {self._seen} clouds has a label"
            )
        elif len(self._labelled) < self._seen:
            yield Finding(
                "labels-in-part",
                "labels",
                "noted",
                f"{len(self._labelled)} of {self._seen} clouds are labelled, "
                f"{self._labelled[0]} to {self._labelled[-1]}",
            )
