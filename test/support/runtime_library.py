"""libhaskd as other programs call it, with what the package itself does not need of it."""

from __future__ import annotations

import ctypes
from ctypes import (
    POINTER,
    Structure,
    byref,
    c_char_p,
    c_double,
    c_int,
    c_size_t,
    c_uint8,
    c_uint32,
    c_void_p,
)
from pathlib import Path

import numpy as np

from haskd_ros.native.runtime.library import (
    ERROR_SIZE,
    FLOAT32,
    OK,
    PRECISIONS,
    REFUSED,
    TOO_FEW_POINTS,
    Cloud,
    Counts,
    Field,
    Info,
    LabelPointers,
    Labels,
    Options,
    open_runtime,
)

FIELD_TYPES = {"i1": 1, "u1": 2, "i2": 3, "u2": 4, "i4": 5, "u4": 6, "f4": 7, "f8": 8}


class _ClassInfo(Structure):
    _fields_ = [("name", c_char_p), ("rgb", c_uint8 * 3), ("movable", c_uint8)]


class _ChannelInfo(Structure):
    _fields_ = [
        ("name", c_char_p),
        ("values", c_uint32),
        ("scale", c_double),
        ("required", c_int),
    ]


class Refused(Exception):
    """What a function said, with its status."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


class Runtime:
    """The library at a path."""

    def __init__(self, path: Path) -> None:
        self.library = library = open_runtime(path)
        library.haskd_version.restype = c_char_p
        library.haskd_open.restype = c_void_p
        library.haskd_open.argtypes = [c_char_p, c_int, POINTER(c_int), c_char_p, c_size_t]
        library.haskd_class.argtypes = [c_void_p, c_uint32, POINTER(_ClassInfo)]
        library.haskd_channel.argtypes = [c_void_p, c_uint32, POINTER(_ChannelInfo)]

    @property
    def version(self) -> str:
        version: bytes = self.library.haskd_version()
        return version.decode()

    def open(self, path: Path | str | bytes, precision: str = "auto") -> OpenModel:
        """
        Raises:
            Refused: it can't be opened.
        """
        text = path if isinstance(path, bytes) else str(path).encode()
        error, status = ctypes.create_string_buffer(ERROR_SIZE), c_int(-1)
        handle = self.library.haskd_open(
            text, PRECISIONS[precision], byref(status), error, ERROR_SIZE
        )
        if handle is None:
            raise Refused(status.value, error.value.decode())
        assert (status.value, error.value) == (OK, b"")
        return OpenModel(self, handle)


class OpenModel:
    def __init__(self, runtime: Runtime, handle: int) -> None:
        self._library, self._handle = runtime.library, handle
        self.info = Info()
        self._library.haskd_describe(handle, byref(self.info))

    def __enter__(self) -> OpenModel:
        return self

    def __exit__(self, *_: object) -> None:
        self._library.haskd_close(self._handle)

    def classes(self) -> list[tuple[str, tuple[int, ...], bool]]:
        """(name, colour, movable) of each, as long as there are some."""
        found, info = [], _ClassInfo()
        while self._library.haskd_class(self._handle, len(found), byref(info)) == OK:
            found.append((info.name.decode(), tuple(info.rgb), bool(info.movable)))
        return found

    def channels(self) -> list[tuple[str, int, float, bool]]:
        """(name, values, scale, required) of each, as long as there are some."""
        found, info = [], _ChannelInfo()
        while self._library.haskd_channel(self._handle, len(found), byref(info)) == OK:
            found.append((info.name.decode(), info.values, info.scale, bool(info.required)))
        return found

    def label_rows(self, points: np.ndarray, **options: float) -> Labels:
        """Label [N, 3] or [N, >= 4] float32: x y z, intensity, values of channels."""
        columns = points.shape[1]
        offsets = [Field(4 * i, FLOAT32) for i in range(columns)]
        channels = (Field * max(columns - 4, self.info.channel_values, 1))(*offsets[4:])
        cloud = Cloud(
            *(points.ctypes.data, points.nbytes, 1, len(points), points.strides[0], 0),
            *offsets[:3],
            offsets[3] if columns > 3 else Field(),
            channels if columns > 4 else None,
        )
        return self.label(cloud, **options)

    def label(self, cloud: Cloud, **options: float) -> Labels:
        """
        Raises:
            Refused: it can't be labelled.
        """
        # One that says that it is larger is not labelled.
        points = min(cloud.height * cloud.width, 1 << 20)
        class_id = np.full(points, 77, np.uint8)
        probability, entropy = np.full((2, points), np.nan, np.float32)
        labels = LabelPointers(*(each.ctypes.data for each in (class_id, probability, entropy)))
        counts, error = Counts(), ctypes.create_string_buffer(ERROR_SIZE)
        status = self._library.haskd_label(
            *(self._handle, byref(cloud), byref(Options(**options)), byref(labels)),
            *(byref(counts), error, ERROR_SIZE),
        )
        if status != OK:
            raise Refused(status, error.value.decode())
        return Labels(class_id, probability, entropy, counts.labelled, counts.beyond_training)


__all__ = [
    "REFUSED",
    "TOO_FEW_POINTS",
    "Cloud",
    "Field",
    "Labels",
    "OpenModel",
    "Options",
    "Refused",
    "Runtime",
]
