"""A camera over the length of a recording: which calibration and which frame each image has."""

from __future__ import annotations

from bisect import bisect_right, insort
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from operator import itemgetter
from typing import Any

import numpy as np
from scipy.spatial.transform import Rotation

from haskd_training.recordings.camera_model import (
    Calibration,
    CalibrationError,
    CameraModel,
    calibration,
)
from haskd_training.recordings.findings import Finding
from haskd_training.recordings.image_codec import NotAPicture, example_of, image_size
from haskd_training.recordings.image_header import MAX_PIXELS
from haskd_training.recordings.readers.bag import frame_of, stamp_ns
from haskd_training.recordings.transform_tree import NoTransform, TransformTree

_SAME_PLACE = 0.1
"""Share of a stereo baseline by which TF's own may differ from it."""


class CameraTrack:
    """The calibrations of a camera over time, from its CameraInfo messages.

    Args:
        rectified: its images are rectified.
    """

    def __init__(self, rectified: bool = False) -> None:
        self._rectified = rectified
        self._last: dict[str, bytes] = {}
        self._changes: dict[str, list[tuple[int, Calibration]]] = {}
        self._unusable: Counter[str] = Counter()
        self._usable = 0

    def add(self, info: Any) -> None:
        """Add a CameraInfo message. One that can't be used is passed over: drivers send empty ones
        before they have loaded their calibration."""
        try:
            read = calibration(info, self._rectified)
        except CalibrationError as error:
            self._unusable[str(error)] += 1
            return
        self._usable += 1
        values = _values(read)
        # An hour of a camera has 36,000 messages and one calibration.
        if self._last.get(read.frame) != values:
            self._last[read.frame] = values
            changes = self._changes.setdefault(read.frame, [])
            insort(changes, (stamp_ns(info), read), key=itemgetter(0))

    def problem_of(self, size: tuple[int, int] | None) -> str | None:
        """Why no image of this size (width and height in px; None: not known) can be used; None
        where a calibration is usable."""
        if not self._usable:
            return next(iter(self._unusable), "no CameraInfo")
        reason = None
        for _, read in self._all():
            try:
                read.fitted(*(size or (read.model.width, read.model.height)))
            except CalibrationError as error:
                reason = reason or str(error)
            else:
                return None
        return reason

    @property
    def frames(self) -> list[str]:
        """Frames of the usable messages, sorted; an empty one is a message without a frame."""
        return sorted(self._changes)

    @property
    def first(self) -> Calibration:
        """The first usable calibration."""
        return min(self._all(), key=itemgetter(0))[1]

    def at(self, stamp_ns: int, frame: str) -> Calibration:
        """The calibration of an image: of those in the image's frame, or of all where none is, the
        last one at or before its stamp, or else the first.

        Raises:
            CalibrationError: there is none.
        """
        changes = self._changes.get(frame) or sorted(self._all(), key=itemgetter(0))
        if not changes:
            raise CalibrationError(self.problem_of(None) or "no CameraInfo")
        after = bisect_right(changes, stamp_ns, key=itemgetter(0))
        return changes[max(after - 1, 0)][1]

    def findings(self, topic: str) -> Iterator[Finding]:
        """What there is to know of the messages of this CameraInfo topic."""
        if self._usable and self._unusable:
            reasons = ", ".join(f"{count} x {reason}" for reason, count in self._unusable.items())
            yield Finding(
                "camera-info-unusable",
                topic,
                "repaired",
                f"{sum(self._unusable.values())} CameraInfo passed over ({reasons}); the nearest "
                "usable one holds for each image",
            )
        for frame, changes in sorted(self._changes.items()):
            if len(changes) > 1:
                times = "once" if len(changes) == 2 else f"{len(changes) - 1} times"
                focal = [f"{read.model.K[0, 0]:g}" for _, read in changes]
                shown = focal if len(focal) <= 4 else [*focal[:3], "...", focal[-1]]
                yield Finding(
                    "calibration-changes",
                    topic,
                    "noted",
                    f"the calibration{f' of {frame}' if frame else ''} changes "
                    f"{times} (focal length {' -> '.join(shown)} px); each image "
                    "is used with its own",
                )
        if "" in self._changes:
            yield Finding(
                "camera-info-without-frame",
                topic,
                "repaired",
                "CameraInfo without a frame_id; the frame of the image is used",
            )

    def _all(self) -> list[tuple[int, Calibration]]:
        return [change for changes in self._changes.values() for change in changes]


