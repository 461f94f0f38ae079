"""What more recordings cost, for `benchmarks/scale.py --parts recordings`.

Prepared caches are copied under other names, so that a thousand recordings are there in seconds:
shards are hard links, the index gets a fingerprint and recording names of its own. Each stage then
runs in a process of its own on caches that are all open, and tells s of processor time and MiB at
most:
`python scale_recordings.py STAGE FOLDER COUNT WORK MODEL` prints one line of JSON.
"""

from __future__ import annotations

import hashlib
import json
import os
import resource
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from itertools import islice, product
from pathlib import Path

import numpy as np
import torch

from haskd_training.core.checked_json import from_text, write_json
from haskd_training.data.caches.cache import Cache
from haskd_training.data.caches.index import INDEX, INPUTS, REPORT
from haskd_training.data.splits import Split, SplitConfig, make_split
from haskd_training.data.sweep_files import SweepFiles
from haskd_training.data.sweep_ref import SweepRef, all_sweeps
from haskd_training.distillation.expertise import ExpertiseConfig
from haskd_training.distillation.snapshots import find_experts
from haskd_training.evaluation.scoring import evaluate_sweeps
from haskd_training.evaluation.temperature import calibrate
from haskd_training.images.candidates import SelectionConfig
from haskd_training.images.selection import select
from haskd_training.learning.batches import EpochSampler, training_loader
from haskd_training.learning.inference import model_predictor
from haskd_training.learning.recorded_outputs import RecordedOutputs
from haskd_training.learning.student import StudentConfig, make_network, training_dataset
from haskd_training.pipeline.config import MethodConfig
from haskd_training.reports.contact_sheets import by_rank, seen_share
from haskd_training.suggestions.choice import make_objective
from haskd_training.suggestions.config import SuggestConfig
from haskd_training.suggestions.rounds import Pool, shares
from haskd_training.suggestions.sketches import LookTotals, Sketch
from haskd_training.suggestions.suggest import suggest

COMPUTED = 500
"""Sweeps, of recordings spread over all, that are computed at most where each is computed by
itself: what a stage holds of the recordings it holds all the same."""

CPU = torch.device("cpu")


def replicate(caches: Sequence[Path], out: Path, count: int, sweeps: int | None = None) -> None:
    """So many caches `out/00000` ... of the given ones in turn; those that are there stay.

    Args:
        sweeps: the first ones of each, with all images; None: all.
    """
    indices = [from_text((path / INDEX).read_bytes()) for path in caches]
    for number in range(count):
        folder, index = out / f"{number:05d}", indices[number % len(caches)]
        if (folder / INDEX).exists():
            continue
        folder.mkdir(parents=True, exist_ok=True)
        source = caches[number % len(caches)]
        for shard in source.glob("*.safetensors"):
            os.link(shard, folder / shard.name)
        shutil.copy(source / INPUTS, folder)
        digest = hashlib.sha256(f"{index['fingerprint']} {number}".encode()).hexdigest()
        report = from_text((source / REPORT).read_bytes())
        report |= {"fingerprint": digest, "cache": str(folder)}
        report["recordings"] = [f"{name}-{number}" for name in report["recordings"]]
        write_json(folder / REPORT, report)
        rows = {
            kind: [row | {"recording": f"{row['recording']}-{number}"} for row in index[kind]]
            for kind in ("sweeps", "images")
        }
        rows["sweeps"] = rows["sweeps"][:sweeps]
        # In the order in which an index is written: its format comes first.
        write_json(folder / INDEX, {**index, "fingerprint": digest, **rows})


