"""What the node's parameters ask of the classes: which become others, which the filtered cloud
keeps."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from haskd_ros.errors import InputError
from haskd_ros.taxonomy import UNLABELLED, Taxonomy

NO_CLASS = "unlabelled"
"""In `class_remap`, the target of points that are to have no class."""


@dataclass(frozen=True)
class ClassRules:
    """Tables by class id.

    Attributes:
        published: [256] uint8, the class that a point of a class is published as.
        kept: [256] bool, whether the filtered cloud keeps points published as a class.
    """

    published: np.ndarray
    kept: np.ndarray

    @classmethod
    def of(cls, values: Mapping[str, Any], taxonomy: Taxonomy) -> ClassRules:
        """
        Args:
            values: the parameters `class_remap` and `filter.classes` by name; empty entries don't
                count.
            taxonomy: of the model.

        Raises:
            InputError: a class that the model does not have, a remap that is no `from:to`, or one
                class that is to become two.
        """
        published = np.arange(256, dtype=np.uint8)
        seen: set[str] = set()
        for entry in filter(None, values["class_remap"]):
            source, colon, target = (part.strip() for part in entry.partition(":"))
            if not colon:
                raise InputError(f"parameter class_remap: {entry!r} is not of the form from:to")
            if source in seen:
                raise InputError(f"parameter class_remap: {source!r} stands twice")
            seen.add(source)
            to = UNLABELLED if target == NO_CLASS else _id("class_remap", target, taxonomy)
            published[_id("class_remap", source, taxonomy)] = to
        wanted: Sequence[str] = [name for name in values["filter.classes"] if name]
        kept = np.zeros(256, bool)
        if wanted:
            kept[[_id("filter.classes", name.strip(), taxonomy) for name in wanted]] = True
        else:
            kept[: len(taxonomy)] = True
        return cls(published, kept)


def _id(parameter: str, name: str, taxonomy: Taxonomy) -> int:
    try:
        return taxonomy.id_of(name)
    except InputError as error:
        raise InputError(f"parameter {parameter}: {error}") from error
