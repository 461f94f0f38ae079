"""PCD files, as PCL writes them: ascii, binary and binary_compressed.

https://pointclouds.org/documentation/tutorials/pcd_file_format.html. A labelled file is the file as
it was, with fields added: of `binary` each point's bytes, of `ascii` each line, of
`binary_compressed` each field's block, so nothing is rounded and no padding lost.
"""

from __future__ import annotations

import io
import struct
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from haskd_ros.errors import InputError
from haskd_ros.text import quoted, shown
from haskd_training.recordings.cloud_files.cloud import (
    PointLabels,
    common_names,
    library,
    new_name,
)

_TYPES = {"F": {4: "<f4", 8: "<f8"}, "I": {1: "i1", 2: "<i2", 4: "<i4", 8: "<i8"},
          "U": {1: "u1", 2: "<u2", 4: "<u4", 8: "<u8"}}  # fmt: skip
_NEEDED = ("FIELDS", "SIZE", "TYPE", "DATA")
_PADDING = "_"
_HEADER_BYTES = 1 << 16
_COLORS = ("rgb", "rgba")

_LARGEST_RATIO = 100
"""LZF makes at most 264 bytes of 3."""


@dataclass(frozen=True)
class _Field:
    name: str
    dtype: np.dtype
    count: int

    @property
    def itemsize(self) -> int:
        return self.dtype.itemsize * self.count


@dataclass(frozen=True)
class _File:
    """A file's header, line by line, and what comes after it."""

    lines: list[str]
    fields: list[_Field]
    points: int
    data: str
    body: bytes

    @property
    def dtype(self) -> np.dtype:
        """Of one point. Each column has a name of its own: padding fields share theirs."""
        return np.dtype(
            [
                (str(k), field.dtype, (field.count,)) if field.count > 1 else (str(k), field.dtype)
                for k, field in enumerate(self.fields)
            ]
        )


def read(path: Path) -> list[np.ndarray]:
    """The one cloud of a file: [N] structured; fields of several numbers and padding are left out.

    Raises:
        InputError: no whole PCD file.
    """
    file = _open(path)
    if file.data == "ascii":
        # As a colour field of type F is written in ascii: by its bits, a whole number.
        kinds = [
            (str(k), "f8" if field.name in _COLORS else field.dtype, (field.count,))
            for k, field in enumerate(file.fields)
        ]
        text = io.StringIO("\n".join(_text_lines(path, file)))
        # A file without points is no mistake to warn of.
        table = (
            np.loadtxt(text, kinds, comments=None, ndmin=1) if file.points else (np.empty(0, kinds))
        )
        columns = [table[str(k)] for k in range(len(file.fields))]
    elif file.data == "binary":
        table = np.frombuffer(_whole(path, file), file.dtype)
        columns = [table[str(k)] for k in range(len(file.fields))]
    else:
        columns = [
            np.frombuffer(block, field.dtype).reshape(file.points, field.count)
            if block
            else np.zeros((file.points, 1))
            for field, block in zip(file.fields, _blocks(path, file), strict=True)
        ]
    stand_once = Counter(field.name for field in file.fields)
    chosen = {
        field.name: column.reshape(file.points)
        for field, column in zip(file.fields, columns, strict=True)
        if field.count == 1 and field.name != _PADDING
        if stand_once[field.name] == 1 or field.name in "xyz"
    }
    points = np.empty(file.points, [(name, column.dtype) for name, column in chosen.items()])
    for name, column in chosen.items():
        points[name] = column
    return [common_names(points, path)]


