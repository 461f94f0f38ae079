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
from haskd_training.data.cache import Cache
from haskd_training.data.readers.all_readers import READERS
from haskd_training.data.readers.interface import DatasetReader


@dataclass(frozen=True)
class Protocol:
    """A benchmark's rule.

    Attributes:
        reader: of the data set.
        split: whose sweeps count, all of them.
        rule: what is counted, in one sentence.
        absent_iou: IoU, for the mean, of a class that is neither there nor predicted.
    """

    reader: DatasetReader
    split: str
    rule: str
    absent_iou: float

    @property
    def name(self) -> str:
        return self.reader.name

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
    "semantickitti": Protocol(
        READERS["semantickitti"],
        split="val",
        rule="mean IoU over the 19 classes, of all points that have one of them; a point without a "
        "prediction is missed, and a class that is neither there nor predicted counts as 0",
        absent_iou=0.0,
    )
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


@dataclass(frozen=True)
class ProtocolScore:
    """A score by a benchmark's rule.

    Attributes:
        names: of the C classes.
        iou: [C]. miou: its mean.
        absent: names of classes without a true point.
        sweeps: how many there are of each drive of the cache.
    """

    protocol: Protocol
    names: tuple[str, ...]
    iou: NDArray[np.float64]
    absent: tuple[str, ...]
    sweeps: dict[str, int]

    @property
    def miou(self) -> float:
        return float(self.iou.mean())

    @property
    def is_whole_split(self) -> bool:
        """Whether the sweeps are those that the benchmark counts."""
        reader = self.protocol.reader
        return self.sweeps == {
            name: reader.sweeps[name] for name in reader.splits[self.protocol.split]
        }

    def notes(self) -> list[str]:
        """What there is to say beside the score."""
        reader, split = self.protocol.reader, self.protocol.split
        drives = reader.splits[split]
        notes = [self.protocol.rule]
        if self.absent:
            notes.append(f"without a true point: {', '.join(self.absent)}")
        if self.is_whole_split:
            notes.append(f"the whole split {split} of {reader.title}")
        else:
            found = ", ".join(f"{count} of {name}" for name, count in self.sweeps.items())
            notes.append(
                f"NOT the split {split} of {reader.title} ({found}; it has "
                f"{reader.published_sweeps(drives)} sweeps of {', '.join(drives)}): compares with "
                "no published score"
            )
        return notes

    def to_json(self) -> dict[str, Any]:
        return {
            "name": self.protocol.name,
            "rule": self.protocol.rule,
            "split": self.protocol.split,
            "is_whole_split": self.is_whole_split,
            "sweeps": self.sweeps,
            "miou": self.miou,
            "iou": dict(zip(self.names, self.iou.tolist(), strict=True)),
            "without_true_points": list(self.absent),
        }


def protocol_score(protocol: Protocol, counts: np.ndarray, cache: Cache) -> ProtocolScore:
    """Score [C, C + 1] counts over all sweeps of a cache of the protocol's classes."""
    names = cache.taxonomy.names
    return ProtocolScore(
        protocol=protocol,
        names=names,
        iou=protocol_iou(counts, protocol.absent_iou),
        absent=tuple(name for name, true in zip(names, counts.sum(1), strict=True) if not true),
        sweeps=dict(Counter(row.recording for row in cache.sweeps)),
    )
