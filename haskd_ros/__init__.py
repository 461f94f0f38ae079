"""LiDAR semantic segmentation for ROS 2: the half of HAS-KD that runs on a robot."""

import os

__version__ = "0.1.0"

# GNU OpenMP reads this when torch loads it, so it must stand before. By default a thread that has
# done its share of a parallel region spins for up to a millisecond before it sleeps, and plain
# torch has hundreds of such regions a cloud: as soon as anything else wants the cores, threads that
# compute wait for threads that only spin, and two nodes on two cores label half of their clouds
# (docs/results/node.md). Where the compiled kernels infer, they have threads of
# their own (native/threads.h), and OpenMP's must make way for them too.
if not {"GOMP_SPINCOUNT", "OMP_WAIT_POLICY"} & os.environ.keys():
    os.environ["GOMP_SPINCOUNT"] = "1000"

# numpy's OpenBLAS has threads too, and after a product of a few matrices they spin on for tens of
# milliseconds: turning a sweep before each training step made the step half as long again on two
# cores (docs/results/speed.md). Products of points with a 3 x 3 matrix need no second thread. It
# reads this when numpy loads it; torch, whose OpenBLAS may be another one, must not see it.
if "OPENBLAS_NUM_THREADS" not in os.environ:
    os.environ["OPENBLAS_NUM_THREADS"] = "1"
    import numpy  # noqa: F401

    del os.environ["OPENBLAS_NUM_THREADS"]
