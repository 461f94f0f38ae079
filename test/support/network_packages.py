"""Packages that add networks, installed into a folder that a process gets on its PYTHONPATH."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]
EXAMPLE = REPOSITORY / "training" / "examples" / "network_package"


def pip_install(package: Path, target: Path) -> Path:
    """Install a package from its sources, without a network, into a folder of its own."""
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-index"]
    command += ["--no-build-isolation", "--disable-pip-version-check", "--target", str(target)]
    # pip builds in the sources' folder.
    subprocess.run([*command, str(package)], check=True, capture_output=True, text=True)
    return target


def fake_package(folder: Path, name: str, entry_points: str, module: str = "") -> Path:
    """The files of an installed package: metadata with lines of entry points, and one module,
    `<name>.py`."""
    info = folder / f"{name}-1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(f"[haskd.networks]\n{entry_points}\n")
    (folder / f"{name}.py").write_text(module)
    return folder


def environment(*folders: Path) -> dict[str, str]:
    """Of a process that has those packages beside what this one has."""
    path = os.pathsep.join(map(str, [*folders, *filter(None, sys.path)]))
    return {**os.environ, "PYTHONPATH": path}
