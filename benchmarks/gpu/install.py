"""Part `install`: what is missing, by pip, group by group."""

from __future__ import annotations

import ast
import importlib.metadata
import re
import subprocess
import sys
from pathlib import Path

from gpu.part import Case, Rows

SETUP = Path(__file__).resolve().parents[2] / "setup.py"


def groups() -> dict[str, list[str]]:
    """Requirements by group, the most needed first; those of the package as setup.py lists them."""
    tree = ast.parse(SETUP.read_text(encoding="utf-8"))
    lists = {
        ast.unparse(node.targets[0]): ast.literal_eval(node.value)
        for node in tree.body
        if isinstance(node, ast.Assign) and isinstance(node.value, ast.List)
    }
    return {
        "package": ["numpy", "pydantic>=2", "pyyaml", "safetensors", "torch"],
        "spconv": ["spconv-cu126"],
        "training": lists["TRAINING"],
        "ROS": lists["ROS_WHEELS"],
        "ONNX Runtime on GPUs": ["onnxruntime-gpu"],
    }


def run(case: Case, rows: Rows) -> None:
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    if case.wheels is not None:
        wheels = sorted(map(str, Path(case.wheels).glob("*.whl")))
        _install(rows, case.wheels, [*pip, "--no-index", "--no-deps", *wheels])
        return
    for group, requirements in groups().items():
        missing = [each for each in requirements if not _is_there(each)]
        if missing:
            _install(rows, group, [*pip, *missing])
        else:
            rows.add(group=group, result="was there")


def _is_there(requirement: str) -> bool:
    name = re.split(r"[^\w.-]", requirement)[0]
    try:
        importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return False
    return True


def _install(rows: Rows, group: str, command: list[str]) -> None:
    ended = subprocess.run(command, capture_output=True, text=True)
    said = ended.stderr.strip().splitlines()
    failure = said[-1] if said else f"pip ended with {ended.returncode}"
    rows.add(group=group, result=failure if ended.returncode else "installed")
