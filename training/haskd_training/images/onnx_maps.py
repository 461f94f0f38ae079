"""An output of an ONNX network as a feature map: class scores, or what a backbone gives."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from haskd_ros.errors import InputError
from haskd_ros.text import listed, quoted
from haskd_training.images.encoder import interpolate
from haskd_training.images.network_input import NetworkInputConfig
from haskd_training.images.onnx_network import OnnxNetwork, are_probabilities

_FLOATING_POINT = ("tensor(float)", "tensor(float16)", "tensor(double)")

_MOST_CHANNELS = 4096

_LEADING_TOKENS = (0, 1, 5)
"""Before those of patches: none, a class token, and one with four registers."""

_LEAST_PROBABILITY = 1e-4


class OnnxMaps:
    """Makes a feature map of an image.

    Args:
        path: of the network.
        output: its name: a map [1, C, h, w] ([1, h, w, C] where the input is channels-last too), or
            tokens [1, T, C] of square patches, with or without leading ones. None: the first with 4
            dimensions and floating-point numbers.
        reduction: px averaged along each side of an image.

    Raises:
        InputError: as of `OnnxNetwork`, or there is no such output.
    """

    def __init__(
        self, path: Path, output: str | None, config: NetworkInputConfig, reduction: int
    ) -> None:
        self._network = OnnxNetwork(path, config)
        self._network.input.check_scales([1 / reduction])
        self._scale = 1 / reduction
        described = listed(f"{one.name} {one.shape}" for one in self._network.outputs)
        if output is None:
            names = [
                one.name
                for one in self._network.outputs
                if len(one.shape) == 4 and one.type in _FLOATING_POINT
            ]
            wanted = "one of 4 dimensions and floating-point numbers; others can be named by output"
        else:
            names = [one.name for one in self._network.outputs if one.name == output]
            wanted = quoted(output)
        if not names:
            raise InputError(
                f"{self._network.what} has the outputs {described}; wanted is {wanted}"
            )
        self._output = names[0]

    def encode(self, image: np.ndarray) -> Tensor:
        """The map [C, h, w] float32 of an image [H, W, 3] uint8, RGB.

        Scores are taken as they are. Probabilities become their logarithms: most are next to 0 at
        most pixels, which neither a bilinear mean nor components of unit variance treat well. They
        are scores then but for an offset, which for scores is one of the components.

        Raises:
            InputError: the network fails, or gives something else.
        """
        size, whole = self._sizes(image.shape[:2])
        found = self._network.run(image, size, self._output)
        shape, what = list(found.shape), f"{self._network.what}: output {quoted(self._output)}"
        if found.dtype.kind != "f" or found.ndim not in (3, 4) or shape[0] != 1 or 0 in shape:
            raise InputError(
                f"{what} is {found.dtype} of shape {quoted(shape)}; wanted is a map [1, C, height, "
                "width] of floating-point numbers, or tokens [1, patches, C]"
            )
        values = torch.from_numpy(found.astype(np.float32, copy=False))
        if values.ndim == 3:
            values = _of_tokens(values, whole, what)
        elif self._network.input.channels_last:
            values = values.permute(0, 3, 1, 2)
        channels, height, width = values.shape[1:]
        if channels > _MOST_CHANNELS:
            raise InputError(f"{what} has {channels} channels; at most {_MOST_CHANNELS} are read")
        if whole[0] % height or whole[1] % width or whole[0] * width != whole[1] * height:
            raise InputError(
                f"{what} is {quoted(shape)} for an input of {whole[1]} x {whole[0]} px, no squares "
                "of a whole number of px; input.size_multiple must be a multiple of the stride"
            )
        if not bool(torch.isfinite(values).all()):
            raise InputError(f"{what} has values that are no finite numbers")
        if channels > 1 and are_probabilities(values):
            values = values.clamp(min=_LEAST_PROBABILITY).log()
        return values[0]

    def sample(self, values: Tensor, pixels: Tensor, image_size: tuple[int, int]) -> Tensor:
        """Bilinear interpolation of a map.

        Args:
            values: [C, h, w] of `encode`.
            pixels: [P, 2] u v of the image, (0, 0) the first pixel's centre.
            image_size: height and width of the image.

        Returns:
            [P, C]; beyond the border the edge.
        """
        size, whole = self._sizes(image_size)
        cells = [
            within / own * count / filled
            for within, own, count, filled in zip(
                size, image_size, values.shape[1:], whole, strict=True
            )
        ]
        # A cell stands for the square of px whose middle is its own.
        return interpolate(values, (pixels + 0.5) * pixels.new_tensor(cells[::-1]) - 0.5)

    def _sizes(self, image_size: tuple[int, ...]) -> tuple[tuple[int, int], tuple[int, int]]:
        """Height and width of an image within the input, and of the input."""
        size = self._network.input.size_within(image_size, self._scale)
        return size, self._network.input.whole_size(size)


def _of_tokens(tokens: Tensor, whole: tuple[int, int], what: str) -> Tensor:
    """The map [1, C, h, w] of tokens [1, T, C] of an input of height and width `whole`."""
    count = tokens.shape[1]
    for side in _common_divisors(*whole):
        rows, columns = whole[0] // side, whole[1] // side
        if (leading := count - rows * columns) in _LEADING_TOKENS:
            return tokens[:, leading:].mT.reshape(1, -1, rows, columns)
    raise InputError(
        f"{what} has {count} tokens, which no square patches of an input of {whole[1]} x "
        f"{whole[0]} px are, with {listed(_LEADING_TOKENS)} leading ones; "
        "input.size_multiple must be a multiple of the patches' side"
    )


def _common_divisors(a: int, b: int) -> list[int]:
    common = math.gcd(a, b)
    return [side for side in range(1, common + 1) if common % side == 0]
