"""`haskd select`: the images for each sweep, chosen once and stored with the reasons.

OUT/CACHE-SWEEP.safetensors   the baseline's classes of the sweep's points; in the header its
                              candidate images, see `sweep_files`
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

import numpy as np

from haskd_ros.errors import InputError
from haskd_ros.segmenter import Segmenter
from haskd_training.core.exchange import share_files
from haskd_training.core.file_digests import file_digest
from haskd_training.core.progress import Progress, no_progress
from haskd_training.core.run_folder import RunFolder
from haskd_training.data.caches.cache import Cache
from haskd_training.data.sweep_files import SweepFiles
from haskd_training.data.sweep_ref import SweepRef
from haskd_training.images.candidates import CandidateImage, SelectionConfig
from haskd_training.images.filtering import filter_images
from haskd_training.images.visibility import image_quality
from haskd_training.learning.inference import label_as_robot

log = logging.getLogger(__name__)

_CLASSES = "predicted"
_CANDIDATES = "candidates"

_QUALITIES = 4096
"""Of the last images, that are kept: the sweeps around them share them."""


@dataclass(frozen=True)
class Selection:
    """The images chosen for some sweeps, read on demand.

    Attributes:
        files: one per sweep.
        sweeps: that images were chosen for.
        identity: its inputs, in JSON values, independent of the sweeps.
        reasons: number of candidates over all sweeps by reason.
    """

    files: SweepFiles
    sweeps: list[SweepRef]
    identity: dict[str, Any]
    reasons: dict[str, int]

    @property
    def path(self) -> Path:
        """Its folder; there may be other sweeps in it."""
        return self.files.folder

    @property
    def config(self) -> SelectionConfig:
        """The settings of the selection."""
        return SelectionConfig.model_validate(self.identity["config"])

    def records(self, ref: SweepRef) -> list[CandidateImage]:
        """Every candidate image of a sweep: the chosen ones by rank, then the others.

        Raises:
            InputError: no images were chosen for this sweep, or its file is damaged.
        """
        return [CandidateImage(**record) for record in self.files.header(ref)[_CANDIDATES]]

    def chosen(self, ref: SweepRef) -> list[int]:
        """Indices in `cache.images` of the chosen images, best first; errors as of `records`."""
        return [record.image for record in self.records(ref) if record.reason == "chosen"]

    def predicted(self, ref: SweepRef) -> np.ndarray:
        """[N] uint8 class ids that the baseline gave the sweep's points, 255 beyond its range;
        errors as of `records`."""
        return self.files.read(ref, _CLASSES)[_CLASSES]


def selection_inputs(model: Path, config: SelectionConfig) -> dict[str, Any]:
    """All that `select` depends on beside the sweeps, as JSON values."""
    return {"config": config.model_dump(mode="json"), "model": file_digest(model)}


def select(
    caches: Sequence[Cache],
    sweeps: Sequence[SweepRef],
    model: Path,
    out: Path,
    config: SelectionConfig,
    progress: Progress = no_progress,
) -> Selection:
    """Choose images for every sweep that has none in this folder yet.

    Args:
        caches: open; `SweepRef.cache` is an index of them.
        model: the baseline's model file, for its uncertainty and for which points may move. Labels
            are not read.
        out: new, empty, or of an earlier run with the same model and settings.

    Raises:
        InputError: a model that can't be read or has other classes than the caches, or a folder
            that holds something else.
    """
    segmenter = Segmenter.load(model)
    _check_classes(segmenter, model, caches)
    identity = selection_inputs(model, config)
    RunFolder(out, identity).claim()
    files = SweepFiles(out, caches)
    qualities = lru_cache(_QUALITIES)(lambda cache, j: image_quality(caches[cache].image(j)))
    reasons: Counter[str] = Counter()
    selection = Selection(files, list(sweeps), identity, reasons)

    def choose(ref: SweepRef) -> str:
        cache = caches[ref.cache]
        predicted = label_as_robot(segmenter, cache, ref.sweep)
        records = filter_images(
            cache,
            ref.sweep,
            predicted=predicted,
            taxonomy=segmenter.taxonomy,
            config=config,
            image_quality=partial(qualities, ref.cache),
            generator=np.random.default_rng([config.seed, *cache.fingerprint.encode(), ref.sweep]),
        )
        header = {_CANDIDATES: [asdict(record) for record in records]}
        files.write(ref, {_CLASSES: predicted.class_id}, header)
        chosen = sum(record.reason == "chosen" for record in records)
        return f"{chosen} of {len(records)} images"

    share_files(sweeps, files.path, choose, progress)
    for ref in sweeps:
        reasons.update(record.reason for record in selection.records(ref))
    if not reasons["chosen"]:
        log.warning("no image was chosen for any of %d sweeps: %s", len(sweeps), dict(reasons))
    return selection


def _check_classes(segmenter: Segmenter, model: Path, caches: Sequence[Cache]) -> None:
    for cache in caches:
        if cache.taxonomy.names != segmenter.taxonomy.names:
            raise InputError(
                f"model {model} has the classes {', '.join(segmenter.taxonomy.names)}; "
                f"cache {cache.path} has {', '.join(cache.taxonomy.names)}"
            )
