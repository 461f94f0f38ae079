"""libhaskd and the Python segmenter on one cloud: `python benchmarks/runtime.py`.

Two processes label the same cloud in turns, so that a drift of the machine hits both alike: one in
C with libhaskd, one in Python with `Segmenter`, as the node sets it up.

Prints Markdown: median and quartiles in ms, the ratio of Python's time to libhaskd's in each turn,
and the most memory that each process ever had. Timings, not a test.
"""

from __future__ import annotations

# Before numpy, whose threads it keeps from spinning.
import haskd_ros  # noqa: F401

# isort: split

import argparse
import subprocess
import sys
import tempfile
import time
from itertools import islice
from pathlib import Path

import numpy as np
import torch

from haskd_ros.clouds.memory import keep_freed_memory
from haskd_ros.clouds.pointcloud import read_xyz_intensity
from haskd_ros.native.build import build, native_flags
from haskd_ros.native.compiler import run
from haskd_ros.native.own_folder import cache_folder
from haskd_ros.native.runtime.build import HEADER, RUNTIME
from haskd_ros.segmentation import DEFAULT_MODEL
from haskd_ros.segmenter import Segmenter

WARM_UP = 5


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", type=Path, default=DEFAULT_MODEL)
    parser.add_argument("--bag", type=Path, help="label its first cloud instead of a drawn one")
    parser.add_argument("--points", type=int, default=30_000, help="of a cloud that is drawn")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--turns", type=int, default=50)
    parser.add_argument("--worker", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.worker is not None:
        work(options)
        return
    with tempfile.TemporaryDirectory() as scratch:
        compare(options, Path(scratch))


def compare(options: argparse.Namespace, scratch: Path) -> None:
    points = drawn(options.points) if options.bag is None else first_cloud(options.bag)
    cloud = scratch / "cloud.bin"
    points.tofile(cloud)
    program = compiled_worker(scratch)
    words = [str(options.threads), str(cloud), str(len(points))]
    python = [sys.executable, __file__, "--model", str(options.model), "--threads", words[0]]
    commands = {
        "libhaskd": [str(program), str(options.model), *words],
        "Python": [*python, "--worker", str(cloud)],
    }
    workers = {
        name: subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        for name, command in commands.items()
    }
    times: dict[str, list[float]] = {name: [] for name in workers}
    for turn in range(WARM_UP + options.turns):
        for name, worker in workers.items():
            assert worker.stdin is not None and worker.stdout is not None
            worker.stdin.write("\n")
            worker.stdin.flush()
            took = float(worker.stdout.readline())
            if turn >= WARM_UP:
                times[name].append(took)
    memory = {name: most_memory(worker.pid) for name, worker in workers.items()}
    for worker in workers.values():
        worker.communicate()
    print(f"{len(points):,} points, {options.threads} threads, {options.turns} turns\n")
    print(
        "| | ms: median (quartiles) | Python's time / its own: median (quartiles) | memory, MiB |"
    )
    print("| --- | --- | --- | --- |")
    for name, own in times.items():
        ratios = np.array(times["Python"]) / own
        print(f"| {name} | {spread(own, 1)} | {spread(ratios, 3)} | {memory[name]:.0f} |")


def most_memory(process: int) -> float:
    """MiB that a running process ever had in memory. What `getrusage` tells of a child holds its
    parent's too."""
    status = Path(f"/proc/{process}/status").read_text()
    (line,) = (line for line in status.splitlines() if line.startswith("VmHWM:"))
    return int(line.split()[1]) / 1024


def spread(values: object, digits: int) -> str:
    low, median, high = np.quantile(np.asarray(values), (0.25, 0.5, 0.75))
    return f"{median:.{digits}f} ({low:.{digits}f} to {high:.{digits}f})"


def drawn(count: int) -> np.ndarray:
    """Points [N, 4] on rings of a plane with boxes on it, as a LiDAR at 2 m sees them."""
    random = np.random.default_rng(0)
    angle = random.uniform(0, 2 * np.pi, count)
    distance = 2 / np.tan(np.radians(random.integers(1, 25, count)))
    shape = np.hypot(*np.stack([np.cos(3 * angle), np.sin(5 * angle)]))
    distance = np.minimum(distance, 10 + 30 * shape)
    height = np.where(distance < 10 + 30 * shape, -2, random.uniform(-2, 2, count))
    place = [distance * np.cos(angle), distance * np.sin(angle), height]
    return np.stack([*place, random.uniform(0, 100, count)], 1).astype(np.float32)


def first_cloud(bag: Path) -> np.ndarray:
    """Points [N, 4] of the first cloud in a recording."""
    from haskd_training.recordings.readers.bag import POINT_CLOUD, open_bag

    with open_bag(bag) as opened:
        messages = opened.messages(opened.topics_of(POINT_CLOUD))
        (message,) = (message for _, message in islice(messages, 1))
        return np.ascontiguousarray(read_xyz_intensity(message)[0])


def compiled_worker(scratch: Path) -> Path:
    """`runtime_worker.c` with libhaskd for this machine."""
    program, source = scratch / "worker", Path(__file__).with_name("runtime_worker.c")
    library = str(build(native_flags(RUNTIME), cache_folder(), RUNTIME))
    run([["cc", "-O2", f"-I{HEADER.parent}", str(source), library, "-o", str(program)]], scratch)
    return program


def work(options: argparse.Namespace) -> None:
    """As `runtime_worker.c`, in Python."""
    keep_freed_memory()
    torch.set_num_threads(options.threads)
    points = np.fromfile(options.worker, np.float32).reshape(-1, 4)
    segmenter = Segmenter.load(options.model, device="cpu", threads=options.threads)
    for _ in sys.stdin:
        started = time.perf_counter()
        segmenter(points)
        print(f"{1e3 * (time.perf_counter() - started):.4f}", flush=True)


if __name__ == "__main__":
    main()
