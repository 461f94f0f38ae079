"""Camera models from CameraInfo."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from haskd_ros.clouds.crop import frame_name
from haskd_ros.errors import InputError

# Coefficients by distortion model, in the order of CameraInfo.d.
DISTORTION_COEFFICIENTS = {
    "plumb_bob": 5,  # k1 k2 p1 p2 k3
    "rational_polynomial": 8,  # k1 k2 p1 p2 k3 k4 k5 k6
    "equidistant": 4,  # k1 k2 k3 k4, on the angle to the optical axis (fisheye)
}
_ALIASES = {"": "plumb_bob", "none": "plumb_bob", "fisheye": "equidistant"}


class CalibrationError(InputError):
    """A camera whose calibration can't be used; `str()` is a reason to be counted."""


@dataclass(frozen=True)
class CameraModel:
    """A camera's intrinsics.

    K: [3, 3], px; pixel (0, 0) is the centre of the upper left pixel.
    distortion_model: a key of `DISTORTION_COEFFICIENTS`; D: as many coefficients as it has.
    width, height: px.
    """

    K: np.ndarray
    distortion_model: str
    D: np.ndarray
    width: int
    height: int


@dataclass(frozen=True)
class Calibration:
    """A CameraInfo message: the camera at its full size, and how images are made of it.

    frame: of its header; empty where it names none.
    model: of the full image, before cropping and binning: K and D of a raw image, the left three
        columns of P of a rectified one. width and height are 0 where the message has none.
    rectified: whether `model` is that of the rectified image.
    R: [3, 3], turns a point of the camera into the rectified camera.
    shift: [3] m, what P's fourth column adds to a point of the rectified camera: the right camera
        of a stereo pair is calibrated from the left one's place.
    binning: pixels that are one, along x and y.
    roi: x, y, width and height in px of the full image; all 0 where nothing is cropped.
    """

    frame: str
    model: CameraModel
    rectified: bool
    R: np.ndarray
    shift: np.ndarray
    binning: tuple[int, int]
    roi: tuple[int, int, int, int]

    def fitted(self, width: int, height: int) -> tuple[CameraModel, str]:
        """The model of an image of this size, and how it was made where K isn't used as it is.

        Cropping moves the principal point, binning divides K (sensor_msgs/CameraInfo). Which of
        them was done shows in the image's size: drivers fill these fields in without doing it, and
        images are made smaller without a word.

        Raises:
            CalibrationError: an image of this size can't be made of the full one.
        """
        full = (self.model.width or width, self.model.height or height)
        x, y, *crop = self.roi if all(self.roi[2:]) else (0, 0, 0, 0)
        cropped = (crop[0] or full[0], crop[1] or full[1])
        bins, none = self.binning, (1, 1)
        for (left, top), size, divided in (
            ((x, y), cropped, bins),
            ((0, 0), full, none),
            ((x, y), cropped, none),
            ((0, 0), full, bins),
        ):
            if _binned(size, divided, (width, height)):
                note = self._fitting_note((width, height), size != full, divided)
                return self._model((left, top), divided, (width, height)), note
        # Made smaller or larger as a whole.
        scale = cropped[0] / width
        if abs(cropped[1] / scale - height) <= 1:
            resized = (scale, cropped[1] / height)
            note = (
                f"images of {width} x {height} px, CameraInfo of {cropped[0]} x {cropped[1]} px: "
                "K is scaled"
            )
            return self._model((x, y), resized, (width, height)), note
        raise CalibrationError(
            f"its images are {width} x {height} px, its CameraInfo is for {cropped[0]} x "
            f"{cropped[1]} px"
        )

    def _model(
        self, origin: tuple[int, int], divisor: tuple[float, float], size: tuple[int, int]
    ) -> CameraModel:
        K = self.model.K.copy()
        K[:2, 2] -= origin
        K[:2] /= np.array(divisor)[:, None]
        return CameraModel(K, self.model.distortion_model, self.model.D, *size)

    def _fitting_note(self, size: tuple[int, int], cropped: bool, bins: tuple[int, int]) -> str:
        steps = []
        if cropped:
            steps.append(f"cropped at ({self.roi[0]}, {self.roi[1]})")
        if bins != (1, 1):
            steps.append(f"binned {bins[0]} x {bins[1]}")
        if steps:
            return f"images of {size[0]} x {size[1]} px are {' and '.join(steps)}: K is fitted"
        if self.binning != (1, 1):
            return "CameraInfo says binning, its images have the full size: K is used as it is"
        return ""


def calibration(info: Any, rectified: bool = False) -> Calibration:
    """What a CameraInfo message (ROS 1 or 2) says.

    Args:
        rectified: the images are rectified (`image_rect*`): the projection matrix P holds and
            nothing is distorted.

    Raises:
        CalibrationError: not calibrated, or a distortion model other than those above.
    """
    read = {
        name: np.asarray(getattr(info, name, getattr(info, name.upper(), None)), np.float64)
        for name in ("k", "d", "r", "p")
    }
    if not all(np.isfinite(values).all() for values in read.values()):
        raise CalibrationError("camera is not calibrated: its CameraInfo has NaN or infinity")
    P = read["p"].reshape(3, 4)
    if rectified:
        K, model, D = P[:, :3], "plumb_bob", np.zeros(5)
    else:
        K = read["k"].reshape(3, 3)
        model = _ALIASES.get(info.distortion_model, info.distortion_model)
    if K[0, 0] <= 0 or K[1, 1] <= 0:
        name = "P" if rectified else "K"
        raise CalibrationError(f"camera is not calibrated: {name} of its CameraInfo is zero")
    if not rectified:
        if model not in DISTORTION_COEFFICIENTS:
            raise CalibrationError(
                f"distortion model {model!r} is unknown; "
                f"known are {', '.join(DISTORTION_COEFFICIENTS)}"
            )
        D = _coefficients(read["d"], model)
    focal = P[[0, 1], [0, 1]]
    shift = np.zeros(3)
    if (focal > 0).all():
        shift[:2] = P[:2, 3] / focal
    rotation = read["r"].reshape(3, 3)
    is_rotation = np.allclose(rotation @ rotation.T, np.eye(3), atol=1e-3)
    if rotation.any() and not is_rotation:
        raise CalibrationError("R of its CameraInfo is not a rotation")
    roi = info.roi
    return Calibration(
        frame=frame_name(info.header.frame_id),
        model=CameraModel(K, model, D, int(info.width), int(info.height)),
        rectified=rectified,
        R=rotation if rotation.any() else np.eye(3),
        shift=shift,
        binning=(max(1, int(info.binning_x)), max(1, int(info.binning_y))),
        roi=(int(roi.x_offset), int(roi.y_offset), int(roi.width), int(roi.height)),
    )


def _binned(full: tuple[int, int], bins: tuple[int, int], size: tuple[int, int]) -> bool:
    """Whether binning makes an image of this size; a bin that isn't full may be kept or not."""
    return all(n // b <= got <= -(-n // b) for n, b, got in zip(full, bins, size, strict=True))


def _coefficients(d: np.ndarray, model: str) -> np.ndarray:
    expected = DISTORTION_COEFFICIENTS[model]
    if d[expected:].any():
        raise CalibrationError(
            f"distortion model {model} has {expected} coefficients, CameraInfo gives {len(d)}"
        )
    return np.pad(d[:expected], (0, max(0, expected - len(d))))
