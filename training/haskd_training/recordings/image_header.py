"""How large an image file says to be, read before anything is decoded."""

from __future__ import annotations

import io
from dataclasses import dataclass

import PIL.Image
from PIL.ExifTags import Base

MAX_PIXELS = 64_000_000
"""Of an image that is decoded, unless a setting says otherwise."""

# Markers of a JPEG file (ITU-T T.81, table B.1).
START_OF_JPEG, START_OF_SCAN = b"\xff\xd8", b"\xff\xda"

_FORMATS = ("JPEG", "PNG", "WEBP", "TIFF", "BMP", "PPM", "JPEG2000")
"""Kinds of file that both Pillow, for the size, and OpenCV, for the pixels, know."""

_MOST_SCANS = 100
"""Of a progressive JPEG, each of which costs a pass over the image; encoders write about 10."""

_TILE_WIDTH, _TILE_LENGTH = 322, 323
"""Tags of TIFF."""

# What is too large is told by the limits of this package, whatever Pillow thinks of it.
PIL.Image.MAX_IMAGE_PIXELS = None


@dataclass(frozen=True)
class ImageHeader:
    """width, height: px, of a TIFF's tiles where these are larger. turned: by its EXIF data."""

    width: int
    height: int
    turned: bool


def header_of(octets: bytes) -> ImageHeader | None:
    """Of an image file; None where it is none that can be decoded."""
    try:
        with PIL.Image.open(io.BytesIO(octets), formats=_FORMATS) as image:
            if "progressive" in image.info and octets.count(START_OF_SCAN) > _MOST_SCANS:
                return None
            width, height = image.size
            tags = getattr(image, "tag_v2", {})
            tile = tags.get(_TILE_WIDTH, 0), tags.get(_TILE_LENGTH, 0)
            if tile[0] * tile[1] > width * height:
                width, height = tile
            is_jpeg = image.format in ("JPEG", "MPO")
            turned = is_jpeg and image.getexif().get(Base.Orientation, 1) != 1
    except Exception:  # Pillow parses before it checks: of damaged bytes it raises any of a dozen
        return None
    return ImageHeader(width, height, turned)


def out_of_bounds(width: int, height: int, max_pixels: int) -> str:
    """Why an image of this size in px is not decoded, without its numbers; empty where it is."""
    if width < 1 or height < 1:
        return "of no size"
    if width * height > max_pixels:
        return f"larger than {max_pixels / 1e6:g} megapixels, the limit (max_image_megapixels)"
    return ""
