"""What the node's parameters do to the classes: which are published as another one, which the
filtered cloud keeps."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from haskd_ros.errors import InputError
from haskd_ros.taxonomy import UNLABELLED, Taxonomy

NO_CLASS = "unlabelled"
"""In `class_remap`, the target of points that are to have no class; no name in the others."""


@dataclass(frozen=True)
class ClassRules:
    """Tables by class id.

    Attributes:
        published: [256] uint8, the class that a point of a class is published as.
        in_filtered: [256] bool, whether the filtered cloud keeps points published as a class; False
            without one.
    """

    published: np.ndarray
    in_filtered: np.ndarray

    @classmethod
    def of(
        cls,
        taxonomy: Taxonomy,
        *,
        class_remap: Iterable[str],
        filter_classes: Iterable[str],
        filter_exclude: Iterable[str] = (),
    ) -> ClassRules:
        """
        Args:
            taxonomy: of the model.
            class_remap: each as from:to.
            filter_classes: names of the classes that the filtered cloud keeps; without any it keeps
                all but those of `filter_exclude`. Empty entries don't count.
            filter_exclude: names of the classes that it leaves out.

        Raises:
            InputError: a class that the model does not have, a remap that is no `from:to`, or one
                class that is to become two.
        """
        published = np.arange(256, dtype=np.uint8)
        seen: set[str] = set()
        for entry in filter(None, class_remap):
            source, colon, target = (part.strip() for part in entry.partition(":"))
            if not colon:
                raise InputError(f"parameter class_remap: {entry!r} is not of the form from:to")
            if source in seen:
                raise InputError(f"parameter class_remap: {source!r} stands twice")
            seen.add(source)
            to = UNLABELLED if target == NO_CLASS else _id("class_remap", target, taxonomy)
            published[_id("class_remap", source, taxonomy)] = to
        names = [name for name in filter_classes if name]
        in_filtered = np.zeros(256, bool)
        if names:
            in_filtered[[_id("filter.classes", name.strip(), taxonomy) for name in names]] = True
        else:
            in_filtered[: len(taxonomy)] = True
        for name in filter(None, filter_exclude):
            in_filtered[_id("filter.exclude", name.strip(), taxonomy)] = False
        return cls(published, in_filtered)


def _id(parameter: str, name: str, taxonomy: Taxonomy) -> int:
    if name == NO_CLASS and parameter.startswith("filter") and name not in taxonomy.names:
        raise InputError(
            f"parameter {parameter}: {NO_CLASS} is no class; filter.unlabelled, keep or drop, says "
            "what becomes of points without a label"
        )
    try:
        return taxonomy.id_of(name)
    except InputError as error:
        raise InputError(f"parameter {parameter}: {error}") from error
