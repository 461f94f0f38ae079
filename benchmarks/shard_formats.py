"""Our shards against WebDataset's and MosaicML Streaming's (MDS):
`python benchmarks/shard_formats.py [--sweeps 400] [--points 60000] [--rounds 5]`.

The same sweeps (place, intensity, time, label) are written in each format, in shards of 64 MiB, and
read from this disk, warm, by each of
- ours, in an order drawn over all sweeps, every tensor compared with its checksum;
- WebDataset, whose shards are read from front to back: shards in drawn order, then a buffer of as
  many sweeps as a shard holds, of which one is drawn at a time;
- MDS, by index in the same drawn order as ours, and by its own iterator, shuffled.

Each is a process of its own, so that its memory is its own; they take turns. Prints Markdown:
medians over the turns, and what a flipped bit does to each. A format that isn't installed is left
out: `pip install webdataset mosaicml-streaming`.
"""

from __future__ import annotations

# Before numpy, whose threads it keeps from spinning.
import haskd_ros  # noqa: F401

# isort: split

import argparse
import importlib.util
import io
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import psutil

from haskd_ros.taxonomy import ClassInfo, Taxonomy
from haskd_training.core.machine import machine
from haskd_training.data.caches.cache import Cache
from haskd_training.data.caches.rows import SweepRow
from haskd_training.data.caches.shards import SHARD_BYTES
from haskd_training.data.caches.writer import CacheWriter

DTYPES = {"points": np.float32, "time": np.float32, "label": np.uint8}
READERS = {
    "ours": None,
    "webdataset": "webdataset",
    "mds, by index": "streaming",
    "mds, its order": "streaming",
}
"""The module that each needs."""


def sweep(number: int, points: int) -> dict[str, np.ndarray]:
    generator = np.random.default_rng(number)
    return {
        "points": generator.normal(0, 20, (points, 4)).astype(np.float32),
        "time": generator.random(points).astype(np.float32),
        "label": generator.integers(0, 20, points).astype(np.uint8),
    }


def write(folder: Path, sweeps: int, points: int) -> None:
    """Write all formats that are installed."""
    classes = Taxonomy(tuple(ClassInfo(f"class{k}", (k, k, k)) for k in range(20)))
    writer = CacheWriter(folder / "ours", "shard formats")
    for number in range(sweeps):
        tensors = sweep(number, points)
        counts = np.bincount(tensors["label"], minlength=20).tolist()
        writer.sweeps.add(SweepRow("drive", number, points, counts), tensors)
    writer.close()
    Cache(folder / "ours", classes, 1.0, {}, writer.sweeps.rows, [], "").write_index(
        folder / "ours"
    )
    if importlib.util.find_spec("webdataset"):
        import webdataset

        (folder / "webdataset").mkdir()
        pattern = f"{folder}/webdataset/%05d.tar"
        with webdataset.ShardWriter(pattern, maxsize=SHARD_BYTES, verbose=0) as shards:
            for number in range(sweeps):
                content = {name: _npy(x) for name, x in sweep(number, points).items()}
                named = {f"{name}.npy": octets for name, octets in content.items()}
                shards.write({"__key__": f"{number:08d}", **named})
    if importlib.util.find_spec("streaming"):
        from streaming import MDSWriter

        with MDSWriter(
            out=f"{folder}/mds",
            columns={"points": f"ndarray:float32:{points},4", "time": f"ndarray:float32:{points}",
                     "label": f"ndarray:uint8:{points}"},
            hashes=["xxh64"],
            size_limit=SHARD_BYTES,
        ) as shards:  # fmt: skip
            for number in range(sweeps):
                shards.write(sweep(number, points))


def _npy(array: np.ndarray) -> bytes:
    file = io.BytesIO()
    np.save(file, array)
    return file.getvalue()


def ours(folder: Path) -> Iterator[np.ndarray]:
    cache = Cache.open(folder / "ours")
    for i in np.random.default_rng(0).permutation(len(cache)):
        yield cache.sweep(int(i)).points


def webdataset_(folder: Path) -> Iterator[np.ndarray]:
    import webdataset

    tars = sorted(map(str, (folder / "webdataset").glob("*.tar")))
    held = round(SHARD_BYTES / (Path(tars[0]).stat().st_size / _held(tars[0])))
    data = webdataset.WebDataset(tars, shardshuffle=len(tars), seed=0).shuffle(held).decode()
    for sample in data:
        yield sample["points.npy"]


