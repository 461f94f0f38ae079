"""The teacher's image branch, second half: features at an image's pixels."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor, nn

from haskd_training.images.encoder import CHANNELS, EncoderConfig, ImageEncoder, interpolate
from haskd_training.images.onnx_maps import OnnxMaps

# Of street images, roughly: brings colours near zero mean and unit variance.
_RGB_MEAN, _RGB_SCALE = 110.0, 60.0

COLOURS = 3
"""Features of a pixel's own colour, beside those of the maps."""

_ROWS = 8192
"""Of sampled features that are read at once in double precision."""


class PixelFeatures(nn.Module):
    """Features at an image's pixels: RGB at full resolution beside the networks' maps, which a
    linear layer reduces.

    The colours bypass the networks because paint on the road is a pixel or two wide.

    Attributes:
        encoder: EfficientNet-Lite0; None where an ONNX network stands in for it.
    """

    def __init__(self, config: EncoderConfig) -> None:
        super().__init__()
        self.encoder: ImageEncoder | None = None
        self._onnx: OnnxMaps | None = None
        if config.is_onnx:
            path = Path(config.weights)
            self._onnx = OnnxMaps(path, config.output, config.input, config.reduction)
        if not config.is_onnx or config.beside:
            weights = "imagenet" if config.is_onnx else config.weights
            self.encoder = ImageEncoder(weights, config.reduction)
        self._components = config.channels
        # Of EfficientNet's maps; `fit` knows how many channels others have.
        self.reduce = nn.Linear(sum(CHANNELS), config.channels)

    @property
    def width(self) -> int:
        """Features a pixel: the components and the pixel's own colour."""
        return self.reduce.out_features + COLOURS

    def encode(self, image: Tensor) -> list[Tensor]:
        """Feature maps, each [C_s, H_s, W_s], of an image [3, H, W] uint8, RGB."""
        maps = [] if self.encoder is None else [x[0] for x in self.encoder(image[None])]
        if self._onnx is not None:
            found = self._onnx.encode(image.permute(1, 2, 0).cpu().numpy())
            maps.append(found.to(image.device))
        return maps

    def sample(self, image: Tensor, maps: list[Tensor], pixels: Tensor) -> Tensor:
        """[P, sum of C_s] of an image's maps at `pixels` [P, 2] u v; beyond a map's border its
        edge."""
        found = []
        if self._onnx is not None:
            maps, other = maps[:-1], maps[-1]
            found.append(self._onnx.sample(other, pixels, (image.shape[1], image.shape[2])))
        if self.encoder is not None:
            found.insert(0, self.encoder.sample(maps, pixels))
        return torch.cat(found, dim=1)

    def forward(self, image: Tensor, maps: list[Tensor], pixels: Tensor) -> Tensor:
        """[P, width] at `pixels` [P, 2] u v of an image [3, H, W] RGB 0..255 with its maps."""
        colours = (interpolate(image, pixels) - _RGB_MEAN) / _RGB_SCALE
        return torch.cat([self.reduce(self.sample(image, maps, pixels)), colours], dim=1)

    @torch.no_grad()
    def fit(self, sampled: Tensor) -> None:
        """Make the reduction the principal components of sampled features [n, sum of C_s], each
        channel brought to unit variance first and each component after.

        Each network has components of its own: few scores would be lost among many channels."""
        own = sum(CHANNELS) if self.encoder is not None else 0
        parts = [part for part in (sampled[:, :own], sampled[:, own:]) if part.shape[1]]
        weights = [_components(part, self._components) for part in parts]
        weight = sampled.new_zeros(sum(map(len, weights)), sampled.shape[1])
        row = column = 0
        for block in weights:
            height, width = block.shape
            weight[row : row + height, column : column + width] = block
            row, column = row + height, column + width
        self.resize(*weight.shape)
        self.reduce.weight.copy_(weight)
        self.reduce.bias.copy_(-weight @ sampled.mean(0))

    def resize(self, components: int, channels: int) -> None:
        """Give the reduction room for weights [components, channels]."""
        device = self.reduce.weight.device
        self.reduce = nn.Linear(channels, components, device=device)


def _components(sampled: Tensor, most: int) -> Tensor:
    """Weights [at most `most`, C] of the principal components of features [n, C]."""
    mean, deviation = sampled.mean(0), sampled.std(0).clamp(min=1e-3)
    channels = sampled.shape[1]
    covariance = torch.zeros(channels, channels, dtype=torch.float64, device=sampled.device)
    for start in range(0, len(sampled), _ROWS):
        normal = ((sampled[start : start + _ROWS] - mean) / deviation).double()
        covariance += normal.T @ normal
    variances, axes = torch.linalg.eigh(covariance / len(sampled))
    # Ascending: the last ones are the principal ones. A floor keeps components of almost no
    # variance from being amplified.
    axes = axes[:, -most:] * variances[-most:].clamp(min=1e-2).rsqrt()
    weights: Tensor = axes.T.float() / deviation
    return weights
