"""Files of masks: PNG with a class a pixel, and COCO's panoptic pictures with their JSON."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import PIL.Image

from haskd_ros import json_text
from haskd_ros.documents import read_text
from haskd_ros.errors import InputError
from haskd_ros.files import write_atomically
from haskd_ros.text import listed, quoted, shown
from haskd_training.image_labels.class_sets import NOTHING, ImageClasses
from haskd_training.recordings.image_codec import is_cut_off
from haskd_training.recordings.image_header import MAX_PIXELS, header_of, out_of_bounds
from haskd_training.recordings.reading import TooLarge, reading, regular_file

SUFFIX = ".png"

CERTAIN = 255
"""Confidence of a mask that has none."""

_STEP = 17
"""Of the confidence that is written: 16 values, which compress."""

_LARGEST_BYTES = 4 * MAX_PIXELS
_LARGEST_JSON = 256 << 20

_START = b"\x89PNG\r\n\x1a\n"
_DEPTH_AT = 24
"""Where the bits of a channel stand in a PNG file, within its first piece."""

_ID_FACTORS = np.array([1, 256, 256**2], np.uint32)


class Mask(NamedTuple):
    """What is said about an image of H x W pixels.

    classes: [H, W] uint8, ids of image classes, 255 where nothing is said.
    confidence: [H, W] uint8, 0..255 for a probability of 0 to 1; 0 where nothing is said.
    """

    classes: np.ndarray
    confidence: np.ndarray


def write_mask(path: Path, mask: Mask) -> None:
    """Write a mask atomically as PNG of mode LA, its confidence rounded to 16 steps.

    Raises:
        OSError, InputError: as of `write_atomically`.
    """
    confidence = (mask.confidence.astype(np.uint16) + _STEP // 2) // _STEP * _STEP
    channels = np.stack((mask.classes, confidence.astype(np.uint8)), -1)
    octets = io.BytesIO()
    PIL.Image.fromarray(channels, "LA").save(octets, "PNG")
    write_atomically(path, octets.getvalue())


def read_mask(path: Path) -> Mask:
    """A mask from PNG of mode L or P (classes) or LA (classes, confidence), of 8 bits a channel.

    Raises:
        InputError: the file can't be read, or is none of these.
    """
    image = _read_png(path, ("L", "P", "LA"))
    if image.ndim == 3:
        classes, confidence = np.ascontiguousarray(image[..., 0]), image[..., 1]
    else:
        classes, confidence = image, np.full_like(image, CERTAIN)
    return Mask(classes, np.where(classes == NOTHING, np.uint8(0), confidence))


def _read_png(path: Path, modes: tuple[str, ...]) -> np.ndarray:
    """[H, W] or [H, W, channels] uint8 of a PNG file of one of these modes."""
    regular_file(path)
    with reading(path, lambda: "make it again"):
        if path.stat().st_size > _LARGEST_BYTES:
            raise TooLarge(f"of more than {_LARGEST_BYTES:,} bytes")
        octets = path.read_bytes()
        if not octets.startswith(_START):
            raise InputError(f"{path} is no PNG file, as masks have to be")
        header = None if is_cut_off(octets) else header_of(octets)
        if header is None:
            raise InputError(f"{path} is cut off or damaged; make it again")
        if out_of_bounds(header.width, header.height, MAX_PIXELS):
            found = f"{header.width} x {header.height} px"
            raise TooLarge(f"of {found}, larger than {MAX_PIXELS / 1e6:g} megapixels")
        with PIL.Image.open(io.BytesIO(octets), formats=("PNG",)) as image:
            depth = octets[_DEPTH_AT]
            if image.mode not in modes or (depth != 8 and image.mode != "P"):
                raise InputError(
                    f"{path} is a PNG of mode {image.mode} with {depth} bits a channel; masks are "
                    f"of mode {' or '.join(modes)} with 8 bits"
                )
            return np.array(image)


class PngFiles:
    """PNG files of a folder, see `read_mask`.

    Raises:
        InputError: the folder can't be read.
    """

    def __init__(self, folder: Path) -> None:
        with reading(folder):
            entries = sorted(folder.iterdir())
        self.files = {one.name: one for one in entries if one.suffix == SUFFIX and one.is_file()}

    def read(self, name: str) -> Mask:
        """A mask by its file's name; errors as of `read_mask`."""
        return read_mask(self.files[name])


class PanopticFiles:
    """COCO's panoptic format: a JSON file, and PNG files whose colours are ids of segments
    (R + 256 G + 256^2 B; 0 is no segment), beside it or in a folder of its name.

    Args:
        path: of the JSON file.
        classes: that its categories are, by id and name.

    Raises:
        InputError: the file can't be read, lacks what is needed, or has a category that the
            classes know otherwise.
    """

    def __init__(self, path: Path, classes: ImageClasses) -> None:
        what = f"panoptic file {path}"
        text = read_text(path, what, _LARGEST_JSON)
        try:
            document = json_text.parse(text, _LARGEST_JSON)
        except InputError as error:
            raise InputError(f"{what}: {error}") from error
        try:
            names = {int(one["id"]): str(one["name"]) for one in document["categories"]}
            self._segments = {
                _plain_name(one["file_name"]): {
                    int(segment["id"]): int(segment["category_id"])
                    for segment in one["segments_info"]
                }
                for one in document["annotations"]
            }
        except (KeyError, TypeError, ValueError, OverflowError) as error:
            raise InputError(
                f"{what}: 'categories' with id and name, and 'annotations' with file_name and "
                f"segments_info of id and category_id are needed ({shown(repr(error), 200)})"
            ) from error
        _check_categories(what, names, classes)
        used = {category for table in self._segments.values() for category in table.values()}
        if unnamed := sorted(used - set(classes.ids)):
            raise InputError(
                f"{what}: segments of the categories {listed(unnamed)}, which the image classes "
                "don't name"
            )
        self._name = path.name
        folder = path.with_suffix("")
        folder = folder if folder.is_dir() else path.parent
        self.files = {name: folder / name for name in self._segments}

    def read(self, name: str) -> Mask:
        """The mask of a picture, of full confidence.

        Raises:
            InputError: it can't be read, or has a segment that the JSON file lacks.
        """
        path = self.files[name]
        ids = _read_png(path, ("RGB",)).astype(np.uint32) @ _ID_FACTORS
        present, pixels = np.unique(ids, return_inverse=True)
        table = {0: NOTHING, **self._segments[name]}
        if missing := [int(segment) for segment in present if int(segment) not in table]:
            raise InputError(f"{path}: segments {listed(missing)} are not in {self._name}")
        of_segment = np.array([table[int(segment)] for segment in present], np.uint8)
        classes = of_segment[pixels].reshape(ids.shape)
        return Mask(classes, np.where(classes == NOTHING, np.uint8(0), np.uint8(CERTAIN)))


def _plain_name(name: Any) -> str:
    """
    Raises:
        ValueError: it leads to another folder, or is none.
    """
    if not isinstance(name, str) or Path(name).name != name or "\0" in name:
        raise ValueError(f"file_name {quoted(name)}")
    return name


def _check_categories(what: str, names: dict[int, str], classes: ImageClasses) -> None:
    """Two lists may share ids and mean other things by them."""
    known = dict(zip(classes.ids, classes.names, strict=True))
    for number, name in names.items():
        if known.get(number, name) != name:
            raise InputError(
                f"{what}: category {number} is {quoted(name)}, in the image classes it is "
                f"{quoted(known[number])}; give the image classes that the masks were made with"
            )
