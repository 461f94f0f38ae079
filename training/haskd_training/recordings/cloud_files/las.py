"""LAS and LAZ files, of any point format, by laspy."""

from __future__ import annotations

import io
import logging
import struct
from pathlib import Path
from typing import Any

import numpy as np

from haskd_ros.errors import InputError
from haskd_training.recordings.cloud_files.cloud import (
    AGAIN,
    PointLabels,
    library,
    new_name,
    structured,
)
from haskd_training.recordings.reading import check_memory, reading

CLASSIFICATION_BEFORE = "classification_before"
"""The extra dimension that keeps a classification which was there."""

_LARGEST_CODE = {True: 255, False: 31}
"""Of `classification`, by whether the point format is 6 or above; of points without a label."""

_NAME_LENGTH = 15

_HEADER_BYTES = 375
_RECORD_BYTES, _EXTENDED_BYTES = 54, 60
"""Of a variable length record without content."""

_COMPRESSED = 0x80
"""Bit of the point format in the header of a LAZ file."""

_SMALLEST_POINT = 20
"""Bytes; each chunk begins with a point as it is."""

_SCALED = {"X", "Y", "Z"}


def read(path: Path) -> list[np.ndarray]:
    """The points of a file: [N] structured, x y z float64 in m, further dimensions by their names.

    The intensity is float32: LAS has 16 bits for it, in a unit that it doesn't define.

    Raises:
        InputError: no whole LAS or LAZ file, or laspy is not installed.
    """
    las = _open(path)
    with reading(path):
        columns = {axis: np.asarray(las[axis], np.float64) for axis in "xyz"}
        columns["intensity"] = np.asarray(las.intensity).astype(np.float32)
        for name in las.point_format.dimension_names:
            values = np.asarray(las[name])
            if name not in columns and name not in _SCALED and values.ndim == 1:
                columns[name] = values
    return [structured(columns)]


def write(path: Path, out: Path, labels: list[PointLabels]) -> None:
    """The file as it was, integers, scales and offsets untouched, with the class ids as
    `classification` and the extra dimensions `class_id` (uint8) and `probability` (float32).

    `classification` has 5 bits in the point formats 0 to 5. Ids that it can't hold, and points
    without a label, get its largest code, 31 or 255. Where the file has a classification, it stays
    as `CLASSIFICATION_BEFORE`. The names of the classes are written as the lookup record of LAS,
    unless the file has one.

    Raises:
        InputError: as of `read`, or the dimensions are there already.
    """
    laspy = library("laspy", path)
    las = _open(path)
    (added,) = labels
    present = list(las.point_format.dimension_names)
    class_id, probability = (new_name(name, present, path) for name in ("class_id", "probability"))
    before = np.array(las.classification, np.uint8)
    keeps = bool(before.any()) and not class_id.startswith(AGAIN)
    dimensions = [
        laspy.ExtraBytesParams(class_id, "uint8", "haskd class, 255: none"),
        laspy.ExtraBytesParams(probability, "float32", "haskd probability"),
    ]
    if keeps and CLASSIFICATION_BEFORE not in present:
        dimensions.append(laspy.ExtraBytesParams(CLASSIFICATION_BEFORE, "uint8"))
    with reading(path):
        las.add_extra_dims(dimensions)
        las[class_id] = added.class_id
        las[probability] = added.probability
        if CLASSIFICATION_BEFORE in {dimension.name for dimension in dimensions}:
            las[CLASSIFICATION_BEFORE] = before
        largest = _LARGEST_CODE[las.point_format.id >= 6]
        las.classification = np.minimum(added.class_id, largest).astype(np.uint8)
    _name_codes(path, las, added.names)
    las.write(str(out), do_compress=out.suffix.lower() == ".laz")


def _name_codes(path: Path, las: Any, names: tuple[str, ...]) -> None:
    """Write what the codes of `classification` mean (LAS 1.4, 2.7: 15 characters of ASCII each)."""
    if not names or las.vlrs.get("ClassificationLookupVlr"):
        return
    lookup = library("laspy.vlrs.known", path).ClassificationLookupVlr()
    for code in range(256):
        name = names[code] if code < len(names) else ""
        lookup[code] = name.encode("ascii", "ignore").decode()[:_NAME_LENGTH]
    las.vlrs.append(lookup)


def _check_counts(path: Path) -> None:
    """Check what the libraries take on trust: laspy reads as many records as the header says,
    behind the file's end as well, and lazrs ends the process where the table of chunks is larger
    than the memory (LAS 1.4, 2.4; LASzip's chunk table is behind the points).

    Raises:
        ValueError, struct.error: a count that can't be.
    """
    size = path.stat().st_size
    with path.open("rb") as file:
        header = file.read(_HEADER_BYTES)
        offset, records = struct.unpack_from("<II", header, 96)
        minor, point_format = header[25], header[104]
        extended = struct.unpack_from("<I", header, 243)[0] if minor >= 4 else 0
        if records * _RECORD_BYTES + extended * _EXTENDED_BYTES > size:
            raise ValueError(f"{records} and {extended} records can't be in it")
        if not point_format & _COMPRESSED:
            return
        file.seek(offset)
        (table,) = struct.unpack("<q", file.read(8))
        if table == -1:  # written without going back: where the table is stands at the end
            file.seek(-8, io.SEEK_END)
            (table,) = struct.unpack("<q", file.read(8))
        file.seek(table)
        _, chunks = struct.unpack("<II", file.read(8))
        if chunks * _SMALLEST_POINT > size:
            raise ValueError(f"{chunks} chunks of points can't be in it")


def _open(path: Path) -> Any:
    laspy = library("laspy", path)
    # It logs what it raises as well.
    logging.getLogger("laspy").setLevel(logging.CRITICAL)
    if path.suffix.lower() == ".laz":
        library("lazrs", path)
    with reading(path):
        _check_counts(path)
        with laspy.open(str(path)) as file:
            check_memory(file.header.point_count * file.header.point_format.size)
            las = file.read()
        if len(las.points) != las.header.point_count:
            raise InputError(
                f"{path} is cut off or damaged: the header says {las.header.point_count} points, "
                f"there are {len(las.points)}"
            )
        return las
