"""RGB-D recordings of a room that is a box, with a table that is one too, by ray casting.

The room in the map: x -3..3, y -2..2, z 0..2.5; the table: x 1..1.5, y -0.25..0.25, z 0..1.
Camera: 80 x 60 px, f = 50 px, centre (39.5, 29.5); base_link -> camera_link 0.5 m up, and
camera_link -> camera_color_optical_frame: x right, y down, z ahead.
Frames: every 0.2 s; by default the robot drives 0.1 m along x from one to the next, from x = -1.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from rosbags import rosbag2
from rosbags.rosbag2.enums import StoragePlugin
from rosbags.typesys import Stores, get_typestore
from scipy.spatial.transform import Rotation

START_NS = 1_000_000_000_000
GAP_NS = 200_000_000

ROOM = np.array([[-3.0, -2.0, 0.0], [3.0, 2.0, 2.5]])
TABLE = np.array([[1.0, -0.25, 0.0], [1.5, 0.25, 1.0]])

COLORS = {0: (250, 250, 250), 1: (200, 30, 30), 2: (30, 200, 30), 7: (30, 30, 200)}
"""RGB by class id of S3DIS: ceiling, floor, wall, table."""

WIDTH, HEIGHT, F = 80, 60, 50.0
CENTRE = (WIDTH - 1) / 2, (HEIGHT - 1) / 2

OPTICAL = np.array([[0.0, 0, 1, 0], [-1, 0, 0, 0], [0, -1, 0, 0], [0, 0, 0, 1]])
"""T_link_optical: what is ahead, z, is the link's x."""

Pose = tuple[float, float, float]
"""x, y in m and yaw in rad of the robot in the map."""


def along_x(index: int) -> Pose:
    return -1 + 0.1 * index, 0.0, 0.0


def transform(xyz: tuple[float, ...] = (0, 0, 0), yaw: float = 0, pitch: float = 0) -> np.ndarray:
    """[4, 4]; pitch turns down what is ahead."""
    matrix = np.eye(4)
    matrix[:3, :3] = Rotation.from_euler("ZY", [yaw, pitch]).as_matrix()
    matrix[:3, 3] = xyz
    return matrix


def rendered(T_map_optical: np.ndarray, step: float = 1.0) -> tuple[np.ndarray, np.ndarray]:
    """Depth [H, W] in m along the optical axis, and class ids [H, W] uint8.

    Args:
        step: of an image of fewer pixels, how many of the camera's are one.
    """
    v, u = np.mgrid[: round(HEIGHT / step), : round(WIDTH / step)] * step
    # The centre of the first pixel of several lies in their middle
    u, v = u + (step - 1) / 2, v + (step - 1) / 2
    rays = np.stack([(u - CENTRE[0]) / F, (v - CENTRE[1]) / F, np.ones_like(u)], -1)
    directions = rays @ T_map_optical[:3, :3].T
    origin = T_map_optical[:3, 3]
    with np.errstate(divide="ignore", invalid="ignore"):
        walls = (ROOM - origin)[:, None, None] / directions
        sides = (TABLE - origin)[:, None, None] / directions
    leave = np.nanmax(walls, 0)
    axis = leave.argmin(-1)
    depth = leave.min(-1)
    up = np.take_along_axis(directions, axis[..., None], -1)[..., 0] > 0
    ids = np.where(axis < 2, 2, np.where(up, 0, 1)).astype(np.uint8)
    enter, exit_ = sides.min(0).max(-1), sides.max(0).min(-1)
    hit = (enter > 0) & (enter < exit_)
    return np.where(hit, enter, depth), np.where(hit, 7, ids).astype(np.uint8)


def painted(ids: np.ndarray) -> np.ndarray:
    """RGB [H, W, 3] uint8 of class ids [H, W]."""
    image = np.zeros((*ids.shape, 3), np.uint8)
    for class_id, color in COLORS.items():
        image[ids == class_id] = color
    return image


