"""The walk through a flat as a rosbag2: topics, frames and messages."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from haskd_training.simulation.indoor.rgbd_camera import RgbdFrame
from haskd_training.simulation.indoor.walk import LINK_TO_OPTICAL
from haskd_training.simulation.messages import (
    BASE,
    CAMERA_INFO,
    COMPRESSED_IMAGE,
    MAP,
    TF,
    TYPES,
    MessageWriter,
    camera_info,
    jpeg_message,
    stamped,
    transform,
)

_LINK, _OPTICAL = "camera_link", "camera_color_optical_frame"
_COLOR, _COLOR_INFO = "/camera/color/image_raw/compressed", "/camera/color/camera_info"
_DEPTH, _DEPTH_INFO = "/camera/depth/image_rect", "/camera/depth/camera_info"
_LABELS = "/camera/labels/image_raw"
_IMAGE = TYPES.types["sensor_msgs/msg/Image"]


def _image(header: Any, encoding: str, image: np.ndarray) -> Any:
    """An Image of [H, W]."""
    height, width = image.shape
    data = np.ascontiguousarray(image).view(np.uint8).reshape(-1)
    return _IMAGE(header, height, width, encoding, 0, width * image.itemsize, data)


class RgbdBagWriter(MessageWriter):
    """Writes the messages of one walk; a context manager."""

    def __init__(self, folder: Path, storage: str) -> None:
        """folder: must not exist. storage: `mcap` or `sqlite3`."""
        topics = {
            "/tf_static": TF, "/tf": TF, _COLOR: COMPRESSED_IMAGE, _COLOR_INFO: CAMERA_INFO,
            _DEPTH: _IMAGE, _DEPTH_INFO: CAMERA_INFO, _LABELS: _IMAGE,
        }  # fmt: skip
        super().__init__(folder, storage, topics)

    def static_transforms(self, time_ns: int, T_base_link: np.ndarray | None) -> None:
        """Where the camera's optical frame is, and the camera on its robot; None: in a hand."""
        transforms = [transform(time_ns, _LINK, _OPTICAL, LINK_TO_OPTICAL)]
        if T_base_link is not None:
            transforms.append(transform(time_ns, BASE, _LINK, T_base_link))
        self.write("/tf_static", time_ns, TF(transforms))

    def pose(self, time_ns: int, T_map_base: np.ndarray, T_base_link: np.ndarray | None) -> None:
        """`map` to `base_link`, and of a camera in a hand `base_link` to `camera_link`."""
        transforms = [transform(time_ns, MAP, BASE, T_map_base)]
        if T_base_link is not None:
            transforms.append(transform(time_ns, BASE, _LINK, T_base_link))
        self.write("/tf", time_ns, TF(transforms))

    def frame(self, time_ns: int, K: np.ndarray, frame: RgbdFrame) -> None:
        """Colour, depth and classes of one moment, with their calibration."""
        header = stamped(time_ns, _OPTICAL)
        height, width = frame.depth.shape
        info = camera_info(header, width, height, K, np.zeros(5))
        self.write(_COLOR_INFO, time_ns, info)
        self.write(_COLOR, time_ns, jpeg_message(header, frame.color))
        self.write(_DEPTH_INFO, time_ns, info)
        self.write(_DEPTH, time_ns, _image(header, "16UC1", frame.depth.astype("<u2")))
        self.write(_LABELS, time_ns, _image(header, "mono8", frame.classes))