def write(path: Path, out: Path, labels: list[PointLabels]) -> None:
    """The file as it was, with `class_id` (U1), `probability` (F4) and `rgb` added, and the names
    of the classes as comments.

    Raises:
        InputError: as of `read`, or the fields are there already.
    """
    file = _open(path)
    (added,) = labels
    present = [field.name for field in file.fields]
    # As PCL has colours: the bits of a float in binary files, a whole number in text.
    packed = added.packed_rgb
    rgb = packed if file.data == "ascii" else packed.view(np.float32)
    columns = {
        new_name("class_id", present, path): added.class_id,
        new_name("probability", present, path): added.probability,
        new_name("rgb", present, path): rgb,
    }
    comments = "".join(f"# {line}\n" for line in added.legend).encode()
    header = comments + _header(file, columns)
    if file.data == "ascii":
        # 9 digits are enough for every float32.
        lines = (
            f"{line} {class_id} {probability:.9g} {color}\n"
            for line, class_id, probability, color in zip(
                _text_lines(path, file), *(c.tolist() for c in columns.values()), strict=True
            )
        )
        body = "".join(lines).encode("latin-1")
    elif file.data == "binary":
        body = _appended(_whole(path, file), file.points, columns)
    else:
        blocks = [*_blocks(path, file), *(column.tobytes() for column in columns.values())]
        content = b"".join(blocks)
        compressed = _compress(path, content)
        body = struct.pack("<II", len(compressed), len(content)) + compressed
    out.write_bytes(header + body)


def _open(path: Path) -> _File:
    content = path.read_bytes()
    lines: list[str] = []
    values: dict[str, list[str]] = {}
    position = 0
    while "DATA" not in values:
        end = content.find(b"\n", position, position + _HEADER_BYTES)
        if end < 0:
            missing = [name for name in _NEEDED if name not in values]
            raise InputError(f"{path} is no PCD file: its header has no {', '.join(missing)}")
        line = content[position:end].decode("latin-1").rstrip("\r")
        position = end + 1
        lines.append(line)
        key, *rest = line.split() or ["#"]
        if not key.startswith("#"):
            values[{"COLUMNS": "FIELDS"}.get(key, key)] = rest
    fields, points = _layout(path, values)
    data = values["DATA"][0] if values["DATA"] else ""
    if data not in ("ascii", "binary", "binary_compressed"):
        raise InputError(
            f"{path}: DATA is {quoted(data)}; allowed are ascii, binary and binary_compressed"
        )
    return _File(lines, fields, points, data, content[position:])


def _layout(path: Path, values: dict[str, list[str]]) -> tuple[list[_Field], int]:
    """Fields and number of points of a header."""
    if missing := [name for name in _NEEDED if name not in values]:
        raise InputError(f"{path} is no PCD file: its header has no {', '.join(missing)}")
    names, sizes, types = (values[key] for key in ("FIELDS", "SIZE", "TYPE"))
    counts = values.get("COUNT") or ["1"] * len(names)
    if not len(names) == len(sizes) == len(types) == len(counts):
        raise InputError(
            f"{path}: the header has {len(names)} FIELDS, {len(sizes)} SIZE, {len(types)} TYPE "
            f"and {len(counts)} COUNT; they must be as many"
        )
    fields = []
    for name, size, kind, count in zip(names, sizes, types, counts):
        dtype = _TYPES.get(kind, {}).get(int(size) if size.isdecimal() else 0)
        # PCL gives padding any size as a count of bytes.
        if dtype is None or not count.isdecimal():
            raise InputError(
                f"{path}: field {shown(name)[:99]} has TYPE {shown(kind)[:9]}, SIZE "
                f"{shown(size)[:9]} and COUNT {shown(count)[:9]}; allowed are F of 4 and 8, I and "
                "U of 1, 2, 4 and 8 bytes"
            )
        if int(count):
            fields.append(_Field(name, np.dtype(dtype), int(count)))
    numbers = {key: values[key][0] for key in ("WIDTH", "HEIGHT", "POINTS") if values.get(key)}
    if wrong := {key: text for key, text in numbers.items() if not text.isdecimal()}:
        raise InputError(f"{path}: the header has {quoted(wrong)}, which are no counts")
    width, height = int(numbers.get("WIDTH", 0)), int(numbers.get("HEIGHT", 1))
    points = int(numbers.get("POINTS", width * height))
    if "WIDTH" in numbers and width * height != points:
        raise InputError(
            f"{path}: the header says {points} POINTS, but WIDTH {width} x HEIGHT {height} = "
            f"{width * height}"
        )
    return fields, points


