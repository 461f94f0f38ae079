"""libhaskd, compiled for this machine by what compiles the kernels."""

from pathlib import Path

import pytest
from runtime_library import Runtime

from haskd_ros.native.build import build, native_flags
from haskd_ros.native.own_folder import cache_folder
from haskd_ros.native.runtime.build import RUNTIME


@pytest.fixture(scope="session")
def runtime_path(kernels: bool) -> Path:
    if not kernels:
        pytest.skip("no compiled kernels on this machine")
    return build(native_flags(RUNTIME), cache_folder(), RUNTIME)


@pytest.fixture(scope="session")
def runtime(runtime_path: Path) -> Runtime:
    return Runtime(runtime_path)
