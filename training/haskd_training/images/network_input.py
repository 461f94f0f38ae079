"""How an image becomes the input of an ONNX network: layout, type, size and normalisation."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal, NamedTuple

import cv2
import numpy as np
from pydantic import BaseModel, ConfigDict, Field, FiniteFloat

from haskd_ros.errors import InputError
from haskd_ros.text import listed, quoted

Values = tuple[float, float, float]
Channels = Literal["rgb", "bgr"]

_Positive = Annotated[float, Field(gt=0, le=1e6)]

_TYPES: dict[str, type[np.generic]] = {
    "tensor(float)": np.float32,
    "tensor(float16)": np.float16,
    "tensor(uint8)": np.uint8,
}


class NetworkInputConfig(BaseModel):
    """How images become the input of an ONNX network."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    size_multiple: int = Field(
        32,
        ge=1,
        le=1024,
        description="px, width and height of a network's input are multiples of it",
    )
    channels: Channels | None = Field(
        None, description="order of colours; null: as the model says, else rgb"
    )
    image_scale: float | None = Field(
        None,
        gt=0,
        le=255,
        description="what colours of 0 to 255 are multiplied by, 0.00392157 for 0 to 1; null: as "
        "the model says, else 1",
    )
    image_mean: tuple[FiniteFloat, FiniteFloat, FiniteFloat] | None = Field(
        None,
        description="then subtracted, a value a channel in the network's order; null: as the model "
        "says, else 0",
    )
    image_std: tuple[_Positive, _Positive, _Positive] | None = Field(
        None, description="then divided by; null: as the model says, else 1"
    )


class Normalisation(NamedTuple):
    """(value * scale - mean) / std, of colours of 0 to 255 in this order of channels."""

    channels: Channels = "rgb"
    scale: float = 1.0
    mean: Values = (0.0, 0.0, 0.0)
    std: Values = (1.0, 1.0, 1.0)

    @classmethod
    def of(
        cls, what: str, metadata: Mapping[str, str], config: NetworkInputConfig
    ) -> Normalisation:
        """As settings say, else a model's own metadata: `input_format` (RGB, BGR), `scale`, `mean`
        and `std`, numbers in text: `0.485, 0.456, 0.406`.

        Args:
            what: the network, for messages.

        Raises:
            InputError: metadata that is none of these.
        """
        order = metadata.get("input_format", "rgb").strip().lower()
        if config.channels is None and order not in ("rgb", "bgr"):
            raise InputError(
                f"{what}: its metadata has input_format {quoted(order)}, known are RGB and BGR; "
                "give the setting channels"
            )
        channels = config.channels or ("bgr" if order == "bgr" else "rgb")
        scale, mean, std = config.image_scale, config.image_mean, config.image_std
        if scale is None:
            scale = _numbers(what, metadata, "scale", 1, "1")[0]
        found = cls(
            channels,
            scale,
            mean or _three(_numbers(what, metadata, "mean", 3, "0, 0, 0")),
            std or _three(_numbers(what, metadata, "std", 3, "1, 1, 1")),
        )
        if found.scale <= 0 or min(found.std) <= 0:
            raise InputError(
                f"{what}: scale {found.scale:g} and std {listed(found.std)} must be above 0"
            )
        return found