class Stages:
    """The stages, each of which returns how many sweeps it was about; what it takes counts from
    `started`.

    Args:
        caches: open.
        work: folder for what a stage writes.
        model: of the caches' classes.
    """

    def __init__(self, caches: list[Cache], work: Path, model: Path) -> None:
        self.caches, self.work, self.model = caches, work, model
        self.config = StudentConfig(voxel_size=0.5)
        self.started = time.process_time()

    def open(self) -> int:
        return len(self._all)

    def split(self) -> int:
        split = self._split
        json.dumps(split.fingerprint())
        json.dumps(split.out_of_fold(3).without_part(0).fingerprint())
        return len(self._all)

    def statistics(self) -> int:
        make_network(self._split, self.config, None)
        return len(self._split.train_and_unlabelled)

    def epoch_of_data(self) -> int:
        dataset = training_dataset(self._split, self._split.train, self.config)
        sampler = EpochSampler(len(dataset), 1, seed=0)
        batches = islice(training_loader(dataset, sampler, workers=0), 4 * COMPUTED)
        return sum(1 for _ in batches)

    def selection(self) -> int:
        sweeps = self._some(self._all)
        config = SelectionConfig()
        selection = select(self.caches, sweeps, self.model, self.work, config)
        by_rank(selection), seen_share(selection)
        return len(sweeps)

    def outputs(self) -> int:
        sweeps = self._some(self._all)
        outputs = RecordedOutputs(self.work, self._split)
        outputs.record(model_predictor(self.model, CPU), sweeps, max_range=120.0, device=CPU)
        return len(sweeps)

    def expertise(self) -> int:
        judged = [([self.model, self.model], self._split)]
        find_experts(judged, ExpertiseConfig(), CPU)
        return len(self._split.calibration)

    def calibration(self) -> int:
        network, metadata = make_network(self._split, self.config, None)
        calibrate(metadata, [(network.eval(), self._split.calibration)], self.caches)
        return len(self._split.calibration)

    def evaluation(self) -> int:
        sweeps = self._some(self._split.test)
        evaluate_sweeps(self.model, self._split, sweeps, CPU)
        return len(sweeps)

    def suggestions(self) -> int:
        """The choice alone, by the sketches of the first recordings over and over."""
        first = [cache.without_labels(cache.taxonomy) for cache in self.caches[:10]]
        suggest(first, self.model, 1, self.work, SuggestConfig())
        files, made, refs = SweepFiles(self.work, first), all_sweeps(first), self._all
        totals = LookTotals.none(*files.read(made[0])["look_mass"].shape)
        self.started = time.process_time()

        def read(sweep: int) -> Sketch:
            return Sketch(**files.read(made[sweep % len(made)]))

        for sweep in range(len(refs)):
            totals.add(read(sweep))
        recordings = [ref.cache for ref in refs]
        Pool(read, recordings, (), totals).choose(10, SuggestConfig().compared)
        return len(refs)

    @property
    def _all(self) -> list[SweepRef]:
        return all_sweeps(self.caches)

    @property
    def _split(self) -> Split:
        return make_split(self.caches, SplitConfig(**MethodConfig().student.split.model_dump()))

    @staticmethod
    def _some(sweeps: list[SweepRef]) -> list[SweepRef]:
        """Of whole recordings: their sweeps share images."""
        recordings = sorted({ref.cache for ref in sweeps})
        wanted = max(1, round(COMPUTED * len(recordings) / len(sweeps)))
        spread = np.linspace(0, len(recordings) - 1, min(wanted, len(recordings))).astype(int)
        chosen = {recordings[number] for number in spread}
        return [ref for ref in sweeps if ref.cache in chosen]


STAGES: dict[str, Callable[[Stages], int]] = {
    name: stage for name, stage in vars(Stages).items() if not name.startswith("_")
}


def loss_of_rounds(paths: Sequence[Path], work: Path, model: Path) -> None:
    """Print what sweeps that are chosen in rounds are worth, of what one greedy choice is."""
    caches = [Cache.open(path) for path in paths]
    caches = [cache.without_labels(cache.taxonomy) for cache in caches]
    suggest(caches, model, 1, work, SuggestConfig())
    files, refs = SweepFiles(work, caches), all_sweeps(caches)
    sketches = [Sketch(**files.read(ref)) for ref in refs]
    recordings = [ref.cache for ref in refs]
    totals = LookTotals.of(sketches)
    pool = Pool(sketches.__getitem__, recordings, (), totals)
    objective = make_objective(sketches, recordings)
    print(f"\n{len(refs)} sweeps of {len(caches)} recordings\n")
    print("| sweeps chosen | at once | shares | worth, of one greedy choice |")
    print("| --- | --- | --- | --- |")
    for count, at_once in product((5, 10, 20), (len(refs), 100, 40, 20)):
        if at_once < 2 * count:
            continue
        choices = pool.choose(count, at_once).choices
        covered = objective.covered_by([choice.sweep for choice in choices])
        worth = float(objective.weights @ covered)
        if at_once == len(refs):
            most = worth
        parts = len(list(shares(range(len(refs)), recordings, at_once)))
        print(f"| {count} | {at_once} | {parts} | {worth / most:.4f} |", flush=True)


def child(stage: str, folder: Path, count: int, work: Path, model: Path) -> None:
    """Run one stage and tell what it took."""
    torch.set_num_threads(1)
    started = time.process_time()
    caches = [Cache.open(folder / f"{number:05d}") for number in range(count)]
    stages = Stages(caches, work, model)
    sweeps = STAGES[stage](stages)
    ended = time.process_time()
    found = {
        "sweeps": sweeps,
        "seconds": ended - (started if stage == "open" else stages.started),
        "mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
    }
    sys.stdout.write(json.dumps(found) + "\n")


def measure(
    folder: Path, counts: Sequence[int], model: Path, stages: Sequence[str] = tuple(STAGES)
) -> None:
    """Print a table of ms a sweep and MiB at most, by stage and number of recordings."""
    heads = [f"{what}, {n:,}" for what in ("ms", "MiB") for n in counts]
    print(f"\n| stage | {' | '.join(heads)} |\n{'| --- ' * (len(heads) + 1)}|", flush=True)
    for stage in stages:
        found = []
        for count in counts:
            work = folder / "work"
            shutil.rmtree(work, ignore_errors=True)
            command = [sys.executable, __file__, stage, str(folder), str(count), str(work), model]
            done = subprocess.run(command, check=True, capture_output=True, text=True)
            found.append(json.loads(done.stdout.splitlines()[-1]))
            shutil.rmtree(work, ignore_errors=True)
        cells = [
            *(f"{1000 * one['seconds'] / one['sweeps']:.2f}" for one in found),
            *(f"{one['mib']:.0f}" for one in found),
        ]
        print(f"| {stage} | {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    child(sys.argv[1], Path(sys.argv[2]), int(sys.argv[3]), Path(sys.argv[4]), Path(sys.argv[5]))
