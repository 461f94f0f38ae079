"""What labels clouds, whichever way it computes. No torch."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Protocol

import numpy as np
from numpy.typing import NDArray

from haskd_ros.channels import ChannelName
from haskd_ros.clouds.channels import wanted_fields
from haskd_ros.errors import InputError
from haskd_ros.model_header import ChannelInput, ModelMetadata
from haskd_ros.taxonomy import Taxonomy

if TYPE_CHECKING:
    from torch import Tensor

DEFAULT_MODEL = Path(__file__).parent / "data" / "street.safetensors"
"""The model that comes with the package."""

Refine = Callable[["Tensor", "Tensor"], "Tensor"]
"""(points [N, 4] float32 as the network gets them, probabilities [N, C] of the classes, NaN where
the network's scores are) -> probabilities [N, C] to take instead, rows of any positive sum; on the
CPU."""

NO_CHANNELS: Mapping[ChannelName, np.ndarray | None] = MappingProxyType({})


@dataclass(frozen=True)
class Segmentation:
    """The labels of a cloud; row i belongs to point i of the input.

    Attributes:
        class_id: [N] uint8; 255 where a point has no label (x y z not finite, in the sensor's
            origin, out of range, or the network's scores for it are not numbers).
        probability: [N] float32 of the class; 0 without a label.
        entropy: [N] float32 of the class distribution in nats; log C without a label.
        beyond_training: points whose height or intensity was cut off to what the training saw, or
            replaced where the intensity was no number.
        timings: ms of each stage.
    """

    class_id: NDArray[np.uint8]
    probability: NDArray[np.float32]
    entropy: NDArray[np.float32]
    beyond_training: int = 0
    timings: dict[str, float] = field(compare=False, default_factory=dict)


class PointSegmenter(Protocol):
    """Labels clouds with a loaded model.

    Attributes:
        metadata: of the model.
        device: `cpu` or `cuda:N`, as text.
        precision: `fp32`, `bf16` or `fp16`.
        engine: what computes a sparse network's convolutions, in words.
        refines: whether it takes `refine`.
    """

    metadata: ModelMetadata
    precision: str
    engine: str
    refines: bool

    @property
    def device(self) -> object: ...

    @property
    def taxonomy(self) -> Taxonomy: ...

    def on_one_thread(self) -> AbstractContextManager[None]:
        """Within it this thread labels alone, however many threads are to be used otherwise: for
        who labels beside another segmenter."""

    def __call__(
        self,
        points: np.ndarray,
        min_range: float = 0.0,
        max_range: float = ...,
        *,
        intensity_scale: float | None = None,
        channels: Mapping[ChannelName, np.ndarray | None] = NO_CHANNELS,
        refine: Refine | None = None,
    ) -> Segmentation:
        """Label every point of a cloud.

        Args:
            points: [N, 4] float32 x y z in m in the sensor frame and intensity, or [N, 3] without
                intensity. Not finite values are allowed.
            min_range, max_range: m from the sensor; points outside are not labelled. The model's
                own `max_range` holds as well.
            intensity_scale: intensity of a full return, see `clouds.intensity`; None: that of the
                clouds that the model was trained on.
            channels: further values of the points by name, [N, D] in the channel's own unit; where
                one of the model's is missing or None the training's mean stands in.
            refine: changes the probabilities of the points that are labelled.

        Raises:
            InputError: no [N, 3] or [N, 4], or no intensity or channel where the model requires it.
        """


def check_points(points: np.ndarray, metadata: ModelMetadata) -> None:
    """Raises as `PointSegmenter` for points that a model does not take."""
    if points.ndim != 2 or points.shape[1] not in (3, 4):
        raise InputError(f"points have shape {points.shape}, wanted [N, 3] or [N, 4]")
    if points.shape[1] == 3 and metadata.intensity.required:
        raise InputError("this model requires intensity and the cloud has none")


def check_channel(channel: ChannelInput, values: np.ndarray | None, points: int) -> None:
    """Raises as `PointSegmenter` for values of a channel that a model does not take."""
    if values is not None and values.shape != (points, channel.width):
        raise InputError(
            f"{channel.name} of shape {values.shape}, wanted ({points}, {channel.width})"
        )
    if values is None and channel.required:
        raise InputError(
            f"this model requires {channel.name}, and the cloud has no fields of it: "
            f"{wanted_fields(channel.name)}"
        )
