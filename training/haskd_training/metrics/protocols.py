"""How public benchmarks count: their own rules, so that a score compares with a published one."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from haskd_ros.errors import InputError
from haskd_ros.text import listed, quoted
from haskd_training.data.caches.cache import Cache
from haskd_training.data.readers.all_readers import READERS
from haskd_training.data.readers.interface import DatasetReader, Rule, Submission, names_digest


@dataclass(frozen=True)
class Protocol:
    """The benchmark of a data set.

    Attributes:
        rule: how it counts.
    """

    reader: DatasetReader
    rule: Rule

    @property
    def name(self) -> str:
        return self.reader.name

    @property
    def submission(self) -> Submission:
        """How the benchmark takes predictions.

        Raises:
            InputError: it takes none, or none that is written here.
        """
        if self.reader.submission is None:
            raise InputError(f"no submission is written for {self.reader.title}")
        return self.reader.submission

    def check_classes(self, names: Sequence[str], what: object) -> None:
        """Check that classes are the benchmark's.

        Raises:
            InputError: they aren't.
        """
        own = self.reader.load_label_map().taxonomy.names
        if tuple(names) != own:
            raise InputError(
                f"{what} has the classes {listed(names)}; protocol {self.name} counts "
                f"{listed(own, 400)}"
            )


PROTOCOLS = {
    reader.name: Protocol(reader, reader.rule) for reader in READERS.values() if reader.rule
}


def protocol_of(name: str) -> Protocol:
    """
    Raises:
        InputError: there is no such protocol; the message lists those there are.
    """
    if name not in PROTOCOLS:
        raise InputError(f"no protocol named {quoted(name)}; there are {listed(PROTOCOLS)}")
    return PROTOCOLS[name]


def protocol_iou(counts: np.ndarray, absent_iou: float) -> NDArray[np.float64]:
    """[C] IoU from [C, C + 1] counts, see `confusion`; a class without true points whose false
    positives are counted has 0, one without either `absent_iou`."""
    true_positives = np.diag(counts).astype(np.float64)
    union = counts.sum(1) + counts.sum(0)[: len(counts)] - true_positives
    scores: NDArray[np.float64] = np.divide(
        true_positives, union, out=np.full(len(counts), absent_iou), where=union > 0
    )
    return scores


def counted(counts: np.ndarray, rule: Rule, names: Sequence[str]) -> np.ndarray:
    """[C, C + 1] counts, see `confusion`, of the classes of these names -> as the rule has them: a
    point without a prediction may count as one of a class."""
    if rule.unlabelled is None:
        return counts
    by_rule: np.ndarray = counts.copy()
    by_rule[:, names.index(rule.unlabelled)] += counts[:, -1]
    by_rule[:, -1] = 0
    return by_rule


@dataclass(frozen=True)
class ProtocolScore:
    """A score by a benchmark's rule.

    Attributes:
        names: of the C classes.
        iou: [C], NaN of a class that doesn't count. miou: its mean.
        accuracy: share of the points that are right; mean_accuracy: mean over the classes that are
            there of the share of theirs.
        absent: names of classes without a true point.
        sweeps: how many there are of each drive of the cache.
    """

    protocol: Protocol
    names: tuple[str, ...]
    iou: NDArray[np.float64]
    accuracy: float
    mean_accuracy: float
    absent: tuple[str, ...]
    sweeps: dict[str, int]

    @property
    def miou(self) -> float:
        return float(np.nanmean(self.iou)) if not np.isnan(self.iou).all() else 0.0

    @property
    def is_whole_split(self) -> bool:
        """Whether the sweeps are those that the benchmark counts, by all that is published of
        them."""
        reader = self.protocol.reader
        published = reader.splits[self.protocol.rule.split]
        if published.digest not in (None, names_digest(self.sweeps)):
            return False
        return (len(self.sweeps), sum(self.sweeps.values())) == (
            published.drives,
            published.sweeps,
        ) and all(reader.sweeps.get(name, count) == count for name, count in self.sweeps.items())

    def notes(self) -> list[str]:
        """What there is to say beside the score."""
        reader, split = self.protocol.reader, self.protocol.rule.split
        published = reader.splits[split]
        notes = [self.protocol.rule.text]
        if self.absent:
            notes.append(f"without a true point: {', '.join(self.absent)}")
        if self.is_whole_split:
            notes.append(f"the whole split {split} of {reader.title}")
        else:
            found = listed([f"{count} of {name}" for name, count in self.sweeps.items()])
            notes.append(
                f"NOT the split {split} of {reader.title} ({found}; it has {published.sweeps:,} "
                f"in {published.drives:,}): compares with no published score"
            )
        return notes

    def to_json(self) -> dict[str, Any]:
        return {
            "name": self.protocol.name,
            "rule": self.protocol.rule.text,
            "split": self.protocol.rule.split,
            "is_whole_split": self.is_whole_split,
            "sweeps": self.sweeps,
            "miou": self.miou,
            "iou": {
                name: None if np.isnan(value) else value
                for name, value in zip(self.names, self.iou.tolist(), strict=True)
            },
            "accuracy": self.accuracy,
            "mean_accuracy": self.mean_accuracy,
            "without_true_points": list(self.absent),
        }


def protocol_score(protocol: Protocol, counts: np.ndarray, cache: Cache) -> ProtocolScore:
    """Score [C, C + 1] counts over all sweeps of a cache of the protocol's classes."""
    names = cache.taxonomy.names
    counts = counted(counts, protocol.rule, names)
    right, true = np.diag(counts), counts.sum(1)
    recall = right[true > 0] / true[true > 0]
    return ProtocolScore(
        protocol=protocol,
        names=names,
        iou=protocol_iou(counts, protocol.rule.absent_iou),
        accuracy=float(right.sum() / max(1, true.sum())),
        mean_accuracy=float(recall.mean()) if len(recall) else 0.0,
        absent=tuple(name for name, points in zip(names, true, strict=True) if not points),
        sweeps=dict(Counter(row.recording for row in cache.sweeps)),
    )
