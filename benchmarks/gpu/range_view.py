"""Part `range_view`: the network R by torch and by ONNX Runtime's providers."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import torch

from gpu.clouds import clouds
from gpu.latency import percentiles
from gpu.part import NEEDS_GPU, Case, Rows
from haskd_ros import model_file
from haskd_ros.model_header import ModelMetadata
from haskd_ros.models import build
from haskd_ros.segmentation import DEFAULT_MODEL
from haskd_ros.segmenter import Segmenter
from haskd_training.robot.onnx_export import export_onnx

SECONDS = 2.0
PROVIDERS = {
    "CUDAExecutionProvider": {},
    "TensorrtExecutionProvider": {"trt_fp16_enable": True},
}

Scores = Callable[[], np.ndarray]


def run(case: Case, rows: Rows) -> None:
    points = 2_000 if case.small else 106_000
    with tempfile.TemporaryDirectory() as folder:
        model, exported = Path(folder, "R.safetensors"), Path(folder, "R.onnx")
        save_untrained(model, small=case.small)
        reference = Segmenter.load(model, "cpu", "fp32")
        cloud = clouds(case, points, 1)[0]
        cloud[:, 3] /= 255
        given = torch.from_numpy(cloud)
        with torch.inference_mode():
            wanted = reference._network(given).numpy()
        for precision in ("fp32", "fp16") if case.on_gpu else ("fp32",):
            scores = _by_torch(Segmenter.load(model, case.device, precision), given)
            rows.add(by=f"torch, {precision}", points=points, **_figures(scores, wanted, case))
        export_onnx(model, exported)
        for provider, options in PROVIDERS.items():
            if reason := _why_not(provider, case):
                rows.add(by=provider, points=points, missing=reason)
            else:
                _add(rows, case, exported, [(provider, options)], cloud, wanted)
        if case.small:
            _add(rows, case, exported, ["CPUExecutionProvider"], cloud, wanted)


def save_untrained(path: Path, *, small: bool = False) -> None:
    """A model file of R with random weights; small: of fewer pixels and channels."""
    metadata = model_file.load(DEFAULT_MODEL)[1]
    arguments: dict[str, Any] = (
        {"channels": [8, 8], "rows": 8, "columns": 64} if small else {"channels": [32, 48, 64, 96]}
    )
    metadata = ModelMetadata(
        "range_view",
        arguments,
        metadata.taxonomy,
        metadata.intensity,
        metadata.max_range,
        metadata.input_range,
    )
    torch.manual_seed(0)
    model_file.save(
        path, build("range_view", classes=len(metadata.taxonomy), **arguments), metadata
    )


def _why_not(provider: str, case: Case) -> str:
    if not case.on_gpu:
        return NEEDS_GPU
    there = onnxruntime.get_available_providers()
    return "" if provider in there else f"onnxruntime has {', '.join(there)} alone"


def _by_torch(segmenter: Segmenter, given: torch.Tensor) -> Scores:
    def scores() -> np.ndarray:
        with torch.inference_mode(), segmenter._in_precision():
            return segmenter._network(given.to(segmenter.device)).float().cpu().numpy()

    return scores


def _add(
    rows: Rows, case: Case, exported: Path, providers: list[Any], cloud: np.ndarray, wanted: Any
) -> None:
    session = onnxruntime.InferenceSession(exported, providers=providers)
    used = session.get_providers()[0]
    asked = providers[0] if isinstance(providers[0], str) else providers[0][0]
    if used != asked:
        # ONNX Runtime takes the CPU without a word where a provider's libraries are missing.
        rows.add(by=asked, points=len(cloud), missing=f"ONNX Runtime took {used} instead")
        return
    scores: Scores = lambda: session.run(["logits"], {"points": cloud})[0]  # noqa: E731
    rows.add(by=used, points=len(cloud), **_figures(scores, wanted, case))


def _figures(scores: Scores, wanted: np.ndarray, case: Case) -> dict[str, Any]:
    started = time.perf_counter()
    found = scores()
    first = 1e3 * (time.perf_counter() - started)
    times: list[float] = []
    until = time.perf_counter() + (0.1 if case.small else SECONDS)
    while len(times) < 3 or time.perf_counter() < until:
        started = time.perf_counter()
        scores()
        times.append(1e3 * (time.perf_counter() - started))
    return {
        "same labels": float((found.argmax(1) == wanted.argmax(1)).mean()),
        "largest difference of a logit": float(np.abs(found - wanted).max()),
        **percentiles(times),
        "first ms": first,
    }
