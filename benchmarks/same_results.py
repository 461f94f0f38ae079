"""Whether a change of the code changed a result: `python benchmarks/same_results.py BAG`.

Runs the command line as a user would, with fixed seeds and one thread, and prints the SHA-256 of
what comes out as JSON; run it before and after a change and compare. BAG is a recording of real
clouds without labels of ours in it, of which the first five are labelled.

- ships: which student `haskd run` hands out, the distilled one or the one trained on labels alone.
- student: names, types, shapes and bytes of the tensors of the distilled student, calibrated,
  after two epochs on a simulated bag of 24 sweeps, with its temperature and normalisation. What the
  model file tells of how it was made is left out: the date and the names of settings are in it.
- selection: for each sweep the candidate images with their scores and reasons, and the classes that
  the baseline gave its points.
- expertise: the table of which snapshot is adept at what.
- evaluation: `haskd evaluate` of that student on the bag's cache.
- labels: class, probability and entropy of every point of the five clouds, as `haskd segment`
  writes them with the model that ships; by the compiled kernels and by plain torch.
"""

from __future__ import annotations

import argparse
import hashlib
import itertools
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from rosbags.highlevel import AnyReader
from rosbags.rosbag2 import StoragePlugin, Writer
from rosbags.typesys import Stores, get_typestore

from haskd_ros import model_file
from haskd_training.core.checked_json import read_json
from haskd_training.core.settings import load_settings
from haskd_training.core.tensor_file import TensorFile
from haskd_training.data.caches.cache import Cache
from haskd_training.data.splits import make_split
from haskd_training.evaluation.temperature import calibrate
from haskd_training.experiments.run import RunConfig

CLOUD = "sensor_msgs/msg/PointCloud2"
LABELLED = "/segment/output/segmentation"
CLOUDS = 5
ONE_THREAD = {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}

# 24 sweeps of 7,200 points and 24 images of each of two cameras.
SIMULATION = ("duration_s=2.4", "azimuth_steps=225", "image_width=320", "image_height=180")
RUN = ("student.loop.epochs=2", "student.loop.device=cpu", "expertise.min_scans=2")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("bag", type=Path)
    parser.add_argument("--out", type=Path, help="JSON file to write; default: the screen")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        found = digests(arguments.bag.resolve(), Path(scratch))
    text = json.dumps(found, indent=2) + "\n"
    if arguments.out is None:
        sys.stdout.write(text)
    else:
        arguments.out.write_text(text, encoding="utf-8")


def digests(bag: Path, folder: Path) -> dict[str, str]:
    """SHA-256 of each result by its name; works in `folder`."""
    haskd(folder, "simulate", "drive", *settings(SIMULATION))
    haskd(folder, "run", "drive", "--labels", "simulation", "--out", "out", *settings(RUN))
    (cache,) = (folder / "out" / "caches").iterdir()
    stages, model = folder / "out" / "stages", folder / "out" / "model.safetensors"
    ships = model_file.load(model)[1].provenance.shipped.student
    # In its place, whichever ships: the distilled one is comparable from change to change.
    shutil.copy(only(stages, "student-*") / "model.safetensors", model)
    calibrated(model, cache)
    haskd(folder, "evaluate", "out/model.safetensors", str(cache), "--out", "evaluation")
    found = {
        "ships": ships,
        "student": digest(student(model)),
        "selection": digest(selection(only(stages, "selection-*"))),
        "expertise": digest(expertise(only(stages, "expertise-*") / "result.json")),
        "evaluation": digest(evaluation(folder / "evaluation" / "evaluation.json")),
    }
    first_clouds(bag, folder / "clouds")
    for name, native in (("compiled", "1"), ("plain", "0")):
        haskd(folder, "segment", shipped(), "clouds", "--out", name, HASKD_NATIVE=native)
        found[f"labels, {name}"] = digest(labels(folder / name))
    return found


def calibrated(model: Path, cache: Path) -> None:
    """Calibrate a student as `haskd run` does the one that ships."""
    torch.set_num_threads(1)
    split = make_split([Cache.open(cache)], load_settings(RunConfig, None, RUN).student.split)
    network, metadata = model_file.load(model)
    metadata, _ = calibrate(metadata, [(network, split.calibration)], split.caches)
    model_file.save(model, network, metadata)


def haskd(folder: Path, *arguments: str, **environment: str) -> None:
    """Run a command in a folder, on one thread; what it says goes to the screen."""
    command = [sys.executable, "-m", "haskd_training", *arguments]
    ours = os.environ | ONE_THREAD | environment
    subprocess.run(command, cwd=folder, env=ours, check=True, stdout=sys.stderr)


def settings(assignments: tuple[str, ...]) -> Iterator[str]:
    return itertools.chain.from_iterable(("--set", one) for one in assignments)


def shipped() -> str:
    """The model that comes with the package."""
    return str(Path(model_file.__file__).parent / "data" / "street.safetensors")


def only(folder: Path, pattern: str) -> Path:
    (found,) = folder.glob(pattern)
    return found


def digest(parts: Iterator[bytes] | list[bytes]) -> str:
    result = hashlib.sha256()
    for part in parts:
        result.update(part)
    return result.hexdigest()


def known(value: Any) -> Any:
    """Without the entries that are None."""
    if not isinstance(value, dict):
        return value
    return {name: known(inner) for name, inner in value.items() if inner is not None}


def student(path: Path) -> Iterator[bytes]:
    network, metadata = model_file.load(path)
    yield json.dumps(
        [
            metadata.architecture, metadata.arguments, metadata.taxonomy.to_json(),
            vars(metadata.intensity), metadata.max_range, metadata.temperature,
            known(asdict(metadata.sensor)),
        ],
        sort_keys=True,
    ).encode()  # fmt: skip
    for name, value in sorted(network.state_dict().items()):
        yield f"{name} {value.dtype} {tuple(value.shape)}".encode()
        yield value.contiguous().numpy().tobytes()


def selection(folder: Path) -> Iterator[bytes]:
    for path in sorted(folder.glob("*.safetensors"), key=lambda path: path.name):
        file = TensorFile(path, "")
        yield json.dumps(file.header, sort_keys=True).encode()
        for name in sorted(file.names):
            yield name.encode() + file.read(name).tobytes()


def expertise(path: Path) -> Iterator[bytes]:
    yield json.dumps(read_json(path, "")).encode()


def evaluation(path: Path) -> Iterator[bytes]:
    document = json.loads(path.read_text(encoding="utf-8"))
    # Where the cache lies depends on names of settings, whose digest is in its name.
    document.pop("cache")
    yield json.dumps(document, sort_keys=True).encode()


def first_clouds(bag: Path, out: Path) -> None:
    """The first clouds of a recording as a bag of their own."""
    types = get_typestore(Stores.ROS2_HUMBLE)
    with AnyReader([bag]) as reader, Writer(out, version=9, storage_plugin=StoragePlugin.MCAP) as w:
        clouds = [c for c in reader.connections if c.msgtype == CLOUD]
        added = w.add_connection(clouds[0].topic, CLOUD, typestore=types)
        for _, time_ns, raw in itertools.islice(reader.messages(clouds), CLOUDS):
            w.write(added, time_ns, raw)


def labels(bag: Path) -> Iterator[bytes]:
    with AnyReader([bag]) as reader:
        found = [c for c in reader.connections if c.topic == LABELLED]
        for connection, _, raw in reader.messages(found):
            cloud = reader.deserialize(raw, connection.msgtype)
            yield f"{cloud.height} {cloud.width} {cloud.point_step}".encode()
            yield cloud.data.tobytes()


if __name__ == "__main__":
    main()
