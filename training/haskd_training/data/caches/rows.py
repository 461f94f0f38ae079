"""The tables of a cache: what its index knows of each sweep and image."""

from __future__ import annotations

from array import array
from collections.abc import Iterable
from dataclasses import dataclass, field

import numpy as np

from haskd_ros.channels import ChannelName
from haskd_training.recordings.camera_model import CameraModel
from haskd_training.recordings.transform_tree import invert


@dataclass(frozen=True)
class SweepRow:
    """A sweep in the index.

    class_counts: points by class id, ignored ones not counted.
    frame: of its points; clouds of one topic may come in several.
    intensity_scale: stored intensity / intensity_scale = 0..1; None: it was not measured.
    T_world_lidar: 4x4 from that frame at the sweep's stamp, None where the recording has no such
        transform; set when all of it has been read.
    T_lidar_frame: 4x4 from that frame to the LiDAR's frame that images are placed against; None
        where it is that one.
    shard, key, checksums: where its tensors are, and what they are checked by, by name; set when
        they are added to a shard.
    """

    recording: str
    stamp_ns: int
    points: int
    class_counts: list[int]
    T_world_lidar: list[list[float]] | None = None
    frame: str = ""
    T_lidar_frame: list[list[float]] | None = None
    shard: str = ""
    key: str = ""
    intensity_scale: float | None = 1.0
    checksums: dict[str, int] = field(default_factory=dict)

    def has(self, channel: ChannelName) -> bool:
        """Whether the sweep's points have a channel."""
        return channel in self.checksums


@dataclass(frozen=True)
class ImageRow:
    """An image in the index.

    K: 3x3, px. D: coefficients of distortion_model, see `camera_model.CameraModel`.
    T_world_camera: 4x4 at the image's own stamp, None where the recording has no such transform.
    T_camera_lidar: 4x4, used where a world pose is missing; vehicle motion is neglected then.
    frame: the optical frame that TF knows the camera by.
    T_camera_frame: 4x4 from there to the camera that K and D belong to, see
        `camera_track.RecordedCamera.optics`; None where they are the same.
    Poses, shard, key and checksums are set as those of a sweep.
    """

    recording: str
    camera: str
    stamp_ns: int
    width: int
    height: int
    K: list[list[float]]
    distortion_model: str
    D: list[float]
    T_world_camera: list[list[float]] | None = None
    T_camera_lidar: list[list[float]] = field(default_factory=list)
    frame: str = ""
    T_camera_frame: list[list[float]] | None = None
    shard: str = ""
    key: str = ""
    checksums: dict[str, int] = field(default_factory=dict)

    @property
    def camera_model(self) -> CameraModel:
        return CameraModel(
            np.array(self.K), self.distortion_model, np.array(self.D), self.width, self.height
        )


def t_camera_lidar(image: ImageRow, sweep: SweepRow) -> np.ndarray:
    """T_camera_lidar [4, 4]: a point of a sweep (in its own frame, at the sweep's stamp) to the
    optical frame of an image at the image's own stamp. The vehicle's motion between the two is in
    it, unless the recording has no world pose for one of them."""
    if image.T_world_camera is None or sweep.T_world_lidar is None:
        neglecting_motion = np.array(image.T_camera_lidar)
        if sweep.T_lidar_frame is None:
            return neglecting_motion
        T_camera_frame: np.ndarray = neglecting_motion @ np.array(sweep.T_lidar_frame)
        return T_camera_frame
    T_camera_world = invert(np.array(image.T_world_camera))
    T_camera_lidar: np.ndarray = T_camera_world @ np.array(sweep.T_world_lidar)
    return T_camera_lidar


def rows_in_time(
    rows: Iterable[tuple[str, int, int]],
) -> dict[str, tuple[array[int], array[int]]]:
    """By recording its stamps in order, and the indices that go with them, of (recording, stamp,
    index)."""
    by_recording: dict[str, list[tuple[int, int]]] = {}
    for recording, stamp_ns, index in rows:
        by_recording.setdefault(recording, []).append((stamp_ns, index))
    table = {}
    for recording, found in by_recording.items():
        stamps, indices = zip(*sorted(found), strict=True)
        table[recording] = array("q", stamps), array("q", indices)
    return table
