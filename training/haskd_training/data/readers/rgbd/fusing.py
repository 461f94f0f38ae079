"""The frames of an RGB-D recording -> keyframes, or a scene."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from functools import cached_property, partial
from threading import Lock

import numpy as np

from haskd_ros.errors import InputError
from haskd_training.data.projection import transform_points
from haskd_training.data.readers.interface import Drive, Frame, FrameImage, FramePoints
from haskd_training.data.readers.rgbd.config import RgbdConfig
from haskd_training.data.readers.rgbd.depth_points import frame_voxels
from haskd_training.data.readers.rgbd.frames import RgbdFrame, RgbdRecording, every, levelled
from haskd_training.data.readers.rgbd.voxels import Growing, Voxels, merged
from haskd_training.recordings.readers.bag import Unusable
from haskd_training.recordings.transform_tree import invert

CAMERA = "color"

_FAR = 1000.0
"""m. The world's origin is moved by whole ones of these: a map in UTM stays exact in float32."""

_MOST_VOXELS = 12_000_000
"""Of a scene while it grows: 1 GB."""


def fused(recording: RgbdRecording, config: RgbdConfig) -> Drive:
    """A recording as keyframes, or as a scene.

    Raises:
        InputError: a scene of a recording whose poses are not known.
    """
    used = len(recording.stamps_ns)
    if config.sample == "scene":
        if not recording.is_posed:
            raise InputError(
                f"{recording.name}: sample=scene needs the camera's poses, which are not recorded"
            )
        frames, iterate = 1, partial(_scene, recording, config)
    else:
        numbers = _keyframes(recording, config)
        frames, iterate = len(numbers), partial(_iterate_keyframes, recording, config, numbers)
        used = int(numbers[-1]) + 1
    return Drive(
        name=recording.name,
        labelled=recording.labelled,
        frames=frames,
        images=-(-used // config.image_every),
        files=recording.files,
        iterate=iterate,
        findings=recording.findings,
    )


def _window_s(recording: RgbdRecording, config: RgbdConfig) -> float:
    # Where motion is unknown, no frame can be moved to another's time.
    return config.window_s if recording.is_posed else 1e-9


def _keyframes(recording: RgbdRecording, config: RgbdConfig) -> np.ndarray:
    """Numbers of the frames that end a keyframe: the first whose window is full, and on."""
    stamps = recording.stamps_ns
    full = stamps - stamps[0] >= (_window_s(recording, config) - config.frame_gap_s) * 1e9 - 1e6
    full[-1] |= not full.any()
    candidates: np.ndarray = np.flatnonzero(full)
    return np.asarray(candidates[every(stamps[candidates], config.keyframe_gap_s)])


def _iterate_keyframes(
    recording: RgbdRecording, config: RgbdConfig, numbers: np.ndarray
) -> Iterator[Frame]:
    ends = set(numbers.tolist())
    window: deque[_View] = deque()
    fresh: list[RgbdFrame] = []
    oldest_ns = round(_window_s(recording, config) * 1e9)
    origin: np.ndarray | None = None
    pictured_ns = -1
    for number, frame in enumerate(recording.frames()):
        origin = _origin(frame) if origin is None else origin
        window.append(_View(frame, config, origin))
        while window[0].frame.stamp_ns <= frame.stamp_ns - oldest_ns:
            window.popleft()
        if number % config.image_every == 0 and frame.picture.stamp_ns != pictured_ns:
            # One colour image may belong to several depth images.
            fresh.append(frame)
            pictured_ns = frame.picture.stamp_ns
        if number not in ends:
            continue
        level = levelled(frame.T_world_body, recording.ahead, recording.above)
        cloud = _Cloud(tuple(window), level, origin)
        yield Frame(
            name=str(frame.stamp_ns),
            stamp_ns=frame.stamp_ns,
            T_world_lidar=level if recording.is_posed else None,
            images=[_image(one, level, recording.is_posed) for one in fresh],
            points=cloud.points,
            raw_labels=cloud.raw_labels if recording.labelled else None,
        )
        fresh = []


def _scene(recording: RgbdRecording, config: RgbdConfig) -> Iterator[Frame]:
    scene = _Scene(recording, config)
    T_world_scene = np.eye(4)
    T_world_scene[:3, 3] = scene.origin
    yield Frame(
        name=recording.name,
        stamp_ns=int(recording.stamps_ns[len(recording.stamps_ns) // 2]),
        T_world_lidar=T_world_scene,
        images=_scene_images(recording, config, T_world_scene),
        points=scene.points,
        raw_labels=scene.raw_labels if recording.labelled else None,
    )


def _scene_images(
    recording: RgbdRecording, config: RgbdConfig, T_world_scene: np.ndarray
) -> Iterator[FrameImage]:
    pictured_ns = -1
    for number, frame in enumerate(recording.frames()):
        if number % config.image_every == 0 and frame.picture.stamp_ns != pictured_ns:
            yield _image(frame, T_world_scene, True)
            pictured_ns = frame.picture.stamp_ns


def _origin(frame: RgbdFrame) -> np.ndarray:
    return np.asarray(np.round(frame.T_world_body[:3, 3] / _FAR) * _FAR)


class _View:
    """A frame with its voxels, made once, when they are asked for."""

    def __init__(self, frame: RgbdFrame, config: RgbdConfig, origin: np.ndarray) -> None:
        self.frame = frame
        self._config, self._origin = config, origin
        self._lock = Lock()
        self._voxels: Voxels | Unusable | None = None

    def voxels(self) -> Voxels:
        with self._lock:
            if self._voxels is None:
                try:
                    self._voxels = frame_voxels(self.frame, self._config, self._origin)
                except Unusable as reason:
                    self._voxels = reason
        if isinstance(self._voxels, Unusable):
            raise self._voxels
        return self._voxels


class _Cloud:
    """The points of a keyframe."""

    def __init__(self, views: Sequence[_View], level: np.ndarray, origin: np.ndarray) -> None:
        self._views, self._level, self._origin = views, level, origin

    @cached_property
    def _voxels(self) -> Voxels:
        return merged([view.voxels() for view in self._views])

    def points(self) -> FramePoints:
        xyz, rgb = self._voxels.mean()
        return _points(transform_points(invert(self._level), xyz + self._origin), rgb)

    def raw_labels(self) -> np.ndarray:
        return self._voxels.majority()


class _Scene:
    """The points of a scene, read when they are asked for."""

    def __init__(self, recording: RgbdRecording, config: RgbdConfig) -> None:
        self._recording, self._config = recording, config

    @cached_property
    def origin(self) -> np.ndarray:
        return _origin(next(self._recording.frames()))

    @cached_property
    def _voxels(self) -> Voxels:
        growing = Growing()
        for frame in self._recording.frames():
            growing.add(frame_voxels(frame, self._config, self.origin))
            if growing.size > _MOST_VOXELS:
                raise InputError(
                    f"{self._recording.name}: the scene has more than {_MOST_VOXELS:,} voxels of "
                    f"{self._config.voxel_size:g} m; make voxel_size larger, or cut the recording"
                )
        whole = growing.whole()
        assert whole is not None, "a recording has frames"
        return whole

    def points(self) -> FramePoints:
        return _points(*self._voxels.mean())

    def raw_labels(self) -> np.ndarray:
        return self._voxels.majority()


def _points(xyz: np.ndarray, rgb: np.ndarray) -> FramePoints:
    if not len(xyz):
        raise Unusable("no depth within its limits")
    points = np.zeros((len(xyz), 4), np.float32)
    points[:, :3] = xyz
    return FramePoints(points, {"rgb": rgb})


def _image(frame: RgbdFrame, T_world_lidar: np.ndarray, is_posed: bool) -> FrameImage:
    picture = frame.picture
    return FrameImage(
        camera=CAMERA,
        stamp_ns=picture.stamp_ns,
        model=picture.model,
        T_camera_lidar=invert(picture.T_world_camera) @ T_world_lidar,
        T_world_camera=picture.T_world_camera if is_posed else None,
        read=picture.encoded,
    )
