"""PLY files: ascii and binary of either byte order.

G. Turk, The PLY Polygon File Format, 1994. A labelled file is the file as it was, with properties
added to its vertices: each one's bytes or line stay, and so do the other elements.
"""

from __future__ import annotations

import io
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from haskd_ros.errors import InputError
from haskd_ros.text import quoted
from haskd_training.recordings.cloud_files.cloud import (
    PointLabels,
    common_names,
    new_name,
)

_TYPES = {
    "char": "i1", "int8": "i1", "uchar": "u1", "uint8": "u1", "short": "i2", "int16": "i2",
    "ushort": "u2", "uint16": "u2", "int": "i4", "int32": "i4", "uint": "u4", "uint32": "u4",
    "float": "f4", "float32": "f4", "double": "f8", "float64": "f8",
}  # fmt: skip
_ORDERS = {"ascii": "", "binary_little_endian": "<", "binary_big_endian": ">"}
_VERTEX, _FACE = "vertex", "face"
_HEADER_BYTES = 1 << 20


@dataclass
class _Element:
    """An element of the header. lists: it has a property of varying length, whose bytes are at
    least `list_bytes`."""

    name: str
    count: int
    properties: list[tuple[str, str]] = field(default_factory=list)
    lists: bool = False
    list_bytes: int = 0


@dataclass(frozen=True)
class _File:
    """The header's lines, and the rest in three parts: before, of and after the vertices.

    rows: of vertices; their bytes, or their lines.
    """

    lines: list[str]
    encoding: str
    vertex: _Element
    before: bytes
    rows: bytes
    after: bytes

    @property
    def dtype(self) -> np.dtype:
        """Of one vertex, the properties numbered."""
        order = _ORDERS[self.encoding] or "<"
        kinds = [kind for _, kind in self.vertex.properties]
        return np.dtype([(str(k), order + kind) for k, kind in enumerate(kinds)])


def read(path: Path) -> list[np.ndarray]:
    """The vertices of a file: [N] structured, native byte order.

    Raises:
        InputError: no whole PLY file, or vertices of varying length.
    """
    file = _open(path)
    if not file.vertex.count:
        table = np.empty(0, file.dtype)
    elif file.encoding == "ascii":
        text = io.StringIO(file.rows.decode("latin-1"))
        table = np.loadtxt(text, file.dtype, comments=None, ndmin=1)
    else:
        table = np.frombuffer(file.rows, file.dtype)
    names = [name for name, _ in file.vertex.properties]
    stand_once = Counter(names)
    chosen = {name: str(k) for k, name in enumerate(names) if stand_once[name] == 1}
    kinds = [(name, table.dtype[key].newbyteorder("=")) for name, key in chosen.items()]
    points = np.empty(file.vertex.count, kinds)
    for name, key in chosen.items():
        points[name] = table[key]
    return [common_names(points, path)]


def count(path: Path) -> int:
    """How many vertices the header of a file says there are. Beside the header, only the size of
    the file is looked at.

    Raises:
        InputError: no PLY file, or a binary one that is shorter than its header says.
    """
    with path.open("rb") as file:
        lines, start = _split_header(path, file.read(_HEADER_BYTES))
        size = file.seek(0, io.SEEK_END)
    encoding, elements = _elements(path, lines)
    least = sum(element.count * (_step(element) + element.list_bytes) for element in elements)
    if encoding != "ascii" and size < start + least:
        raise InputError(
            f"{path} is cut off: {size} bytes, its header says {start + least} at least"
        )
    vertices = [element.count for element in elements if element.name == _VERTEX]
    if not vertices:
        raise _without_vertices(path)
    return vertices[0]


def write(path: Path, out: Path, labels: list[PointLabels]) -> None:
    """The file as it was, with the properties `class_id` (uchar), `probability` (float), `red`,
    `green` and `blue` (uchar) added to its vertices, and the classes' names as comments.

    Raises:
        InputError: as of `read`, or the properties are there already.
    """
    file = _open(path)
    (added,) = labels
    present = [name for name, _ in file.vertex.properties]
    columns = {
        new_name("class_id", present, path): added.class_id,
        new_name("probability", present, path): added.probability,
    }
    for index, color in enumerate(("red", "green", "blue")):
        columns[new_name(color, present, path)] = added.rgb[:, index]
    if file.encoding == "ascii":
        rows = "".join(
            f"{line} {class_id} {probability:.9g} {red} {green} {blue}\n"
            for line, class_id, probability, red, green, blue in zip(
                file.rows.decode("latin-1").splitlines(),
                *(column.tolist() for column in columns.values()),
                strict=True,
            )
        ).encode("latin-1")
    else:
        big_endian = _ORDERS[file.encoding] == ">"
        old = np.frombuffer(file.rows, np.uint8).reshape(file.vertex.count, file.dtype.itemsize)
        new = [
            np.ascontiguousarray(
                column.astype(column.dtype.newbyteorder(">" if big_endian else "<"))
            )
            .view(np.uint8)
            .reshape(len(old), column.itemsize)
            for column in columns.values()
        ]
        rows = np.concatenate([old, *new], axis=1).tobytes()
    out.write_bytes(_header(file, columns, added.legend) + file.before + rows + file.after)


