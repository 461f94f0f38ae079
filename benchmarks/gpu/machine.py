"""Part `machine`: the GPU, and what can be imported."""

from __future__ import annotations

import importlib
import importlib.metadata
import platform
import subprocess

from gpu.part import NEEDS_GPU, Case, Rows

MODULES = {
    "torch": "torch",
    "triton": "triton",
    "spconv": "spconv.pytorch",
    "onnxruntime": "onnxruntime",
    "rosbags": "rosbags",
    "lightning-fabric": "lightning_fabric",
    "open3d": "open3d",
    "rclpy": "rclpy",
}


def run(case: Case, rows: Rows) -> None:
    rows.add(what="Python", found=platform.python_version())
    rows.add(what="GPU", found=_gpu() if case.on_gpu else NEEDS_GPU)
    for name, module in MODULES.items():
        rows.add(what=name, found=_version(module))
    import torch

    if case.on_gpu and not torch.cuda.is_available():
        raise SystemExit(f"torch {torch.__version__} sees no GPU")
    from haskd_ros.sparse.backends import chosen_backend, fault, import_error

    device = torch.device(case.device)
    rows.add(what="sparse convolutions by themselves run on", found=chosen_backend(device))
    if case.on_gpu:
        for backend in ("spconv", "triton"):
            reason = import_error(backend) or fault(backend, device)
            rows.add(what=f"{backend} compared with torch", found=reason or "the same")


def _gpu() -> str:
    fields = "name,compute_cap,driver_version,memory.total,clocks.max.sm,clocks.max.mem,power.limit"
    command = ["nvidia-smi", f"--query-gpu={fields}", "--format=csv,noheader"]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    # A Jetson has none that answers.
    except (OSError, subprocess.CalledProcessError) as error:
        return f"nvidia-smi: {error}"


def _version(name: str) -> str:
    try:
        module = importlib.import_module(name)
    # CUDA libraries that do not fit the driver raise what they like.
    except Exception as error:
        return f"{type(error).__name__}: {error}"
    version = getattr(module, "__version__", None)
    return str(version) if version else "imported"
