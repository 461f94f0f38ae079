"""A point-wise network that also sees the mean over its voxel and over a larger one around it."""

from __future__ import annotations

from typing import Annotated

import torch
from pydantic import ConfigDict, Field
from pydantic.dataclasses import dataclass
from torch import Tensor, nn

from haskd_ros.models import Architecture
from haskd_ros.models.network import Fuse, SegmentationNetwork
from haskd_ros.sparse import group_by_key, pool, unpool, voxel_keys


@dataclass(frozen=True, config=ConfigDict(extra="forbid"))
class Arguments:
    """They stand in the model file, which anyone may have written: bounds belong here."""

    voxel_size: Annotated[float, Field(ge=0.01, le=10)]
    width: Annotated[int, Field(ge=1, le=512)]
    extra_inputs: Annotated[int, Field(ge=0, le=64)] = 0


class VoxelContext(SegmentationNetwork):
    def __init__(self, classes: int, voxel_size: float, width: int, extra_inputs: int) -> None:
        super().__init__()
        self.voxel_size, self.extra_inputs = voxel_size, extra_inputs
        self.channels = width, width
        # Offset in the voxel, height, intensity, and what `channels` of the settings adds
        inputs = 5 + extra_inputs
        self.encode = nn.Sequential(nn.Linear(inputs, width), nn.ReLU(), nn.Linear(width, width))
        self.levels = nn.ModuleList(nn.Linear(width, width) for _ in self.channels)
        self.classifier = nn.Linear(3 * width, classes)

    def features(
        self, points: Tensor, batch: Tensor | None = None, fuse: Fuse | None = None
    ) -> Tensor:
        if len(points) == 0:
            return points.new_zeros(0, self.feature_width)
        sorted_into = [voxel_keys(points, batch, self.voxel_size * times) for times in (1, 4)]
        groupings = [group_by_key(keys)[1] for keys, _ in sorted_into]
        offset = sorted_into[0][1]
        x = self.encode(torch.cat([offset, self.own_values(points)], 1))
        found = [x]
        for level, (grouping, layer) in enumerate(zip(groupings, self.levels)):
            context = torch.relu(layer(pool(x, grouping)))
            if fuse is not None:  # where a teacher's image features come in
                context = fuse(level, context, lambda at, v: sums(v, groupings[at]))
            found.append(unpool(context, grouping))
        return torch.cat(found, 1)


def sums(values: Tensor, grouping) -> Tensor:
    return pool(values, grouping) * grouping.counts[:, None]


ARCHITECTURE = Architecture(VoxelContext, Arguments, sizes={"voxel-context": {"width": 32}})
