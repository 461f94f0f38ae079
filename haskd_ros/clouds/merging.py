"""The clouds of several LiDARs as one, in the frame and the layout of the first."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from haskd_ros.clouds.intensity import IntensityUnit
from haskd_ros.clouds.motion import Poses, compensate
from haskd_ros.clouds.point_layout import DTYPES, CloudError, fields_of, point_dtype
from haskd_ros.clouds.pointcloud import (
    append_points,
    intensity_field,
    point_rows,
    read_coordinates,
    read_intensity,
    read_xyz_intensity,
    valid_returns,
)
from haskd_ros.model_header import Intensity


class OtherCloud(NamedTuple):
    """A cloud that goes into another one.

    Attributes:
        cloud: a PointCloud2 of any layout.
        xyz: [N, 3] of its points in m, in the frame of the one that it goes into.
        values: by field of that one, [N] or one for all points: what goes there instead of what
            this cloud has in a field of that name.
    """

    cloud: Any
    xyz: np.ndarray
    values: Mapping[str, Any]


def points_in_frame(
    cloud: Any,
    mount: np.ndarray,
    *,
    seconds: np.ndarray | None = None,
    poses: Poses | None = None,
) -> np.ndarray:
    """Where the points of a cloud are in the frame of another sensor.

    Args:
        cloud: a PointCloud2.
        mount: [4, 4] T_other_sensor.
        seconds: [N], when each point was measured, with `poses`.
        poses: of the sensor in a fixed frame: the points are moved to where it would have measured
            them at time 0. None: they stay where they were measured.

    Returns:
        [N, 3] float64, m; what stands for a point that was not measured stays, be it NaN or the
        sensor's own origin.

    Raises:
        CloudError: the cloud is malformed.
    """
    points, _ = read_xyz_intensity(cloud)
    xyz, valid = read_coordinates(cloud, points), valid_returns(points)
    moved = xyz if poses is None or seconds is None else compensate(xyz, seconds, poses)
    placed = np.empty((len(xyz), 3), order="F")
    # Column by column: a product of matrices starts threads, which wait for a core.
    x, y, z = np.asarray(moved.T, np.float64)
    with np.errstate(invalid="ignore", over="ignore"):
        for axis, (a, b, c, origin) in enumerate(mount[:3]):
            placed[:, axis] = np.where(valid, a * x + b * y + c * z + origin, xyz[:, axis])
    return placed


def check_layout(cloud: Any) -> None:
    """
    Raises:
        CloudError: the cloud can't take the points of others: it is malformed, or its coordinates
            are integers, which no turned point fits into.
    """
    kinds = point_dtype(cloud, "xyz")
    if any(kinds[name].kind != "f" for name in "xyz"):
        raise CloudError(
            "coordinates are integers",
            f"cloud: x y z are {', '.join(kinds[name].name for name in 'xyz')}, must be float32 or "
            "float64 to be merged with others",
        )


def merged_cloud(cloud: Any, others: Sequence[OtherCloud]) -> Any:
    """A PointCloud2 with the header and the layout of one cloud: its own points byte for byte in
    their order, then those of the others, in one row. What another cloud has in a field of the same
    name, with as many values, is taken over in the field's type, as near as that has it. Where it
    has none, integers are 0 and floats NaN.

    Raises:
        CloudError: as `check_layout`, or another cloud is malformed.
    """
    check_layout(cloud)
    fields = _fields_by_name(cloud)
    dtype = _point_type(fields, cloud.point_step)
    # Of fields that share bytes those of the coordinates count.
    names = sorted(fields, key=lambda name: name in ("x", "y", "z"))
    # numpy would join structured points in an order of bytes and a layout of its own.
    octets = np.dtype((np.void, cloud.point_step))
    parts, is_dense = [np.zeros(0, octets)], cloud.is_dense
    for other in others:
        if not len(other.xyz):
            continue
        point_dtype(other.cloud, "xyz")  # for what it raises
        values: dict[str, Any] = dict.fromkeys(names, np.nan)
        values |= _taken_over(other.cloud, fields)
        values |= {name: each for name, each in other.values.items() if name in fields}
        values |= {axis: other.xyz[:, column] for column, axis in enumerate("xyz")}
        part = np.zeros(len(other.xyz), dtype)
        for name in names:
            kind = dtype[name].base
            part[name] = fitted(np.asarray(values[name]), kind)
            if kind.kind == "f" and not np.ndim(values[name]):
                is_dense = is_dense and bool(np.isfinite(values[name]))
        parts.append(part.view(octets))
        is_dense = is_dense and other.cloud.is_dense
    return append_points(cloud, np.concatenate(parts), is_dense=bool(is_dense))


def fitted(values: np.ndarray, dtype: np.dtype) -> np.ndarray:
    """Values in another type, as near as it has them; of a number that is none, an integer is 0."""
    if dtype.kind == "f":
        with np.errstate(over="ignore", invalid="ignore"):
            return values.astype(dtype)
    info = np.iinfo(dtype)
    if values.dtype.kind != "f":
        own = np.iinfo(values.dtype)
        low, high = max(int(own.min), int(info.min)), min(int(own.max), int(info.max))
        return values.clip(low, high).astype(dtype)
    whole = np.rint(values.astype(np.float64))
    # The largest integers of 64 bits are no float64.
    above, below = whole >= float(info.max), whole <= float(info.min)
    result = np.where(np.isfinite(whole) & ~above & ~below, whole, 0).astype(dtype)
    result[above], result[below] = info.max, info.min
    return result


class MergedIntensity:
    """Brings intensities to the unit of the cloud that they go into, by the clouds of each LiDAR
    seen so far.

    Args:
        fixed: intensity of a full return, of every LiDAR; 0: each has the unit that its clouds
            tell.

    Attributes:
        fixed: as given.
    """

    def __init__(self, fixed: float = 0.0) -> None:
        self.fixed = fixed
        self._own = IntensityUnit(fixed)
        self._units: dict[str, IntensityUnit] = {}
        self._field: str | None = None
        self._is_float = self._is_measured = False

    def look_at(self, cloud: Any) -> None:
        """See the cloud that others go into.

        Raises:
            CloudError: it is malformed.
        """
        values, self._field = read_intensity(cloud), intensity_field(cloud)
        measured = self._own.add(values)
        is_empty = values is not None and not len(values)
        self._is_measured = measured or (is_empty and self._own.is_known)
        if self._field is not None:
            self._is_float = point_dtype(cloud, [self._field])[self._field].kind == "f"

    def see(self, lidar: str, cloud: Any) -> None:
        """See a cloud of another LiDAR, to know its unit when `of` is asked.

        Raises:
            CloudError: it is malformed.
        """
        self._unit_of(lidar).add(read_intensity(cloud))

    def of(self, lidar: str, cloud: Any, rule: Intensity) -> dict[str, Any]:
        """The intensities of another LiDAR's cloud in the unit of the cloud that was looked at: [N]
        or one for all points, by the name of its field; nothing where it has no such field.

        What was not measured is NaN, for which the mean of the training stands in later; in a field
        of integers it is that mean. Where the cloud that was looked at has none measured, nor has
        the merged one.

        Args:
            lidar: its name.
            rule: of the model.

        Raises:
            CloudError: the cloud is malformed, or without the intensity that is required.
        """
        values = read_intensity(cloud)
        unit = self._unit_of(lidar)
        measured = unit.add(values)
        if self._field is None or not cloud.width * cloud.height:
            return {}
        if not self._is_measured:
            return {self._field: np.nan}
        if not measured and rule.required:
            raise CloudError(
                "no intensity",
                "cloud: it has no intensity, or NaN or 0 for all of it, which the model requires",
            )
        missing = np.nan if self._is_float else rule.mean * self._own.full_scale
        if values is None or not measured:
            return {self._field: missing}
        factor = self._own.full_scale / unit.full_scale
        scaled = values if factor == 1 else values * np.float64(factor)
        if scaled.dtype.kind == "f" and not self._is_float:
            scaled = np.where(np.isnan(scaled), missing, scaled)
        return {self._field: scaled}

    def _unit_of(self, lidar: str) -> IntensityUnit:
        return self._units.setdefault(lidar, IntensityUnit(self.fixed))


_Fields = Mapping[str, tuple[np.dtype, int]]
"""By name, type, with a shape where a field has several values, and offset in bytes."""


def _fields_by_name(cloud: Any) -> _Fields:
    """The fields whose name stands once."""
    order = ">" if cloud.is_bigendian else "<"
    names = Counter(field.name for field in fields_of(cloud))
    return {
        field.name: (
            np.dtype((order + DTYPES[field.datatype], (field.count,) if field.count > 1 else ())),
            field.offset,
        )
        for field in fields_of(cloud)
        if field.name and names[field.name] == 1
    }


def _point_type(fields: _Fields, point_step: int) -> np.dtype:
    return np.dtype(
        {
            "names": list(fields),
            "formats": [kind for kind, _ in fields.values()],
            "offsets": [offset for _, offset in fields.values()],
            "itemsize": point_step,
        }
    )


def _taken_over(cloud: Any, fields: _Fields) -> dict[str, np.ndarray]:
    """What a cloud has of fields of these names, with as many values."""
    common = {
        name: (kind, offset)
        for name, (kind, offset) in _fields_by_name(cloud).items()
        if name in fields and fields[name][0].shape == kind.shape
    }
    rows = point_rows(cloud, _point_type(common, cloud.point_step)).reshape(-1)
    return {name: rows[name] for name in common}
