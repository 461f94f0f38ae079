"""PointCloud2 messages as the drivers of common sensors build them: fields, padding, shape, what
stands for a return that did not come, and what `is_dense` claims."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from rosbags.typesys import Stores, get_typestore

TYPES = get_typestore(Stores.ROS2_HUMBLE).types
PointCloud2 = TYPES["sensor_msgs/msg/PointCloud2"]
PointField = TYPES["sensor_msgs/msg/PointField"]
HEADER = TYPES["std_msgs/msg/Header"](TYPES["builtin_interfaces/msg/Time"](12, 34), "sensor")
DATATYPES = {"i1": 1, "u1": 2, "i2": 3, "u2": 4, "i4": 5, "u4": 6, "f4": 7, "f8": 8}

XYZ = (("x", 0, "f4"), ("y", 4, "f4"), ("z", 8, "f4"))
STAMPED = (*XYZ, ("intensity", 12, "f4"), ("ring", 16, "u2"), ("timestamp", 18, "f8"))


@dataclass(frozen=True)
class Sensor:
    """A driver's message.

    Attributes:
        fields: name, offset, numpy type.
        point_step: bytes.
        strength: the field that the intensity is read from; None: there is none.
        rows: of an organised cloud; 1: a plain list of points.
        lost: x, y and z of a return that did not come; None: the driver leaves it out.
        row_padding: bytes after each row.
        is_dense: as the driver sets it, right or wrong.
    """

    fields: tuple[tuple[str, int, str], ...]
    point_step: int
    strength: str | None = "intensity"
    rows: int = 1
    lost: float | None = None
    row_padding: int = 0
    is_dense: bool = True
    scale: float = field(default=255.0)

    def cloud(self, points: np.ndarray, lost: np.ndarray):
        """The message of points that all came from one sweep.

        Args:
            points: [N, 4] float32 x y z in m, strength of the return 0..1.
            lost: [N] bool, returns that did not come.

        Returns:
            the message, and [M] the points that are in it, in its order.
        """
        rows = np.arange(len(points))
        if self.lost is None:
            rows = rows[~lost]
        dtype = np.dtype(
            {
                "names": [name for name, *_ in self.fields],
                "formats": ["<" + kind for *_, kind in self.fields],
                "offsets": [offset for _, offset, _ in self.fields],
                "itemsize": self.point_step,
            }
        )
        # What lies between the fields is anything but zero.
        octets = np.full(len(rows) * self.point_step, 0xA5, np.uint8)
        values = octets.view(dtype)
        for name, *_ in self.fields:
            values[name] = 7
        for column, name in enumerate("xyz"):
            values[name] = points[rows, column]
            if self.lost is not None:
                values[name][lost] = self.lost
        if self.strength is not None:
            values[self.strength] = self.scale * points[rows, 3]
        width = len(rows) // self.rows
        padding = np.full((self.rows, self.row_padding), 0x5A, np.uint8)
        data = np.hstack([octets.reshape(self.rows, width * self.point_step), padding])
        message = PointCloud2(
            header=HEADER,
            height=self.rows,
            width=width,
            fields=[
                PointField(name=name, offset=offset, datatype=DATATYPES[kind], count=1)
                for name, offset, kind in self.fields
            ],
            is_bigendian=False,
            point_step=self.point_step,
            row_step=width * self.point_step + self.row_padding,
            data=data.reshape(-1),
            is_dense=self.is_dense,
        )
        return message, rows


SENSORS = {
    # velodyne_pointcloud: no padding, so intensity's neighbours are not aligned
    "velodyne": Sensor(
        (*XYZ, ("intensity", 12, "f4"), ("ring", 16, "u2"), ("time", 18, "f4")), 22
    ),
    # velodyne_pointcloud with organize_cloud: one row a ring, NaN where nothing came
    "velodyne, organised": Sensor(
        (*XYZ, ("intensity", 12, "f4"), ("ring", 16, "u2"), ("time", 18, "f4")),
        22, rows=16, lost=np.nan, is_dense=False,
    ),
    # ouster-ros: PCL's struct, 16 bytes of x y z, zeros where nothing came, and yet dense
    "ouster": Sensor(
        (
            *XYZ, ("intensity", 16, "f4"), ("t", 20, "u4"), ("reflectivity", 24, "u2"),
            ("ring", 26, "u2"), ("ambient", 28, "u2"), ("range", 32, "u4"),
        ),
        48, rows=128, lost=0.0,
    ),
    # The same sensor by the point type that has no intensity
    "ouster, reflectivity": Sensor(
        (*XYZ, ("t", 16, "u4"), ("reflectivity", 20, "u2"), ("ring", 22, "u2")),
        32, "reflectivity", rows=128, lost=0.0,
    ),
    "hesai": Sensor(STAMPED, 26, is_dense=False),
    # livox_ros_driver2: points in the order of a rosette, not of rings
    "livox": Sensor(
        (*XYZ, ("intensity", 12, "f4"), ("tag", 16, "u1"), ("line", 17, "u1"),
         ("timestamp", 18, "f8")), 26,
    ),
    # Its custom message converted
    "livox, converted": Sensor(
        (*XYZ, ("reflectivity", 12, "u1"), ("tag", 13, "u1"), ("line", 14, "u1")),
        15, "reflectivity", lost=0.0,
    ),
    # rslidar_sdk: column by column, NaN where nothing came
    "robosense": Sensor(STAMPED, 26, rows=32, lost=np.nan, is_dense=False),
    # realsense2_camera with an ordered cloud: colours, no intensity
    "realsense": Sensor(
        (*XYZ, ("rgb", 16, "f4")), 20, None, rows=48, lost=np.nan, row_padding=12, is_dense=False
    ),
    # The CARLA bridge: intensity 0..1
    "carla": Sensor((*XYZ, ("intensity", 12, "f4")), 16, scale=1.0),
}  # fmt: skip
