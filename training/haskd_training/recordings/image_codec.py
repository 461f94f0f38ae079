"""Images of a bag as JPEG: the bytes of a CompressedImage are kept, an Image is encoded."""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import cv2
import numpy as np

from haskd_ros.text import quoted
from haskd_training.recordings.image_header import (
    MAX_PIXELS,
    START_OF_JPEG,
    START_OF_SCAN,
    ImageHeader,
    header_of,
    out_of_bounds,
)
from haskd_training.recordings.readers.bag import Unusable

# Conversion of one channel of a Bayer mosaic to OpenCV's BGR. OpenCV names a pattern by the second
# row's second and third pixel: its BayerBG is ROS's RGGB.
_BAYER = {
    "bayer_rggb8": cv2.COLOR_BayerBG2BGR,
    "bayer_bggr8": cv2.COLOR_BayerRG2BGR,
    "bayer_gbrg8": cv2.COLOR_BayerGR2BGR,
    "bayer_grbg8": cv2.COLOR_BayerGB2BGR,
}

# Encoding of sensor_msgs/Image -> channels and the conversion to BGR.
_ENCODINGS: dict[str, tuple[int, int | None]] = {
    "bgr8": (3, None),
    "8UC3": (3, None),
    "rgb8": (3, cv2.COLOR_RGB2BGR),
    "bgra8": (4, cv2.COLOR_BGRA2BGR),
    "8UC4": (4, cv2.COLOR_BGRA2BGR),
    "rgba8": (4, cv2.COLOR_RGBA2BGR),
    "mono8": (1, cv2.COLOR_GRAY2BGR),
    "8UC1": (1, cv2.COLOR_GRAY2BGR),
    "yuv422": (2, cv2.COLOR_YUV2BGR_UYVY),
    "uyvy": (2, cv2.COLOR_YUV2BGR_UYVY),
    "yuv422_yuy2": (2, cv2.COLOR_YUV2BGR_YUY2),
    "yuyv": (2, cv2.COLOR_YUV2BGR_YUY2),
    **{name: (1, conversion) for name, conversion in _BAYER.items()},
}

_VIDEO = re.compile(r"h\.?26[45]|hevc|av1|vp[89]|mpeg|theora|ffmpeg", re.IGNORECASE)

# Marker of a JPEG file (ITU-T T.81, table B.1).
_END_OF_JPEG = b"\xff\xd9"

_START_OF_PNG = b"\x89PNG\r\n\x1a\n"

_COLOURLESS = 2
"""Difference of channels that JPEG makes of grey."""

# Encodings of more than 8 bits by what they hold.
_DEPTH = re.compile(r"(16UC1|32FC1|64FC1)$")
_DEEP = re.compile(r"(mono|rgb|bgr|rgba|bgra|bayer_[rgb]{4})(10|12|14|16|32)$|(16|32|64)[USF]C\d$")


class NotAPicture(Unusable):
    """An image of a kind that no camera's colours come in: all of its topic are alike."""


@dataclass(frozen=True)
class Jpeg:
    """data: [n] uint8, the file's bytes; width, height in px. note: how its colours were restored;
    empty where they were there."""

    data: np.ndarray
    width: int
    height: int
    note: str = ""


@dataclass(frozen=True)
class CompressedFormat:
    """What CompressedImage.format tells (compressed_image_transport).

    `bgr8; jpeg compressed bgr8`: the encoding of the image, and the one that was compressed; both
    are empty where the format is just `jpeg` or `png`.
    """

    encoding: str
    compressed: str

    @classmethod
    def of(cls, text: str) -> CompressedFormat:
        source, separator, rest = text.partition(";")
        compressed = rest.rpartition("compressed")[2].strip()
        return cls(source.strip() if separator else "", compressed)


def jpeg_of(message: Any, quality: int, max_pixels: int = MAX_PIXELS) -> Jpeg:
    """JPEG of an Image or a CompressedImage; data that is JPEG already is kept bit for bit, unless
    its colours have to be restored. Its size is read before anything is decoded.

    Raises:
        NotAPicture: depth, an unknown encoding, or more than 8 bits a channel.
        Unusable: data that can't be decoded, or more than `max_pixels`.
    """
    with _decoding():
        if hasattr(message, "encoding"):
            return _encode(_decode_raw(message, max_pixels), quality)
        return _jpeg_of_file(message, quality, max_pixels)


def rgb_of(message: Any, max_pixels: int = MAX_PIXELS) -> np.ndarray:
    """RGB [H, W, 3] uint8 of an Image or a CompressedImage; raises as `jpeg_of`."""
    with _decoding():
        if hasattr(message, "encoding"):
            image = _decode_raw(message, max_pixels)
        else:
            kept, decoded, _ = _decode_file(message, max_pixels)
            if decoded is None:
                return _rgb(kept.data)
            image = decoded
        return cv2.cvtColor(image, cv2.COLOR_BGR2RGB)


