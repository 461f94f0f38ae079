"""The range image of a sweep: which pixel shows which point.

Spherical projection as in Milioto et al., "RangeNet++", IROS 2019.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from haskd_ros.models.network import ToRows
from haskd_ros.sparse import Grouping


@dataclass(frozen=True)
class Panorama:
    """Size of a batch of range images; its R = clouds * rows * columns pixels are rows of a tensor,
    image after image, row after row."""

    clouds: int
    rows: int
    columns: int

    def __len__(self) -> int:
        return self.clouds * self.rows * self.columns

    def coarser(self, level: int) -> Panorama:
        """The same panorama with pixels of 2^level times the size."""
        return Panorama(self.clouds, self.rows >> level, self.columns >> level)

    def coarser_index(self, index: Tensor, level: int) -> Tensor:
        """[N] pixels of this panorama -> the coarser pixels that hold them."""
        coarse = self.coarser(level)
        row, column = index // self.columns, index % self.columns
        # Rows are a multiple of the coarse pixel's, so that no coarse pixel spans two images.
        return (row >> level) * coarse.columns + (column >> level)

    def sum_blocks(self, x: Tensor, level: int) -> Tensor:
        """Sum over each coarser pixel: [R, C] -> [R_level, C]."""
        coarse, side = self.coarser(level), 1 << level
        blocks = x.view(coarse.clouds, coarse.rows, side, coarse.columns, side, -1)
        return blocks.sum((2, 4)).flatten(0, 2)

    def image(self, x: Tensor) -> Tensor:
        """[R, C] -> [clouds, C, rows, columns], a view, channels last in memory."""
        return x.view(self.clouds, self.rows, self.columns, -1).permute(0, 3, 1, 2)


def pixels_of(image: Tensor) -> Tensor:
    """[clouds, C, rows, columns] -> [R, C], the inverse of `Panorama.image`."""
    return image.permute(0, 2, 3, 1).flatten(0, 2)


class PixelConv(nn.Module):
    """k x k convolution over panoramas: circular in azimuth, zeros above and below. Weight and bias
    as of nn.Conv2d."""

    def __init__(
        self, inputs: int, outputs: int, kernel: int, stride: int = 1, bias: bool = True
    ) -> None:
        super().__init__()
        fresh = nn.Conv2d(inputs, outputs, kernel, stride, bias=bias)
        self.weight, self.bias = fresh.weight, fresh.bias
        self.stride, self.margin = stride, kernel // 2 if stride == 1 else 0

    def forward(self, x: Tensor, panorama: Panorama) -> Tensor:
        """[R, I] pixels -> [R', O] pixels, R' = R / stride^2."""
        image = panorama.image(x)
        if self.margin:
            image = torch.cat([image[..., -self.margin :], image, image[..., : self.margin]], 3)
        padding = (self.margin, 0)
        return pixels_of(F.conv2d(image, self.weight, self.bias, self.stride, padding=padding))


def project(
    points: Tensor, rows: int, columns: int, elevation: tuple[float, float]
) -> tuple[Tensor, Tensor]:
    """Where points appear in a panorama about the sensor.

    Straight ahead (+x) is the middle of the image, left (+y) is left of it; the image's ends meet
    behind the sensor. A point above or below the elevation span is drawn into the first or last
    row.

    Args:
        points: [N, 4] float32, finite, x y z in m in the sensor frame first.
        rows, columns: size of the image.
        elevation: lowest and highest angle above the horizontal in degrees.

    Returns:
        pixel [N, 2] int64 (row from the top, column), and offset [N, 2] (down, right) from the
        pixel's centre to the point, in pixels, -0.5..0.5.
    """
    x, y, z = points[:, :3].unbind(1)
    low, high = (math.radians(angle) for angle in elevation)
    up = torch.atan2(z, torch.sqrt(x * x + y * y))
    down = ((high - up) * (rows / (high - low))).clamp(0, rows)
    right = (0.5 - torch.atan2(y, x) / (2 * math.pi)) * columns
    row, column = down.floor().clamp(max=rows - 1), right.floor()
    offset = torch.stack([down - row, right - column], 1) - 0.5
    return torch.stack([row, column.remainder(columns)], 1).long(), offset


@dataclass(frozen=True)
class Pixels:
    """A batch of clouds as the U-Net sees it.

    Attributes:
        panorama: the R pixels.
        index: [N] int64, each point's pixel.
        occupied: [G] int64, the pixels that hold a point, ascending.
        grouping: of N points by G occupied pixels.
        offset: [N, 2] as of `project`.
    """

    panorama: Panorama
    index: Tensor
    occupied: Tensor
    grouping: Grouping
    offset: Tensor

    def scatter(self, rows: Tensor) -> Tensor:
        """Rows of the occupied pixels to all pixels: [G, C] -> [R, C], 0 elsewhere."""
        empty = rows.new_zeros(len(self.panorama), rows.shape[1])
        return empty.index_copy(0, self.occupied, rows)

    def sum_to_level(self, level: int, values: Tensor) -> Tensor:
        """Sum of the points' values over each pixel of a level: [N, D] -> [R_level, D]."""
        return self.panorama.sum_blocks(self.scatter(self.grouping.sum(values)), level)


def relative_depth(
    points: Tensor, index: Tensor, panorama: Panorama, levels: int, sum_to_level: ToRows
) -> Tensor:
    """Log depth relative to the surroundings: log(1 + distance in m) less its mean over the pixel
    of each level that the point is in, [N, levels].

    Args:
        points: [N, 4].
        index: [N] pixels of the points.
        sum_to_level: sums over the pixels of a level.
    """
    depth: Tensor = points[:, :3].norm(dim=1, keepdim=True).log1p()
    counted = torch.cat([depth, torch.ones_like(depth)], 1)
    means = []
    for level in range(levels):
        around = sum_to_level(level, counted)[panorama.coarser_index(index, level)]
        means.append(around[:, :1] / around[:, 1:])
    return depth - torch.cat(means, 1)
