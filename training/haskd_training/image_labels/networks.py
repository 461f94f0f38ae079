"""Semantic networks for images, in ONNX: they write masks of a recording's images."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor

from haskd_ros.errors import InputError
from haskd_ros.file_lock import LOCK
from haskd_ros.files import remove_leftovers
from haskd_ros.text import listed, quoted
from haskd_training.core.background import BackgroundCalls
from haskd_training.core.checked_json import read_json, write_json
from haskd_training.core.file_digests import file_digest
from haskd_training.core.progress import Progress, no_progress
from haskd_training.core.run_folder import only_user
from haskd_training.data.caches.cache import Cache
from haskd_training.image_labels.class_sets import ImageClasses
from haskd_training.image_labels.mask_files import CERTAIN, Mask, write_mask
from haskd_training.image_labels.masks import MaskFolder, mask_path
from haskd_training.images.network_input import NetworkInputConfig
from haskd_training.images.onnx_network import OnnxNetwork, are_probabilities

RECORD = "networks.json"


class ImageNetworkConfig(NetworkInputConfig):
    """How image networks are run."""

    scales: tuple[Annotated[float, Field(gt=0, le=8)], ...] = Field(
        (1.0,), min_length=1, description="sizes of the image, 1 its own, over which is averaged"
    )
    flip: bool = Field(False, description="average over the mirrored image as well")


class ImageNetwork:
    """A semantic network in an ONNX file, its first output: scores or probabilities of classes
    [1, A, h, w] or [1, h, w, A], or classes [1, h, w] themselves.

    Args:
        path: of the file.
        classes: that its channels stand for, in their order.

    Raises:
        InputError: the file can't be read, or is no network for one image.
    """

    def __init__(self, path: Path, classes: ImageClasses, config: ImageNetworkConfig) -> None:
        self._classes = classes
        self._config = config
        self._network = OnnxNetwork(path, config)
        self._network.input.check_scales(config.scales)
        self._what = self._network.what

    def probabilities(self, image: np.ndarray) -> Tensor:
        """Probability of each class, the mean over scales and mirrored images.

        Args:
            image: [H, W, 3] uint8, RGB.

        Returns:
            [A, H, W] float32, in the order of the channels.

        Raises:
            InputError: the network fails, or has another number of channels than classes.
        """
        total: Tensor | None = None
        mirrored = (False, True) if self._config.flip else (False,)
        for scale in self._config.scales:
            for is_mirrored in mirrored:
                found = self._once(image[:, ::-1] if is_mirrored else image, scale)
                found = found.flip(2) if is_mirrored else found
                total = found if total is None else total.add_(found)
        assert total is not None  # there is at least one scale
        return total.div_(len(self._config.scales) * len(mirrored))

    def _once(self, image: np.ndarray, scale: float) -> Tensor:
        size = self._network.input.size_within(image.shape[:2], scale)
        whole = self._network.input.whole_size(size)
        output = self._network.run(np.ascontiguousarray(image), size, self._network.outputs[0].name)
        scores, is_index = self._channels_first(output)
        return _at_size(scores, is_index, whole, size, image.shape[:2])

    def _channels_first(self, output: np.ndarray) -> tuple[Tensor, bool]:
        """[1, A, h, w] float32 of an output, and whether that is 1 for one class of each pixel."""
        count = len(self._classes)
        shape = list(output.shape)
        if output.ndim == 4 and shape[1] == 1 and output.dtype.kind in "iu":
            output = output[:, 0]
        if output.ndim == 3 and shape[0] == 1 and output.dtype.kind in "iu":
            present = np.unique(output)
            if unnamed := present[(present < 0) | (present >= count)].tolist():
                raise InputError(
                    f"{self._what} gives the classes {listed(unnamed)}; the image classes "
                    f"{self._classes.origin} are 0 to {count - 1}"
                )
            indices = torch.from_numpy(output.astype(np.int64))
            return F.one_hot(indices, count).permute(0, 3, 1, 2).float(), True
        if output.ndim != 4 or shape[0] != 1 or not output.size or output.dtype.kind != "f":
            raise InputError(
                f"{self._what} gives {output.dtype} of shape {quoted(shape)}; wanted are scores "
                f"[1, {count}, height, width] or classes [1, height, width]"
            )
        scores = torch.from_numpy(output.astype(np.float32, copy=False))
        if shape[1] != count and shape[3] == count:
            scores = scores.permute(0, 3, 1, 2)
        if scores.shape[1] != count:
            raise InputError(
                f"{self._what} has {shape[1]} channels (its output is {quoted(shape)}), the image "
                f"classes {self._classes.origin} are {count}; give those that it was trained on"
            )
        if not bool(torch.isfinite(scores).all()):
            raise InputError(f"{self._what} gives scores that are no finite numbers")
        return scores, False


def _at_size(
    scores: Tensor,
    is_index: bool,
    whole: tuple[int, ...],
    size: tuple[int, int],
    image_size: tuple[int, ...],
) -> Tensor:
    """Probabilities [A, H, W] at an image's size.

    Args:
        scores: [1, A, h, w] of a network's whole input.
        whole: height and width of that input.
        size: height and width of the image within it.
        image_size: H and W.
    """
    how: dict[str, Any] = (
        {"mode": "nearest-exact"} if is_index else {"mode": "bilinear", "align_corners": False}
    )
    if tuple(scores.shape[2:]) != tuple(whole):
        scores = F.interpolate(scores, whole, **how)
    scores = scores[:, :, : size[0], : size[1]]
    if tuple(size) != tuple(image_size):
        scores = F.interpolate(scores, image_size, **how)
    return (scores if is_index or are_probabilities(scores) else scores.softmax(1))[0]


def label_images(
    caches: Sequence[Cache],
    networks: Sequence[Path],
    classes: ImageClasses,
    out: Path,
    config: ImageNetworkConfig | None = None,
    progress: Progress = no_progress,
) -> MaskFolder:
    """Write a mask for each image of prepared recordings: the likeliest class of each pixel, by the
    mean over the networks, and its probability. Called again, it goes on where it was.

    Args:
        networks: ONNX files.
        classes: that all of them have.
        out: folder of the masks, new or of an earlier call with the same networks and settings;
            `networks.json` in it says which.

    Raises:
        InputError: no images, as of `ImageNetwork`, or the folder holds something else.
    """
    config = config or ImageNetworkConfig()
    rows = [row for cache in caches for row in cache.images]
    if not rows:
        raise InputError("the recordings have no images; image networks need some")
    if not networks:
        raise InputError("no image network is given")
    loaded = [ImageNetwork(path, classes, config) for path in networks]
    with only_user(out):
        _claim(out, _record(networks, classes, config))
        paths = {
            mask_path(out, row.recording, row.camera, row.stamp_ns): (cache, j)
            for cache in caches
            for j, row in enumerate(cache.images)
        }
        todo = {path: image for path, image in paths.items() if not path.is_file()}
        for folder in {path.parent for path in todo}:
            folder.mkdir(parents=True, exist_ok=True)
            remove_leftovers(folder)
        there = len(paths) - len(todo)
        remark = f"{there} were there" if there else ""
        with BackgroundCalls(max_pending=4) as writing:
            for done, (path, (cache, j)) in enumerate(todo.items(), there + 1):
                writing.call(write_mask, path, label_image(loaded, classes, cache.image(j)))
                progress(done, len(paths), remark)
    return MaskFolder(out, rows, classes)


def label_image(networks: Sequence[ImageNetwork], classes: ImageClasses, image: np.ndarray) -> Mask:
    """The mask of an image [H, W, 3] uint8, RGB, by the mean over networks."""
    total = networks[0].probabilities(image)
    for network in networks[1:]:
        total.add_(network.probabilities(image))
    probability, channel = total.div_(len(networks)).max(0)
    ids = torch.tensor(classes.ids, dtype=torch.uint8)
    confidence = (probability.clamp(0, 1) * CERTAIN).round().to(torch.uint8)
    return Mask(ids[channel].numpy(), confidence.numpy())


def _record(
    networks: Sequence[Path], classes: ImageClasses, config: ImageNetworkConfig
) -> dict[str, Any]:
    """What masks depend on, in JSON values; of networks the digests of their files."""
    return {
        "networks": [file_digest(path) for path in networks],
        "classes": {"names": list(classes.names), "ids": list(classes.ids)},
        "settings": config.model_dump(mode="json"),
    }


def _claim(out: Path, record: dict[str, Any]) -> None:
    """Make a folder that of these masks, unless it is already.

    Raises:
        InputError: it holds something else.
    """
    remedy = "give another folder, or delete this one to make all masks anew"
    if not (out / RECORD).exists():
        remove_leftovers(out)
        if foreign := sorted(one.name for one in out.iterdir() if one.name != LOCK):
            raise InputError(
                f"{out} is neither empty nor a folder of masks from image networks, it holds "
                f"{listed(foreign, 200)}; {remedy}"
            )
        write_json(out / RECORD, record, indent=2)
        return
    found = read_json(out / RECORD, remedy)
    if differing := [key for key in record if found.get(key) != record[key]]:
        raise InputError(
            f"{out} holds masks of other {listed(differing)} (see {out / RECORD}); {remedy}"
        )
