"""`haskd benchmark-drives`: what each part of the method is worth on drives that no training saw.

The drives are cut into folds; each fold is tested by what the others taught, row by row as in the
ablation.

OUT/FOLD/stages/, OUT/FOLD/scores/   of a fold, see `ablation`
OUT/FOLD/trust/ROW-SEED-MODEL-CACHE.safetensors   what a model's probabilities are worth on a drive
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from pydantic import Field

from haskd_ros.errors import InputError
from haskd_ros.score_memory import HALF_LIFE_S
from haskd_ros.text import file_name
from haskd_training.core.file_digests import file_digest
from haskd_training.core.progress import Steps
from haskd_training.core.tensor_file import TensorFile, write_tensors
from haskd_training.data.caches.cache import Cache
from haskd_training.data.splits import Split, make_split
from haskd_training.data.sweep_ref import SweepRef
from haskd_training.evaluation.temperature import Reliability
from haskd_training.evaluation.trust import Trust, trust_in
from haskd_training.experiments.ablation import RECORDED, SCORES_REMEDY, Scores, ablate
from haskd_training.experiments.ablation_rows import AblationConfig, slug
from haskd_training.experiments.remembering import scored_remembering
from haskd_training.experiments.run import held_back
from haskd_training.learning.loop import make_fabric


class DriveBenchmarkConfig(AblationConfig):
    """What is compared, on how many seeds and folds."""

    folds: int = Field(
        4, ge=2, description="parts of the drives, in the order given; each is tested once"
    )
    corrupted: tuple[str, ...] = Field(
        (), description="rows that are also scored on corrupted clouds"
    )
    remembering: tuple[str, ...] = Field(
        (),
        description="rows that are also scored with a memory of the sweeps before, as the node's "
        "`memory.half_life` has it",
    )
    half_life: float = Field(HALF_LIFE_S, gt=0, description="s, of that memory")
    bounds: bool = Field(
        False, description="score the teacher, averaged weights and the ensemble too"
    )


@dataclass(frozen=True)
class Drive:
    """A drive as those saw it who had not learned from it.

    Attributes:
        name: of its cache.
        fold: number of the fold that it was tested in.
        counts: by row, [seeds, C, C + 1].
        corrupted: the same of corrupted clouds, by condition.
        trust: by row, of each seed; rows that are no model files have none.
    """

    name: str
    fold: int
    counts: dict[str, np.ndarray]
    corrupted: dict[str, dict[str, np.ndarray]]
    trust: dict[str, list[Trust]]


def benchmark_drives(
    caches: Sequence[Cache], out: Path, config: DriveBenchmarkConfig, steps: Steps
) -> list[Drive]:
    """Train and score every row on every seed of every fold; what an earlier call finished is not
    done again.

    Args:
        caches: a drive each.

    Returns:
        The drives in the order given.

    Raises:
        InputError: fewer drives than folds, two of one name, or as of `ablate`.
    """
    names = [cache.name for cache in caches]
    if len(caches) < config.folds:
        raise InputError(f"{len(caches)} drives are too few for {config.folds} folds")
    if len(set(names)) < len(names):
        raise InputError("several caches have the same name: a drive is told by it")
    found = []
    for fold, tested in enumerate(np.array_split(np.arange(len(caches)), config.folds)):
        split = fold_of(caches, tested.tolist(), config)
        folder = out / "-".join(file_name(names[i]) for i in tested)
        scores = ablate(split, folder, config, steps)
        first = len(caches) - len(tested)  # a split has its test caches last
        for number, i in enumerate(tested.tolist()):
            own = [k for k, ref in enumerate(split.test) if ref.cache == first + number]
            refs = [split.test[k] for k in own]
            trust = _trust(scores, split, refs, folder / "trust", names[i], config, steps)
            counts = _by_condition(scores, own)
            for row in config.remembering:
                name = f"{row}, remembering"
                counts[RECORDED][name], trust[name] = _remembering(
                    row, scores, split, refs, names[i], folder, config, steps
                )
            found.append(Drive(names[i], fold, counts.pop(RECORDED), counts, trust))
    return found


def _by_condition(
    scores: Mapping[str, Scores], sweeps: Sequence[int]
) -> dict[str, dict[str, np.ndarray]]:
    """[seeds, C, C + 1] counts of some test sweeps, by condition and row."""
    found: dict[str, dict[str, np.ndarray]] = {}
    for row, of in scores.items():
        for condition, counts in of.counts.items():
            found.setdefault(condition, {})[row] = counts[:, sweeps].sum(1)
    return found


def _remembering(
    row: str,
    scores: Mapping[str, Scores],
    split: Split,
    refs: Sequence[SweepRef],
    drive: str,
    folder: Path,
    config: DriveBenchmarkConfig,
    steps: Steps,
) -> tuple[np.ndarray, list[Trust]]:
    """[seeds, C, C + 1] counts of a drive, and what the probabilities are worth, of each seed.

    Raises:
        InputError: there is no such row, or it is no model file.
    """
    if row not in scores:
        raise InputError(f"remembering: no row {row!r}; rows are {', '.join(scores)}")
    device = make_fabric(config.method.student.loop, folder).device
    counts, trust = [], []
    of = scores[row]
    for seed, model, temperature in zip(config.seeds, of.models, of.temperatures, strict=True):
        file = model()
        if file is None:
            raise InputError(f"remembering: row {row!r} is no model file")
        with steps(f"{row}, seed {seed}: remembering {drive}") as progress:
            of_seed = scored_remembering(
                file, temperature(file), config.half_life, split, refs, device, progress
            )
        counts.append(of_seed[0])
        trust.append(of_seed[1])
    return np.stack(counts), trust


def fold_of(caches: Sequence[Cache], tested: Sequence[int], config: AblationConfig) -> Split:
    """Who learns from what where some drives are tested."""
    test = [caches[i] for i in tested]
    train = [cache for i, cache in enumerate(caches) if i not in tested]
    student = config.method.student
    return make_split(
        train,
        held_back(student.split, test=test),
        test=test,
        channels=student.channels,
        channels_required=student.channels_required,
    )


def _trust(
    scores: Mapping[str, Scores],
    split: Split,
    refs: Sequence[SweepRef],
    folder: Path,
    drive: str,
    config: AblationConfig,
    steps: Steps,
) -> dict[str, list[Trust]]:
    found: dict[str, list[Trust]] = {}
    device = make_fabric(config.method.student.loop, folder).device
    for row, of in scores.items():
        runs = zip(config.seeds, of.models, of.temperatures, of.identities, strict=True)
        for seed, model, temperature, identity in runs:
            file = model()
            if file is None:
                continue
            # The temperature is not in the file.
            digest = f"{identity}-{str(file_digest(file))[:10]}"
            path = folder / f"{slug(row)}-{seed}-{digest}-{file_name(drive)}.safetensors"
            if not path.exists():
                calibrated = temperature(file)
                with steps(f"{row}, seed {seed}: probabilities on {drive}") as progress:
                    trust = trust_in(file, calibrated, split, refs, device, progress)
                path.parent.mkdir(parents=True, exist_ok=True)
                write_tensors(path, {**vars(trust.reliability), "entropy": trust.entropy})
            tensors = TensorFile(path, SCORES_REMEDY)
            parts = [tensors.read(name) for name in ("count", "probability", "accuracy")]
            found.setdefault(row, []).append(Trust(Reliability(*parts), tensors.read("entropy")))
    return found