def _rgb(data: np.ndarray) -> np.ndarray:
    image = decode_jpeg(data)
    if image is None:
        raise Unusable("image can't be decoded")
    return image


def _jpeg_of_file(message: Any, quality: int, max_pixels: int) -> Jpeg:
    kept, image, note = _decode_file(message, max_pixels)
    return kept if image is None else replace(_encode(image, quality), note=note)


def _decode_file(message: Any, max_pixels: int) -> tuple[Jpeg, np.ndarray | None, str]:
    """Of a CompressedImage: its file with its size; BGR [H, W, 3], None where the file is a JPEG
    that can stay as it is; and how colours were restored."""
    data = np.frombuffer(message.data, np.uint8)
    if not len(data):
        raise Unusable("image without data")
    told = CompressedFormat.of(message.format)
    if "compressedDepth" in message.format:
        raise NotAPicture("compressedDepth is depth, not a picture")
    if _VIDEO.search(message.format):
        raise NotAPicture(
            f"format {quoted(message.format)} is video, which is not read; record single images"
        )
    _check_depth(told.encoding)
    as_it_is = told.encoding not in _BAYER and not told.compressed.startswith("rgb")
    octets = data.tobytes()
    is_jpeg = octets.startswith(START_OF_JPEG)
    if is_cut_off(octets):
        raise Unusable("image is cut off")
    header = header_of(octets)
    if header is None:
        raise Unusable(f"image can't be decoded (format {quoted(message.format)})")
    if problem := out_of_bounds(header.width, header.height, max_pixels):
        raise Unusable(f"image is {problem}")
    if is_jpeg and as_it_is and (size := _size_of_jpeg(data, header)) is not None:
        return Jpeg(data, *size), None, ""
    image = cv2.imdecode(data, cv2.IMREAD_COLOR if is_jpeg and as_it_is else cv2.IMREAD_UNCHANGED)
    if image is None:
        raise Unusable(f"image can't be decoded (format {quoted(message.format)})")
    if image.dtype != np.uint8:
        bits = 8 * image.dtype.itemsize
        kind = "depth or a thermal picture" if image.ndim == 2 else "a deep picture"
        raise NotAPicture(f"image of {bits} bits a channel: {kind}; only 8 bits are read")
    restored = _restored(image, told)
    file = Jpeg(data, image.shape[1], image.shape[0])
    if restored is None:
        return file, None if is_jpeg else image, ""
    note = ""
    if told.encoding in _BAYER:
        note = f"their Bayer mosaic ({told.encoding}) was compressed; its colours are restored"
    elif told.compressed.startswith("rgb"):
        note = "red and blue are exchanged in the files, as their format says; they are put right"
    return file, restored, note


def example_of(message: Any, max_pixels: int = MAX_PIXELS) -> Jpeg | None:
    """What images like this Image or CompressedImage become; None where this one is broken.

    Raises:
        NotAPicture: no image like this one can be used.
    """
    try:
        return jpeg_of(message, quality=50, max_pixels=max_pixels)
    except NotAPicture:
        raise
    except Unusable:
        return None


def is_cut_off(octets: bytes) -> bool:
    """Whether a JPEG or PNG file lacks its end: of a JPEG a decoder fills what is missing with
    grey, of a PNG it asks for as much memory as the last piece says to have."""
    if octets.startswith(_START_OF_PNG):
        return not _is_whole_png(octets)
    if not octets.startswith(START_OF_JPEG) or octets.endswith(_END_OF_JPEG):
        return False
    # Within a scan 0xff is followed by 0, so a marker behind the start of the last is no pixel.
    return octets.find(_END_OF_JPEG, max(octets.rfind(START_OF_SCAN), 0)) < 0


def _is_whole_png(octets: bytes) -> bool:
    at = len(_START_OF_PNG)
    while at + 12 <= len(octets):  # length, type, checksum
        (length,) = struct.unpack_from(">I", octets, at)
        end = at + 12 + length
        if octets[at + 4 : at + 8] == b"IEND":
            return bool(end <= len(octets))
        at = end
    return False


def _restored(image: np.ndarray, told: CompressedFormat) -> np.ndarray | None:
    """BGR [H, W, 3] of a decoded image; None where it is that already."""
    bayer = _BAYER.get(told.encoding)
    grey = _grey(image) if bayer is not None or image.ndim == 2 else None
    if grey is not None:
        # Told to be another encoding, it may have been made so of the mosaic, or be the mosaic.
        if bayer is not None and (not told.compressed or _is_mosaic(grey)):
            return cv2.cvtColor(grey, bayer)
        return cv2.cvtColor(grey, cv2.COLOR_GRAY2BGR)
    if image.shape[2] == 4:
        image = cv2.cvtColor(image, cv2.COLOR_BGRA2BGR)
        return image if not told.compressed.startswith("rgb") else image[..., ::-1]
    if told.compressed.startswith("rgb"):
        # Early image_transport compressed RGB as if it were BGR, and says so.
        return np.ascontiguousarray(image[..., ::-1])
    return None


