"""The files of a deployment, by the tools that know their formats."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[2]


def said_by(tool: str, *arguments: str | Path) -> str:
    """What a tool that finds nothing wrong would not say."""
    if shutil.which(tool) is None:
        pytest.skip(f"{tool} is not installed")
    done = subprocess.run(
        [tool, *arguments], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    return done.stdout


def test_hadolint_has_nothing_to_say_of_the_dockerfiles():
    files = sorted((REPOSITORY / "scripts").glob("*.Dockerfile"))
    assert len(files) == 2
    assert said_by("hadolint", *files) == ""


def test_systemd_has_nothing_to_say_of_the_unit():
    assert said_by("systemd-analyze", "verify", REPOSITORY / "config/haskd_ros.service") == ""
