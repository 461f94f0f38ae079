"""Where the cameras of an RGB-D bag are, and what carries them."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from haskd_ros.clouds.crop import frame_name
from haskd_ros.errors import InputError
from haskd_training.data.readers.rgbd.config import RgbdConfig
from haskd_training.data.readers.rgbd.frames import BODY, OPTICAL, turn
from haskd_training.recordings.camera_model import CalibrationError, CameraModel
from haskd_training.recordings.camera_track import RecordedCamera
from haskd_training.recordings.findings import Finding
from haskd_training.recordings.transform_tree import NoTransform, TransformTree, invert


class Places:
    """Where the cameras and what carries them are, in an upright world.

    Attributes:
        is_posed: whether the motion is known; without it the world is the body.
        axes: what is ahead of and above the body.
        findings: of this choice.

    Raises:
        InputError: TF doesn't connect the cameras, or says nothing of where up is.
    """

    def __init__(
        self,
        path: Path,
        tree: TransformTree,
        color: RecordedCamera,
        depth: RecordedCamera,
        config: RgbdConfig,
    ) -> None:
        self._tree, self._upright = tree, turn(config.up)
        self.findings: list[Finding] = []
        if depth.frame != color.frame and not tree.connects(color.frame, depth.frame):
            raise InputError(
                f"{path}: TF does not connect {depth.frame}, the depth camera, to {color.frame}, "
                "the colour camera; record /tf_static"
            )
        self._body = frame_name(config.body_frame or "") or tree.body(depth.frame)
        if not tree.connects(self._body, depth.frame) and self._body != depth.frame:
            raise InputError(
                f"{path}: body_frame {self._body} is not connected to {depth.frame}; frames there: "
                f"{', '.join(sorted(tree.frames)) or '(none)'}"
            )
        world = config.fixed_frame
        if world is None:
            world, finding = tree.fixed_frame(depth.frame)
            self.findings += [] if finding is None else [finding]
        self.is_posed = world is not None
        is_optical = self._body in (depth.frame, color.frame) or "optical" in self._body
        self.axes = OPTICAL if is_optical else BODY
        if world is None:
            if is_optical:
                raise InputError(
                    f"{path}: neither TF nor Odometry says how {depth.frame} moves, nor what it is "
                    "fixed to, so that nothing tells where up is; record /tf and /tf_static"
                )
            self.findings.append(
                Finding(
                    "motion-not-recorded",
                    "/tf",
                    "doubtful",
                    f"the camera's motion is in neither TF nor Odometry: each keyframe is one "
                    f"frame, and z of {self._body} is taken to be upwards",
                    "record /tf with odometry",
                )
            )
        self._world = world or self._body

    def poses(
        self, camera: RecordedCamera, stamps: np.ndarray, frames: dict[int, str]
    ) -> tuple[np.ndarray, list[str | None]]:
        """T_world_camera [n, 4, 4] at times, and why there is none.

        Args:
            frames: of the camera's images, by stamp.
        """
        poses = np.tile(np.eye(4), (len(stamps), 1, 1))
        reasons: list[str | None] = [None] * len(stamps)
        by_frame: dict[str, list[int]] = {}
        for number, stamp in enumerate(stamps.tolist()):
            frame = self._frame(camera, stamp, frames[stamp])
            by_frame.setdefault(frame, []).append(number)
        for frame, numbers in by_frame.items():
            try:
                found, missing = self._tree.lookups(self._world, frame, stamps[numbers].tolist())
            except NoTransform as error:
                found, missing = poses[numbers], [str(error)] * len(numbers)
            poses[numbers] = found
            for number, reason in zip(numbers, missing, strict=True):
                reasons[number] = reason
        for number, stamp in enumerate(stamps.tolist()):
            optics = camera.optics(camera.track.at(stamp, frames[stamp]), stamp)
            if optics is not None:
                poses[number] = poses[number] @ invert(optics)
        return self._upright @ poses, reasons

    def bodies(self, stamps: np.ndarray) -> tuple[np.ndarray, list[str | None]]:
        """T_world_body [n, 4, 4] at times, and why there is none."""
        poses, reasons = self._tree.lookups(self._world, self._body, stamps.tolist())
        return self._upright @ poses, reasons

    def model(self, camera: RecordedCamera, stamp: int, frames: dict[int, str]) -> CameraModel:
        """Of an image."""
        assert camera.size is not None, "a camera with images"
        try:
            return camera.track.at(stamp, frames[stamp]).fitted(*camera.size)[0]
        except CalibrationError as error:
            raise InputError(f"{camera.topic}: {error}") from error

    def _frame(self, camera: RecordedCamera, stamp: int, image_frame: str) -> str:
        calibration = camera.track.at(stamp, image_frame)
        return camera.frame_of(image_frame, calibration, self._tree, self._body)
