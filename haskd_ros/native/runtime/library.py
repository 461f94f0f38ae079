"""libhaskd in this process, called through ctypes as haskd.h declares it. No torch."""

from __future__ import annotations

import ctypes
import weakref
from collections.abc import Sequence
from ctypes import (
    POINTER,
    Structure,
    byref,
    c_char_p,
    c_double,
    c_int,
    c_size_t,
    c_uint32,
    c_void_p,
)
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from haskd_ros.errors import InputError
from haskd_ros.native.opening import declared, opened
from haskd_ros.native.runtime.build import RUNTIME

PRECISIONS = {"auto": 0, "fp32": 1, "bf16": 2}
OK, REFUSED, TOO_FEW_POINTS, NO_MEMORY, FAILED = range(5)
FLOAT32 = 7
ERROR_SIZE = 1024


class Info(Structure):
    """haskd_info."""

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


class Field(Structure):
    """haskd_field."""

    _fields_ = [("offset", c_uint32), ("type", c_uint32)]


class Cloud(Structure):
    """haskd_cloud."""

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
    """haskd_options."""

    _fields_ = [
        ("threads", c_int),
        ("min_range", c_double),
        ("max_range", c_double),
        ("intensity_scale", c_double),
        ("min_points", c_size_t),
    ]


class LabelPointers(Structure):
    """haskd_labels."""

    _fields_ = [("class_id", c_void_p), ("probability", c_void_p), ("entropy", c_void_p)]


class Counts(Structure):
    """haskd_counts."""

    _fields_ = [("labelled", c_size_t), ("beyond_training", c_size_t)]


SIGNATURES: dict[str, tuple[Sequence[Any], Any]] = {
    "haskd_open_content": (
        [c_void_p, c_size_t, c_int, POINTER(c_int), c_char_p, c_size_t],
        c_void_p,
    ),
    "haskd_close": ([c_void_p], None),
    "haskd_describe": ([c_void_p, POINTER(Info)], None),
    "haskd_label": (
        [
            *(c_void_p, POINTER(Cloud), POINTER(Options), POINTER(LabelPointers)),
            *(POINTER(Counts), c_char_p, c_size_t),
        ],
        c_int,
    ),
}


@dataclass(frozen=True)
class Labels:
    """Of the points of a cloud; row i belongs to point i.

    Attributes:
        class_id: [N] uint8; 255 without a label.
        probability, entropy: [N] float32; 0 and log C without a label.
        labelled: points with a label.
        beyond_training: see haskd.h.
    """

    class_id: NDArray[np.uint8]
    probability: NDArray[np.float32]
    entropy: NDArray[np.float32]
    labelled: int
    beyond_training: int


@cache
def load_runtime() -> ctypes.CDLL:
    """The library for this CPU, compiled where it is not yet.

    Raises:
        Unavailable, OSError: there is none, and none can be made; it says why.
    """
    return opened(RUNTIME, open_runtime)


def open_runtime(path: Path) -> ctypes.CDLL:
    """The library at a path.

    Raises:
        Unavailable: the system refuses it, or a function is missing.
    """
    return declared(path, SIGNATURES)


class Model:
    """A model at work. One thread at a time uses it, others wait.

    Args:
        library: as of `load_runtime`.
        content: of a model file.
        precision: one of `PRECISIONS`.

    Attributes:
        info: what the library says of it.

    Raises:
        InputError: not a model that it can read; no file is named.
        MemoryError: it does not fit.
    """

    def __init__(self, library: ctypes.CDLL, content: bytes, precision: str) -> None:
        self._label = library.haskd_label
        status, error = c_int(), ctypes.create_string_buffer(ERROR_SIZE)
        self._handle = library.haskd_open_content(
            content, len(content), PRECISIONS[precision], byref(status), error, ERROR_SIZE
        )
        _check(status.value, error.value)
        weakref.finalize(self, library.haskd_close, self._handle)
        self.info = Info()
        library.haskd_describe(self._handle, byref(self.info))

    def label(self, cloud: Cloud, options: Options) -> Labels:
        """Label the points of a cloud; other Python threads run meanwhile.

        Raises:
            InputError: it or the options make no sense, or it lacks what the model requires.
            MemoryError: it is too large.
        """
        points = cloud.height * cloud.width
        class_id = np.empty(points, np.uint8)
        probability, entropy = np.empty((2, points), np.float32)
        labels = LabelPointers(*(each.ctypes.data for each in (class_id, probability, entropy)))
        counts, error = Counts(), ctypes.create_string_buffer(ERROR_SIZE)
        status = self._label(
            *(self._handle, byref(cloud), byref(options), byref(labels)),
            *(byref(counts), error, ERROR_SIZE),
        )
        _check(status, error.value)
        return Labels(class_id, probability, entropy, counts.labelled, counts.beyond_training)


def cloud_of_rows(
    rows: np.ndarray, *, has_intensity: bool, channels: Sequence[int | None] = ()
) -> Cloud:
    """A cloud whose points are rows: x y z, then intensity where there is one.

    Args:
        rows: [N, >= 3] float32, each row's numbers side by side and the rows one after the other
            at any distance; has to outlive the cloud.
        channels: columns of the values of the model's channels; None: the cloud lacks it.
    """

    def column(number: int | None) -> Field:
        return Field() if number is None else Field(4 * number, FLOAT32)

    step = rows.strides[0]
    return Cloud(
        data=rows.ctypes.data,
        # To the last point's end there may be less; what lies behind its columns is not read.
        bytes=step * len(rows),
        height=1,
        width=len(rows),
        point_step=step,
        row_step=0,
        x=column(0),
        y=column(1),
        z=column(2),
        intensity=column(3 if has_intensity else None),
        channels=(Field * len(channels))(*map(column, channels)) if channels else None,
    )


def _check(status: int, error: bytes) -> None:
    text = error.decode(errors="replace")
    if status == NO_MEMORY:
        raise MemoryError(text)
    if status in (REFUSED, TOO_FEW_POINTS):
        raise InputError(text)
    if status != OK:
        raise RuntimeError(f"libhaskd: {text}")
