"""Attacks on what `prepare` and the stages of a run leave on disk, and on what they are made from.

A flipped bit, a file that was cut off, or one in the place of another must lead to an `InputError`
or to the very content that was written; a recording that was changed must not count as unchanged.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import random
import shutil
import sys
import time
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[2] / "test/support"))
from damage import change_in_place, with_flipped_bit
from prepared_inputs import KINDS, prepared
from small_run import METHOD, quiet, small_drive

from attacks.outcome import Attack, Outcome
from haskd_ros import model_file
from haskd_ros.errors import InputError
from haskd_training.core.run_folder import RunFolder
from haskd_training.core.settings import load_settings
from haskd_training.data.caches.cache import Cache
from haskd_training.data.preparing.inputs import PrepareConfig, read_report
from haskd_training.data.preparing.prepare import prepare
from haskd_training.data.sweep_files import SweepFiles
from haskd_training.data.sweep_ref import SweepRef
from haskd_training.distillation.fusion import load_teacher
from haskd_training.experiments.run import RunConfig, run
from haskd_training.images.features import ENCODER, ImageFeatures
from recorded_bags import SCENE, Scene, write_bag

SEED = 20

Reader = Callable[[], str]
"""Reads something back; its digest."""


def flipped_bits_of_a_cache(scratch: Path, seconds: float) -> Outcome:
    cache = _cache(scratch / "a", 0)
    files = _data_files(cache)
    random.seed(SEED)
    return _attack(files, lambda _: lambda: _of_cache(cache), _flipped, seconds)


def truncated_files_of_a_cache(scratch: Path, seconds: float) -> Outcome:
    cache = _cache(scratch / "a", 0)
    random.seed(SEED)
    return _attack(_data_files(cache), lambda _: lambda: _of_cache(cache), _truncated, seconds)


def files_of_another_cache(scratch: Path, seconds: float) -> Outcome:
    """Every file of one in its place in the other, and a shard in the place of another."""
    one, other = _cache(scratch / "a", 0), _cache(scratch / "b", 1)
    outcome = Outcome()
    expected = _of_cache(one)
    files = _data_files(one)
    swaps = [(file, other / file.name) for file in files if (other / file.name).is_file()]
    shards = [file for file in files if file.name.startswith("sweeps-")]
    swaps += list(itertools.pairwise(shards))
    for place, taken in swaps:
        with _kept(place):
            shutil.copyfile(taken, place)
            told = f"{place.name} replaced by {taken.parent.parent.name}'s {taken.name}"
            if place.name == "index.json":
                _judge(outcome, told, lambda: _of_cache(one), "", None)
            else:
                _judge(outcome, told, lambda: _of_cache(one), expected, None)
    return outcome


def unfinished_cache_of_other_inputs(scratch: Path, seconds: float) -> Outcome:
    """Shards that another bag left, and damaged ones, in a folder that is gone on with."""
    bag = write_bag(scratch, Scene(clouds=6, images=6))
    config = PrepareConfig(shard_bytes=150, overlays=0)
    prepare([bag], "pandaset", scratch / "whole", config)
    expected = _of_cache(scratch / "whole")
    foreign = _cache(scratch / "b", 1)
    outcome = Outcome()
    random.seed(SEED)
    started = time.monotonic()
    while time.monotonic() - started < seconds / 3:
        cut = scratch / "cut"
        shutil.rmtree(cut, ignore_errors=True)
        shutil.copytree(scratch / "whole", cut)
        (cut / "index.json").unlink()
        shard = random.choice(sorted(cut.glob("*.safetensors")))
        if random.random() < 0.2 and (foreign / shard.name).is_file():
            shutil.copyfile(foreign / shard.name, shard)
            told = f"{shard.name} of another cache"
        else:
            told = f"{shard.name} {_flipped(shard)}"

        def gone_on(cut: Path = cut) -> str:
            prepare([bag], "pandaset", cut, config)
            return _of_cache(cut)

        _judge(outcome, told, gone_on, expected, None)
    return outcome


def inputs_changed_in_place(scratch: Path, seconds: float) -> Outcome:
    """One byte of a recording or of labels, with the time of modification set back."""
    outcome = Outcome()
    random.seed(SEED)
    for kind in KINDS:
        inputs = prepared(scratch / kind.replace(" ", "-"), kind)
        if inputs.look().finished is None:
            outcome.faults.append(f"{kind}: unchanged inputs count as changed")
        started = time.monotonic()
        while time.monotonic() - started < seconds / len(KINDS):
            file = random.choice(inputs.files)
            place, mask = random.randrange(file.stat().st_size), random.randrange(1, 256)
            change_in_place(file, place, mask)
            try:
                unchanged = inputs.look().finished is not None
            except InputError:
                unchanged = False
            change_in_place(file, place, mask)
            outcome.tried += 1
            if unchanged:
                told = f"{kind}: byte {place} of {file.name} changed, and it counts as unchanged"
                outcome.faults.append(told)
    return outcome


def flipped_bits_of_a_run(scratch: Path, seconds: float) -> Outcome:
    """In every file of the stages that a later call reads, model files included."""
    out = _run(scratch)
    readers = dict(_readers_of_stages(out))
    random.seed(SEED)
    outcome = _attack(sorted(readers), lambda file: readers[file], _flipped, seconds)
    kinds = Counter(file.parent.name.rsplit("-", 1)[0] for file in readers)
    outcome.remark = f"{len(readers)} files of {len(kinds)} kinds of stages"
    return outcome


ATTACKS: dict[str, Attack] = {
    "flipped bits of a cache": flipped_bits_of_a_cache,
    "truncated files of a cache": truncated_files_of_a_cache,
    "files of another cache": files_of_another_cache,
    "an unfinished cache of other inputs": unfinished_cache_of_other_inputs,
    "inputs changed in place": inputs_changed_in_place,
    "flipped bits of a run": flipped_bits_of_a_run,
}


def _attack(
    files: list[Path],
    reader_of: Callable[[Path], Reader],
    damage: Callable[[Path], str],
    seconds: float,
) -> Outcome:
    """Damage files drawn at random, one at a time, and read."""
    outcome = Outcome()
    expected = {file: reader_of(file)() for file in files}
    started = time.monotonic()
    while time.monotonic() - started < seconds:
        file = random.choice(files)
        with _kept(file):
            told = f"{file.parent.name}/{file.name} {damage(file)}"
            _judge(outcome, told, reader_of(file), expected[file], file)
    return outcome


def _judge(outcome: Outcome, told: str, reader: Reader, expected: str, named: Path | None) -> None:
    """
    Args:
        named: file that the message has to name.
    """
    outcome.tried += 1
    try:
        found = reader()
    except InputError as error:
        if "\n" in str(error) or (named is not None and str(named) not in str(error)):
            outcome.faults.append(f"{told}: {error!r} names it not, or in several lines")
    except BaseException as error:  # a panic of safetensors is no Exception
        if isinstance(error, KeyboardInterrupt):
            raise
        outcome.faults.append(f"{told}: {error!r}")
    else:
        if found != expected:
            outcome.faults.append(f"{told}: read as if it were whole")


def _flipped(file: Path) -> str:
    content = file.read_bytes()
    bit = random.randrange(8 * len(content))
    _replace(file, with_flipped_bit(content, bit))
    return f"with bit {bit % 8} of byte {bit // 8} flipped"


def _truncated(file: Path) -> str:
    content = file.read_bytes()
    length = random.randrange(len(content))
    _replace(file, content[:length])
    return f"cut off after {length} of {len(content)} bytes"


def _replace(file: Path, content: bytes) -> None:
    # A new file: a shard that is open is mapped into memory.
    file.unlink()
    file.write_bytes(content)


@contextmanager
def _kept(file: Path) -> Iterator[None]:
    content = file.read_bytes()
    try:
        yield
    finally:
        _replace(file, content)


def _cache(folder: Path, seed: int) -> Path:
    """A cache of several shards, other ones for another seed."""
    generator = np.random.default_rng(seed)

    def points(index: int) -> np.ndarray:
        cloud = np.tile(SCENE, 50)
        for name in "xyz":
            cloud[name] += generator.normal(size=len(cloud))
        return cloud

    bag = write_bag(folder, Scene(clouds=6, images=4, points=points))
    config = PrepareConfig(shard_bytes=10_000, overlays=0)
    prepare([bag], "pandaset", folder / "cache", config)
    return folder / "cache"


def _data_files(cache: Path) -> list[Path]:
    """Those whose content counts: the record of digests only saves time."""
    return sorted(file for file in cache.iterdir() if file.is_file() and file.name != "inputs.json")


def _digest(*parts: Any) -> str:
    digest = hashlib.sha256()
    for part in parts:
        if isinstance(part, np.ndarray):
            digest.update(f"{part.dtype} {part.shape}".encode() + part.tobytes())
        else:
            digest.update(repr(part).encode())
    return digest.hexdigest()


def _of_cache(path: Path) -> str:
    """All that is read of a cache, but for where it lies."""
    cache = Cache.open(path)
    report = {key: value for key, value in read_report(cache).to_json().items() if key != "cache"}
    parts: list[Any] = [cache.sweeps, cache.images, cache.statistics, cache.taxonomy]
    parts += [cache.intensity_scale, cache.fingerprint, report]
    for i in range(len(cache.sweeps)):
        sweep = cache.sweep(i)
        parts += [sweep.points, sweep.time, sweep.label]
    parts += [cache.jpeg(j) for j in range(len(cache.images))]
    return _digest(*parts)


def _run(scratch: Path) -> Path:
    """A finished run of the whole method on a drive of two seconds."""
    config = load_settings(RunConfig, None, METHOD)
    warnings.simplefilter("ignore")
    run([small_drive(scratch)], scratch / "out", "simulation", config, quiet)
    return scratch / "out"


def _readers_of_stages(out: Path) -> Iterator[tuple[Path, Reader]]:
    """Every file of the stages that a later call reads, with what reads it."""
    caches = [Cache.open(index.parent) for index in sorted(out.glob("caches/*/index.json"))]
    for folder in sorted((out / "stages").iterdir()):
        files = SweepFiles(folder, caches)
        for number in range(len(caches[0])):
            ref = SweepRef(0, number)
            if ref in files:
                yield files.path(ref), lambda files=files, ref=ref: _of_sweep(files, ref)
        config = folder / "config.json"
        if (folder / "result.json").is_file():
            settings = json.loads(config.read_text())
            yield folder / "result.json", lambda f=folder, s=settings: _of_result(f, s)
        if (folder / ENCODER).is_file():
            identity = json.loads(config.read_text())
            yield folder / ENCODER, lambda files=files, i=identity: _of_encoder(files, i)
        if (folder / "teacher.safetensors").is_file():
            yield (
                folder / "teacher.safetensors",
                lambda f=folder: _of_network(load_teacher(f / "teacher.safetensors")),
            )
        for model in [*folder.glob("model.safetensors"), *folder.glob("snapshots/*.safetensors")]:
            yield model, lambda model=model: _of_network(model_file.load(model))


def _of_sweep(files: SweepFiles, ref: SweepRef) -> str:
    arrays = files.read(ref)
    return _digest(
        files.header(ref), *(item for name in sorted(arrays) for item in (name, arrays[name]))
    )


def _of_result(folder: Path, settings: dict[str, Any]) -> str:
    return _digest(RunFolder(folder, settings).result())


def _of_encoder(files: SweepFiles, identity: dict[str, Any]) -> str:
    return _of_network((ImageFeatures(files, [], identity).network(), None))


def _of_network(loaded: tuple[Any, Any]) -> str:
    network, metadata = loaded
    weights = network.state_dict()
    return _digest(metadata, *(item for name in weights for item in (name, weights[name].numpy())))
