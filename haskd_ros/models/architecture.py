"""What a network is registered by."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from haskd_ros.models.network import SegmentationNetwork


@dataclass(frozen=True)
class Architecture:
    """A network's class, and what its instances are made with.

    Attributes:
        network: a subclass of `network.SegmentationNetwork`, or what makes one of it; called with
            `classes` and the arguments, all by keyword.
        arguments: pydantic dataclass of all but `classes`, as a model file has them: JSON values,
            or tuples of them. Where it has a field `voxel_size` (m), `elevation` (lowest and
            highest angle in degrees) or `extra_inputs` (values of a point beside place and
            intensity), training fills it in.
        sizes: arguments by the names that `student.size` takes, without those that training fills
            in.
    """

    network: Callable[..., SegmentationNetwork]
    arguments: type[Any]
    sizes: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
