"""E57 files (ASTM E2807), by pye57. Each scan of a file is a cloud, in the scanner's own frame."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from haskd_ros.errors import InputError
from haskd_training.recordings.cloud_files.cloud import (
    PointLabels,
    library,
    structured,
)
from haskd_training.recordings.reading import check_memory, reading

EXTENSION = ("haskd", "urn:haskd_ros:labels")
"""Prefix and URI of the fields that E57 itself has no name for."""

# Of 64 bits: pye57 takes a buffer of numpy's int64, whose code is l on Linux, for one of 32.
_INTEGER = np.dtype(np.longlong)

_CARTESIAN = {"cartesianX": "x", "cartesianY": "y", "cartesianZ": "z"}
_SPHERICAL = ("sphericalRange", "sphericalAzimuth", "sphericalElevation")
_INVALID = ("cartesianInvalidState", "sphericalInvalidState")
_COLORS = ("colorRed", "colorGreen", "colorBlue")


def read(path: Path) -> list[np.ndarray]:
    """The scans of a file: [N] structured each, x y z float64 in m in the scanner's frame (the
    scan's pose is not applied); NaN where the file marks a point as invalid.

    Raises:
        InputError: no whole E57 file, coordinates of another kind, or pye57 is not installed.
    """
    with _opened(path) as file:
        scans = []
        for points in _scans(path, file):
            raw = _read(file, points, scaled=True)
            if set(_CARTESIAN) <= set(raw):
                columns = {axis: raw[name] for name, axis in _CARTESIAN.items()}
            elif set(_SPHERICAL) <= set(raw):
                columns = dict(zip("xyz", _cartesian(*(raw[name] for name in _SPHERICAL))))
            else:
                raise InputError(
                    f"{path}: a scan has neither cartesian nor spherical coordinates; its fields "
                    f"are {', '.join(raw)}"
                )
            for state in _INVALID:
                if state in raw:
                    for column in columns.values():
                        column[raw[state] != 0] = np.nan
            rest = {name: raw[name] for name in raw if name not in (*_CARTESIAN, *_SPHERICAL)}
            if "intensity" in rest:
                rest["intensity"] = rest["intensity"].astype(np.float32)
            scans.append(structured(columns | rest))
        return scans


def count(path: Path) -> int:
    """How many scans a file holds.

    Raises:
        InputError: as of `read`.
    """
    with _opened(path) as file:
        return sum(1 for _ in _scans(path, file))


def write(path: Path, out: Path, labels: list[PointLabels]) -> None:
    """The file as it was, scaled integers, poses and pictures as they are stored, with the fields
    `haskd:class_id` and `haskd:probability`, and `colorRed`, `colorGreen` and `colorBlue`
    (with `haskd:` where the scan has colours already) in each scan, and the classes' names as its
    `haskd:classes`.

    Raises:
        InputError: as of `read`, or the fields are there already.
    """
    lib = library("pye57.libe57", path)
    utils = library("pye57.utils", path)
    with _opened(path) as file, reading(path):
        copy = lib.ImageFile(str(out), "w")
        try:
            for number in range(file.extensionsCount()):
                copy.extensionsAdd(file.extensionsPrefix(number), file.extensionsUri(number))
            if EXTENSION[0] in _prefixes(file):
                raise InputError(
                    f"{path} has been segmented already; give the file as it was before"
                )
            copy.extensionsAdd(*EXTENSION)
            copied = _Copy(lib, utils, file, copy)
            copied.root(labels)
        finally:
            copy.close()


class _Copy:
    """A file on its way into another one."""

    def __init__(self, lib: Any, utils: Any, source: Any, target: Any) -> None:
        self._lib, self._utils = lib, utils
        self._source, self._target = source, target

    def root(self, labels: list[PointLabels]) -> None:
        lib = self._lib
        root = self._source.root()
        blobs = []
        for name in self._utils.get_fields(root):
            if name == "data3D":
                continue
            node, _, pairs = self._utils.copy_node(self._utils.get_node(root, name), self._target)
            self._target.root().set(name, node)
            blobs += pairs
        scans = lib.VectorNode(self._target, True)
        self._target.root().set("data3D", scans)
        of_file = self._utils.get_node(root, "data3D")
        for number, added in enumerate(labels):
            blobs += self._scan(self._utils.get_node(of_file, number), scans, added)
        for pair in blobs:
            size = pair["in"].byteCount()
            buffer = np.empty(size, np.uint8)
            pair["in"].read(buffer, 0, size)
            pair["out"].write(buffer, 0, size)

    def _scan(self, scan: Any, scans: Any, added: PointLabels) -> list[dict[str, Any]]:
        """Copy one scan and its points; returns the blobs in it."""
        lib, utils, target = self._lib, self._utils, self._target
        blobs: list[dict[str, Any]] = []
        node = lib.StructureNode(target)
        scans.append(node)
        for name in utils.get_fields(scan):
            if name == "points":
                continue
            child, _, pairs = utils.copy_node(utils.get_node(scan, name), target)
            node.set(name, child)
            blobs += pairs
        points = utils.get_node(scan, "points")
        prototype, _, _ = utils.copy_node(lib.StructureNode(points.prototype()), target)
        columns = _read(self._source, points, scaled=False)
        prefix = EXTENSION[0]
        if added.names:
            legend = lib.StringNode(target, "\n".join(added.legend))
            node.set(f"{prefix}:classes", legend)
        prototype.set(f"{prefix}:class_id", lib.IntegerNode(target, 0, 0, 255))
        prototype.set(
            f"{prefix}:probability", lib.FloatNode(target, 0.0, lib.FloatPrecision.E57_SINGLE)
        )
        columns[f"{prefix}:class_id"] = added.class_id.astype(_INTEGER)
        columns[f"{prefix}:probability"] = added.probability.astype(np.float32)
        for index, color in enumerate(_COLORS):
            name = f"{prefix}:{color}" if color in columns else color
            prototype.set(name, lib.IntegerNode(target, 0, 0, 255))
            columns[name] = added.rgb[:, index].astype(_INTEGER)
        if not scan.isDefined("colorLimits"):
            node.set("colorLimits", self._color_limits())
        codecs, _, _ = utils.copy_node(points.codecs(), target)
        vector = lib.CompressedVectorNode(target, prototype, codecs)
        node.set("points", vector)
        buffers = lib.VectorSourceDestBuffer()
        for name, values in columns.items():
            buffers.append(lib.SourceDestBuffer(target, name, values, len(values)))
        writer = vector.writer(buffers)
        writer.write(len(added.class_id))
        writer.close()
        return blobs

    def _color_limits(self) -> Any:
        limits = self._lib.StructureNode(self._target)
        for color in _COLORS:
            for end, value in (("Minimum", 0), ("Maximum", 255)):
                limits.set(color + end, self._lib.IntegerNode(self._target, value, 0, 255))
        return limits


@contextmanager
def _opened(path: Path) -> Iterator[Any]:
    lib = library("pye57.libe57", path)
    with reading(path):
        if not path.is_file():
            raise FileNotFoundError
        file = lib.ImageFile(str(path), "r")
    try:
        with reading(path):
            yield file
    finally:
        file.close()


def _prefixes(file: Any) -> set[str]:
    return {file.extensionsPrefix(number) for number in range(file.extensionsCount())}


def _scans(path: Path, file: Any) -> Iterator[Any]:
    """The points of each scan."""
    utils = library("pye57.utils", path)
    root = file.root()
    scans = utils.get_node(root, "data3D") if root.isDefined("data3D") else None
    if scans is None or not scans.childCount():
        raise InputError(f"{path}: the file has no scan")
    for number in range(scans.childCount()):
        yield utils.get_node(utils.get_node(scans, number), "points")


def _read(file: Any, points: Any, scaled: bool) -> dict[str, np.ndarray]:
    """The fields of a scan's points by name, [N] each; scaled integers as float64, or as the
    integers that are stored."""
    lib = library("pye57.libe57", Path(file.fileName()))
    kinds = {
        lib.NodeType.E57_INTEGER: _INTEGER,
        lib.NodeType.E57_SCALED_INTEGER: np.dtype(np.float64 if scaled else _INTEGER),
    }
    prototype = lib.StructureNode(points.prototype())
    columns = {}
    buffers = lib.VectorSourceDestBuffer()
    count = points.childCount()
    # A field that is constant takes no room in the file, however many points it is said to have.
    check_memory(count * prototype.childCount() * _INTEGER.itemsize)
    for number in range(prototype.childCount()):
        node = prototype.get(number)
        name = node.elementName()
        if node.type() == lib.NodeType.E57_FLOAT:
            single = lib.FloatNode(node).precision() == lib.FloatPrecision.E57_SINGLE
            kind: np.dtype = np.dtype(np.float32 if single else np.float64)
        elif node.type() in kinds:
            kind = kinds[node.type()]
        else:
            raise InputError(f"{file.fileName()}: field {name} holds no numbers")
        columns[name] = np.empty(count, kind)
        conversion = kind.kind == "f" and scaled
        buffers.append(
            lib.SourceDestBuffer(file, name, columns[name], count, conversion, conversion)
        )
    if count:
        reader = points.reader(buffers)
        done = reader.read()
        reader.close()
        if done != count:
            raise InputError(
                f"{file.fileName()} is cut off: a scan has {count} points, {done} could be read"
            )
    if scaled:
        # Coordinates are marked as invalid by NaN, which every float can hold.
        for name in (*_CARTESIAN, *_SPHERICAL):
            if name in columns:
                columns[name] = columns[name].astype(np.float64)
    return columns


def _cartesian(
    distance: np.ndarray, azimuth: np.ndarray, elevation: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """x y z [N] in m of E57's spherical coordinates, m and rad (ASTM E2807, 8.4.4.2)."""
    level = distance * np.cos(elevation)
    return level * np.cos(azimuth), level * np.sin(azimuth), distance * np.sin(elevation)
