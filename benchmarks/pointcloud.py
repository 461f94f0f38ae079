"""Reading and writing PointCloud2, ours and sensor_msgs_py's in turn, on the same messages.

python benchmarks/pointcloud.py [--repeats 50]

Prints the medians and quartiles in ms and the ratio of the medians. Timings, not a test.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable

import numpy as np
from sensor_msgs.msg import PointCloud2, PointField
from sensor_msgs_py import point_cloud2 as reference
from std_msgs.msg import Header

from haskd_ros.clouds import pointcloud

POINT = np.dtype([("x", "f4"), ("y", "f4"), ("z", "f4"), ("intensity", "f4")])
PADDED = np.dtype(
    {
        "names": ["x", "y", "z", "intensity", "ring", "t"],
        "formats": ["f4", "f4", "f4", "f4", "u2", "u4"],
        "offsets": [0, 4, 8, 16, 24, 28],
        "itemsize": 48,
    }
)
"""Fields far apart, as an Ouster driver writes them."""
WANTED = ["x", "y", "z", "intensity"]


def cases(points: np.ndarray) -> dict[str, tuple[Callable[[], object], Callable[[], object]]]:
    """By what is done: our way of doing it, and theirs."""
    message = pointcloud.create_cloud(Header(), points, PointCloud2, PointField)
    holes = points.copy()
    holes["x"][::5] = np.nan
    with_nan = pointcloud.create_cloud(Header(), holes, PointCloud2, PointField)
    found = {
        "read all fields": (
            lambda: pointcloud.read_points(message),
            lambda: reference.read_points(message),
        ),
        "read x y z intensity, skip_nans": (
            lambda: pointcloud.read_points(message, WANTED, True),
            lambda: reference.read_points(message, WANTED, True),
        ),
        "the same, every fifth point NaN": (
            lambda: pointcloud.read_points(with_nan, WANTED, True),
            lambda: reference.read_points(with_nan, WANTED, True),
        ),
        "[N, 4] float32 of x y z intensity": (
            lambda: pointcloud.read_xyz_intensity(message),
            lambda: reference.read_points_numpy(message, WANTED),
        ),
        "write": (
            lambda: pointcloud.create_cloud(Header(), points, PointCloud2, PointField),
            lambda: reference.create_cloud(
                Header(), message.fields, points, point_step=points.dtype.itemsize
            ),
        ),
    }
    if points.dtype == PADDED:
        # Theirs refuses fields of several types as one array.
        del found["[N, 4] float32 of x y z intensity"]
    return found


def milliseconds(function: Callable[[], object]) -> float:
    begun = time.perf_counter()
    function()
    return 1e3 * (time.perf_counter() - begun)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--repeats", type=int, default=50)
    repeats = parser.parse_args().repeats
    random = np.random.default_rng(0)
    print("| points | step | what | ours, ms | sensor_msgs_py, ms | theirs / ours |")
    print("| --- | --- | --- | --- | --- | --- |")
    for count in (30_000, 120_000):
        for dtype in (POINT, PADDED):
            points = np.zeros(count, dtype)
            for name in WANTED:
                points[name] = random.normal(0, 20, count)
            for what, pair in cases(points).items():
                times = np.array([[milliseconds(one) for one in pair] for _ in range(repeats + 3)])
                low, middle, high = np.percentile(times[3:], [25, 50, 75], axis=0)
                shown = [f"{m:.2f} ({a:.2f}-{b:.2f})" for m, a, b in zip(middle, low, high)]
                ratio = middle[1] / middle[0]
                cells = (f"{count:,}", dtype.itemsize, what, *shown, f"{ratio:.1f}")
                print("|", " | ".join(map(str, cells)), "|", flush=True)


if __name__ == "__main__":
    main()
