"""What longer and more recordings cost: `python benchmarks/scale.py BAG --labels MAP --out DIR`.

Parts, any of which can be chosen by name with --parts:
- prepare: `haskd prepare` against reading the messages alone, in turns, on the bag as it is and on
  one of --sweeps-to-prepare as large ones;
- memory: the most that `haskd prepare` holds on a minute, ten minutes and an hour (--minutes);
- stages: s of each stage of `haskd run` on 10, 100 and 1,000 sweeps (--sweeps), one epoch each, and
  a plot, `scale.png`;
- recordings: ms a sweep and MiB at most of the stages on 10, 100 and 1,000 recordings
  (--recordings), see `scale_recordings.py`; and what choosing sweeps in rounds loses. Of several
  bags all are used.

Longer bags are the given one over and over, its stamps moved on. To keep them small, those of
`memory` and `stages` have --points of each cloud and the images of one camera at a third of their
size: what grows with the number of sweeps shows, what grows with their size is the first part's
affair. Prints Markdown.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import matplotlib.pyplot as plt
import numpy as np
import scale_recordings
from rosbags.rosbag2 import StoragePlugin
from rosbags.typesys import Stores, get_typestore

from haskd_training.core.machine import machine
from haskd_training.recordings.bag_writing import bag_writer
from haskd_training.recordings.readers.bag import (
    CAMERA_INFO,
    COMPRESSED_IMAGE,
    POINT_CLOUD,
    open_bag,
)
from haskd_training.robot.live.benchmark import draw_points

TYPES = get_typestore(Stores.ROS2_HUMBLE)
SHRINK = 3

FAST = (
    "student.voxel_size=0.5", "student.loop.epochs=1",
    "student.split.calibration=0.1", "student.split.validation=0.1", "student.split.test=0.1",
)  # fmt: skip
"""One epoch of everything: it is the growth that is asked for."""


def moved(stamp: Any, by_ns: int) -> Any:
    seconds, nanoseconds = divmod(stamp.sec * 10**9 + stamp.nanosec + by_ns, 10**9)
    return replace(stamp, sec=seconds, nanosec=nanoseconds)


def later(message: Any, by_ns: int) -> Any:
    """The same message at another time."""
    if hasattr(message, "transforms"):
        return replace(message, transforms=[later(one, by_ns) for one in message.transforms])
    header = replace(message.header, stamp=moved(message.header.stamp, by_ns))
    return replace(message, header=header)


def shrunk_image(image: Any) -> Any:
    pixels = cv2.imdecode(image.data, cv2.IMREAD_COLOR)[::SHRINK, ::SHRINK]
    return replace(image, data=cv2.imencode(".jpg", pixels)[1].reshape(-1))


def shrunk_camera(info: Any) -> Any:
    k, p = info.k.copy(), info.p.copy()
    k[:6] /= SHRINK
    p[:8] /= SHRINK
    return replace(info, width=-(-info.width // SHRINK), height=-(-info.height // SHRINK), k=k, p=p)


def small(kind: str, message: Any, points: int) -> Any:
    if kind == POINT_CLOUD:
        return draw_points(message, points)
    if kind == COMPRESSED_IMAGE:
        return shrunk_image(message)
    return shrunk_camera(message) if kind == CAMERA_INFO else message


def long_bag(bag: Path, out: Path, sweeps: int, points: int | None) -> Path:
    """The bag over and over, `sweeps` clouds in all; made once.

    Args:
        points: of each cloud, and the images of one camera alone, smaller; None: all there is.
    """
    if out.exists():
        return out
    with open_bag(bag) as opened:
        images = sorted(t for t, kind in opened.topics.items() if kind == COMPRESSED_IMAGE)
        # Of one camera: its images and what stands beside them.
        others = tuple(str(Path(topic).parents[1]) + "/" for topic in images[1:] if points)
        recorded = [
            (
                connection,
                time_ns,
                small(connection.msgtype, decode(), points) if points else decode(),
            )
            for connection, time_ns, _, decode in opened.recorded()
            if not connection.topic.startswith(others)
        ]
    times = [time_ns for _, time_ns, _ in recorded]
    period = max(times) - min(times) + 100_000_000
    writer = bag_writer(out, StoragePlugin.MCAP)
    with writer:
        connections = {}
        for topic, connection in {c.topic: c for c, _, _ in recorded}.items():
            connections[topic] = writer.add_connection(
                topic,
                connection.msgtype,
                typestore=TYPES,
                offered_qos_profiles=connection.ext.offered_qos_profiles,
            )
        for turn, (connection, time_ns, message) in endless(recorded):
            if sweeps == 0:
                break
            if turn and connection.topic == "/tf_static":
                continue
            by_ns = turn * period
            octets = TYPES.serialize_cdr(later(message, by_ns), connection.msgtype)
            writer.write(connections[connection.topic], time_ns + by_ns, octets)
            sweeps -= connection.msgtype == POINT_CLOUD
    return out


def endless(items: list[Any]) -> Iterator[tuple[int, Any]]:
    turn = 0
    while True:
        for item in items:
            yield turn, item
        turn += 1


def haskd(*arguments: object) -> tuple[float, float]:
    """Run a command of ours: s, and MiB at its largest."""
    command = [sys.executable, "-m", "haskd_training", *map(str, arguments)]
    started = time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    if status:
        raise SystemExit(f"{' '.join(command)} failed")
    return time.perf_counter() - started, usage.ru_maxrss / 1024


def size_mb(bag: Path) -> float:
    return sum(path.stat().st_size for path in bag.rglob("*") if path.is_file()) / 1e6


def prepare_against_reading(bag: Path, labels: str, out: Path, turns: int, sweeps: int) -> None:
    longer = long_bag(bag, out / f"{sweeps}large", sweeps, None)
    print("\n| | MB | s: median (all) | MB/s |\n| --- | --- | --- | --- |")
    for one in (bag, longer):
        prepare_one(one, labels, out, turns)
    shutil.rmtree(longer)


def prepare_one(bag: Path, labels: str, out: Path, turns: int) -> None:
    reading = (
        "import sys; from pathlib import Path\n"
        "from haskd_training.recordings.readers.bag import open_bag\n"
        "with open_bag(Path(sys.argv[1])) as bag:\n"
        "    for _ in bag.recorded(): pass\n"
    )
    prepared, read, started_up = [], [], []
    mb = size_mb(bag)
    for _ in range(turns):
        cache = out / "cache"
        shutil.rmtree(cache, ignore_errors=True)
        prepared.append(haskd("prepare", bag, "--out", cache, "--labels", labels)[0])
        for seconds, code in ((read, reading), (started_up, "import haskd_training.commands.app")):
            started = time.perf_counter()
            subprocess.run([sys.executable, "-c", code, str(bag)], check=True)
            seconds.append(time.perf_counter() - started)
    shutil.rmtree(cache)
    for name, seconds in (
        ("haskd prepare", prepared), ("reading alone", read), ("Python's start alone", started_up)
    ):  # fmt: skip
        every = ", ".join(f"{value:.1f}" for value in seconds)
        rate = mb / np.median(seconds)
        print(
            f"| {name} | {mb:.0f} | {np.median(seconds):.1f} ({every}) | {rate:.0f} |", flush=True
        )


def memory(bag: Path, labels: str, out: Path, minutes: list[float], points: int) -> None:
    print("\n| minutes | bag, MB | s | MiB at most |\n| --- | --- | --- | --- |", flush=True)
    for length in minutes:
        long = long_bag(bag, out / f"{length:g}min", round(600 * length), points)
        cache = out / "cache"
        shutil.rmtree(cache, ignore_errors=True)
        seconds, mib = haskd("prepare", long, "--out", cache, "--labels", labels)
        print(f"| {length:g} | {size_mb(long):.0f} | {seconds:.0f} | {mib:.0f} |", flush=True)
        shutil.rmtree(cache)
        shutil.rmtree(long)


def stages(bag: Path, labels: str, out: Path, counts: list[int], points: int) -> None:
    found: dict[str, dict[int, float]] = defaultdict(dict)
    for sweeps in counts:
        long = long_bag(bag, out / f"{sweeps}sweeps", sweeps, points)
        cache, run = out / f"cache{sweeps}", out / f"run{sweeps}"
        for earlier in (cache, run):
            shutil.rmtree(earlier, ignore_errors=True)
        found["prepare"][sweeps], _ = haskd("prepare", long, "--out", cache, "--labels", labels)
        sets = [part for value in FAST for part in ("--set", value)]
        whole, _ = haskd("run", long, "--out", run, "--labels", labels, *sets)
        for path in run.rglob("seconds.json"):
            stage = path.parent.name.rsplit("-", 1)[0]
            stage = "said by snapshots" if stage.startswith("said-by-snapshot") else stage
            found[stage][sweeps] = found[stage].get(sweeps, 0.0) + json.loads(path.read_text())
        found["all of haskd run"][sweeps] = whole
    print("\n| stage, s | " + " | ".join(f"{n:,} sweeps" for n in counts) + " |")
    print("| --- " * (len(counts) + 1) + "|")
    for stage, seconds in sorted(found.items(), key=lambda item: -max(item[1].values())):
        print(f"| {stage} | " + " | ".join(f"{seconds.get(n, 0):.1f}" for n in counts) + " |")
    plot(found, out / "scale.png")
    print(flush=True)


def recordings(bags: list[Path], labels: str, out: Path, counts: list[int]) -> None:
    caches = [out / f"cache-{number}" for number in range(len(bags))]
    for bag, cache in zip(bags, caches, strict=True):
        haskd("prepare", bag, "--out", cache, "--labels", labels)
    sets = ("--set", "loop.epochs=4", "--set", "voxel_size=0.5")
    haskd("baseline", *caches[:2], "--out", out / "baseline", *sets)
    model = out / "baseline" / "model.safetensors"
    scale_recordings.loss_of_rounds(caches, out / "loss", model)
    scale_recordings.replicate(caches, out / "recordings", max(counts))
    scale_recordings.measure(out / "recordings", counts, model)


def plot(found: dict[str, dict[int, float]], path: Path) -> None:
    """Seconds by stage and number of sweeps, the dearest stage on top of the legend."""
    figure, axes = plt.subplots(figsize=(9, 5), layout="constrained")
    axes.set_prop_cycle(color=plt.get_cmap("tab20").colors)
    for stage, seconds in sorted(found.items(), key=lambda item: -max(item[1].values())):
        axes.plot(list(seconds), list(seconds.values()), marker="o", label=stage)
    axes.set(xscale="log", yscale="log", xlabel="sweeps", ylabel="s")
    axes.grid(alpha=0.3)
    figure.legend(loc="outside right upper")
    figure.savefig(path, dpi=120)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("bags", type=Path, nargs="+", help="several for --parts recordings alone")
    parser.add_argument("--labels", required=True, help="label map, as of haskd prepare")
    parser.add_argument("--out", type=Path, required=True, help="folder for the longer bags")
    parser.add_argument("--parts", nargs="+", default=["prepare", "memory", "stages"])
    parser.add_argument("--recordings", type=int, nargs="+", default=[10, 100, 1000])
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("--sweeps-to-prepare", type=int, default=300)
    parser.add_argument("--minutes", type=float, nargs="+", default=[1, 10, 60])
    parser.add_argument("--sweeps", type=int, nargs="+", default=[10, 100, 1000])
    parser.add_argument("--points", type=int, default=2000)
    a = parser.parse_args()
    a.out.mkdir(parents=True, exist_ok=True)
    print(machine())
    if "prepare" in a.parts:
        prepare_against_reading(a.bags[0], a.labels, a.out, a.turns, a.sweeps_to_prepare)
    if "memory" in a.parts:
        memory(a.bags[0], a.labels, a.out, a.minutes, a.points)
    if "stages" in a.parts:
        stages(a.bags[0], a.labels, a.out, a.sweeps, a.points)
    if "recordings" in a.parts:
        recordings(a.bags, a.labels, a.out, a.recordings)


if __name__ == "__main__":
    main()
