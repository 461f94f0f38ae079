"""Image features of points from the chosen images of a sweep, computed once and stored.

FOLDER/CACHE-SWEEP.safetensors   which points are seen, where, and their features as float16, see
                                 `sweep_files`
FOLDER/encoder.safetensors       the network that made them
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from haskd_ros.errors import InputError
from haskd_training.core.exchange import first_says, of_all, share_files
from haskd_training.core.file_digests import file_digest
from haskd_training.core.processes import is_first, own, wait
from haskd_training.core.progress import Progress, no_progress
from haskd_training.core.run_folder import RunFolder
from haskd_training.core.tensor_file import TensorFile, write_tensors
from haskd_training.data.splits import Split
from haskd_training.data.sweep_files import SweepFiles
from haskd_training.data.sweep_ref import SweepRef
from haskd_training.images.encoded_images import Encode, EncodedImages
from haskd_training.images.encoder import EncoderConfig
from haskd_training.images.pixel_features import COLOURS, PixelFeatures
from haskd_training.images.point_views import (
    PointView,
    ViewFinder,
    views_from_arrays,
    views_to_arrays,
)
from haskd_training.images.selection import Selection

ENCODER = "encoder.safetensors"

FIT_IMAGES, FIT_POINTS = 48, 1500
"""Images, and points of each, that the principal components are computed from."""


def mean_over_views(
    network: PixelFeatures,
    encode: Encode,
    views: Sequence[PointView],
    row_of_point: Tensor,
    count: int,
) -> Tensor:
    """Features of points: the mean over the images that show them, by the quality of their views.

    Args:
        row_of_point: [N] int64 on the network's device, the row of the result that each point of
            the sweep goes to; -1 for none.
        count: rows of the result.

    Returns:
        [count, width] float32, 0 where no image shows the point.
    """
    total = torch.zeros(count, network.width, device=row_of_point.device)
    for view in views:
        rows, pixels, share = (
            torch.from_numpy(x).to(row_of_point.device)
            for x in (view.rows, view.pixels, view.share)
        )
        rows = row_of_point[rows.long()]
        used = torch.nonzero(rows >= 0)[:, 0]
        features = network(*encode(view.image), pixels[used]) * share[used, None]
        total = total.index_add(0, rows[used], features)
    return total


class ImageDropout(NamedTuple):
    """Dropout of images in the teacher's training, so that it also works without them.

    Attributes:
        sweeps: share of the sweeps that get no image.
        images: share of the images, each on its own, that are dropped from the other sweeps.
    """

    sweeps: float = 0.0
    images: float = 0.0


NO_DROPOUT = ImageDropout()


@dataclass(frozen=True)
class ImageFeatures:
    """Image features of some sweeps, read on demand.

    Attributes:
        files: one per sweep.
        sweeps: that have features.
        identity: their inputs, in JSON values, independent of the sweeps.
    """

    files: SweepFiles
    sweeps: list[SweepRef]
    identity: dict[str, Any]

    @property
    def path(self) -> Path:
        """Their folder; there may be other sweeps in it."""
        return self.files.folder

    @property
    def config(self) -> EncoderConfig:
        return EncoderConfig.model_validate(self.identity["config"])

    @property
    def width(self) -> int:
        """Features per point."""
        return len(_weights(self.path / ENCODER).read("reduce.weight")) + COLOURS

    def of(self, ref: SweepRef) -> tuple[np.ndarray, np.ndarray]:
        """Features [N, width] float16 of a sweep's N points, 0 where unseen, and seen [N] bool.

        Raises:
            InputError: there are none of this sweep, or its file is damaged.
        """
        count, rows, stored = self._read(ref, "points", "seen", "features")
        features, seen = np.zeros((count[0], stored.shape[1]), np.float16), np.zeros(count[0], bool)
        features[rows], seen[rows] = stored, True
        return features, seen

    def seen(self, ref: SweepRef) -> np.ndarray:
        """[N] bool, whether an image shows the point; errors as of `of`."""
        count, rows = self._read(ref, "points", "seen")
        seen = np.zeros(count[0], bool)
        seen[rows] = True
        return seen

    def seen_after_dropout(
        self, ref: SweepRef, seen: np.ndarray, dropout: ImageDropout, generator: np.random.Generator
    ) -> np.ndarray:
        """[N] bool, the points `seen` of a sweep without those that only dropped images show. A
        point that another image shows as well keeps the mean over both, which was computed once."""
        if generator.random() < dropout.sweeps:
            return np.zeros_like(seen)
        if not dropout.images:
            return seen
        still_seen = np.zeros_like(seen)
        for view in self.views(ref):
            if generator.random() >= dropout.images:
                still_seen[view.rows] = True
        return still_seen

    def views(self, ref: SweepRef) -> list[PointView]:
        """Views of the points in the images; errors as of `of`."""
        names = ("images", "counts", "rows", "pixels", "shares")
        return views_from_arrays(dict(zip(names, self._read(ref, *names))))

    @property
    def missing(self) -> list[SweepRef]:
        """Sweeps that have none yet."""
        return [ref for ref in self.sweeps if ref not in self.files]

    def network(self) -> PixelFeatures:
        """The network that made them, on the CPU."""
        return _load_network(self.path / ENCODER, self.config)

    def _read(self, ref: SweepRef, *names: str) -> list[np.ndarray]:
        arrays = self.files.read(ref, *names)
        return [arrays[name] for name in names]


def feature_inputs(split: Split, selection: Selection, config: EncoderConfig) -> dict[str, Any]:
    """All that `image_features` depends on beside the sweeps, as JSON values."""
    return {
        "config": config.model_dump(mode="json"),
        "split": split.labelled().fingerprint("train"),
        "selection": selection.identity,
        # A file of weights may be replaced by another of the same name.
        "weights": file_digest(Path(config.weights)),
    }


def image_features(
    split: Split,
    sweeps: Sequence[SweepRef],
    selection: Selection,
    out: Path,
    config: EncoderConfig,
    progress: Progress = no_progress,
) -> ImageFeatures:
    """Compute the features of the sweeps that have none in this folder yet, encoding each image
    once.

    Args:
        split: that the sweeps belong to; the principal components are fitted on its training
            sweeps.
        sweeps: that images were selected for, the training sweeps among them.
        out: new, empty, or of an earlier run with the same training sweeps and settings.

    Raises:
        InputError: weights that can't be read, a sweep without a selection, no point visible in any
            training sweep, or a folder that holds something else.
    """
    identity = feature_inputs(split, selection, config)
    RunFolder(out, identity).claim()
    features = ImageFeatures(SweepFiles(out, split.caches), list(sweeps), identity)
    finder = ViewFinder(split, selection)
    if not first_says((out / ENCODER).exists()):
        torch.manual_seed(0)
        network = PixelFeatures(config).to(_device()).eval()
        sample = _sample(network, split, finder)
        if is_first():
            network.fit(sample)
            save_network(out / ENCODER, network)
        wait(out / ENCODER)
    _write(features, split, finder, progress)
    return features


def learned_features(
    stored: ImageFeatures,
    weights: Path,
    out: Path,
    split: Split,
    progress: Progress = no_progress,
) -> ImageFeatures:
    """The features of the same sweeps and images with a trained encoder.

    Args:
        stored: of the encoder before its training; holds the views of the points.
        weights: of `save_network`.
        out: new, empty, or of an earlier run with the same weights.
        split: as it was for `stored`.
    """
    identity = stored.identity | {"learned": file_digest(weights)}
    RunFolder(out, identity).claim()
    features = ImageFeatures(SweepFiles(out, split.caches), stored.sweeps, identity)
    if is_first() and features.missing:
        save_network(out / ENCODER, _load_network(weights, stored.config))
    wait(out / ENCODER)
    _write(features, split, stored.views, progress)
    return features


def save_network(path: Path, network: PixelFeatures) -> None:
    """Write weights as `ImageFeatures.network` reads them."""
    weights = {name: value.cpu().numpy() for name, value in network.state_dict().items()}
    write_tensors(path, weights)


def _write(
    features: ImageFeatures,
    split: Split,
    views_of: Callable[[SweepRef], Sequence[PointView]],
    progress: Progress,
) -> None:
    """Compute and store the features of the sweeps that have none yet.

    Args:
        views_of: a sweep's views in its images.
    """

    @functools.cache
    def loaded() -> tuple[PixelFeatures, EncodedImages]:
        network = features.network().to(_device()).eval()
        return network, EncodedImages(network, split.caches)

    def write(ref: SweepRef) -> None:
        network, encoded = loaded()
        device = network.reduce.weight.device
        point_views, count = views_of(ref), split.row(ref).points
        is_seen = np.zeros(count, bool)
        for view in point_views:
            is_seen[view.rows] = True
        seen = np.flatnonzero(is_seen)
        row_of_point = torch.full((count,), -1, device=device)
        row_of_point[torch.from_numpy(seen).to(device)] = torch.arange(len(seen), device=device)
        with torch.inference_mode():
            of_points = mean_over_views(
                network, functools.partial(encoded, ref.cache), point_views, row_of_point, len(seen)
            )
        arrays = {
            "points": np.array([count], np.int32),
            "seen": seen.astype(np.int32),
            "features": of_points.half().cpu().numpy(),
        }
        features.files.write(ref, arrays | views_to_arrays(point_views))

    share_files(features.sweeps, features.files.path, write, progress)


@torch.inference_mode()
def _sample(network: PixelFeatures, split: Split, views_of: ViewFinder) -> Tensor:
    """[n, sum of C_s] of the encoder's own features at pixels of points, from images spread evenly
    over the training sweeps; the same for the same sweeps, in all processes."""
    encoded = EncodedImages(network, split.caches)
    numbers = _spread(len(split.train), FIT_IMAGES)
    sampled = [_sample_of(network, encoded, split, views_of, number) for number in own(numbers)]
    found = [rows for rows in of_all(sampled, len(numbers), np.float32) if len(rows)]
    if not found:
        raise InputError("no point of the training sweeps is visible in a chosen image")
    return torch.from_numpy(np.concatenate(found)).to(network.reduce.weight.device)


def _sample_of(
    network: PixelFeatures, encoded: EncodedImages, split: Split, views_of: ViewFinder, number: int
) -> np.ndarray:
    """The same of one training sweep."""
    ref = split.train[number]
    if not (point_views := views_of(ref)):
        return np.zeros((0, 0), np.float32)
    view = point_views[number % len(point_views)]
    generator = np.random.default_rng((0, number))
    chosen = generator.choice(len(view.rows), min(FIT_POINTS, len(view.rows)), replace=False)
    image, maps = encoded(ref.cache, view.image)
    pixels = torch.from_numpy(view.pixels[chosen]).to(image.device)
    return network.sample(image, maps, pixels).float().cpu().numpy()


def _load_network(path: Path, config: EncoderConfig) -> PixelFeatures:
    # The file holds all weights, whatever the encoder was initialised from, but those of ONNX.
    weights = config.weights if config.is_onnx else "scratch"
    network = PixelFeatures(config.model_copy(update={"weights": weights}))
    stored = _weights(path).read_all()
    network.resize(*stored["reduce.weight"].shape)
    network.load_state_dict({name: torch.from_numpy(value) for name, value in stored.items()})
    return network


def _weights(path: Path) -> TensorFile:
    return TensorFile(path, "delete its folder and run the command again")


def _spread(count: int, most: int) -> list[int]:
    """At most `most` of 0 .. count - 1, evenly."""
    spread = np.linspace(0, count - 1, min(count, most)).round().astype(int)
    return [int(number) for number in np.unique(spread)]


def _device() -> torch.device:
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")