@dataclass
class Recorded:
    """What goes into a recording; change what a test is about.

    Attributes:
        pose: of the robot, by frame.
        depth: what becomes of the depth images.
        encoding: of depth: 16UC1, 32FC1, compressed16, compressed32, rvl.
        own_depth: the depth camera stands 0.1 m to the left of the colour camera, and its images
            have half as many pixels across and down.
        color: jpeg, png or rgb8.
        color_late_ns: by how much colour images are late.
        with_: whether TF has the robot's motion, by tf or odometry; and which of the topics exist.
        label_every: of so many images one has labels.
        leave_out: (topic, frame number) of messages that are not there.
        cut_off: the same of messages whose data ends in the middle.
        restart: number of the frame from which on the clock counts from its start again.
        rename: names of topics.
    """

    frames: int = 12
    pose: Callable[[int], Pose] = along_x
    pitch: float = 0.0
    depth: Callable[[np.ndarray], np.ndarray] = lambda depth: depth
    encoding: str = "16UC1"
    own_depth: bool = False
    color: str = "jpeg"
    color_late_ns: int = 0
    motion: str = "tf"
    with_static: bool = True
    with_depth_info: bool = True
    with_color_info: bool = True
    with_labels: bool = True
    label_every: int = 1
    label_size: int = 1
    units_per_m: float = 1000.0
    leave_out: set[tuple[str, int]] = field(default_factory=set)
    cut_off: set[tuple[str, int]] = field(default_factory=set)
    restart: int = 10**9
    rename: dict[str, str] = field(default_factory=dict)


def write_rgbd_bag(folder: Path, recorded: Recorded | None = None) -> Path:
    """`FOLDER/flat`, as a robot records it."""
    recorded = recorded or Recorded()
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "flat"
    store = get_typestore(Stores.ROS2_HUMBLE)
    connections: dict[str, Any] = {}
    with rosbag2.Writer(path, version=8, storage_plugin=StoragePlugin.MCAP) as writer:
        for time_ns, topic, message in _messages(store.types, recorded):
            topic = recorded.rename.get(topic, topic)
            kind = message.__msgtype__
            if topic not in connections:
                connections[topic] = writer.add_connection(topic, kind, typestore=store)
            writer.write(connections[topic], time_ns, store.serialize_cdr(message, kind))
    return path


