"""libhaskd as Python programs call it: through ctypes, by its header."""

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
from dataclasses import dataclass
from pathlib import Path

import numpy as np

FIELD_TYPES = {"i1": 1, "u1": 2, "i2": 3, "u2": 4, "i4": 5, "u4": 6, "f4": 7, "f8": 8}
PRECISIONS = {"auto": 0, "fp32": 1, "bf16": 2}
OK, REFUSED, TOO_FEW_POINTS = 0, 1, 2


class _Info(Structure):
    _fields_ = [
        ("sha256", c_char_p),
        ("classes", c_uint32),
        ("channels", c_uint32),
        ("channel_values", c_uint32),
        ("voxel_size", c_double),
        ("max_range", c_double),
        ("intensity_scale", c_double),
        ("intensity_required", c_int),
        ("bf16", c_int),
    ]


class _ClassInfo(Structure):
    _fields_ = [("name", c_char_p), ("rgb", c_uint8 * 3), ("movable", c_uint8)]


class _ChannelInfo(Structure):
    _fields_ = [
        ("name", c_char_p),
        ("values", c_uint32),
        ("scale", c_double),
        ("required", c_int),
    ]


class Field(Structure):
    _fields_ = [("offset", c_uint32), ("type", c_uint32)]


class Cloud(Structure):
    _fields_ = [
        ("data", c_void_p),
        ("bytes", c_size_t),
        ("height", c_size_t),
        ("width", c_size_t),
        ("point_step", c_size_t),
        ("row_step", c_size_t),
        ("x", Field),
        ("y", Field),
        ("z", Field),
        ("intensity", Field),
        ("channels", POINTER(Field)),
    ]


class Options(Structure):
    _fields_ = [
        ("threads", c_int),
        ("min_range", c_double),
        ("max_range", c_double),
        ("intensity_scale", c_double),
        ("min_points", c_size_t),
    ]


class _Labels(Structure):
    _fields_ = [("class_id", c_void_p), ("probability", c_void_p), ("entropy", c_void_p)]


class _Counts(Structure):
    _fields_ = [("labelled", c_size_t), ("beyond_training", c_size_t)]


class Refused(Exception):
    """What a function said, with its status."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


@dataclass(frozen=True)
class Labels:
    class_id: np.ndarray
    probability: np.ndarray
    entropy: np.ndarray
    labelled: int
    beyond_training: int


class Runtime:
    """The library at a path."""

    def __init__(self, path: Path) -> None:
        self.library = library = ctypes.CDLL(str(path))
        library.haskd_version.restype = c_char_p
        library.haskd_open.restype = c_void_p
        library.haskd_open.argtypes = [c_char_p, c_int, POINTER(c_int), c_char_p, c_size_t]
        library.haskd_close.argtypes = [c_void_p]
        library.haskd_close.restype = None
        library.haskd_describe.argtypes = [c_void_p, POINTER(_Info)]
        library.haskd_describe.restype = None
        library.haskd_class.argtypes = [c_void_p, c_uint32, POINTER(_ClassInfo)]
        library.haskd_channel.argtypes = [c_void_p, c_uint32, POINTER(_ChannelInfo)]
        library.haskd_label.argtypes = [
            *(c_void_p, POINTER(Cloud), POINTER(Options), POINTER(_Labels)),
            *(POINTER(_Counts), c_char_p, c_size_t),
        ]

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
        error, status = ctypes.create_string_buffer(1024), c_int(-1)
        handle = self.library.haskd_open(text, PRECISIONS[precision], byref(status), error, 1024)
        if handle is None:
            raise Refused(status.value, error.value.decode())
        assert (status.value, error.value) == (OK, b"")
        return OpenModel(self, handle)


class OpenModel:
    def __init__(self, runtime: Runtime, handle: int) -> None:
        self._library, self._handle = runtime.library, handle
        self.info = _Info()
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
        offsets = [Field(4 * i, FIELD_TYPES["f4"]) for i in range(columns)]
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
        labels = _Labels(*(each.ctypes.data for each in (class_id, probability, entropy)))
        counts, error = _Counts(), ctypes.create_string_buffer(1024)
        status = self._library.haskd_label(
            *(self._handle, byref(cloud), byref(Options(**options)), byref(labels)),
            *(byref(counts), error, 1024),
        )
        if status != OK:
            raise Refused(status, error.value.decode())
        return Labels(class_id, probability, entropy, counts.labelled, counts.beyond_training)


__all__ = ["Cloud", "Field", "Labels", "OpenModel", "Options", "Refused", "Runtime"]
