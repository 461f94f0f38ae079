"""LiDAR semantic segmentation for ROS 2: the half of HAS-KD that runs on a robot."""

from __future__ import annotations

import os
import sys
from importlib.util import find_spec
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence
    from importlib.machinery import ModuleSpec
    from types import ModuleType

__version__ = "0.1.0"

# GNU OpenMP reads this when torch loads it, so it must stand before. By default a thread that has
# done its share of a parallel region spins for up to a millisecond before it sleeps, and plain
# torch has hundreds of such regions a cloud: as soon as anything else wants the cores, threads that
# compute wait for threads that only spin, and two nodes on two cores label half of their clouds
# (docs/results/node.md). Where the compiled kernels infer, they have threads of
# their own (native/threads.h), and OpenMP's must make way for them too.
if not {"GOMP_SPINCOUNT", "OMP_WAIT_POLICY"} & os.environ.keys():
    os.environ["GOMP_SPINCOUNT"] = "1000"


class _NumpyOnOneThread:
    """Lets numpy's OpenBLAS start with one thread, whenever numpy is imported first.

    Its threads spin on for tens of milliseconds after a product of a few matrices: rotating a sweep
    before each training step made the step half as long again on two cores (docs/results/speed.md).
    Products of points with a 3 x 3 matrix need no second thread. OpenBLAS reads the variable when
    numpy loads it; torch, whose OpenBLAS may be another one, must not see it. Importing numpy here
    would do as well, at a tenth of a second for `haskd --help` and each tab that it completes.
    """

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """numpy's own spec, with the variable set while its module is executed."""
        if fullname != "numpy":
            return None
        sys.meta_path.remove(self)
        spec = find_spec("numpy")
        if spec is not None and spec.loader is not None:
            execute = spec.loader.exec_module

            def exec_module(module: ModuleType) -> None:
                if _OPENBLAS_THREADS in os.environ:  # the user has decided
                    return execute(module)
                os.environ[_OPENBLAS_THREADS] = "1"
                try:
                    execute(module)
                finally:
                    del os.environ[_OPENBLAS_THREADS]

            # The loader is this spec's own; what else is asked of it goes on to work.
            spec.loader.exec_module = exec_module  # type: ignore[method-assign]
        return spec


_OPENBLAS_THREADS = "OPENBLAS_NUM_THREADS"

if "numpy" not in sys.modules:
    sys.meta_path.insert(0, _NumpyOnOneThread())
