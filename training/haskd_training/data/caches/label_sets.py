"""Labels that leave a class open: ids of sets of classes.

What is not known for sure is not said: a pixel that is called road may be a road's marking. A label
id below C is a class; the ids that follow are sets of several, and a loss then asks for no more
than their sum.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from haskd_ros.errors import InputError
from haskd_ros.taxonomy import UNLABELLED, Taxonomy


@dataclass(frozen=True)
class LabelSets:
    """The label ids of C classes and of sets of them.

    Attributes:
        classes: C.
        several: the sets of two classes or more, each with its likeliest class first; set k has the
            id C + k.
    """

    classes: int
    several: tuple[tuple[int, ...], ...] = ()

    def __post_init__(self) -> None:
        if len(self) > UNLABELLED:
            raise InputError(
                f"{len(self.several)} sets of {self.classes} classes: there are {UNLABELLED} ids"
            )

    def __len__(self) -> int:
        """Ids in use."""
        return self.classes + len(self.several)

    def members(self, label: int) -> tuple[int, ...]:
        """Classes that a label id stands for, likeliest first."""
        return (label,) if label < self.classes else self.several[label - self.classes]

    @cached_property
    def table(self) -> np.ndarray:
        """[256, C] bool: the classes that each id may stand for; none of `UNLABELLED`."""
        table = np.zeros((UNLABELLED + 1, self.classes), bool)
        for label in range(len(self)):
            table[label, list(self.members(label))] = True
        return table

    @cached_property
    def _likeliest(self) -> np.ndarray:
        likeliest = np.full(UNLABELLED + 1, UNLABELLED, np.uint8)
        likeliest[: len(self)] = [self.members(label)[0] for label in range(len(self))]
        return likeliest

    def likeliest(self, labels: np.ndarray) -> np.ndarray:
        """Class ids [N] uint8 of label ids [N]: of a set its likeliest class."""
        found: np.ndarray = self._likeliest[labels]
        return found

    def named(self, taxonomy: Taxonomy) -> list[list[str]]:
        """Names of the classes of each set of several."""
        return [[taxonomy.names[c] for c in one] for one in self.several]
