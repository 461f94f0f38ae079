"""What each of two processes does for test_several_processes.py; torchrun starts it.

Arguments: cache, folder for results, settings as JSON. Leaves result-RANK.json in the folder, and
threads-RANK.txt, the names of those that live when Python begins to take the interpreter down.
"""

from __future__ import annotations

import atexit
import json
import os
import sys
from pathlib import Path

import torch
from torch import nn

from haskd_ros import model_file
from haskd_ros.errors import InputError
from haskd_training.core.exchange import sum_over_processes
from haskd_training.core.processes import own
from haskd_training.data.caches.cache import Cache
from haskd_training.data.splits import make_split
from haskd_training.learning.baseline import baseline
from haskd_training.learning.inference import predict
from haskd_training.learning.loop import Callbacks, Loss, fit, make_fabric
from haskd_training.learning.student import (
    StudentConfig,
    make_network,
    supervised_loss,
    training_dataset,
    validator,
)
from haskd_training.metrics.confusion import evaluate


class Killed(Exception):
    pass


def main(cache: Path, out: Path, config: StudentConfig) -> None:
    split = make_split([Cache.open(cache)], config.split)
    reported = []
    whole = baseline(split, out / "whole", config, progress=lambda *step: reported.append(step))

    fabric = make_fabric(config.loop, out / "cut")
    mine = own(split.validation)
    network = model_file.load(whole.model)[0]
    found = evaluate(
        lambda sweep: predict(network, sweep, config.max_range, fabric.device),
        (split.sweep(ref) for ref in mine),
        split.taxonomy,
    )
    result = {
        "validated": [ref.sweep for ref in mine],
        "counts": sum_over_processes(found.counts).tolist(),
        "validation_miou": whole.validation_miou,
        "reported": len(reported),
    }

    supervised = supervised_loss(split, config)

    def loss(model, batch, _):
        return supervised(model(batch.points, batch.cloud).float(), batch.labels)

    def loss_until_the_second_epoch(model, batch, done):
        if done > 0.5:
            raise Killed
        return loss(model, batch, done)

    def loss_without_points_in_one(model, batch, _):
        few = slice(0 if fabric.global_rank == 1 else None)
        logits = model(batch.points[few], batch.cloud[few]).float()
        return supervised(logits, batch.labels[few])

    def loss_that_is_no_number_in_one(model, batch, done):
        factor = torch.nan if fabric.global_rank == 1 else 1.0
        return {name: factor * term for name, term in loss(model, batch, done).items()}

    def fit_in(folder: Path, loss: Loss, sweeps=split.train) -> nn.Module:
        network, metadata = make_network(split, config, None)
        folder.mkdir(exist_ok=True)
        fit(
            fabric,
            network,
            dataset=training_dataset(split, sweeps, config),
            loss=loss,
            callbacks=Callbacks(
                save_best=lambda best: model_file.save(
                    folder / "model.safetensors", best, metadata
                ),
                validate=validator(split, config, fabric),
            ),
            config=config.loop,
            folder=folder,
        )
        return network

    try:
        fit_in(out / "cut", loss_until_the_second_epoch)
    except Killed:
        fit_in(out / "cut", loss)
    weights = fit_in(out / "empty", loss_without_points_in_one).state_dict()
    result["weights"] = [weights[name].double().sum().item() for name in weights]
    try:
        fit_in(out / "lost", loss_that_is_no_number_in_one)
    except InputError as error:
        result["lost"] = str(error)
    try:
        fit_in(out / "few", loss, split.train[:1])
    except InputError as error:
        result["few"] = str(error)
    (out / f"result-{fabric.global_rank}.json").write_text(json.dumps(result))


def note_threads(out: Path) -> None:
    names = [path.read_text().strip() for path in Path("/proc/self/task").glob("*/comm")]
    (out / f"threads-{os.environ['RANK']}.txt").write_text("\n".join(names))


if __name__ == "__main__":
    # The first handler to be registered is the last to run.
    atexit.register(note_threads, Path(sys.argv[2]))
    main(Path(sys.argv[1]), Path(sys.argv[2]), StudentConfig.model_validate_json(sys.argv[3]))
