"""`haskd suggest`: the sweeps, and the regions in them, that are most worth a human's labels.

OUT/looks.safetensors          the cells of look
OUT/CACHE-SWEEP.safetensors    what a sweep leaves open, see `sketches`
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from haskd_ros.errors import InputError
from haskd_ros.taxonomy import Taxonomy
from haskd_training.core.file_digests import file_digest
from haskd_training.core.progress import Progress, no_progress
from haskd_training.core.run_folder import RunFolder
from haskd_training.core.tensor_file import TensorFile, write_tensors
from haskd_training.data.caches.cache import Cache
from haskd_training.data.sweep_files import SweepFiles
from haskd_training.data.sweep_ref import SweepRef, all_sweeps
from haskd_training.suggestions.choice import Choice
from haskd_training.suggestions.config import SuggestConfig
from haskd_training.suggestions.looks import find_looks, look_of
from haskd_training.suggestions.open_voxels import Observer, OpenVoxels
from haskd_training.suggestions.regions import Region, find_regions
from haskd_training.suggestions.rounds import Pool
from haskd_training.suggestions.sketches import LookTotals, Sketch, places_of, sketch

LOOK_SWEEPS, LOOK_VOXELS = 64, 10_000
"""Sweeps, spread evenly, and open voxels of all of them together, that the looks are found from."""

PICTURED = 50
"""Suggestions, the best ones, whose voxels are kept to draw them: 4 MB each of a large sweep."""

_LOOKS = "looks"
_REMEDY = "delete it and run the command again, which makes it anew"


@dataclass(frozen=True)
class Suggestion:
    """A sweep worth labelling.

    Attributes:
        ref: the sweep.
        choice: what it adds.
        regions: in it, best first.
        voxels: what the model leaves open of it, of the `PICTURED` best ones.
    """

    ref: SweepRef
    choice: Choice
    regions: list[Region]
    voxels: OpenVoxels | None


@dataclass(frozen=True)
class Suggestions:
    """Sweeps worth labelling, best first.

    Attributes:
        taxonomy: of the model.
        sweeps: of all caches.
        labelled: sweeps that have labels already.
        covered: share of what the model leaves open that these cover, 0..1.
        chosen: the suggestions.
    """

    taxonomy: Taxonomy
    sweeps: int
    labelled: int
    covered: float
    chosen: list[Suggestion]


def suggest(
    caches: Sequence[Cache],
    model: Path,
    count: int,
    out: Path,
    config: SuggestConfig,
    progress: Progress = no_progress,
) -> Suggestions:
    """Choose sweeps without labels by what the model leaves open in them.

    Sweeps that have labels are not suggested; what they show is covered. Classes of caches and
    model need not be the same.

    Args:
        caches: open.
        model: model file, the best there is so far.
        count: of sweeps at most; fewer where the others would add nothing.
        out: new, empty, or of an earlier call with the same caches, model and settings; `count`
            may be another one.
        progress: counts sweeps that the model has looked at.

    Raises:
        InputError: every sweep has labels, the model or a cache can't be read, or a folder that
            holds something else.
    """
    refs = all_sweeps(caches)
    labelled = {k for k, ref in enumerate(refs) if is_labelled(caches[ref.cache], ref.sweep)}
    if len(labelled) == len(refs):
        raise InputError(f"all {len(refs)} sweeps have labels: there is none to suggest")
    observer = Observer(model, config.voxel_size)
    identity = {
        "config": config.model_dump(mode="json", exclude={"compared", "regions", "region_size"}),
        "model": file_digest(model),
        "caches": [cache.fingerprint for cache in caches],
    }
    RunFolder(out, identity).claim()
    taxonomy = observer.metadata.taxonomy
    looks = _looks(caches, refs, observer, out, config, progress)
    files = SweepFiles(out, caches)
    totals = LookTotals.none(len(looks), len(taxonomy))
    for done, ref in enumerate(refs, 1):
        if ref in files:
            of_sweep = Sketch(**files.read(ref))
        else:
            cache = caches[ref.cache]
            voxels = observer.observe(cache, ref.sweep)
            of_sweep = sketch(voxels, looks, cache.sweeps[ref.sweep], taxonomy, config.place_size)
            files.write(ref, vars(of_sweep))
        totals.add(of_sweep, labelled=done - 1 in labelled)
        progress(done, len(refs))
    recordings = _recordings(caches, refs)
    pool = Pool(lambda sweep: Sketch(**files.read(refs[sweep])), recordings, labelled, totals)
    suggested = pool.choose(count, config.compared)
    objective = suggested.objective
    found: list[Suggestion] = []
    for choice in suggested.choices:
        ref, recording = refs[choice.sweep], recordings[choice.sweep]
        cache = caches[ref.cache]
        voxels = observer.observe(cache, ref.sweep)
        # A voxel is as new as its look and, where it has one, its place.
        fresh = choice.fresh[look_of(voxels.features, looks)]
        row = cache.sweeps[ref.sweep]
        static, cubes = places_of(voxels, row, taxonomy, config.place_size)
        fresh[static] += choice.fresh[objective.columns_of(recording, cubes)]
        fresh[static] /= 2
        regions = find_regions(
            voxels, voxels.entropy * fresh, count=config.regions, max_size=config.region_size
        )
        pictured = voxels if len(found) < PICTURED else None
        found.append(Suggestion(ref, choice, regions, pictured))
    return Suggestions(
        taxonomy=taxonomy,
        sweeps=len(refs),
        labelled=len(labelled),
        covered=suggested.covered,
        chosen=found,
    )


def is_labelled(cache: Cache, sweep: int) -> bool:
    """Whether a point of the sweep has a label."""
    return any(cache.sweeps[sweep].class_counts)


def _recordings(caches: Sequence[Cache], refs: Sequence[SweepRef]) -> list[int]:
    """Number of each sweep's recording; recordings of one name in two caches may be two drives."""
    names = [(ref.cache, caches[ref.cache].sweeps[ref.sweep].recording) for ref in refs]
    numbers = {name: number for number, name in enumerate(dict.fromkeys(names))}
    return [numbers[name] for name in names]


def _looks(
    caches: Sequence[Cache],
    refs: Sequence[SweepRef],
    observer: Observer,
    out: Path,
    config: SuggestConfig,
    progress: Progress,
) -> np.ndarray:
    """[K, D] centres of the looks, found once a folder from voxels drawn by their entropy."""
    path = out / f"{_LOOKS}.safetensors"
    if not path.exists():
        generator = np.random.default_rng(config.seed)
        places = np.unique(np.linspace(0, len(refs) - 1, min(len(refs), LOOK_SWEEPS)).astype(int))
        a_sweep = -(-LOOK_VOXELS // len(places))
        features = []
        for done, place in enumerate(places.tolist(), 1):
            ref = refs[place]
            voxels = observer.observe(caches[ref.cache], ref.sweep)
            entropy = voxels.entropy.astype(np.float64)
            draws = min(a_sweep, int((entropy > 0).sum()))
            if draws:
                share = entropy / entropy.sum()
                drawn = generator.choice(len(entropy), draws, replace=False, p=share)
                features.append(voxels.features[drawn])
            progress(done, len(places), "to find looks")
        if not features:
            raise InputError("no sweep has a point within the model's range that it leaves open")
        write_tensors(path, {_LOOKS: find_looks(np.concatenate(features), config.looks, generator)})
    return TensorFile(path, _REMEDY).read(_LOOKS)
