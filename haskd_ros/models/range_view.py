"""A range-view U-Net between two point-wise networks.

points -> features a point -> mean a pixel of the sensor's own panorama -> 2D U-Net -> back to the
points, joined with the point's own features -> class scores. What a point is told of itself
includes how far it lies behind the others in its pixel: the points of a wall seen past a car share
the car's pixels, and must not share its label. It is not told how far it is from the sensor: that
the trees of one street stand 30 m away is learned by heart and wrong in the next.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from haskd_ros.errors import InputError
from haskd_ros.models.blocks import BatchNorm, Fuse, Normed, SegmentationNetwork, fold_scale
from haskd_ros.models.panorama import Panorama, Pixels, pixels_of, project, relief
from haskd_ros.sparse import group_by_key, pool, spread


class PixelConv(nn.Conv2d):
    """k x k convolution over panoramas: round in azimuth, zeros above and below."""

    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int = 1, bias: bool = True):
        super().__init__(inputs, outputs, kernel, stride, bias=bias)
        self.margin = kernel // 2 if stride == 1 else 0

    def forward(self, x: Tensor, panorama: Panorama) -> Tensor:
        """[R, I] pixels -> [R', O] pixels, R' = R / stride^2."""
        image = panorama.image(x)
        if self.margin:
            image = torch.cat([image[..., -self.margin :], image, image[..., : self.margin]], 3)
        return pixels_of(
            F.conv2d(image, self.weight, self.bias, self.stride, padding=(self.margin, 0))
        )


class PixelBlock(nn.Module):
    """Two 3 x 3 convolutions around a shortcut (He et al., CVPR 2016)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.first = Normed(PixelConv(channels, channels, 3, bias=False))
        self.second = Normed(PixelConv(channels, channels, 3, bias=False))

    def forward(self, x: Tensor, panorama: Panorama) -> Tensor:
        return self.second(self.first(x, panorama), panorama, added=x)


class RangeViewUNet(SegmentationNetwork):
    """Segmentation network: points in, class scores out.

    Args:
        classes: number of classes C.
        channels: width of each level, finest first; each level halves rows and columns.
        rows, columns: size of the range image; both can be halved as often as there are levels
            less one.
        elevation: lowest and highest angle in degrees above the horizontal that the rows span.

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
    ) -> None:
        super().__init__()
        self.classes, self.channels = classes, tuple(channels)
        self.rows, self.columns, self.elevation = rows, columns, tuple(elevation)
        coarsest = 1 << (len(channels) - 1)
        if min(rows, columns) < coarsest or rows % coarsest or columns % coarsest:
            raise InputError(
                f"a range image of {rows} x {columns} can't be halved {len(channels) - 1} times; "
                f"rows and columns must be multiples of {coarsest}"
            )
        low, high = self.elevation
        if not -90 <= low < high <= 90:
            raise InputError(
                f"elevation is {low}..{high} degrees; wanted low < high, within -90..90"
            )
        width = channels[0]
        # Brings metres, fractions and intensities to one scale before anything is learned.
        inputs = 2 + len(channels) + 2
        self.scale = BatchNorm(inputs, affine=False)
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
        # Four fine pixels side by side in the channels: the way back of the strided convolution.
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
        self.scale = fold_scale(self.scale, self.point_encoder[0].layer)

    def features(
        self, points: Tensor, batch: Tensor | None = None, fuse: Fuse | None = None
    ) -> Tensor:
        """What the classifier reads: [N, feature_width] of points as in `forward`.

        Args:
            fuse: changes each encoder level's pixel features, for a network that sees more. Its
                rows are all the pixels of a level, empty ones too.
        """
        if len(points) == 0:
            return points.new_zeros(0, self.feature_width)
        pixels = self.pixelate(points, batch)
        levels = len(self.channels)
        depth = relief(points, pixels.number, pixels.panorama, levels, pixels.sum_to_level)
        point_features = self.encode(points, pixels.offset, depth)

        def fused(level: int, x: Tensor) -> Tensor:
            return x if fuse is None else fuse(level, x, pixels.sum_to_level)

        x = pixels.place(pool(point_features, pixels.grouping))
        x = self.unet(x, pixels.panorama, fused)
        # The sum of two linear maps is the linear map of both together; the pixels' half is
        # computed once a pixel instead of once a point.
        seen = self.pixel_head(x.index_select(0, pixels.occupied))
        return torch.relu_(spread(seen, pixels.grouping).add_(self.point_head(point_features)))

    def pixelate(self, points: Tensor, batch: Tensor | None) -> Pixels:
        """Sort points into the pixels of one panorama a cloud; arguments as of `forward`."""
        clouds = 1 if batch is None else int(batch[-1]) + 1
        pixel, offset = project(points, self.rows, self.columns, self.elevation)
        number = pixel[:, 0] * self.columns + pixel[:, 1]
        if batch is not None:
            number = number + batch * (self.rows * self.columns)
        occupied, grouping = group_by_key(number)
        panorama = Panorama(clouds, self.rows, self.columns)
        return Pixels(panorama, number, occupied, grouping, offset)

    def encode(self, points: Tensor, offset: Tensor, depth: Tensor) -> Tensor:
        """What a point-wise network makes of a point: [N, channels[0]].

        Args:
            points: as in `forward`.
            offset: [N, 2] as of `project`.
            depth: [N, L] as of `relief`.
        """
        described = torch.cat([offset, depth, points[:, 2:]], 1)
        return self.point_encoder(self.scale(described))

    def unet(
        self,
        x: Tensor,
        panorama: Panorama,
        fused: Callable[[int, Tensor], Tensor] = lambda _, x: x,
    ) -> Tensor:
        """[R, channels[0]] -> [R, channels[0]] over the pixels of a panorama; `fused` changes what
        each encoder level (0 is the finest) passes on."""
        sizes = [panorama.coarser(level) for level in range(len(self.channels))]
        x = self.encoder[0](self.stem(x, panorama), panorama)
        skips = [fused(0, x)]
        for level, down in enumerate(self.down, 1):
            x = self.encoder[level](down(skips[-1], sizes[level - 1]), sizes[level])
            skips.append(fused(level, x))
        x = skips[-1]
        for level in reversed(range(len(self.up))):
            x = quarter(self.up[level](x), sizes[level + 1])
            x = self.decoder[level](torch.cat([x, skips[level]], 1), sizes[level])
        return x


def quarter(x: Tensor, panorama: Panorama) -> Tensor:
    """Spread four groups of channels over the four quarters of each pixel:
    [R, 4 * C] -> [4 * R, C], twice as many rows and columns."""
    blocks = x.view(panorama.clouds, panorama.rows, panorama.columns, 2, 2, -1)
    return blocks.transpose(2, 3).flatten(0, 4)
