"""Settings of RGB-D recordings."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from haskd_training.data.preparing.inputs import CacheConfig
from haskd_training.recordings.recording import PosesConfig

Axis = Literal["x", "-x", "y", "-y", "z", "-z"]


class RgbdConfig(PosesConfig, CacheConfig):
    """Settings of `prepare --reader rgbd`; part of a cache's fingerprint."""

    sample: Literal["keyframe", "scene"] = Field(
        "keyframe",
        description="keyframe: what the camera has seen within `window_s`, again and again; scene: "
        "all of a recording in one cloud",
    )
    window_s: float = Field(1.0, gt=0, description="age of the oldest frame in a keyframe")
    keyframe_gap_s: float = Field(1.0, ge=0, description="time from one keyframe to the next")
    frame_gap_s: float = Field(
        0.2, ge=0, description="time between frames that are used; 0: all of them are"
    )
    image_every: int = Field(
        1, ge=1, description="1: the image of each used frame is kept; 2: of every second"
    )
    voxel_size: float = Field(0.02, ge=0.002, le=1, description="m; the points in one are averaged")
    min_depth: float = Field(0.2, ge=0, description="m, along the optical axis")
    max_depth: float = Field(6.0, gt=0, description="m; what is further away is too inexact")
    max_edge: float = Field(
        0.05,
        gt=0,
        description="bend of inverse depth between neighbours, as a share of it, from which a "
        "pixel lies on an edge and is dropped",
    )
    max_offset_s: float = Field(
        0.02, ge=0, description="longest time between a depth image and its colour image"
    )
    depth_units_per_m: float | None = Field(
        None,
        gt=0,
        description="of depth in whole numbers; default: 1000 in a bag, 5000 in a TUM folder, "
        "scale of cam_params.json in a Replica folder",
    )
    up: Axis = Field("z", description="axis of the world frame that points upwards")
    color_topic: str | None = Field(None, description="of a bag; default: by type and name")
    color_info_topic: str | None = Field(None, description="its CameraInfo; default: by its name")
    depth_topic: str | None = Field(None, description="of a bag; default: by type and name")
    depth_info_topic: str | None = Field(None, description="its CameraInfo; default: by its name")
    label_topic: str | None = Field(
        None, description="of a bag: class ids of the colour image's pixels; default: by its name"
    )
    odometry_topic: str | None = Field(
        None, description="nav_msgs/Odometry, where TF has no motion; default: the only one"
    )
    body_frame: str | None = Field(
        None, description="frame of a keyframe; default: the topmost that the camera is fixed to"
    )
    intrinsics: tuple[float, float, float, float] | None = Field(
        None, description="fx, fy, cx, cy in px, of a folder that has none"
    )
    distortion: tuple[float, ...] = Field(
        (), max_length=8, description="with `intrinsics`: k1, k2, p1, p2, k3 and on"
    )
    frame_rate: float = Field(30.0, gt=0, description="Hz, of a Replica folder, which has no times")
    label_folder: str = Field(
        "labels", description="of a folder: PNG of class ids, named as the colour images are"
    )
