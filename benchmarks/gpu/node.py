"""Part `node`: the live node, message in to message out, over DDS."""

from __future__ import annotations

import importlib.util
import tempfile
from pathlib import Path

import numpy as np
from rosbags.typesys import Stores, get_typestore

from gpu.clouds import clouds
from gpu.part import Case, Rows
from haskd_ros.clouds.pointcloud import create_cloud
from haskd_ros.segmentation import DEFAULT_MODEL
from haskd_training.robot.live.replay import RecordedCloud, replay

TYPES = get_typestore(Stores.ROS2_HUMBLE)
POINT = np.dtype([("x", "<f4"), ("y", "<f4"), ("z", "<f4"), ("intensity", "<f4")])
RATE_HZ = 10.0


def run(case: Case, rows: Rows) -> None:
    if importlib.util.find_spec("rclpy") is None:
        rows.add(missing="rclpy can't be imported")
        return
    for points in (2_000,) if case.small else (106_000, 30_000):
        sent = messages(clouds(case, points, 5), 5 if case.small else 80)
        with tempfile.TemporaryDirectory() as folder:
            parameters = {"device": case.device if case.small else "cuda:0"}
            log = Path(folder, "node.log")
            played = replay(DEFAULT_MODEL, sent, RATE_HZ, log, parameters=parameters)
        found = {f"{name} ms": value for name, value in played.percentiles().items()}
        stages = {f"node {name} ms": _median(ms) for name, ms in played.stages.items()}
        rows.add(
            points=points, sent=played.sent, labelled=len(played.replies), **found, **stages,
            memory_mib=played.memory_mib,
        )  # fmt: skip


def _median(values: list[float]) -> float | None:
    return float(np.median(values)) if values else None


def messages(given: list[np.ndarray], count: int) -> list[RecordedCloud]:
    """Clouds [N, 4] over and over as serialised messages, one every 0.1 s."""
    types = TYPES.types
    found = []
    for number, points in enumerate(given):
        stamp = types["builtin_interfaces/msg/Time"](number + 1, 0)
        header = types["std_msgs/msg/Header"](stamp, "lidar")
        columns = np.ascontiguousarray(points, np.float32).view(POINT)[:, 0]
        kinds = types["sensor_msgs/msg/PointCloud2"], types["sensor_msgs/msg/PointField"]
        message = create_cloud(header, columns, *kinds)
        cdr = bytes(TYPES.serialize_cdr(message, "sensor_msgs/msg/PointCloud2"))
        found.append(RecordedCloud((number + 1) * 10**9, cdr))
    return [found[n % len(found)].restamped(10**12 + n * 10**8) for n in range(count)]
