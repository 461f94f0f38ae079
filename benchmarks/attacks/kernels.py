"""The compiled kernels under AddressSanitizer and UndefinedBehaviorSanitizer, on OpenMP's threads
and on the package's own: every check of theirs once more, in a child process."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from attacks.outcome import Attack, Outcome

ROOT = Path(__file__).resolve().parents[2]

SANITISED = (
    *("-O0", "-g", "-fno-omit-frame-pointer"),
    *("-fsanitize=address", "-fsanitize=undefined"),
)

CHECKS = (
    "test/ros/native/test_bfloat16.py",
    "test/ros/native/test_compiled_inference.py",
    "test/ros/native/test_compiled_kernels.py",
    "test/ros/sparse",
    "test/ros/test_segmenter.py",
    "test/ros/models",
)

# Those of each instruction set compile kernels of their own, without sanitizers.
_CHOICE = ("-m", "not live", "-k", "not every_instruction_set")

# What pytest catches it shows of failed checks alone.
_SHOWN = ("-q", "-s", "-p", "no:cacheprovider")

_CHILD = """
import sys
from pathlib import Path
import pytest, torch
from haskd_ros.native import build, library
torch.set_num_threads(4)
flags = (*build.native_flags(), *sys.argv[2].split(","))
library._loaded = library.open_library(build.build(flags, Path(sys.argv[1])))
library._attempted = True
sys.exit(pytest.main(sys.argv[3:]))
"""


def sanitised(scratch: Path, seconds: float) -> Outcome:
    """Whatever a sanitizer reports, and every check that fails."""
    outcome = Outcome()
    child = _run(scratch, [*_SHOWN, *_CHOICE, *CHECKS])
    said = child.stdout + child.stderr
    outcome.tried = sum(int(count) for count in re.findall(r"(\d+) (?:passed|failed)", said))
    reports = re.findall(r"\S*: runtime error: .*|ERROR: AddressSanitizer: .*", said)
    outcome.faults += sorted(set(reports))
    outcome.faults += re.findall(r"^FAILED .*", said, re.MULTILINE)
    if child.returncode and not outcome.faults:
        outcome.faults.append(f"the checks ended with {child.returncode}: {said[-300:]}")
    return outcome


def _run(scratch: Path, arguments: Sequence[str]) -> subprocess.CompletedProcess[str]:
    compiler = os.environ.get("CXX", "g++")
    found = (
        subprocess.run(
            [compiler, f"-print-file-name={name}"], capture_output=True, text=True, check=True
        )
        for name in ("libasan.so", "libubsan.so")
    )
    environment = os.environ | {
        # Python was not linked against them.
        "LD_PRELOAD": ":".join(path.stdout.strip() for path in found),
        # What Python and torch keep until the end is no leak of the kernels'.
        "ASAN_OPTIONS": "detect_leaks=0",
        "PYTHONPATH": f"{ROOT}:{ROOT / 'training'}",
    }
    command = [sys.executable, "-c", _CHILD, str(scratch), ",".join(SANITISED), *arguments]
    return subprocess.run(
        command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False
    )


ATTACKS: dict[str, Attack] = {"sanitizers": sanitised}
