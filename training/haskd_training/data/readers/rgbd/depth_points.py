"""A depth image and its colour image -> coloured points."""

from __future__ import annotations

from functools import lru_cache

import cv2
import numpy as np

from haskd_training.data.projection import distort, project, transform_points
from haskd_training.data.readers.rgbd.config import RgbdConfig
from haskd_training.data.readers.rgbd.frames import RgbdFrame
from haskd_training.data.readers.rgbd.voxels import Voxels
from haskd_training.recordings.camera_model import CameraModel
from haskd_training.recordings.readers.bag import Unusable
from haskd_training.recordings.transform_tree import invert

_STEPS = 100
"""Of the search for the direction of a distorted pixel; most need less than ten."""

_FOUND = 1e-8
_MISSED = 1e-4
"""Of x/z: steps below the one end the search; pixels above the other have no direction."""


def frame_voxels(frame: RgbdFrame, config: RgbdConfig, origin: np.ndarray) -> Voxels:
    """The points of a frame, averaged in the world's voxels.

    Args:
        origin: [3] m, the world's place that counts as 0.

    Raises:
        Unusable: an image is broken, or of another size than its calibration.
        InputError: a file can't be read.
    """
    depth = frame.depth()
    _check_size("depth image", depth, frame.model)
    rays, valid = directions(frame.model)
    there = valid & (depth > 0)
    used = there & (depth >= config.min_depth) & (depth <= config.max_depth)
    used &= ~edges(depth, config.max_edge)

    picture = frame.picture
    rgb = picture.rgb()
    _check_size("colour image", rgb, picture.model)
    T_color_depth = invert(picture.T_world_camera) @ frame.T_world_depth
    if _same(frame.model, picture.model) and np.allclose(T_color_depth, np.eye(4), atol=1e-6):
        points = _points(depth, rays, used)
        row, column = np.nonzero(used)
    else:
        points = _points(depth, rays, there)
        pixel = picture.model.K[0, 0] / frame.model.K[0, 0]
        seen, row, column = _seen(points, T_color_depth, picture.model, pixel, config.max_edge)
        kept = used[there][seen]
        points, row, column = points[seen][kept], row[kept], column[kept]
    ids = None
    if picture.ids is not None:
        image = picture.ids()
        _check_size("label image", image, picture.model)
        ids = image[row, column]
    world = transform_points(frame.T_world_depth, points) - origin
    return Voxels.of(world, rgb[row, column], ids, config.voxel_size)


def _points(depth: np.ndarray, rays: np.ndarray, chosen: np.ndarray) -> np.ndarray:
    """[n, 3] in the depth camera, of the pixels that are chosen [H, W]."""
    flat = rays[chosen]
    points: np.ndarray = np.column_stack([flat, np.ones(len(flat))]) * depth[chosen][:, None]
    return points


def edges(depth: np.ndarray, max_edge: float) -> np.ndarray:
    """[H, W] bool, pixels at an edge of the depth [H, W], 0 where there is none.

    Along a row or column, the inverse depth of a plane is a straight line. Where it bends between
    a pixel and its neighbours by more than this share of itself, one surface ends before another,
    and depth cameras give points between the two.
    """
    inverse = np.divide(1, depth, out=np.zeros_like(depth), where=depth > 0)
    found = np.zeros(depth.shape, bool)
    for axis in (0, 1):
        values, there = np.moveaxis(inverse, axis, 0), np.moveaxis(depth > 0, axis, 0)
        # A step to where there is no depth tells nothing.
        step = np.where(there[1:] & there[:-1], values[1:] - values[:-1], 0)
        bend = np.zeros_like(values)
        bend[:-1] += step
        bend[1:] -= step
        found |= np.moveaxis(np.abs(bend) > max_edge * values, 0, axis)
    return found & (depth > 0)


def directions(model: CameraModel) -> tuple[np.ndarray, np.ndarray]:
    """x/z and y/z [H, W, 2] float64 of each pixel, and whether there is one [H, W]."""
    key = (model.distortion_model, tuple(model.D), model.width, model.height)
    return _directions(tuple(model.K.ravel()), *key)


@lru_cache(4)
def _directions(
    k: tuple[float, ...], distortion_model: str, D: tuple[float, ...], width: int, height: int
) -> tuple[np.ndarray, np.ndarray]:
    K = np.array(k).reshape(3, 3)
    v, u = np.mgrid[:height, :width].reshape(2, -1).astype(np.float64)
    pixels = np.stack([u - K[0, 2], v - K[1, 2]])
    distorted = np.linalg.solve(K[:2, :2], pixels).T
    flat, valid = distorted.copy(), np.ones(len(distorted), bool)
    if any(D):
        for _ in range(_STEPS):
            again, valid = distort(flat, distortion_model, np.array(D))
            step = distorted - again
            flat += step
            if np.abs(step).max() < _FOUND:
                break
        valid &= np.abs(step).max(1) < _MISSED
    return flat.reshape(height, width, 2), valid.reshape(height, width)


def _seen(
    points: np.ndarray, T_color_depth: np.ndarray, model: CameraModel, pixel: float, slack: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Indices [s] of points [n, 3] that the colour camera sees, with their rows and columns.

    Args:
        pixel: edge of a pixel of the depth image, in pixels of the colour image.
        slack: a point twice this share behind the nearest one around it is still seen.
    """
    projected = project(points, T_color_depth, model)
    inside = np.flatnonzero(projected.inside)
    nearest = np.rint(projected.pixels[inside]).astype(np.int64)
    column, row = nearest.T.clip(0, [[model.width - 1], [model.height - 1]])
    depth = projected.depth[inside].astype(np.float32)
    # What something nearer hides has not the colour that is seen there. A surface ends up to a
    # pixel beyond the last one that measures it.
    cell = max(pixel, 1)
    place = (row / cell).astype(np.int64), (column / cell).astype(np.int64)
    shape = int(model.height / cell) + 1, int(model.width / cell) + 1
    front = np.full(shape, np.inf, np.float32)
    np.minimum.at(front, place, depth)
    around = np.asarray(cv2.erode(front, np.ones((3, 3), np.uint8)))
    seen = depth <= around[place] * (1 + 2 * slack)
    return inside[seen], row[seen], column[seen]


def _same(one: CameraModel, other: CameraModel) -> bool:
    return (
        (one.width, one.height) == (other.width, other.height)
        and np.allclose(one.K, other.K)
        and (
            not (one.D.any() or other.D.any())
            or (one.distortion_model == other.distortion_model and np.array_equal(one.D, other.D))
        )
    )


def _check_size(what: str, image: np.ndarray, model: CameraModel) -> None:
    if image.shape[:2] != (model.height, model.width):
        raise Unusable(f"{what} of another size than the calibration's")