def _header(file: _File, columns: dict[str, np.ndarray]) -> bytes:
    """The lines of the file with the new fields in those that list fields."""
    kinds = {"f": "F", "u": "U"}
    more = {
        "FIELDS": list(columns),
        "SIZE": [str(column.itemsize) for column in columns.values()],
        "TYPE": [kinds[column.dtype.kind] for column in columns.values()],
        "COUNT": ["1"] * len(columns),
    }
    more["COLUMNS"] = more["FIELDS"]
    lines = []
    for line in file.lines:
        key = (line.split() or [""])[0]
        lines.append(" ".join([line.rstrip(), *more[key]]) if key in more else line)
    return "".join(f"{line}\n" for line in lines).encode("latin-1")


def _text_lines(path: Path, file: _File) -> list[str]:
    """The lines of an ascii file's points."""
    lines = [line.rstrip() for line in file.body.decode("latin-1").splitlines() if line.strip()]
    if len(lines) != file.points:
        raise InputError(
            f"{path} is cut off or damaged: the header says {file.points} points, there are "
            f"{len(lines)} lines of them"
        )
    expected = sum(field.count for field in file.fields)
    for number, line in enumerate(lines):
        if len(line.split()) != expected:
            raise InputError(
                f"{path} is cut off or damaged: point {number} has {len(line.split())} numbers, "
                f"the header says {expected}"
            )
    return lines


def _whole(path: Path, file: _File) -> bytes:
    """The points' bytes of a binary file."""
    step = file.dtype.itemsize
    there = len(file.body)
    # What is less than a point may be a page's padding.
    if not file.points * step <= there < (file.points + 1) * step:
        raise InputError(
            f"{path} is cut off or damaged: the header says {file.points} points of {step} bytes, "
            f"there are {there:,} bytes, which are {there / step:.1f} points"
        )
    return file.body[: file.points * step]


def _blocks(path: Path, file: _File) -> list[bytes]:
    """The bytes of each field, all points of the first one first; empty for padding that is named
    in the header alone: PCL leaves it out of compressed files."""
    if len(file.body) < 8:
        raise InputError(f"{path} is cut off: it ends after the header")
    compressed, size = struct.unpack("<II", file.body[:8])
    if len(file.body) - 8 < compressed:
        raise InputError(
            f"{path} is cut off: the header says {compressed:,} bytes, there are "
            f"{len(file.body) - 8:,}"
        )
    sizes = [field.itemsize * file.points for field in file.fields]
    if size != sum(sizes):
        sizes = [
            0 if field.name == _PADDING else bytes_
            for field, bytes_ in zip(file.fields, sizes, strict=True)
        ]
    if size != sum(sizes) or size > _LARGEST_RATIO * compressed:
        raise InputError(
            f"{path} is damaged: {file.points} points need {sum(sizes):,} bytes, the file holds "
            f"{size:,}"
        )
    content = library("lzf", path).decompress(file.body[8 : 8 + compressed], size) if size else b""
    if content is None or len(content) != size:
        raise InputError(f"{path} is damaged: its points can't be decompressed")
    ends = np.cumsum(sizes).tolist()
    return [content[end - length : end] for end, length in zip(ends, sizes)]


def _compress(path: Path, content: bytes) -> bytes:
    if not content:
        return b""
    compressed = library("lzf", path).compress(content)
    if compressed is not None:
        return bytes(compressed)
    # Not compressible: LZF as runs of at most 32 bytes that stand for themselves.
    runs = (content[start : start + 32] for start in range(0, len(content), 32))
    return b"".join(bytes([len(run) - 1]) + run for run in runs)


def _appended(octets: bytes, points: int, columns: dict[str, np.ndarray]) -> bytes:
    """Points with columns behind each one's bytes."""
    if not points:
        return b""
    old = np.frombuffer(octets, np.uint8).reshape(points, -1)
    new = [
        np.ascontiguousarray(column).view(np.uint8).reshape(points, -1)
        for column in columns.values()
    ]
    return np.concatenate([old, *new], axis=1).tobytes()
