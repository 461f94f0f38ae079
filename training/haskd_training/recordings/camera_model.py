"""Camera models from CameraInfo."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

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


def camera_model(info: Any, rectified: bool = False) -> CameraModel:
    """The model of a CameraInfo message (ROS 1 or 2).

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
    if rectified:
        # A stereo pair's rectification also turns the camera; TF does not know the turned frame.
        rotation = read["r"].reshape(3, 3)
        if rotation.any() and not np.allclose(rotation, np.eye(3), atol=1e-6):
            raise CalibrationError("rectified image with a rectification rotation; use the raw one")
        K = read["p"].reshape(3, 4)[:, :3]
        model, D = "plumb_bob", np.zeros(5)
    else:
        K = read["k"].reshape(3, 3)
        model = _ALIASES.get(info.distortion_model, info.distortion_model)
        if model not in DISTORTION_COEFFICIENTS:
            raise CalibrationError(
                f"distortion model {model!r} is unknown; "
                f"known are {', '.join(DISTORTION_COEFFICIENTS)}"
            )
        D = _coefficients(read["d"], model)
    if K[0, 0] <= 0 or K[1, 1] <= 0:
        raise CalibrationError("camera is not calibrated: K of its CameraInfo is zero")
    return CameraModel(K, model, D, int(info.width), int(info.height))


def _coefficients(d: np.ndarray, model: str) -> np.ndarray:
    expected = DISTORTION_COEFFICIENTS[model]
    if d[expected:].any():
        raise CalibrationError(
            f"distortion model {model} has {expected} coefficients, CameraInfo gives {len(d)}"
        )
    return np.pad(d[:expected], (0, max(0, expected - len(d))))
