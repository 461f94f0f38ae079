"""`haskd select`: the images that teach about each sweep, chosen once and kept with the reasons.

OUT/CACHE-SWEEP.safetensors   the baseline's classes of the sweep's points; in the header what
                              became of each candidate image
OUT/result.json               which sweeps, and how many images for which reason; written last
"""

from __future__ import annotations

import json
import logging
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from haskd_ros.errors import InputError
from haskd_ros.files import write_atomically
from haskd_ros.segmenter import Segmenter
from haskd_training.batches import SweepRef
from haskd_training.cache import Cache
from haskd_training.candidates import Candidate, SelectionConfig
from haskd_training.filtering import filter_images
from haskd_training.loop import Progress
from haskd_training.run_folder import RESULT, RunFolder, file_digest
from haskd_training.student import label_as_robot
from haskd_training.visibility import image_qualities

log = logging.getLogger(__name__)

_CLASSES = "predicted"
_CANDIDATES = "haskd_candidates"


@dataclass(frozen=True)
class Selection:
    """A finished selection, read as it is asked for.

    Attributes:
        path: its folder.
        config: what it was asked for.
        sweeps: that images were chosen for.
        reasons: candidates over all sweeps by what became of them.
    """

    path: Path
    config: SelectionConfig
    sweeps: list[SweepRef]
    reasons: dict[str, int]

    @classmethod
    def open(cls, path: Path | str) -> Selection:
        """Open a finished selection.

        Raises:
            InputError: there is none in the folder.
        """
        path = Path(path)
        try:
            result = json.loads((path / RESULT).read_text(encoding="utf-8"))
            return cls(
                path,
                SelectionConfig.model_validate(result["config"]),
                [SweepRef(*place) for place in result["sweeps"]],
                result["reasons"],
            )
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise InputError(f"{path} holds no finished selection: {error!r}") from error

    def records(self, place: SweepRef) -> list[Candidate]:
        """Every candidate image of a sweep: the chosen ones by rank, then the others.

        Raises:
            InputError: no images were chosen for this sweep, or its file is damaged.
        """
        with self._file(place) as file:
            return [Candidate(**record) for record in json.loads(file.metadata()[_CANDIDATES])]

    def chosen(self, place: SweepRef) -> list[int]:
        """Places in `cache.images` of the chosen images, best first; errors as of `records`."""
        return [record.image for record in self.records(place) if record.reason == "chosen"]

    def predicted(self, place: SweepRef) -> np.ndarray:
        """[N] uint8 class ids that the baseline gave the sweep's points, 255 beyond its range;
        errors as of `records`."""
        with self._file(place) as file:
            return file.get_tensor(_CLASSES)

    def _file(self, place: SweepRef) -> safe_open:
        path = _path(self.path, place)
        try:
            return safe_open(path, framework="numpy")
        except (SafetensorError, OSError) as error:
            raise InputError(f"{path} is missing or damaged: {error}") from error


def select(
    caches: Sequence[Cache],
    sweeps: Sequence[SweepRef],
    model: Path,
    out: Path,
    config: SelectionConfig,
    progress: Progress = lambda *_: None,
) -> Selection:
    """Choose images for every sweep. An interrupted run goes on; a finished one is opened.

    Args:
        caches: open; a `SweepRef` counts in them.
        model: the baseline's model file: it says what the cloud alone leaves open and what may
            move. Labels are not read.
        out: new, empty, or of an earlier run with the same inputs and settings.

    Raises:
        InputError: a model that can't be read or has other classes than the caches, or a folder
            that holds something else.
    """
    segmenter = Segmenter.load(model)
    _check_classes(segmenter, model, caches)
    places = [[place.cache, place.sweep] for place in sweeps]
    settings = {
        "config": config.model_dump(mode="json"),
        "caches": [cache.fingerprint for cache in caches],
        "sweeps": places,
        "model": file_digest(Path(model)),
    }
    run = RunFolder(out, settings)
    if run.result() is not None:
        return Selection.open(out)
    run.claim()
    qualities = [image_qualities(cache) for cache in caches]
    reasons: Counter[str] = Counter()
    selection = Selection(out, config, list(sweeps), reasons)
    for number, place in enumerate(sweeps, 1):
        path = _path(out, place)
        if not path.exists():
            cache = caches[place.cache]
            predicted = label_as_robot(segmenter, cache.sweep(place.sweep).points)
            records = filter_images(
                cache,
                place.sweep,
                predicted,
                segmenter.taxonomy,
                config,
                qualities[place.cache],
                np.random.default_rng((config.seed, place.cache, place.sweep)),
            )
            header = {_CANDIDATES: json.dumps([asdict(record) for record in records])}
            write_atomically(path, save({_CLASSES: predicted.class_id}, header))
        found = Counter(record.reason for record in selection.records(place))
        reasons.update(found)
        progress(number, len(sweeps), f"{found['chosen']} of {found.total()} images")
    if not reasons["chosen"]:
        log.warning("not one image was chosen for any of %d sweeps: %s", len(sweeps), dict(reasons))
    run.finish({"config": settings["config"], "sweeps": places, "reasons": dict(reasons)})
    return Selection.open(out)


def _path(folder: Path, place: SweepRef) -> Path:
    return folder / f"{place.cache}-{place.sweep}.safetensors"


def _check_classes(segmenter: Segmenter, model: Path, caches: Sequence[Cache]) -> None:
    for cache in caches:
        if cache.taxonomy.names != segmenter.taxonomy.names:
            raise InputError(
                f"model {model} has the classes {', '.join(segmenter.taxonomy.names)}; "
                f"cache {cache.path} has {', '.join(cache.taxonomy.names)}"
            )
