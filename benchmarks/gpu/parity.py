"""Part `parity`: whether every backend gives what a CPU's float32 gives."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import torch

from gpu.clouds import clouds
from gpu.part import NEEDS_GPU, Case, Rows
from haskd_ros.native import dispatch
from haskd_ros.segmentation import DEFAULT_MODEL
from haskd_ros.segmenter import Segmenter
from haskd_ros.sparse.backends import import_error

BACKENDS = ("torch", "triton", "spconv")
PRECISIONS = ("fp32", "fp16")


def why_not(backend: str, case: Case) -> str:
    """Why a backend can't be used; empty where it can."""
    if backend == "triton" and not case.on_gpu:
        return NEEDS_GPU
    return "" if backend == "torch" else import_error(backend)


@contextlib.contextmanager
def computing(segmenter: Segmenter, backend: str) -> Iterator[None]:
    """Within it the segmenter's network computes on this backend, in its precision."""
    segmenter._network.backend = backend
    on_cpu = segmenter.device.type == "cpu"
    # On a GPU the kernels still choose the points.
    plain = dispatch.plain_torch() if backend == "torch" and on_cpu else contextlib.nullcontext()
    with plain, segmenter._in_precision(), torch.inference_mode():
        yield


def run(case: Case, rows: Rows) -> None:
    points, count = (2_000, 1) if case.small else (106_000, 5)
    reference = Segmenter.load(DEFAULT_MODEL, "cpu", "fp32")
    given = []
    for cloud in clouds(case, points, count):
        scale = reference.metadata.intensity.scale
        valid, *_ = reference._valid_points(cloud, 0.0, reference.metadata.max_range, scale)
        given.append(torch.from_numpy(valid))
    with torch.inference_mode():
        wanted = [reference._network(cloud) for cloud in given]
    for backend in BACKENDS:
        for precision in PRECISIONS:
            row = {"backend": backend, "precision": precision, "points": points, "clouds": count}
            if reason := why_not(backend, case):
                rows.add(**row, missing=reason)
                continue
            segmenter = Segmenter.load(DEFAULT_MODEL, case.device, precision)
            with computing(segmenter, backend):
                found = [segmenter._network(cloud.to(case.device)).float().cpu() for cloud in given]
            rows.add(**row, **_compared(found, wanted))


def _compared(found: list[torch.Tensor], wanted: list[torch.Tensor]) -> dict[str, float]:
    one, other = torch.cat(found), torch.cat(wanted)
    return {
        "same labels": float((one.argmax(1) == other.argmax(1)).double().mean()),
        "largest difference of a logit": float((one - other).abs().max()),
        "largest logit": float(other.abs().max()),
    }
