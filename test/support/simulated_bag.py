"""Small simulated drives for several test files, and a plain reader of their messages."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from rosbags.highlevel import AnyReader
from rosbags.interfaces import QosDurability
from scipy.spatial.transform import Rotation, Slerp

from haskd_training.simulation import SimulationConfig
from haskd_training.simulation.messages import START_NS

TINY = SimulationConfig(
    seed=3, duration_s=0.4, azimuth_steps=90, cameras=("front",), image_width=64, image_height=36
)
DRIVE = SimulationConfig(
    seed=1, duration_s=6.0, azimuth_steps=450, image_width=320, image_height=180, camera_rate_hz=4.0
)
DTYPES = {2: "u1", 4: "<u2", 7: "<f4"}


@dataclass(frozen=True)
class Recording:
    """Every message of a bag by topic, with its time."""

    messages: dict[str, list[tuple[int, object]]]
    latched: set[str]

    def clouds(self) -> list[np.ndarray]:
        return [as_points(message) for _, message in self.messages["/lidar/points"]]


def as_points(cloud: object) -> np.ndarray:
    dtype = np.dtype(
        {
            "names": [field.name for field in cloud.fields],
            "formats": [DTYPES[field.datatype] for field in cloud.fields],
            "offsets": [field.offset for field in cloud.fields],
            "itemsize": cloud.point_step,
        }
    )
    return cloud.data.view(dtype)


def nanoseconds(stamp: object) -> int:
    return stamp.sec * 1_000_000_000 + stamp.nanosec


def read(bag: Path) -> Recording:
    messages: dict[str, list] = {}
    with AnyReader([bag]) as reader:
        latched = {
            connection.topic
            for connection in reader.connections
            for qos in connection.ext.offered_qos_profiles
            if qos.durability == QosDurability.TRANSIENT_LOCAL
        }
        for connection, time, data in reader.messages():
            message = reader.deserialize(data, connection.msgtype)
            messages.setdefault(connection.topic, []).append((time, message))
    return Recording(messages, latched)


def matrix(transform: object) -> np.ndarray:
    T = np.eye(4)
    q, t = transform.rotation, transform.translation
    T[:3, :3] = Rotation.from_quat([q.x, q.y, q.z, q.w]).as_matrix()
    T[:3, 3] = t.x, t.y, t.z
    return T


def static_transforms(recording: Recording) -> dict[str, np.ndarray]:
    ((_, message),) = recording.messages["/tf_static"]
    assert {stamped.header.frame_id for stamped in message.transforms} == {"base_link"}
    return {stamped.child_frame_id: matrix(stamped.transform) for stamped in message.transforms}


def poses(recording: Recording, times_ns: np.ndarray) -> np.ndarray:
    """[N, 4, 4] T_map_base at any time, interpolated between the recorded ones."""
    stamps, recorded = [], []
    for _, message in recording.messages["/tf"]:
        (stamped,) = message.transforms
        assert (stamped.header.frame_id, stamped.child_frame_id) == ("map", "base_link")
        stamps.append(nanoseconds(stamped.header.stamp) - START_NS)
        recorded.append(matrix(stamped.transform))
    recorded = np.array(recorded)
    relative = np.asarray(times_ns) - START_NS
    T = np.tile(np.eye(4), (len(relative), 1, 1))
    T[:, :3, :3] = Slerp(stamps, Rotation.from_matrix(recorded[:, :3, :3]))(relative).as_matrix()
    for axis in range(3):
        T[:, axis, 3] = np.interp(relative, stamps, recorded[:, axis, 3])
    return T