@dataclass(frozen=True)
class RecordedCamera:
    """A camera of a recording.

    topic, info_topic: of its images, and of their CameraInfo where there is one.
    frame: optical frame of its first image: that of the CameraInfo, or of the image where the
        CameraInfo has none or one that TF doesn't connect to the LiDAR.
    image_frame, size, note: of its first image; size is its width and height in px, note tells
        how its colours were restored.
    track: its calibrations.
    stereo: the track of the camera whose frame this one borrows, as the right camera of a stereo
        pair does; None where the frame is its own.
    shifted: whether the calibration's shift holds: False where TF has this camera's own place.
    problem: why its images can't be used.
    max_pixels: of an image that is used.
    """

    name: str
    topic: str
    info_topic: str | None = None
    frame: str = ""
    image_frame: str = ""
    size: tuple[int, int] | None = None
    note: str = ""
    track: CameraTrack = field(default_factory=CameraTrack, compare=False)
    stereo: CameraTrack | None = field(default=None, compare=False)
    shifted: bool = True
    problem: str | None = None
    max_pixels: int = MAX_PIXELS

    @property
    def model(self) -> CameraModel | None:
        """Of its first image; None where images can't be used."""
        if self.problem is not None:
            return None
        first = self.track.first
        if self.size is None:
            return first.model
        try:
            return first.fitted(*self.size)[0]
        except CalibrationError:
            return None

    def connected(self, tree: TransformTree, lidar_frame: str) -> RecordedCamera:
        """The camera in a frame that TF connects to the LiDAR; with a problem where there is none.

        Args:
            tree: with all transforms of the recording.
        """
        if self.problem is not None:
            return self
        for frame in (self.frame, self.image_frame):
            if frame and tree.connects(frame, lidar_frame):
                return replace(self, frame=frame)
        lidar, own = (frame or "a frame without name" for frame in (lidar_frame, self.frame))
        problem = f"TF does not connect {lidar} to {own}"
        if loop := tree.loop(self.frame) or tree.loop(lidar_frame):
            problem += f", because of its loop {' -> '.join(loop)}"
        return replace(self, problem=problem)

    def frame_of(self, image_frame: str, read: Calibration, tree: TransformTree, to: str) -> str:
        """The frame that an image is taken in: the CameraInfo's; that of the image's header where
        the CameraInfo has none, or one that TF doesn't connect to the frame `to`, or where it is
        another one than that of the first image."""
        changed = image_frame not in ("", self.image_frame)
        if changed and tree.connects(image_frame, to):
            return image_frame
        if not read.frame or (image_frame and not tree.connects(read.frame, to)):
            return image_frame or read.frame
        return read.frame

    def optics(self, read: Calibration, at_ns: int) -> np.ndarray | None:
        """T_camera_frame [4, 4], from the frame to the camera of `read`'s model; None where they
        are the same.

        A rectified image is that of a camera turned by R (sensor_msgs/CameraInfo). The frame of a
        stereo pair is that of its left camera: P's fourth column leads from the left camera to the
        right one, once each is turned by its own R.
        """
        shift = read.shift if self.shifted else np.zeros(3)
        owner = read if self.stereo is None else self.stereo.at(at_ns, read.frame)
        T = np.eye(4)
        T[:3, :3], T[:3, 3] = owner.R, shift
        if not read.rectified:
            if self.stereo is None and not shift.any():
                return None
            T[:3] = read.R.T @ T[:3]
        return None if np.array_equal(T, np.eye(4)) else T

    def findings(self) -> Iterator[Finding]:
        """What there is to know of its images and CameraInfo."""
        if self.problem is not None:
            return
        yield from self.track.findings(self.info_topic or self.topic)
        if self.note:
            yield Finding("image-colours", self.topic, "repaired", self.note)
        first = self.track.first
        if self.image_frame and first.frame and self.image_frame != first.frame:
            yield Finding(
                "camera-frames-differ",
                self.topic,
                "doubtful",
                f"its images are in frame {self.image_frame}, its CameraInfo in {first.frame}; "
                f"{self.frame} is used",
                "record both in the optical frame",
            )
        turned = Rotation.from_matrix(first.R).magnitude()
        if first.rectified and turned > 1e-3:
            yield Finding(
                "rectified-camera",
                self.topic,
                "noted",
                f"rectified images of a camera that R turns by {np.degrees(turned):.1f} degrees "
                f"against its frame {self.frame}; R is used",
            )


