"""Image features of points: what the chosen images show of a sweep, computed once and kept.

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
from safetensors.torch import load_file
from safetensors.torch import save as save_weights
from torch import Tensor

from haskd_ros.errors import InputError
from haskd_ros.files import write_atomically
from haskd_training.core.progress import Progress, no_progress
from haskd_training.core.run_folder import RunFolder, file_digest
from haskd_training.data.cache import Cache
from haskd_training.data.splits import Split
from haskd_training.data.sweep_files import SweepFiles
from haskd_training.data.sweep_ref import SweepRef
from haskd_training.images.encoder import EncoderConfig, PixelFeatures
from haskd_training.images.point_views import PointView, ViewFinder, from_arrays, to_arrays
from haskd_training.images.selection import Selection

ENCODER = "encoder.safetensors"

MAPS_KEPT = 64
"""Images whose feature maps are held for the sweeps that follow: 7 MB each at 960 x 540 px."""

FIT_IMAGES, FIT_POINTS = 48, 1500
"""What the principal components are found from: images, and points of each."""

Encode = Callable[[int], tuple[Tensor, list[Tensor]]]
"""Place of an image in its cache -> RGB [3, H, W] 0..255 and its maps, each [C_s, H_s, W_s]."""


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
        wanted = torch.nonzero(rows >= 0)[:, 0]
        found = network(*encode(view.image), pixels[wanted]) * share[wanted, None]
        total = total.index_add(0, rows[wanted], found)
    return total


class Dropout(NamedTuple):
    """What a teacher in training is not shown, so that it is sound without it too.

    Attributes:
        sweeps: share of the sweeps that are shown without any image.
        images: share of the images that are kept back, each by itself, from the other sweeps.
    """

    sweeps: float = 0.0
    images: float = 0.0


ALL_SHOWN = Dropout()


@dataclass(frozen=True)
class ImageFeatures:
    """Image features of some sweeps, read as they are asked for.

    Attributes:
        files: one a sweep.
        sweeps: that have features.
        identity: what they were made from, in JSON values; the same whatever the sweeps.
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
        """Features a point."""
        return self.config.width

    def of(self, ref: SweepRef) -> tuple[np.ndarray, np.ndarray]:
        """Features [N, width] float16 of a sweep's N points, 0 where unseen, and seen [N] bool.

        Raises:
            InputError: there are none of this sweep, or its file is damaged.
        """
        count, rows, found = self._read(ref, "points", "seen", "features")
        features, seen = np.zeros((count[0], self.width), np.float16), np.zeros(count[0], bool)
        features[rows], seen[rows] = found, True
        return features, seen

    def seen(self, ref: SweepRef) -> np.ndarray:
        """[N] bool, whether an image shows the point; errors as of `of`."""
        count, rows = self._read(ref, "points", "seen")
        seen = np.zeros(count[0], bool)
        seen[rows] = True
        return seen

    def still_seen(
        self, ref: SweepRef, seen: np.ndarray, dropout: Dropout, generator: np.random.Generator
    ) -> np.ndarray:
        """[N] bool, the points `seen` of a sweep less what only images show that `generator` keeps
        back. A point that another image shows as well keeps its mean over both: it was computed
        once."""
        if generator.random() < dropout.sweeps:
            return np.zeros_like(seen)
        if not dropout.images:
            return seen
        kept = np.zeros_like(seen)
        for view in self.views(ref):
            if generator.random() >= dropout.images:
                kept[view.rows] = True
        return kept

    def views(self, ref: SweepRef) -> list[PointView]:
        """Where the images show the points; errors as of `of`."""
        names = ("images", "counts", "rows", "pixels", "shares")
        return from_arrays(dict(zip(names, self._read(ref, *names))))

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
        split: what the sweeps count in; the principal components are fitted on its training sweeps.
        sweeps: that images were selected for, the training sweeps among them.
        out: new, empty, or of an earlier run with the same training sweeps and settings.

    Raises:
        InputError: weights that can't be read, a sweep without a selection, no point seen in any
            training sweep, or a folder that holds something else.
    """
    identity = {
        "config": config.model_dump(mode="json"),
        "split": split.labelled().fingerprint("train"),
        "selection": selection.identity,
        "weights": file_digest(Path(config.weights)),
    }
    RunFolder(out, identity).claim()
    features = ImageFeatures(SweepFiles(out, split.caches), list(sweeps), identity)
    if missing := features.missing:
        finder = ViewFinder(split, selection)
        if not (out / ENCODER).exists():
            torch.manual_seed(0)
            network = PixelFeatures(config).to(_device()).eval()
            network.fit(_sample(network, split, finder))
            save_network(out / ENCODER, network)
        _write(features, missing, split, finder, progress)
    return features


def learned_features(
    stored: ImageFeatures,
    weights: Path,
    out: Path,
    split: Split,
    progress: Progress = no_progress,
) -> ImageFeatures:
    """The features of the same sweeps and images with an encoder that has learned.

    Args:
        stored: made before it learned; tells where images show points.
        weights: of `save_network`.
        out: new, empty, or of an earlier run with the same weights.
        split: as it was for `stored`.
    """
    identity = stored.identity | {"learned": file_digest(weights)}
    RunFolder(out, identity).claim()
    features = ImageFeatures(SweepFiles(out, split.caches), stored.sweeps, identity)
    if missing := features.missing:
        save_network(out / ENCODER, _load_network(weights, stored.config))
        _write(features, missing, split, stored.views, progress)
    return features


def save_network(path: Path, network: PixelFeatures) -> None:
    """Write weights as `ImageFeatures.network` reads them."""
    weights = {name: value.cpu().contiguous() for name, value in network.state_dict().items()}
    write_atomically(path, save_weights(weights))


def _write(
    features: ImageFeatures,
    missing: Sequence[SweepRef],
    split: Split,
    find: Callable[[SweepRef], Sequence[PointView]],
    progress: Progress,
) -> None:
    """Make and keep the features of sweeps.

    Args:
        find: where images show a sweep's points.
    """
    device = _device()
    network = features.network().to(device).eval()
    encoded = functools.lru_cache(MAPS_KEPT)(functools.partial(_encode, network, split.caches))
    for number, ref in enumerate(missing, 1):
        found, count = find(ref), split.row(ref).points
        among = np.zeros(count, bool)
        for view in found:
            among[view.rows] = True
        seen = np.flatnonzero(among)
        row_of_point = torch.full((count,), -1, device=device)
        row_of_point[torch.from_numpy(seen).to(device)] = torch.arange(len(seen), device=device)
        with torch.inference_mode():
            of_points = mean_over_views(
                network, functools.partial(encoded, ref.cache), found, row_of_point, len(seen)
            )
        arrays = {
            "points": np.array([count], np.int32),
            "seen": seen.astype(np.int32),
            "features": of_points.half().cpu().numpy(),
        }
        features.files.write(ref, arrays | to_arrays(found))
        progress(number, len(missing), f"sweep {ref.sweep} of cache {ref.cache}")


@torch.inference_mode()
def _sample(network: PixelFeatures, split: Split, find: ViewFinder) -> Tensor:
    """[n, sum of C_s] of the encoder's own features at pixels of points, from images spread evenly
    over the training sweeps; the same for the same sweeps."""
    generator = np.random.default_rng(0)
    found = []
    for number in _spread(len(split.train), FIT_IMAGES):
        ref = split.train[number]
        if not (seen := find(ref)):
            continue
        view = seen[number % len(seen)]
        some = generator.choice(len(view.rows), min(FIT_POINTS, len(view.rows)), replace=False)
        _, maps = _encode(network, split.caches, ref.cache, view.image)
        pixels = torch.from_numpy(view.pixels[some]).to(maps[0].device)
        found.append(network.encoder.sample(maps, pixels))
    if not found:
        raise InputError("not one point of the training sweeps is seen by a chosen image")
    return torch.cat(found)


@torch.inference_mode()
def _encode(
    network: PixelFeatures, caches: Sequence[Cache], cache: int, image: int
) -> tuple[Tensor, list[Tensor]]:
    """RGB [3, H, W] uint8 of an image, and its maps, each [C_s, H_s, W_s]."""
    device = network.reduce.weight.device
    rgb = torch.from_numpy(caches[cache].image(image)).permute(2, 0, 1).to(device)
    with torch.autocast(device.type, torch.bfloat16, enabled=_bf16_pays(device)):
        maps = network.encoder(rgb[None])
    return rgb, [x[0] for x in maps]


def _load_network(path: Path, config: EncoderConfig) -> PixelFeatures:
    # Whatever the encoder started from, the file holds all of it.
    network = PixelFeatures(config.model_copy(update={"weights": "scratch"}))
    network.load_state_dict(load_file(path))
    return network


def _spread(count: int, most: int) -> list[int]:
    """At most `most` of 0 .. count - 1, evenly."""
    spread = np.linspace(0, count - 1, min(count, most)).round().astype(int)
    return [int(number) for number in np.unique(spread)]


def _device() -> torch.device:
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def _bf16_pays(device: torch.device) -> bool:
    """Whether convolutions in bfloat16 are faster: about 2.5 times on a CPU that has the
    instructions, slower on one that has not."""
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported())
    known = torch.cpu.get_capabilities() if hasattr(torch.cpu, "get_capabilities") else {}
    return bool(known.get("avx512_bf16") or known.get("amx_bf16"))