def _grey(image: np.ndarray) -> np.ndarray | None:
    """[H, W] of an image without colours, whatever its channels; None where it has some."""
    if image.ndim == 2:
        return image
    channels = image[..., :3].astype(np.int16)
    if (channels.max(2) - channels.min(2)).max() > _COLOURLESS:
        return None
    return np.ascontiguousarray(image[..., 1])


def _is_mosaic(image: np.ndarray) -> bool:
    """Whether neighbours of a grey image [H, W] differ more than pixels two apart, as they do where
    each is behind another colour filter."""
    if image.shape[1] < 3:
        return False
    values = image.astype(np.int16)
    next_ones = np.abs(values[:, 1:-1] - values[:, :-2]).mean()
    two_apart = np.abs(values[:, 2:] - values[:, :-2]).mean()
    return bool(next_ones > two_apart)


def _check_depth(encoding: str) -> None:
    if _DEPTH.match(encoding):
        raise NotAPicture(
            f"image encoding {quoted(encoding)} is not a colour or grey one of 8 bits: it is depth"
        )
    if _DEEP.match(encoding):
        raise NotAPicture(
            f"image encoding {quoted(encoding)} is not a colour or grey one of 8 bits; more are "
            "not read"
        )


def image_size(message: Any, max_pixels: int = MAX_PIXELS) -> tuple[int, int] | str:
    """Width and height in px of an Image or CompressedImage by its header alone, or why it holds no
    picture."""
    if not len(message.data):
        return "without data"
    if hasattr(message, "encoding"):
        width, height = int(message.width), int(message.height)
    else:
        octets = bytes(message.data)
        if is_cut_off(octets):
            return "cut off"
        header = header_of(octets)
        if header is None:
            return f"no picture in them (format {quoted(message.format)})"
        width, height = header.width, header.height
    return out_of_bounds(width, height, max_pixels) or (width, height)


@contextmanager
def _decoding() -> Iterator[None]:
    """Turn whatever the libraries raise about a damaged image into `Unusable`: of one broken image
    the others are no worse."""
    try:
        yield
    except Unusable:
        raise
    except Exception as error:
        raise Unusable(f"image can't be decoded ({type(error).__name__})") from error


def _size_of_jpeg(data: np.ndarray, header: ImageHeader) -> tuple[int, int] | None:
    """Width and height as `decode_jpeg` gives them; None where the image can't be decoded.

    Decoded even where the bytes are kept, so that a broken image shows here and not in the middle
    of a training run: at an eighth of its size, in half the time.
    """
    reduced = cv2.imdecode(data, cv2.IMREAD_REDUCED_GRAYSCALE_8)
    eighth = (-(-header.height // 8), -(-header.width // 8))
    if reduced is not None and reduced.shape == eighth and not header.turned:
        return header.width, header.height
    image = decode_jpeg(data)
    return None if image is None else (image.shape[1], image.shape[0])


def decode_jpeg(data: np.ndarray) -> np.ndarray | None:
    """JPEG bytes [n] uint8 -> RGB [H, W, 3] uint8; None where they aren't an image."""
    image = cv2.imdecode(data, cv2.IMREAD_COLOR) if len(data) else None
    return None if image is None else cv2.cvtColor(image, cv2.COLOR_BGR2RGB)


def _decode_raw(message: Any, max_pixels: int) -> np.ndarray:
    """Image message -> BGR [H, W, 3] uint8."""
    _check_depth(message.encoding)
    if message.encoding not in _ENCODINGS:
        raise NotAPicture(
            f"image encoding {quoted(message.encoding)} is not read; those of 8 bits a channel in "
            "BGR, RGB, grey, Bayer or YUV 4:2:2 are"
        )
    channels, conversion = _ENCODINGS[message.encoding]
    height, width, step = int(message.height), int(message.width), int(message.step)
    if problem := out_of_bounds(width, height, max_pixels):
        raise Unusable(f"image is {problem}")
    data = np.frombuffer(message.data, np.uint8)
    if step < width * channels or len(data) < step * height:
        raise Unusable("image data is shorter than its size says")
    rows = data[: step * height].reshape(height, step)[:, : width * channels]
    image = np.ascontiguousarray(rows).reshape(height, width, channels)
    return image if conversion is None else cv2.cvtColor(image, conversion)


def _encode(image: np.ndarray, quality: int) -> Jpeg:
    encoded, data = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, quality])
    if not encoded:
        raise Unusable("image can't be encoded as JPEG")
    return Jpeg(data.reshape(-1), image.shape[1], image.shape[0])
