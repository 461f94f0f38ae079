"""The machine that figures were measured on."""

from __future__ import annotations

import os
import platform
from pathlib import Path

import torch


def machine() -> str:
    """Processor, cores, GPU and versions of this machine, in one line."""
    processor = platform.processor() or platform.machine()
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        lines = cpuinfo.read_text(encoding="utf-8", errors="replace").splitlines()
        names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
        processor = next(names, processor)
    gpu = torch.cuda.get_device_name() if torch.cuda.is_available() else "no GPU"
    return (
        f"{processor}, {len(os.sched_getaffinity(0))} cores of which torch uses "
        f"{torch.get_num_threads()}, {gpu}; torch {torch.__version__}, "
        f"Python {platform.python_version()}"
    )
