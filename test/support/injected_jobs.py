"""Jobs that write what this package writes, small enough to be disturbed at every write.

Each is called with a folder and finds its input beside that folder, see `prepare_inputs`.
"""

from __future__ import annotations

import hashlib
from functools import cache
from pathlib import Path

import matplotlib.backends.backend_agg
import matplotlib.figure  # noqa: F401  both before any fork: a picture's job would load them anew
import numpy as np
import torch
from lightning_fabric import Fabric
from rosbags.typesys import Stores, get_typestore

from haskd_ros import model_file
from haskd_ros.files import remove_leftover, write_atomically
from haskd_ros.model_header import Extent, InputRange, Intensity, ModelMetadata
from haskd_training.core.progress import silent
from haskd_training.core.run_folder import RunFolder
from haskd_training.data.caches.cache import Cache
from haskd_training.data.caches.index import INPUTS, REPORT
from haskd_training.data.preparing.inputs import PrepareConfig
from haskd_training.data.preparing.prepare import prepare
from haskd_training.data.sweep_ref import SweepRef
from haskd_training.evaluation.temperature import calibrate
from haskd_training.experiments.run import MODEL
from haskd_training.pipeline.choice import DISTILLED, StudentChoice, shipped_student
from haskd_training.pipeline.stage_folders import Stage, StageRunner
from haskd_training.recordings.bag_writing import bag_writer, new_bag
from haskd_training.reports.figures import drawn
from haskd_training.reports.html_page import Picture, Report, Section, write
from recorded_bags import Scene, write_bag
from small_street import street

_TYPES = get_typestore(Stores.ROS2_HUMBLE)
STUDENT, BAG, CACHE = "student.safetensors", "bag", "cache"


def make_inputs(root: Path) -> None:
    """The inputs of all jobs that work in folders of `root`."""
    root.mkdir(exist_ok=True, parents=True)
    write_bag(root, Scene(clouds=2, images=1, points=lambda i: street(i, 40))).rename(root / BAG)
    prepare([root / BAG], "pandaset", root / CACHE, PrepareConfig())
    opened = Cache.open(root / CACHE)
    torch.manual_seed(0)
    arguments = {"voxel_size": 1.0, "channels": [4, 8]}
    network = model_file.build("sparse_unet", classes=len(opened.taxonomy), **arguments)
    metadata = ModelMetadata(
        architecture="sparse_unet",
        arguments=arguments,
        taxonomy=opened.taxonomy,
        intensity=Intensity(scale=255.0, mean=0.5),
        max_range=50.0,
        input_range=InputRange(Extent(-5.0, 5.0), Extent(0.0, 1.0)),
    )
    model_file.save(root / STUDENT, network, metadata)


def stage(folder: Path) -> object:
    """A stage with a checkpoint, a result, and files of sweeps in a folder that is no run's."""
    runner = StageRunner(folder, _fabric(), silent)

    def train(path: Path, _: object) -> dict[str, int] | None:
        run = RunFolder(path, {"epochs": 1})
        if run.result() is None:
            run.claim()
            write_atomically(path / "model", b"weights")
            run.finish({"steps": 3})
        return run.result()

    def record(path: Path, _: object) -> None:
        path.mkdir(exist_ok=True, parents=True)
        write_atomically(path / "0", b"outputs")

    results = [
        runner.run(Stage("train", "", {"seed": 0}, train)),
        runner.run(Stage("record", "", {"seed": 0}, record)),
    ]
    return results, [path.read_bytes().decode() for path in sorted(folder.glob("*/[0m]*"))]


def ship(folder: Path) -> object:
    """What `haskd run` does last: the model that ships, calibrated, and a page with a picture."""
    folder.mkdir(exist_ok=True)
    torch.set_num_threads(1)
    prepared = Cache.open(folder.parent / CACHE)
    choice = StudentChoice(DISTILLED, folder.parent / STUDENT, {}, 0)
    network, metadata = shipped_student(choice)
    metadata, _ = calibrate(metadata, [(network, [SweepRef(0, 0)])], [prepared])
    model_file.save(folder / MODEL, network, metadata)
    with drawn(folder / "curve.png", dpi=20, figsize=(1, 1)) as figure:
        figure.add_subplot().plot(np.arange(3))
    write(
        Report("run", [Section("curve", pictures=[Picture(folder / "curve.png")])]),
        folder / "report.html",
    )
    return _digests(folder)


def cached(folder: Path) -> object:
    """A cache of several shards, with its overlay."""
    config = PrepareConfig(shard_bytes=2000, overlays=1)
    prepare([folder.parent / BAG], "pandaset", folder, config)
    # Not its report, which has the folder's name, nor what is known of the bag's files, which is
    # not written of a file that is seconds old.
    digests = _digests(folder)
    return {name: digest for name, digest in digests.items() if name not in (REPORT, INPUTS)}


def recorded(folder: Path) -> object:
    """A bag, as `haskd simulate` and `haskd segment` write them, unless it is there."""
    folder.mkdir(exist_ok=True)
    out = folder / "out"
    remove_leftover(out)
    if not out.exists():
        with new_bag(out) as scratch, bag_writer(scratch) as writer:
            types = "std_msgs/msg/String"
            connection = writer.add_connection("/text", types, typestore=_TYPES)
            writer.write(connection, 1, bytes(12))
    return _digests(out)


@cache
def _fabric() -> Fabric:
    fabric = Fabric(accelerator="cpu", devices=1)
    fabric.launch()
    return fabric


def _digests(folder: Path) -> dict[str, str]:
    """By name below the folder."""
    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }
