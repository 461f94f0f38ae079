"""PointCloud2 bytes <-> numpy, by field name.

Works on any object with the attributes of a sensor_msgs/PointCloud2: rclpy's message class, the
dataclass of `rosbags`. Names follow `sensor_msgs_py.point_cloud2`: a field of count n > 1 becomes
n columns `name_0` .. `name_{n-1}`, a field without a name `unnamed_field_{index}`. Unlike there,
`row_step` is honoured, a big-endian cloud is read in place and not byte-swapped in the
sender's buffer, and NaNs are looked for even in a cloud that calls itself dense.
"""

from __future__ import annotations

import array
import copy
import sys
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import numpy as np

from haskd_ros.clouds.point_layout import (
    DATATYPES,
    DTYPES,
    MAX_POINT_STEP,
    CloudError,
    fields_of,
    octets_of_point,
    point_dtype,
)

INTENSITY_FIELDS = ("intensity", "reflectivity", "i", "intensities")
"""Names under which drivers publish the strength of the return, in order of preference."""

_HEADER = (
    "header", "height", "width", "fields", "is_bigendian", "point_step", "row_step", "is_dense",
)  # fmt: skip

__all__ = [
    "INTENSITY_FIELDS",
    "CloudError",
    "append_columns",
    "append_points",
    "create_cloud",
    "intensity_field",
    "point_rows",
    "read_coordinates",
    "read_intensity",
    "read_points",
    "read_xyz_intensity",
    "select_points",
    "valid_returns",
    "with_values",
]


def read_points(
    cloud: Any, field_names: Iterable[str] | None = None, skip_nans: bool = False
) -> np.ndarray:
    """The points of a cloud as a structured array [height * width], row after row.

    The array is a view of `cloud.data` unless rows are padded (`row_step` larger than the points
    of a row) or `skip_nans` drops a point: don't write to it.

    Args:
        cloud: a PointCloud2.
        field_names: fields to keep, in that order; all by default.
        skip_nans: leave out points with a NaN in one of these fields.

    Raises:
        CloudError: the header is malformed, the data is shorter than it says, or a requested
            field is not there, or there twice. Nothing larger than the message is allocated on the
            way, however many values its fields say they have.
    """
    if not cloud.fields and not cloud.width * cloud.height and field_names is None:
        return np.empty(0, np.dtype([]))
    selected = None if field_names is None else list(field_names)
    dtype = point_dtype(cloud, selected)
    points = point_rows(cloud, dtype).reshape(-1)
    if selected is not None:
        points = points[selected]
    if skip_nans:
        keep = np.ones(len(points), bool)
        for name in points.dtype.names or ():
            if points.dtype[name].kind == "f":
                keep &= ~np.isnan(points[name])
        if not keep.all():
            points = points.compress(keep)  # points[keep], which is ten times slower
    return points


def read_xyz_intensity(cloud: Any) -> tuple[np.ndarray, str | None]:
    """x y z (m) and intensity (the sensor's own unit) of every point.

    Returns:
        points: [N, 4] float32, in the cloud's order, NaNs kept. Where the four fields lie side
            by side as aligned float32 it is a view of the message: don't write to it.
        intensity_field: the field that column 3 was read from, one of `INTENSITY_FIELDS`; None
            where the cloud has none (column 3 is then 0).

    Raises:
        CloudError: as `read_points`; also for points without x, y or z.
    """
    intensity = intensity_field(cloud)
    if not cloud.width * cloud.height:
        return np.empty((0, 4), np.float32), intensity
    columns = ["x", "y", "z"] if intensity is None else ["x", "y", "z", intensity]
    points = read_points(cloud, columns)

    fields = _fields_of(points.dtype)
    layout = [fields[name] for name in columns]
    start = layout[0][1]
    side_by_side = layout == [(np.dtype(np.float32), start + 4 * column) for column in range(4)]
    if side_by_side and points.flags.c_contiguous:  # padded rows of a single point are not
        octets = points.view(np.uint8)
        view = np.ndarray(
            (len(points), 4), np.float32, octets, offset=start, strides=(points.itemsize, 4)
        )
        if view.flags.aligned:  # torch takes no other
            return view, intensity

    flat = np.zeros((len(points), 4), np.float32)
    # A float64 too large for float32 becomes infinite, which nothing downstream labels.
    with np.errstate(over="ignore", invalid="ignore"):
        for column, name in enumerate(columns):
            flat[:, column] = points[name]
    return flat, intensity


def read_coordinates(cloud: Any, points: np.ndarray) -> np.ndarray:
    """x y z (m) of every point as precise as in the cloud: a map's coordinates are larger than
    float32 resolves.

    Args:
        points: [N, >= 3] float32 of the cloud, from `read_xyz_intensity`.

    Returns:
        [N, 3] float64 where one of the three fields is of 64 bits or an integer of 32, else the
        float32 of `points`.

    Raises:
        CloudError: as `read_xyz_intensity`.
    """
    types = {DTYPES.get(each.datatype) for each in fields_of(cloud) if each.name in ("x", "y", "z")}
    if not len(points) or not types & {"i4", "u4", "i8", "u8", "f8"}:
        return points[:, :3]
    rows = read_points(cloud, "xyz")
    with np.errstate(invalid="ignore"):
        return np.stack([rows[name].astype(np.float64) for name in "xyz"], axis=1)


def read_intensity(cloud: Any) -> np.ndarray | None:
    """The intensity of every point [N] in its field's own type, a view where `read_points` gives
    one; None for a cloud without.

    Raises:
        CloudError: as `read_points`.
    """
    name = intensity_field(cloud)
    if name is None or not cloud.width * cloud.height:
        return None if name is None else np.empty(0, np.float32)
    values: np.ndarray = read_points(cloud, [name])[name]
    return values


def intensity_field(cloud: Any) -> str | None:
    """The field, one of `INTENSITY_FIELDS`, that the intensity is read from; None without one."""
    present = {field.name for field in fields_of(cloud)}
    return next((name for name in INTENSITY_FIELDS if name in present), None)


def valid_returns(points: np.ndarray) -> np.ndarray:
    """[N] bool: which points [N, >= 3] are returns: x y z finite, and not in the sensor's origin,
    where drivers of organised clouds put missing returns."""
    # Column by column: numpy is slow along rows of three.
    x, y, z = points[:, :3].T
    finite = np.isfinite(x) & np.isfinite(y) & np.isfinite(z)
    valid: np.ndarray = finite & ((x != 0) | (y != 0) | (z != 0))
    return valid


def create_cloud(
    header: Any,
    points: np.ndarray,
    message_type: Callable[..., Any],
    field_type: Callable[..., Any],
    is_dense: bool = False,
) -> Any:
    """A PointCloud2 message with the bytes of a structured array.

    Args:
        header: the message's header, taken over as it is.
        points: structured [N] (height 1) or [height, width], native byte order; its fields become
            the cloud's, padding of its dtype included.
        message_type: PointCloud2 of rclpy, or of a `rosbags` type store.
        field_type: PointField of the same family.
        is_dense: whether no point is invalid.

    Raises:
        CloudError: `points` has a field of a type that a PointCloud2 can't carry.
    """
    fields = []
    for name, (dtype, offset) in _fields_of(points.dtype).items():
        if dtype not in DATATYPES:
            raise CloudError(
                "unknown datatype",
                f"cloud: field {name!r} is of type {dtype}, which no PointField has",
            )
        fields.append(field_type(name=name, offset=offset, datatype=DATATYPES[dtype], count=1))
    height, width = points.shape if points.ndim == 2 else (1, len(points))
    content = {
        "header": header,
        "height": height,
        "width": width,
        "fields": fields,
        "is_bigendian": sys.byteorder == "big",
        "point_step": points.dtype.itemsize,
        "is_dense": is_dense,
    }
    return _message(message_type, content, points)


def select_points(cloud: Any, keep: np.ndarray) -> Any:
    """A message of the cloud's own type with some of its points, byte for byte, in one row.

    Args:
        cloud: a PointCloud2.
        keep: [height * width] bool, row after row.

    Raises:
        CloudError: as `read_points`.
    """
    if not cloud.width * cloud.height:
        points = np.empty(0, np.uint8)  # whatever a point may be
    else:
        # The bytes between the fields are the sender's too.
        octets = np.dtype((np.void, octets_of_point(cloud)))
        points = point_rows(cloud, octets).reshape(-1).compress(keep)
    content = {
        "header": cloud.header,
        "height": 1,
        "width": len(points),
        "fields": cloud.fields,
        "is_bigendian": cloud.is_bigendian,
        "point_step": cloud.point_step,
        "is_dense": cloud.is_dense,
    }
    return _message(type(cloud), content, points)


def append_columns(
    cloud: Any, columns: Mapping[str, np.ndarray], field_type: Callable[..., Any]
) -> Any:
    """A message of the cloud's own type with further fields behind those it has: the bytes of its
    points in their order, height and width, then the columns, each aligned as its type needs. Rows
    are not padded. A field of the cloud with the name of a column is left out; its bytes stay.

    Args:
        cloud: a PointCloud2.
        columns: by name, [height * width] values each, row after row.
        field_type: PointField of the cloud's family.

    Raises:
        CloudError: as `read_points`.
    """
    is_empty = not cloud.width * cloud.height
    # Of no point, whatever a point may be.
    octets = min(cloud.point_step, MAX_POINT_STEP) if is_empty else octets_of_point(cloud)
    own, order = np.dtype((np.void, octets)), ">" if cloud.is_bigendian else "<"
    types = [own, *(np.dtype(order + values.dtype.str[1:]) for values in columns.values())]
    dtype = np.dtype([(str(place), each) for place, each in enumerate(types)], align=True)
    points = np.zeros((cloud.height, cloud.width), dtype)
    if not is_empty:
        points["0"] = point_rows(cloud, own)
    fields = [field for field in cloud.fields if field.name not in columns]
    for place, (name, values) in enumerate(columns.items(), 1):
        points[str(place)] = values.reshape(points.shape)
        offset, datatype = _fields_of(dtype)[str(place)][1], DATATYPES[values.dtype]
        fields.append(field_type(name=name, offset=offset, datatype=datatype, count=1))
    content = {
        "header": cloud.header,
        "height": cloud.height,
        "width": cloud.width,
        "fields": fields,
        "is_bigendian": cloud.is_bigendian,
        "point_step": dtype.itemsize,
        "is_dense": cloud.is_dense,
    }
    return _message(type(cloud), content, points)


def append_points(cloud: Any, points: np.ndarray, *, is_dense: bool) -> Any:
    """A message of the cloud's own type with further points behind those it has, in one row. Rows
    are not padded.

    Args:
        cloud: a PointCloud2.
        points: [M] of `point_step` bytes each, laid out as the cloud's.
        is_dense: whether no point is invalid.

    Raises:
        CloudError: as `read_points`.
    """
    octets = np.dtype((np.void, octets_of_point(cloud)))
    own = point_rows(cloud, octets).reshape(-1)
    content = {
        "header": cloud.header,
        "height": 1,
        "width": len(own) + len(points),
        "fields": cloud.fields,
        "is_bigendian": cloud.is_bigendian,
        "point_step": cloud.point_step,
        "is_dense": is_dense,
    }
    return _message(type(cloud), content, np.concatenate([own, points.view(octets)]))


def with_values(cloud: Any, values: Mapping[str, Any]) -> Any:
    """A message of the cloud's own type with other values in some fields, and else the same bytes.

    Args:
        cloud: a PointCloud2.
        values: by field, [height * width] or one for all points; numbers that the field's type
            can hold.

    Raises:
        CloudError: as `read_points`.
    """
    content = {name: getattr(cloud, name) for name in _HEADER}
    if hasattr(type(cloud), "__dataclass_fields__"):  # of rosbags
        changed = type(cloud)(**content, data=copy.copy(cloud.data))
    else:  # its constructor would copy the data once more
        changed = type(cloud)(**content)
        changed.data = copy.copy(cloud.data)
    rows = point_rows(changed, point_dtype(changed, list(values)))
    with np.errstate(over="ignore", invalid="ignore"):
        for name, column in values.items():
            rows[name] = np.reshape(column, rows.shape) if np.ndim(column) else column
    return changed


def _message(message_type: Callable[..., Any], content: dict[str, Any], points: np.ndarray) -> Any:
    """A message with the bytes of an array, its rows without padding."""
    # A cloud without rows may call itself wider than `row_step` can count.
    row_step = content["point_step"] * content["width"] if content["height"] else 0
    content = {**content, "row_step": row_step}
    octets = np.ascontiguousarray(points).reshape(-1).view(np.uint8)
    if hasattr(message_type, "__dataclass_fields__"):  # of rosbags
        return message_type(**content, data=octets)
    # rclpy checks every element of anything but an array.array, which takes seconds, and its
    # constructor would copy this one once more.
    data = array.array("B")
    data.frombytes(octets.data)
    message = message_type(**content)
    message.data = data
    return message


def _fields_of(dtype: np.dtype) -> dict[str, tuple[np.dtype, int]]:
    """Type and offset in bytes of a structured dtype's fields, in their order."""
    fields: Mapping[str, Any] = dtype.fields or {}
    return {name: (fields[name][0], fields[name][1]) for name in dtype.names or ()}


def point_rows(cloud: Any, dtype: np.dtype) -> np.ndarray:
    """The cloud's data as [height, width] points, without a copy.

    Args:
        dtype: of a point, as of `point_dtype`.

    Raises:
        CloudError: the data is shorter than the header says.
    """
    height, width = cloud.height, cloud.width
    if not height * width:
        return np.empty((height, width), dtype)
    row = width * dtype.itemsize
    # The row_step of a single row has no meaning, and drivers leave it at 0.
    row_step = cloud.row_step if height > 1 else row
    if row_step < row:
        raise CloudError(
            "row_step too small",
            f"cloud: row_step is {row_step}, but {width} points of {dtype.itemsize} bytes need "
            f"{row}",
        )
    size = (height - 1) * row_step + row
    if size > len(cloud.data):
        raise CloudError(
            "data too short",
            f"cloud: {height} x {width} points of {dtype.itemsize} bytes need {size} bytes, the "
            f"data has {len(cloud.data)}",
        )
    rows: np.ndarray = np.ndarray(
        (height, width), dtype, cloud.data, strides=(row_step, dtype.itemsize)
    )
    return rows