def recorded_camera(
    name: str,
    topic: str,
    info_topic: str | None,
    *,
    track: CameraTrack,
    image: Any,
    max_pixels: int = MAX_PIXELS,
) -> RecordedCamera:
    """A camera whose CameraInfo messages have been read.

    Args:
        image: its first message that holds a picture, or one without where none does; None where
            none is used.
        max_pixels: of an image that is used.
    """
    if image is None:
        nothing = "all of them come after the part that is used"
        return RecordedCamera(name, topic, info_topic, track=track, problem=nothing)
    size, note = None, ""
    problem: str | None
    try:
        if (example := example_of(image, max_pixels)) is not None:
            size, note = (example.width, example.height), example.note
        problem = "no CameraInfo" if info_topic is None else track.problem_of(size)
        if isinstance(broken := image_size(image, max_pixels), str):
            problem = f"none of them can be decoded: {broken}"
    except NotAPicture as reason:
        problem = str(reason)
    image_frame = frame_of(image)
    return RecordedCamera(
        name=name,
        topic=topic,
        info_topic=info_topic,
        frame="" if problem is not None else track.first.frame or image_frame,
        image_frame=image_frame,
        size=size,
        note=note,
        track=track,
        problem=problem,
        max_pixels=max_pixels,
    )


def paired(
    cameras: Sequence[RecordedCamera], tree: TransformTree
) -> tuple[list[RecordedCamera], list[Finding]]:
    """The cameras, with those told apart that are the right ones of stereo pairs, and what there is
    to know of them.

    Such a camera's P has a fourth column. By the book (sensor_msgs/CameraInfo) its frame is the
    left camera's; many drivers give it a frame at its own place as well.
    """
    usable = [camera for camera in cameras if camera.problem is None]
    found: list[Finding] = []
    out = []
    for camera in cameras:
        if camera.problem is None and (shift := camera.track.first.shift).any():
            others = [other for other in usable if other is not camera]
            camera, finding = _right_camera(camera, shift, others, tree)
            found.append(finding)
        out.append(camera)
    return out, found


def _right_camera(
    camera: RecordedCamera,
    shift: np.ndarray,
    others: Sequence[RecordedCamera],
    tree: TransformTree,
) -> tuple[RecordedCamera, Finding]:
    subject = camera.info_topic or camera.topic
    baseline = f"{np.linalg.norm(shift):.3g} m"
    for other in others:
        if other.frame == camera.frame and not other.track.first.shift.any():
            camera = replace(camera, stereo=other.track)
            return camera, Finding(
                "stereo-right",
                subject,
                "repaired",
                f"P has a fourth column and the frame is {camera.frame}, that of {other.name}: "
                f"it is taken from there, {baseline} aside",
            )
    for other in others:
        try:
            T_camera_other = tree.lookup(camera.frame, other.frame, 0)
        except NoTransform:
            continue
        between = shift - other.track.first.shift
        error = np.linalg.norm(T_camera_other[:3, 3] - between)
        if error < _SAME_PLACE * np.linalg.norm(between):
            return replace(camera, shifted=False), Finding(
                "stereo-right",
                subject,
                "noted",
                f"P has a fourth column of {baseline}, and TF has the same between {camera.frame} "
                f"and {other.frame}: TF's is used",
            )
    return camera, Finding(
        "stereo-right",
        subject,
        "doubtful",
        f"P has a fourth column: the images are taken {baseline} beside the frame "
        f"{camera.frame}, as by the right camera of a stereo pair",
        "if TF has the camera's own place, record a CameraInfo whose P[3] is 0",
    )


def _values(read: Calibration) -> bytes:
    model = read.model
    arrays = (model.K, model.D, read.R, read.shift)
    rest = (model.distortion_model, model.width, model.height, read.binning, read.roi)
    return (
        b"".join(np.ascontiguousarray(values).tobytes() for values in arrays) + repr(rest).encode()
    )