class NetworkInput:
    """The one input of a network that takes an image.

    Attributes:
        channels_last: it takes [1, height, width, 3].

    Args:
        what: the network, for messages.
        name, kind, shape: of the input, as ONNX Runtime gives them.

    Raises:
        InputError: it takes no image.
    """

    def __init__(
        self,
        what: str,
        name: str,
        kind: str,
        shape: list[Any],
        metadata: Mapping[str, str],
        config: NetworkInputConfig,
    ) -> None:
        self._name = name
        found = f"{what}: input {quoted(name)} is {kind} of shape {quoted(shape)}"
        if kind not in _TYPES:
            raise InputError(f"{found}; wanted is one of {listed(_TYPES)}")
        self._dtype = _TYPES[kind]
        if len(shape) != 4 or 3 not in (shape[1], shape[3]) or _fixed(shape[0]) not in (None, 1):
            raise InputError(
                f"{found}; wanted is [1, 3, height, width] or [1, height, width, 3] for one image"
            )
        self.channels_last = shape[1] != 3
        height, width = shape[1:3] if self.channels_last else shape[2:4]
        self._fixed = _fixed(height), _fixed(width)
        self._multiple = config.size_multiple
        self._normalisation = Normalisation.of(what, metadata, config)
        if self._dtype is np.uint8 and self._normalisation[1:] != Normalisation()[1:]:
            raise InputError(
                f"{found}, which takes colours as they are, without mean, std and scale"
            )
        self._found = found

    def check_scales(self, scales: Sequence[float]) -> None:
        """Check sizes of the image, 1 its own.

        Raises:
            InputError: others than 1, and the network takes one size alone.
        """
        if any(self._fixed) and set(scales) != {1.0}:
            raise InputError(f"{self._found}, a fixed size; scales must be [1], reduction 1")

    def size_within(self, size: Sequence[int], scale: float) -> tuple[int, int]:
        """Height and width that an image of height and width `size` has within the input."""
        height, width = size
        # Into a fixed size it is fitted with its own proportions, that things keep their shape.
        factors = [
            fixed / own for own, fixed in zip((height, width), self._fixed, strict=True) if fixed
        ]
        factor = min(factors, default=scale)
        return max(1, round(height * factor)), max(1, round(width * factor))

    def whole_size(self, size: tuple[int, int]) -> tuple[int, int]:
        """Height and width of the input that holds an image of this size."""
        height, width = (
            fixed or math.ceil(own / self._multiple) * self._multiple
            for own, fixed in zip(size, self._fixed, strict=True)
        )
        return height, width

    def feed(self, image: np.ndarray, size: tuple[int, int]) -> dict[str, np.ndarray]:
        """The input of a network.

        Args:
            image: [H, W, 3] uint8, RGB.
            size: height and width of the image within it, at the upper left; what is right of it
                and below, up to a size that the network takes, repeats its edge.
        """
        height, width = size
        if image.shape[:2] != size:
            smaller = height < image.shape[0]
            method = cv2.INTER_AREA if smaller else cv2.INTER_LINEAR
            image = cv2.resize(image, (width, height), interpolation=method)
        below, right = np.subtract(self.whole_size(size), size)
        padded = np.pad(image, ((0, below), (0, right), (0, 0)), "edge")
        ordered = padded[..., ::-1] if self._normalisation.channels == "bgr" else padded
        values = self._normalised(ordered).astype(self._dtype)
        batch = values if self.channels_last else values.transpose(2, 0, 1)
        return {self._name: np.ascontiguousarray(batch[None])}

    def _normalised(self, image: np.ndarray) -> np.ndarray:
        if self._dtype is np.uint8:
            return image
        _, scale, mean, std = self._normalisation
        values = image.astype(np.float32) * np.float32(scale)
        normalised: np.ndarray = (values - np.array(mean, np.float32)) / np.array(std, np.float32)
        return normalised


def _fixed(dimension: Any) -> int | None:
    """A dimension of a shape; None where it is free, which has a name or nothing there."""
    return dimension if isinstance(dimension, int) and dimension > 0 else None


def _numbers(
    what: str, metadata: Mapping[str, str], key: str, count: int, default: str
) -> list[float]:
    text = metadata.get(key, default)
    try:
        numbers = [float(part) for part in text.strip().strip("[]()").split(",")]
    except ValueError:
        numbers = []
    if len(numbers) != count or not all(math.isfinite(number) for number in numbers):
        raise InputError(
            f"{what}: its metadata has {key} {quoted(text)}, wanted are {count} numbers; give the "
            f"setting image_{key}"
        )
    return numbers


def _three(numbers: list[float]) -> Values:
    first, second, third = numbers
    return first, second, third