def _messages(types: Any, recorded: Recorded) -> Iterator[tuple[int, str, Any]]:
    def header(time_ns: int, frame: str) -> Any:
        stamp = types["builtin_interfaces/msg/Time"](time_ns // 10**9, time_ns % 10**9)
        return types["std_msgs/msg/Header"](stamp, frame)

    def pose(matrix: np.ndarray) -> tuple[Any, Any]:
        quaternion = Rotation.from_matrix(matrix[:3, :3]).as_quat()
        return (
            types["geometry_msgs/msg/Vector3"](*map(float, matrix[:3, 3])),
            types["geometry_msgs/msg/Quaternion"](*map(float, quaternion)),
        )

    def tf(time_ns: int, parent: str, child: str, matrix: np.ndarray) -> Any:
        moved = types["geometry_msgs/msg/Transform"](*pose(matrix))
        return types["geometry_msgs/msg/TransformStamped"](header(time_ns, parent), child, moved)

    def odometry(time_ns: int, matrix: np.ndarray) -> Any:
        t, q = pose(matrix)
        zero = types["geometry_msgs/msg/Vector3"](0.0, 0.0, 0.0)
        point = types["geometry_msgs/msg/Point"](t.x, t.y, t.z)
        return types["nav_msgs/msg/Odometry"](
            header(time_ns, "odom"),
            "base_link",
            types["geometry_msgs/msg/PoseWithCovariance"](
                types["geometry_msgs/msg/Pose"](point, q), np.zeros(36)
            ),
            types["geometry_msgs/msg/TwistWithCovariance"](
                types["geometry_msgs/msg/Twist"](zero, zero), np.zeros(36)
            ),
        )

    def image(time_ns: int, frame: str, encoding: str, values: np.ndarray) -> Any:
        # Four bytes of padding at the end of each row
        rows = np.pad(
            np.ascontiguousarray(values).reshape(len(values), -1).view(np.uint8), ((0, 0), (0, 4))
        )
        return types["sensor_msgs/msg/Image"](
            header(time_ns, frame), *values.shape[:2], encoding, 0, rows.shape[1], rows.reshape(-1)
        )

    def compressed(time_ns: int, frame: str, kind: str, octets: bytes) -> Any:
        data = np.frombuffer(octets, np.uint8)
        return types["sensor_msgs/msg/CompressedImage"](header(time_ns, frame), kind, data)

    def info(time_ns: int, frame: str, step: float) -> Any:
        f = F / step
        cx, cy = ((c + 0.5) / step - 0.5 for c in CENTRE)
        k = np.array([f, 0, cx, 0, f, cy, 0, 0, 1])
        p = np.array([f, 0, cx, 0, 0, f, cy, 0, 0, 0, 1, 0])
        size = round(HEIGHT / step), round(WIDTH / step)
        roi = types["sensor_msgs/msg/RegionOfInterest"](0, 0, 0, 0, False)
        return types["sensor_msgs/msg/CameraInfo"](
            header(time_ns, frame), *size, "plumb_bob", np.zeros(5), k, np.eye(3).reshape(-1), p,
            0, 0, roi,
        )  # fmt: skip

    color_frame = "camera_color_optical_frame"
    depth_frame = "camera_depth_optical_frame" if recorded.own_depth else color_frame
    step = 2.0 if recorded.own_depth else 1.0
    T_base_link = transform((0, 0, 0.5), pitch=recorded.pitch)
    T_base_color = T_base_link @ OPTICAL
    # To the left is -x of an optical frame
    T_color_depth = transform((-0.1, 0, 0)) if recorded.own_depth else np.eye(4)
    if recorded.with_static:
        fixed = [
            tf(START_NS, "base_link", "camera_link", T_base_link),
            tf(START_NS, "camera_link", color_frame, OPTICAL),
        ]
        if recorded.own_depth:
            fixed.append(tf(START_NS, color_frame, depth_frame, T_color_depth))
        yield START_NS, "/tf_static", types["tf2_msgs/msg/TFMessage"](fixed)
    for index in range(recorded.frames):
        recorded_ns = START_NS + index * GAP_NS
        time_ns = (
            recorded_ns
            if index < recorded.restart
            else START_NS + GAP_NS * (index - recorded.restart)
        )
        x, y, yaw = recorded.pose(index)
        T_map_base = transform((x, y, 0), yaw)
        messages: list[tuple[str, Any]] = []
        if recorded.motion == "tf":
            moved = tf(time_ns, "map", "base_link", T_map_base)
            messages.append(("/tf", types["tf2_msgs/msg/TFMessage"]([moved])))
        elif recorded.motion == "odometry":
            messages.append(("/odom", odometry(time_ns, T_map_base)))
        _, ids = rendered(T_map_base @ T_base_color)
        color_ns = time_ns + recorded.color_late_ns
        rgb = painted(ids)
        topic = "/camera/color/image_raw"
        if recorded.color == "rgb8":
            messages.append((topic, image(color_ns, color_frame, "rgb8", rgb)))
        else:
            suffix = {"jpeg": ".jpg", "png": ".png"}[recorded.color]
            octets = cv2.imencode(suffix, rgb[..., ::-1])[1].tobytes()
            kind = f"rgb8; {recorded.color} compressed bgr8"
            messages.append(
                (f"{topic}/compressed", compressed(color_ns, color_frame, kind, octets))
            )
        if recorded.with_color_info:
            messages.append(("/camera/color/camera_info", info(color_ns, color_frame, 1.0)))
        depth, _ = rendered(T_map_base @ T_base_color @ T_color_depth, step)
        depth = recorded.depth(depth)
        messages.append(_depth(recorded, depth, time_ns, depth_frame, image, compressed))
        if recorded.with_depth_info:
            messages.append(("/camera/depth/camera_info", info(time_ns, depth_frame, step)))
        if recorded.with_labels and index % recorded.label_every == 0:
            label = ids[:: recorded.label_size, :: recorded.label_size]
            messages.append(
                ("/camera/labels/image_raw", image(color_ns, color_frame, "mono8", label))
            )
        for topic, message in messages:
            if (topic, index) in recorded.cut_off:
                message.data = message.data[: len(message.data) // 2]
            if (topic, index) not in recorded.leave_out:
                yield recorded_ns, topic, message


def _depth(
    recorded: Recorded,
    depth: np.ndarray,
    time_ns: int,
    frame: str,
    image: Callable[..., Any],
    compressed: Callable[..., Any],
) -> tuple[str, Any]:
    topic = "/camera/depth/image_rect"
    whole = np.rint(depth * recorded.units_per_m).clip(0, 65535).astype(np.uint16)
    if recorded.encoding == "16UC1":
        return topic, image(time_ns, frame, "16UC1", whole)
    if recorded.encoding == "32FC1":
        values = np.where(depth > 0, depth, np.nan).astype(np.float32)
        return topic, image(time_ns, frame, "32FC1", values)
    topic += "/compressedDepth"
    if recorded.encoding == "compressed16":
        octets = struct.pack("<iff", 0, 0, 0) + cv2.imencode(".png", whole)[1].tobytes()
        return topic, compressed(time_ns, frame, "16UC1; compressedDepth png", octets)
    if recorded.encoding == "compressed32":
        # a depth in m is a / (step - b): with a = 20000, b = 10, 0.1 % of 3 m are 7 steps
        steps = np.rint(20000 / depth + 10).astype(np.uint16)
        octets = struct.pack("<iff", 0, 20000, 10) + cv2.imencode(".png", steps)[1].tobytes()
        return topic, compressed(time_ns, frame, "32FC1; compressedDepth png", octets)
    octets = struct.pack("<iff", 0, 0, 0) + struct.pack("<ii", WIDTH, HEIGHT) + b"\x12" * 99
    return topic, compressed(time_ns, frame, "16UC1; compressedDepth rvl", octets)


def camera_pose(index: int) -> np.ndarray:
    """T_map_optical of a camera that is carried along x, 1.2 m high, and looks down by 0.2 rad."""
    x, y, yaw = along_x(index)
    return transform((x, y, 1.2), yaw, pitch=0.2) @ OPTICAL


def write_tum(root: Path, name: str, frames: int = 12, *, labels: bool = False) -> Path:
    """A folder of the benchmark's form: depth 10 ms after its colour image, poses at 100 Hz."""
    folder = root / name
    for part in ("rgb", "depth", *(["labels"] if labels else [])):
        (folder / part).mkdir(parents=True)
    lines: dict[str, list[str]] = {"rgb": ["# color images"], "depth": ["# depth maps"]}
    for index in range(frames):
        time = 1305031102 + 0.2 * index
        T_map_camera = camera_pose(index)
        depth, ids = rendered(T_map_camera)
        # 10 ms later the camera is 5 mm further ahead, and so is what it measures
        later = T_map_camera.copy()
        later[0, 3] += 0.005
        depth, _ = rendered(later)
        color_file, depth_file = f"rgb/{time:.6f}.png", f"depth/{time + 0.01:.6f}.png"
        lines["rgb"].append(f"{time:.6f} {color_file}")
        lines["depth"].append(f"{time + 0.01:.6f} {depth_file}")
        cv2.imwrite(str(folder / color_file), painted(ids)[..., ::-1])
        cv2.imwrite(str(folder / depth_file), np.rint(depth * 5000).astype(np.uint16))
        if labels:
            cv2.imwrite(str(folder / "labels" / f"{time:.6f}.png"), ids)
    for kind, rows in lines.items():
        (folder / f"{kind}.txt").write_text("\n".join(rows) + "\n")
    poses = ["# timestamp tx ty tz qx qy qz qw"]
    for step in range(20 * frames):
        pose = camera_pose(0)
        pose[0, 3] += 0.005 * step
        quaternion = Rotation.from_matrix(pose[:3, :3]).as_quat()
        values = " ".join(f"{value:.6f}" for value in (*pose[:3, 3], *quaternion))
        poses.append(f"{1305031102 + 0.01 * step:.4f} {values}")
    (folder / "groundtruth.txt").write_text("\n".join(poses) + "\n")
    return folder


def write_replica(root: Path, name: str, frames: int = 24, *, labels: bool = False) -> Path:
    """A folder in the layout of NICE-SLAM: 30 frames a second, 6553.5 units a m."""
    folder = root / name
    (folder / "results").mkdir(parents=True)
    if labels:
        (folder / "labels").mkdir()
    lines = []
    for index in range(frames):
        pose = camera_pose(index)
        depth, ids = rendered(pose)
        results = folder / "results"
        cv2.imwrite(str(results / f"frame{index:06d}.jpg"), painted(ids)[..., ::-1])
        whole = np.rint(depth * 6553.5).astype(np.uint16)
        cv2.imwrite(str(results / f"depth{index:06d}.png"), whole)
        if labels:
            cv2.imwrite(str(folder / "labels" / f"frame{index:06d}.png"), ids)
        lines.append(" ".join(f"{value:.9e}" for value in pose.ravel()))
    (folder / "traj.txt").write_text("\n".join(lines) + "\n")
    camera = {"w": WIDTH, "h": HEIGHT, "fx": F, "fy": F, "cx": CENTRE[0], "cy": CENTRE[1]}
    document = {"camera": {**camera, "scale": 6553.5}}
    (root / "cam_params.json").write_text(json.dumps(document))
    return folder
