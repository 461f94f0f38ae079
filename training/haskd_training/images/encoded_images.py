"""Images with their feature maps, each encoded once where memory allows."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from haskd_training.data.caches.cache import Cache
from haskd_training.images.pixel_features import PixelFeatures

KEPT_BYTES = 1 << 30
"""Of the last images and their maps: EfficientNet's are 7 MB at 960 x 540 px, the scores of a
segmentation network at each pixel 40."""

Encode = Callable[[int], tuple[Tensor, list[Tensor]]]
"""Index of an image in its cache -> RGB [3, H, W] 0..255 and its maps, each [C_s, H_s, W_s]."""


class EncodedImages:
    """Encodes images of caches; the last ones are kept, for the next sweeps.

    Args:
        kept_bytes: at most, beside the newest.
    """

    def __init__(
        self, network: PixelFeatures, caches: Sequence[Cache], kept_bytes: int = KEPT_BYTES
    ) -> None:
        self._network, self._caches, self._room = network, caches, kept_bytes
        self._kept: OrderedDict[tuple[int, int], tuple[Tensor, list[Tensor]]] = OrderedDict()

    def __call__(self, cache: int, image: int) -> tuple[Tensor, list[Tensor]]:
        """RGB [3, H, W] uint8 of an image, and its maps, each [C_s, H_s, W_s]."""
        key = cache, image
        if key in self._kept:
            self._kept.move_to_end(key)
            return self._kept[key]
        found = self._encode(cache, image)
        self._room -= _bytes(found)
        while self._room < 0 and self._kept:
            self._room += _bytes(self._kept.popitem(last=False)[1])
        self._kept[key] = found
        return found

    @torch.inference_mode()
    def _encode(self, cache: int, image: int) -> tuple[Tensor, list[Tensor]]:
        device = self._network.reduce.weight.device
        rgb = torch.from_numpy(self._caches[cache].image(image)).permute(2, 0, 1).to(device)
        with torch.autocast(device.type, torch.bfloat16, enabled=_bf16_pays(device)):
            return rgb, self._network.encode(rgb)


def _bytes(encoded: tuple[Tensor, list[Tensor]]) -> int:
    image, maps = encoded
    return sum(tensor.nbytes for tensor in (image, *maps))


def _bf16_pays(device: torch.device) -> bool:
    """Whether convolutions in bfloat16 are faster: about 2.5 times on a CPU that has the
    instructions, slower on one that has not."""
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported())
    capabilities = torch.cpu.get_capabilities() if hasattr(torch.cpu, "get_capabilities") else {}
    return bool(capabilities.get("avx512_bf16") or capabilities.get("amx_bf16"))
