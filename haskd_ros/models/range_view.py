"""A range-view U-Net between two point-wise networks.

points -> features a point -> mean a pixel of the sensor's own panorama -> 2D U-Net -> back to the
points, joined with the point's own features -> class scores. A point's inputs include its depth
relative to the others in its pixel: the points of a wall seen past a car share the car's pixels,
and must not share its label. Its distance from the sensor is no input: a network would learn by
heart that the trees of one street stand 30 m away, which is wrong in the next.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise

import torch
from torch import Tensor, nn

from haskd_ros.errors import InputError
from haskd_ros.models.blocks import BatchNorm, Normed, fold_scale
from haskd_ros.models.network import Fuse, SegmentationNetwork
from haskd_ros.models.panorama import Panorama, PixelConv, Pixels, project, relative_depth
from haskd_ros.sparse import group_by_key, pool, unpool


class PixelBlock(nn.Module):
    """Two 3 x 3 convolutions around a shortcut (He et al., CVPR 2016)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.first = Normed(PixelConv(channels, channels, 3, bias=False))
        self.second = Normed(PixelConv(channels, channels, 3, bias=False))

    def forward(self, x: Tensor, panorama: Panorama) -> Tensor:
        y: Tensor = self.first(x, panorama)
        y = self.second(y, panorama, residual=x)
        return y


