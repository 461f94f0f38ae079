"""Images whose pixels are numbers: depth, and class ids."""

from __future__ import annotations

import struct
from typing import Any

import cv2
import numpy as np

from haskd_ros.text import quoted
from haskd_training.recordings.image_codec import CompressedFormat, is_cut_off
from haskd_training.recordings.image_header import MAX_PIXELS, header_of, out_of_bounds
from haskd_training.recordings.readers.bag import Unusable

MILLIMETRES = 1000.0
"""Units of a whole-numbered depth image in a m (REP 118)."""

_KINDS = {"16UC1": "u2", "mono16": "u2", "mono8": "u1", "8UC1": "u1", "32FC1": "f4"}
"""numpy's type of a pixel by encoding."""

_DEPTH = ("16UC1", "mono16", "32FC1")
_IDS = ("mono8", "8UC1", "mono16", "16UC1")

_START_OF_PNG = b"\x89PNG\r\n\x1a\n"

_HEADER = struct.Struct("<iff")
"""Of compressed_depth_image_transport: a number without use, and both parameters of the steps of
inverse depth in which a depth in m is compressed."""


def encoding_of(message: Any) -> str:
    """Encoding of an Image, or what a CompressedImage was made of; empty where it doesn't say."""
    if hasattr(message, "encoding"):
        return str(message.encoding)
    return CompressedFormat.of(message.format).encoding


def is_depth(message: Any) -> bool:
    """Whether an Image or CompressedImage says to hold depth."""
    if not hasattr(message, "encoding") and "compressedDepth" in message.format:
        return True
    return encoding_of(message) in ("16UC1", "32FC1")


def number_image_size(message: Any, max_pixels: int = MAX_PIXELS) -> tuple[int, int]:
    """Width and height in px of such an Image or CompressedImage, by its header alone.

    Raises:
        Unusable: it is empty, cut off, or too large.
    """
    if not len(message.data):
        raise Unusable("image without data")
    if hasattr(message, "encoding"):
        size = int(message.width), int(message.height)
        if len(message.data) < int(message.step) * size[1]:
            raise Unusable("image data is shorter than its size says")
    else:
        octets = _png(message)
        if is_cut_off(octets):
            raise Unusable("image is cut off")
        header = header_of(octets)
        if header is None:
            raise Unusable(f"image can't be decoded (format {quoted(message.format)})")
        size = header.width, header.height
    if problem := out_of_bounds(*size, max_pixels):
        raise Unusable(f"image is {problem}")
    return size


def depth_of(
    message: Any, units_per_m: float | None = None, max_pixels: int = MAX_PIXELS
) -> np.ndarray:
    """Depth [H, W] float32 in m, 0 where there is none, of an Image or a CompressedImage: whole
    numbers of 16 bits, or float32; compressedDepth as PNG, or a plain PNG of 16 bits.

    Args:
        units_per_m: of a whole number; None: 1000, as in ROS.

    Raises:
        Unusable: it is broken, too large, or of another kind.
    """
    number_image_size(message, max_pixels)
    if hasattr(message, "encoding"):
        values = _values(message, _DEPTH)
    else:
        values = decoded_png(_png(message), max_pixels)
        if values.dtype != np.uint16:
            raise Unusable("depth image is no PNG of 16 bits")
        if encoding_of(message) == "32FC1" and "compressedDepth" in message.format:
            _, scale, offset = _HEADER.unpack_from(bytes(message.data))
            steps = np.where(values > offset, values - np.float32(offset), np.inf)
            values = np.where(values == 0, 0, np.float32(scale) / steps)
    if values.dtype == np.uint16:
        values = values / np.float32(units_per_m or MILLIMETRES)
    depth = values.astype(np.float32, copy=False)
    return np.where(np.isfinite(depth) & (depth > 0), depth, np.float32(0))


def ids_of(message: Any, max_pixels: int = MAX_PIXELS) -> np.ndarray:
    """Class ids [H, W] uint8 or uint16 of an Image (mono8, mono16) or a CompressedImage (PNG).

    Raises:
        Unusable: it is broken, too large, or of another kind.
    """
    number_image_size(message, max_pixels)
    if hasattr(message, "encoding"):
        return _values(message, _IDS)
    values = decoded_png(_png(message), max_pixels)
    if values.dtype not in (np.uint8, np.uint16):
        raise Unusable("label image is no PNG of 8 or 16 bits")
    return values


def decoded_png(octets: bytes, max_pixels: int = MAX_PIXELS) -> np.ndarray:
    """[H, W] of a PNG of one channel.

    Raises:
        Unusable: it is broken, too large, or has more channels.
    """
    header = header_of(octets)
    if header is None or is_cut_off(octets):
        raise Unusable("image is cut off, or none")
    if problem := out_of_bounds(header.width, header.height, max_pixels):
        raise Unusable(f"image is {problem}")
    try:
        values = cv2.imdecode(np.frombuffer(octets, np.uint8), cv2.IMREAD_UNCHANGED)
    except cv2.error as error:
        raise Unusable("image can't be decoded") from error
    if values is None:
        raise Unusable("image can't be decoded")
    if values.ndim != 2:
        raise Unusable("image has several channels where one number a pixel is expected")
    return np.asarray(values)


def _png(message: Any) -> bytes:
    """The bytes of the image file in a CompressedImage."""
    octets = bytes(message.data)
    if "compressedDepth" not in message.format:
        return octets
    octets = octets[_HEADER.size :]
    if not octets.startswith(_START_OF_PNG):
        raise Unusable(
            "compressedDepth that is no PNG (RVL?) is not read: make raw images of it with "
            "image_transport's republish, or record it with format png"
        )
    return octets


def _values(message: Any, encodings: tuple[str, ...]) -> np.ndarray:
    """[H, W] of an Image's pixels."""
    if message.encoding not in encodings:
        raise Unusable(
            f"image encoding {quoted(message.encoding)}; {', '.join(encodings)} are read here"
        )
    order = ">" if message.is_bigendian else "<"
    kind = np.dtype(order + _KINDS[message.encoding])
    height, width, step = int(message.height), int(message.width), int(message.step)
    if step < width * kind.itemsize:
        raise Unusable("image data is shorter than its size says")
    data = np.frombuffer(message.data, np.uint8)
    rows = data[: step * height].reshape(height, step)[:, : width * kind.itemsize]
    values = np.ascontiguousarray(rows).view(kind)
    return values.astype(kind.newbyteorder("="), copy=False)
