"""Part `training`: steps a second, by size of network, backend and precision."""

from __future__ import annotations

import time
from typing import Any

import torch

from gpu.clouds import clouds
from gpu.latency import VOXEL_SIZE_M, peak_mib
from gpu.parity import BACKENDS, why_not
from gpu.part import NEEDS_GPU, Case, Rows
from haskd_ros.models import build, of_size
from haskd_ros.models.network import SegmentationNetwork
from haskd_training.learning.losses import cross_entropy, lovasz_softmax, soften

CLASSES = 11
SECONDS = 1.5
PRECISIONS = {"fp32": None, "bf16": torch.bfloat16, "fp16": torch.float16}


def run(case: Case, rows: Rows) -> None:
    points, sweeps = (1_000, 1) if case.small else (106_000, 2)
    batch = torch.cat([torch.from_numpy(cloud) for cloud in clouds(case, points, sweeps)])
    batch[:, 3] /= 255
    number = torch.arange(sweeps).repeat_interleave(points)
    # By height and side: something to be learned.
    labels = (batch[:, 2] > -1).long() + 2 * (batch[:, 1] > 0).long()
    given = tuple(t.to(case.device) for t in (batch, number, labels))
    for size in ("S",) if case.small else ("S", "M"):
        for backend in BACKENDS:
            if reason := why_not(backend, case):
                rows.add(network=size, backend=backend, missing=reason)
                continue
            for precision in PRECISIONS:
                row = {"network": size, "backend": backend, "precision": precision}
                figures = _timed(_network(size, backend, case), given, precision, case)
                rows.add(**row, sweeps=sweeps, points=points, **figures)


def _network(size: str, backend: str, case: Case) -> SegmentationNetwork:
    torch.manual_seed(0)
    architecture, arguments = of_size(size, 0.5 if case.small else VOXEL_SIZE_M)
    network = build(architecture, classes=CLASSES, **arguments).to(case.device)
    network.backend = backend
    return network


def _timed(
    network: SegmentationNetwork, given: tuple[torch.Tensor, ...], precision: str, case: Case
) -> dict[str, Any]:
    points, number, labels = given
    optimizer = torch.optim.AdamW(network.parameters(), 1e-3)
    scaler = torch.amp.GradScaler(case.device, enabled=precision == "fp16")
    weights = torch.ones(CLASSES, device=case.device)
    dtype = PRECISIONS[precision]

    def step() -> torch.Tensor:
        with torch.autocast(case.device, dtype or torch.bfloat16, enabled=dtype is not None):
            logits = network(points, number)
        log_p = soften(logits.float())
        loss = cross_entropy(log_p, labels, weights) + lovasz_softmax(log_p.exp(), labels)
        optimizer.zero_grad()
        scaler.scale(loss).backward()
        scaler.step(optimizer)
        scaler.update()
        return loss.detach()

    first = float(step())
    if case.on_gpu:
        for _ in range(3):
            step()
        torch.cuda.reset_peak_memory_stats()
        torch.cuda.synchronize()
    steps, started = 0, time.perf_counter()
    while steps < 2 or time.perf_counter() - started < (0 if case.small else SECONDS):
        loss = float(step())
        steps += 1
    seconds = time.perf_counter() - started
    return {
        "steps a second": steps / seconds,
        "loss": f"{first:.3f} to {loss:.3f}",
        "peak MiB": peak_mib() if case.on_gpu else NEEDS_GPU,
    }