class RangeViewUNet(SegmentationNetwork):
    """Segmentation network: points in, class scores out.

    Args:
        classes: number of classes C.
        channels: width of each level, finest first; each level halves rows and columns.
        rows, columns: size of the range image; both can be halved as often as there are levels
            less one.
        elevation: lowest and highest angle in degrees above the horizontal that the rows span.
        extra_inputs: values of a point beside place and intensity.

    Raises:
        InputError: a size that can't be halved so often, or an empty elevation span.
    """

    def __init__(
        self,
        classes: int,
        channels: tuple[int, ...],
        rows: int = 64,
        columns: int = 1024,
        elevation: tuple[float, float] = (-25.0, 15.0),
        extra_inputs: int = 0,
    ) -> None:
        super().__init__()
        self.classes, self.channels = classes, tuple(channels)
        self.rows, self.columns, self.extra_inputs = rows, columns, extra_inputs
        low, high = elevation
        self.elevation = low, high
        coarsest = 1 << (len(channels) - 1)
        if min(rows, columns) < coarsest or rows % coarsest or columns % coarsest:
            raise InputError(
                f"a range image of {rows} x {columns} can't be halved {len(channels) - 1} times; "
                f"rows and columns must be multiples of {coarsest}"
            )
        if not -90 <= low < high <= 90:
            raise InputError(
                f"elevation is {low}..{high} degrees; wanted low < high, within -90..90"
            )
        width = channels[0]
        # Brings metres, fractions and intensities to one scale before anything is learned.
        inputs = 2 + len(channels) + 2 + extra_inputs
        self.scale: BatchNorm | nn.Identity = BatchNorm(inputs, affine=False)
        self.point_encoder = nn.Sequential(
            Normed(nn.Linear(inputs, 2 * width, bias=False)),
            Normed(nn.Linear(2 * width, width, bias=False)),
        )
        self.stem = Normed(PixelConv(width, width, 3, bias=False))
        self.encoder = nn.ModuleList(PixelBlock(channel) for channel in channels)
        steps = list(pairwise(channels))
        self.down = nn.ModuleList(
            Normed(PixelConv(fine, coarse, 2, stride=2, bias=False)) for fine, coarse in steps
        )
        # Four fine pixels concatenated in the channels: the inverse of the strided convolution.
        self.up = nn.ModuleList(
            Normed(nn.Linear(coarse, 4 * fine, bias=False)) for fine, coarse in steps
        )
        self.decoder = nn.ModuleList(
            Normed(PixelConv(2 * fine, fine, 3, bias=False)) for fine, _ in steps
        )
        self.pixel_head = nn.Linear(width, 2 * width)
        self.point_head = nn.Linear(width, 2 * width, bias=False)
        self.classifier = nn.Linear(2 * width, classes)

    def fold(self) -> None:
        self.scale = fold_scale(self.scale, self.point_encoder[0])

    def features(
        self, points: Tensor, batch: Tensor | None = None, fuse: Fuse | None = None
    ) -> Tensor:
        """What the classifier reads: [N, feature_width] of points as in `forward`.

        Args:
            fuse: changes each encoder level's pixel features, for a network with image features;
                its rows are all the pixels of a level, empty ones too.
        """
        if len(points) == 0:
            return points.new_zeros(0, self.feature_width)
        pixels = self.pixelate(points, batch)
        levels = len(self.channels)
        depth = relative_depth(points, pixels.index, pixels.panorama, levels, pixels.sum_to_level)
        point_features = self.encode(points, pixels.offset, depth)

        def fuse_level(level: int, x: Tensor) -> Tensor:
            return x if fuse is None else fuse(level, x, pixels.sum_to_level)

        x = pixels.scatter(pool(point_features, pixels.grouping))
        x = self.unet(x, pixels.panorama, fuse_level)
        # The sum of two linear maps is the linear map of both together; the pixels' half is
        # computed once a pixel instead of once a point.
        of_pixels: Tensor = self.pixel_head(x.index_select(0, pixels.occupied))
        of_points: Tensor = self.point_head(point_features)
        return torch.relu_(unpool(of_pixels, pixels.grouping).add_(of_points))

    def pixelate(self, points: Tensor, batch: Tensor | None) -> Pixels:
        """Sort points into the pixels of one panorama a cloud; arguments as of `forward`."""
        clouds = 1 if batch is None else int(batch[-1]) + 1
        pixel, offset = project(points, self.rows, self.columns, self.elevation)
        index = pixel[:, 0] * self.columns + pixel[:, 1]
        if batch is not None:
            index = index + batch * (self.rows * self.columns)
        occupied, grouping = group_by_key(index)
        panorama = Panorama(clouds, self.rows, self.columns)
        return Pixels(panorama, index, occupied, grouping, offset)

    def encode(self, points: Tensor, offset: Tensor, depth: Tensor) -> Tensor:
        """Point features [N, channels[0]] from a point-wise network.

        Args:
            points: as in `forward`.
            offset: [N, 2] as of `project`.
            depth: [N, L] as of `relative_depth`.
        """
        inputs = torch.cat([offset, depth, self.own_values(points)], 1)
        encoded: Tensor = self.point_encoder(self.scale(inputs))
        return encoded

    def unet(
        self,
        x: Tensor,
        panorama: Panorama,
        fuse_level: Callable[[int, Tensor], Tensor] = lambda _, x: x,
    ) -> Tensor:
        """[R, channels[0]] -> [R, channels[0]] over the pixels of a panorama; `fuse_level` changes
        what each encoder level (0 is the finest) passes on."""
        sizes = [panorama.coarser(level) for level in range(len(self.channels))]
        x = self.encoder[0](self.stem(x, panorama), panorama)
        skips = [fuse_level(0, x)]
        for level, down in enumerate(self.down, 1):
            x = self.encoder[level](down(skips[-1], sizes[level - 1]), sizes[level])
            skips.append(fuse_level(level, x))
        x = skips[-1]
        for level in reversed(range(len(self.up))):
            x = depth_to_space(self.up[level](x), sizes[level + 1])
            x = self.decoder[level](torch.cat([x, skips[level]], 1), sizes[level])
        return x


def depth_to_space(x: Tensor, panorama: Panorama) -> Tensor:
    """Four groups of channels become the four quarters of each pixel (Shi et al., CVPR 2016):
    [R, 4 * C] -> [4 * R, C], twice as many rows and columns."""
    blocks = x.view(panorama.clouds, panorama.rows, panorama.columns, 2, 2, -1)
    return blocks.transpose(2, 3).flatten(0, 4)