def _open(path: Path) -> _File:
    content = path.read_bytes()
    lines, start = _split_header(path, content)
    body = content[start:]
    encoding, elements = _elements(path, lines)
    before = []
    for element in elements:
        if element.name == _VERTEX:
            break
        before.append(element)
    else:
        raise _without_vertices(path)
    if element.lists:
        raise InputError(f"{path}: vertices with list properties can't be read")
    if encoding == "ascii":
        return _split_lines(path, lines, body, before, element)
    return _split_bytes(path, lines, body, before, element, encoding)


def _split_header(path: Path, content: bytes) -> tuple[list[str], int]:
    """The header's lines, and where what follows it begins."""
    end = content.find(b"end_header", 0, _HEADER_BYTES)
    if content[:3] != b"ply" or end < 0:
        raise InputError(f"{path} is no PLY file: it has no header from `ply` to `end_header`")
    newline = content.find(b"\n", end)
    lines = content[:end].decode("latin-1").replace("\r\n", "\n").splitlines()
    return lines, newline + 1 if newline >= 0 else len(content)


def _without_vertices(path: Path) -> InputError:
    return InputError(f"{path}: the file has no vertices, the points of a PLY file")


def _elements(path: Path, lines: list[str]) -> tuple[str, list[_Element]]:
    encoding = ""
    elements: list[_Element] = []
    for line in lines[1:]:
        words = line.split()
        if not words or words[0] in ("comment", "obj_info"):
            continue
        if words[0] == "format" and len(words) > 1 and words[1] in _ORDERS:
            encoding = words[1]
        elif words[0] == "element" and len(words) == 3 and words[2].isdecimal():
            elements.append(_Element(words[1], int(words[2])))
        elif words[0] == "property" and elements and len(words) == 3 and words[1] in _TYPES:
            elements[-1].properties.append((words[2], _TYPES[words[1]]))
        elif words[:2] == ["property", "list"] and elements and len(words) == 5:
            elements[-1].lists = True
            elements[-1].list_bytes += _least_bytes(elements[-1].name, *words[2:4])
        else:
            raise InputError(f"{path}: the header has a line that no PLY file has: {quoted(line)}")
    if not encoding:
        raise InputError(f"{path}: the header has no format; allowed are {', '.join(_ORDERS)}")
    return encoding, elements


def _split_lines(
    path: Path, lines: list[str], body: bytes, before: list[_Element], vertex: _Element
) -> _File:
    rows = body.splitlines(keepends=True)
    first = sum(element.count for element in before)
    vertices = rows[first : first + vertex.count]
    if len(vertices) != vertex.count:
        raise _wrong_count(path, vertex.count, len(vertices))
    for number, row in enumerate(vertices):
        if len(row.split()) != len(vertex.properties):
            raise InputError(
                f"{path} is cut off or damaged: vertex {number} has {len(row.split())} numbers, "
                f"the header says {len(vertex.properties)}"
            )
    text = b"".join(row.rstrip() + b"\n" for row in vertices)
    after = rows[first + vertex.count :]
    if after and len(lines) and not _has_more(lines, vertex) and b"".join(after).strip():
        raise _wrong_count(path, vertex.count, len(rows) - first)
    return _File(lines, "ascii", vertex, b"".join(rows[:first]), text, b"".join(after))


def _split_bytes(
    path: Path,
    lines: list[str],
    body: bytes,
    before: list[_Element],
    vertex: _Element,
    encoding: str,
) -> _File:
    if any(element.lists for element in before):
        raise InputError(f"{path}: elements with lists before the vertices can't be read")
    start = sum(element.count * _step(element) for element in before)
    step = _step(vertex)
    end = start + vertex.count * step
    if len(body) < end or (len(body) >= end + step and not _has_more(lines, vertex)):
        raise _wrong_count(path, vertex.count, (len(body) - start) / max(step, 1))
    return _File(lines, encoding, vertex, body[:start], body[start:end], body[end:])


def _least_bytes(element: str, count: str, item: str) -> int:
    """Of a list property by the types of its length and its items: a face has three corners."""
    length, of_item = (np.dtype(_TYPES.get(kind, "u1")).itemsize for kind in (count, item))
    return length + (3 * of_item if element == _FACE else 0)


def _step(element: _Element) -> int:
    return sum(np.dtype(kind).itemsize for _, kind in element.properties)


def _has_more(lines: list[str], vertex: _Element) -> bool:
    """Whether elements come after the vertices."""
    names = [line.split()[1] for line in lines if line.startswith("element ")]
    return names[-1] != vertex.name


def _wrong_count(path: Path, said: int, there: float) -> InputError:
    return InputError(
        f"{path} is cut off or damaged: the header says {said} vertices, there are {there:g}"
    )


def _header(file: _File, columns: dict[str, np.ndarray], legend: list[str]) -> bytes:
    """The header with the properties added at the end of those of the vertices, and the legend as
    comments."""
    names = {"u1": "uchar", "f4": "float"}
    added = [f"property {names[c.dtype.str[1:]]} {name}" for name, c in columns.items()]
    last = 0
    in_vertex = False
    for number, line in enumerate(file.lines):
        words = line.split()
        if words and words[0] == "element":
            in_vertex = words[1] == _VERTEX
        if in_vertex and words and words[0] in ("element", "property"):
            last = number
    start = next(number for number, line in enumerate(file.lines) if line.startswith("element"))
    lines = [
        *file.lines[:start],
        *(f"comment {line}" for line in legend),
        *file.lines[start : last + 1],
        *added,
        *file.lines[last + 1 :],
        "end_header",
    ]
    return "".join(f"{line}\n" for line in lines).encode("latin-1")
