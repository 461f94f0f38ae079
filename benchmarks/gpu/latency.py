"""Part `latency`: from a cloud in the CPU's memory to its labels there, by size of network."""

from __future__ import annotations

import time
from typing import Any

import numpy as np
import torch

from gpu.clouds import clouds
from gpu.parity import computing, why_not
from gpu.part import NEEDS_GPU, Case, Rows
from haskd_ros import model_file
from haskd_ros.models import build, of_size
from haskd_ros.segmentation import DEFAULT_MODEL
from haskd_ros.segmenter import Segmenter

VOXEL_SIZE_M = 0.1
TURNS = 60
SECONDS = 2.0
"""The most turns of a case, and the time that they may take."""


def run(case: Case, rows: Rows) -> None:
    for row in transfers(case):
        rows.add(**row)
    sizes = ("S",) if case.small else ("S", "M", "L")
    counts = (2_000,) if case.small else (106_000, 30_000, 123_000)
    given = {count: clouds(case, count, 1 if case.small else 4) for count in counts}
    for size in sizes:
        for backend in ("spconv", "triton", "torch"):
            if reason := why_not(backend, case):
                rows.add(network=size, backend=backend, missing=reason)
                continue
            for precision in ("fp16", "fp32") if size == "S" and case.on_gpu else ("fp16",):
                segmenter = fresh(size, case.device, precision)
                for count in counts:
                    row = {"network": size, "backend": backend, "precision": precision}
                    with computing(segmenter, backend):
                        rows.add(**row, points=count, **_timed(segmenter, given[count], case))


def fresh(size: str, device: str, precision: str) -> Segmenter:
    """A network of this size with random weights at work."""
    _, metadata = model_file.load(DEFAULT_MODEL)
    torch.manual_seed(0)
    architecture, arguments = of_size(size, VOXEL_SIZE_M)
    network = build(architecture, classes=len(metadata.taxonomy), **arguments)
    return Segmenter(network, metadata, device, precision)


def _timed(segmenter: Segmenter, given: list[np.ndarray], case: Case) -> dict[str, Any]:
    """ms; the first cloud, which may wait for a compiler, stands for itself."""
    if case.on_gpu:
        torch.cuda.reset_peak_memory_stats()
    first = _milliseconds(segmenter, given[0])
    for cloud in given:
        segmenter(cloud)
    times: list[float] = []
    until = time.perf_counter() + (0.2 if case.small else SECONDS)
    while len(times) < 3 or (len(times) < TURNS and time.perf_counter() < until):
        times.append(_milliseconds(segmenter, given[len(times) % len(given)]))
    return percentiles(times) | {
        "turns": len(times),
        "first ms": first,
        "peak MiB": peak_mib() if case.on_gpu else NEEDS_GPU,
    }


def _milliseconds(segmenter: Segmenter, cloud: np.ndarray) -> float:
    # The labels are on the CPU afterwards: nothing is left running.
    started = time.perf_counter()
    segmenter(cloud)
    return 1e3 * (time.perf_counter() - started)


def percentiles(times: list[float]) -> dict[str, float]:
    """ms -> p50 ms, p95 ms, p99 ms, max ms."""
    values = np.percentile(times, [50, 95, 99, 100])
    return dict(zip(("p50 ms", "p95 ms", "p99 ms", "max ms"), map(float, values)))


def peak_mib() -> float:
    """The most memory of the GPU that tensors have taken since it was reset."""
    return torch.cuda.max_memory_allocated() / 2**20


def transfers(case: Case) -> list[dict[str, Any]]:
    """A cloud of 123,000 points to the GPU and its labels back, alone: from memory as it is, as the
    segmenter does it, and from pinned memory."""
    given = torch.zeros(123_000, 4)
    found = []
    for memory in ("as it is", "pinned"):
        row: dict[str, Any] = {"network": "transfers alone", "memory": memory, "points": len(given)}
        if not case.on_gpu:
            found.append(row | {"missing": NEEDS_GPU})
            continue
        own = given.pin_memory() if memory == "pinned" else given
        labels = torch.zeros(len(given), 3, device="cuda")
        back = torch.empty(labels.shape, pin_memory=memory == "pinned")
        times = []
        for _ in range(TURNS):
            torch.cuda.synchronize()
            started = time.perf_counter()
            own.to("cuda", non_blocking=True)
            back.copy_(labels, non_blocking=True)
            torch.cuda.synchronize()
            times.append(1e3 * (time.perf_counter() - started))
        found.append(row | percentiles(times))
    return found