def _held(tar: str) -> int:
    import tarfile

    with tarfile.open(tar) as opened:
        return sum(name.endswith("points.npy") for name in opened.getnames())


def mds_by_index(folder: Path) -> Iterator[np.ndarray]:
    from streaming import StreamingDataset

    data = StreamingDataset(local=f"{folder}/mds", batch_size=1)
    for i in np.random.default_rng(0).permutation(len(data)):
        yield data[int(i)]["points"]


def mds_in_its_order(folder: Path) -> Iterator[np.ndarray]:
    from streaming import StreamingDataset

    for sample in StreamingDataset(local=f"{folder}/mds", batch_size=1, shuffle=True):
        yield sample["points"]


BY_NAME: dict[str, Callable[[Path], Iterator[np.ndarray]]] = {
    "ours": ours,
    "webdataset": webdataset_,
    "mds, by index": mds_by_index,
    "mds, its order": mds_in_its_order,
}


def one(name: str, folder: Path) -> dict[str, float]:
    """Read all sweeps once; the sum of their points tells whether they are all there, unchanged."""
    process = psutil.Process()
    started = time.perf_counter()
    samples = iter(BY_NAME[name](folder))
    total, count = float(next(samples).astype(np.float64).sum()), 1
    first = time.perf_counter()
    before = peak = process.memory_full_info().uss
    for points in samples:
        total += float(points.astype(np.float64).sum())
        count += 1
        if count % 20 == 0:
            peak = max(peak, process.memory_full_info().uss)
    seconds = time.perf_counter() - first
    return {
        "count": count,
        "total": total,
        "rate": (count - 1) / seconds,
        "first_s": first - started,
        "own_mb": (peak - before) / 1e6,
    }


def called(name: str, folder: Path) -> dict[str, Any] | str:
    """The same in a process of its own; the last line of its error where it fails."""
    command = [sys.executable, __file__, "--one", name, "--folder", str(folder)]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        return done.stderr.strip().splitlines()[-1]
    result: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return result


def with_flipped_bit(name: str, folder: Path, points: int, whole: dict[str, Any]) -> str:
    """What reading does when a bit of a coordinate's exponent is flipped."""
    coordinate = sweep(0, points)["points"][points // 2].tobytes()
    for shard in sorted((folder / name.partition(",")[0]).iterdir()):
        content = bytearray(shard.read_bytes())
        if (place := content.find(coordinate)) >= 0:
            break
    content[place + 3] ^= 1 << 1
    kept = shard.read_bytes()
    shard.write_bytes(content)
    found = called(name, folder)
    shard.write_bytes(kept)
    if isinstance(found, str):
        return f"error: {found[-120:]}"
    return "not noticed" if found["total"] != whole["total"] else "did not reach the reader"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sweeps", type=int, default=400)
    parser.add_argument("--points", type=int, default=60_000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--one", help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.one:
        sys.stdout.write(json.dumps(one(given.one, given.folder)) + "\n")
        return
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        write(folder, given.sweeps, given.points)
        names = [n for n, needs in READERS.items() if not needs or importlib.util.find_spec(needs)]
        rounds: dict[str, list[dict[str, Any]]] = {name: [] for name in names}
        for number in range(given.rounds):
            for k in range(len(names)):
                name = names[(k + number) % len(names)]
                found = called(name, folder)
                if isinstance(found, str):
                    raise SystemExit(f"{name}: {found}")
                rounds[name].append(found)
        flips = {
            name: with_flipped_bit(name, folder, given.points, rounds[name][0]) for name in names
        }
    report(rounds, flips, given)


def report(
    rounds: dict[str, list[dict[str, Any]]], flips: dict[str, str], given: argparse.Namespace
) -> None:
    lines = [
        f"{given.sweeps} sweeps of {given.points:,} points, {given.rounds} rounds; {machine()}",
        "",
        "| format | sweeps/s | of ours | first sweep, s | memory after it, MB | a flipped bit |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    for name, turns in rounds.items():
        if any(turn["count"] != given.sweeps for turn in turns):
            lines.append(f"{name}: {[turn['count'] for turn in turns]} sweeps came")
        ratios = [turn["rate"] / base["rate"] for turn, base in zip(turns, rounds["ours"])]
        rate, first, own = (
            statistics.median(turn[key] for turn in turns) for key in ("rate", "first_s", "own_mb")
        )
        lines.append(
            f"| {name} | {rate:.0f} | {statistics.median(ratios):.2f} | {first:.2f} | {own:.0f} "
            f"| {flips[name]} |"
        )
    sys.stdout.write("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
