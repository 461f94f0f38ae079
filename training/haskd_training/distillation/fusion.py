"""The teacher's network: any point-cloud network, with image features fused in by learned gates."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import torch
from pydantic import Field, ValidationError
from pydantic.dataclasses import dataclass
from torch import Tensor, nn

from haskd_ros import model_content, model_file
from haskd_ros.errors import InputError
from haskd_ros.files import write_atomically
from haskd_ros.model_header import ModelMetadata
from haskd_ros.models import build
from haskd_ros.models.network import SegmentationNetwork, ToRows
from haskd_ros.sealed_file import Sealed
from haskd_ros.sealed_tensors import encode
from haskd_ros.validation import STRICT, first_problem

_WIDEST = 1 << 16

_HEADER = "haskd_teacher"


@dataclass(frozen=True, config=STRICT)
class _TeacherHeader:
    """Of a teacher's file: its trunk as in a model file, and what `FusionTeacher` takes."""

    trunk: dict[str, Any]
    image_width: Annotated[int, Field(ge=1, le=_WIDEST)]
    width: Annotated[int, Field(ge=1, le=_WIDEST)]


class GatedFusion(nn.Module):
    """`f = f3d + sigmoid(g([f3d, f2d])) * h(f2d)`, g and h linear: this project's own reading of
    the abstract of arXiv 2606.25278.

    h has no bias: where no image sees, f2d is 0 and f3d comes out exactly as it went in.

    Args:
        width: channels of f3d.
        image_width: channels of f2d.
    """

    def __init__(self, width: int, image_width: int) -> None:
        super().__init__()
        # g of two vectors side by side is the sum of a map of each; that of f2d is computed
        # together with h.
        self.gate = nn.Linear(width, width)
        self.image = nn.Linear(image_width, 2 * width, bias=False)

    def forward(self, x: Tensor, image: Tensor) -> Tensor:
        """x [R, width], image [R, image_width] -> [R, width]."""
        projected: Tensor = self.image(image)
        added, gate = projected.chunk(2, dim=1)
        gated: Tensor = torch.sigmoid(gate + self.gate(x)) * added
        return x + gated


def check_trunk(trunk: SegmentationNetwork) -> None:
    """Check that image features can be fused into a network.

    Raises:
        InputError: it has no level for them.
    """
    if not trunk.fusion_widths:
        raise InputError(
            f"{type(trunk).__name__} has no level that image features could be fused into, so it "
            "can't be a teacher: set teacher.size to another network, or distillation.teacher=none"
        )


class FusionTeacher(nn.Module):
    """A point-cloud network with an image branch.

    The features of a point's pixels pass one layer, are averaged over the seen points of each
    voxel (or pixel, for a 2D trunk), and are fused into every level of the trunk that takes part;
    and into each point's own features before the classifier, because a voxel's mean hides what is
    finer: paint on the road.

    Args:
        trunk: a network of `haskd_ros.models`.
        image_width: features a point that images give.
        width: channels of the image branch.

    Raises:
        InputError: a trunk without levels to fuse into.
    """

    def __init__(self, trunk: SegmentationNetwork, image_width: int, width: int) -> None:
        super().__init__()
        check_trunk(trunk)
        self.trunk, self.image_width, self.width = trunk, image_width, width
        # Layer norm: a sweep whose cameras are dropped leaves no rows to take statistics from.
        self.image_branch = nn.Sequential(
            nn.Linear(image_width, width), nn.LayerNorm(width), nn.ReLU()
        )
        self.levels = nn.ModuleList(
            GatedFusion(channels, width) for channels in trunk.fusion_widths
        )
        self.points = GatedFusion(trunk.feature_width, width)

    @property
    def feature_width(self) -> int:
        """Channels of `features`."""
        return self.trunk.feature_width

    def forward(
        self, points: Tensor, batch: Tensor | None, image_features: Tensor, seen: Tensor
    ) -> Tensor:
        """Class scores [N, C]; arguments as of `features`."""
        scores: Tensor = self.trunk.classifier(self.features(points, batch, image_features, seen))
        return scores

    def features(
        self, points: Tensor, batch: Tensor | None, image_features: Tensor, seen: Tensor
    ) -> Tensor:
        """What the classifier reads: [N, feature_width].

        Args:
            points: [N, 4] float32 x y z in m in the sensor frame, intensity 0..1.
            batch: [N] int64 ascending cloud numbers, or None for one cloud.
            image_features: [N, image_width], any floating-point type; not read where not seen.
            seen: [N] bool, whether an image shows the point.
        """
        rows = torch.nonzero(seen)[:, 0]
        seen_features: Tensor = self.image_branch(image_features[rows].to(points.dtype))
        image = seen_features.new_zeros(len(points), self.width).index_copy(0, rows, seen_features)
        with_count = torch.cat([image, seen[:, None].to(image.dtype)], 1)

        def fuse(level: int, x: Tensor, to_rows: ToRows) -> Tensor:
            summed = to_rows(level, with_count)
            fused: Tensor = self.levels[level](x, summed[:, :-1] / summed[:, -1:].clamp(min=1))
            return fused

        fused: Tensor = self.points(self.trunk.features(points, batch, fuse), image)
        return fused


def save_teacher(path: Path, teacher: FusionTeacher, metadata: ModelMetadata) -> None:
    """Write a teacher as safetensors.

    Args:
        metadata: of its trunk, as in a model file.
    """
    header = {
        "trunk": metadata.to_document(),
        "image_width": teacher.image_width,
        "width": teacher.width,
    }
    write_atomically(path, encode(teacher.state_dict(), _HEADER, header))


def load_teacher(path: Path) -> tuple[FusionTeacher, ModelMetadata]:
    """Read what `save_teacher` wrote, onto the CPU, in eval mode.

    Raises:
        InputError: no such file, or not a whole teacher.
    """
    try:
        sealed = Sealed(model_content.read(path), _HEADER)
        sealed.verify()
        header = _TeacherHeader(**sealed.document)
        metadata = ModelMetadata.from_document(header.trunk)
        with torch.device("meta"):
            trunk = build(
                metadata.architecture, classes=len(metadata.taxonomy), **metadata.arguments
            )
            teacher = FusionTeacher(trunk, header.image_width, header.width)
        model_file.restore(teacher, sealed)
        trunk.limit_inputs(metadata.input_limits)
    except (InputError, ValidationError) as error:
        problem = first_problem(error) if isinstance(error, ValidationError) else error
        raise InputError(f"{path} is missing, damaged or no teacher: {problem}") from error
    return teacher.eval(), metadata
