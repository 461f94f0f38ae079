"""Clouds without a format of their own: NumPy arrays, and the raw float32 of KITTI and nuScenes."""

from __future__ import annotations

import zipfile
from pathlib import Path

import numpy as np

from haskd_ros.clouds.pointcloud import INTENSITY_FIELDS
from haskd_ros.errors import InputError
from haskd_training.recordings.cloud_files.cloud import (
    PointLabels,
    common_names,
    new_name,
    structured,
)
from haskd_training.recordings.reading import check_memory, reading

KITTI = ("x", "y", "z", "intensity")
NUSCENES = (*KITTI, "ring")

_POINTS = ("points", "xyz", "pointcloud", "point_cloud", "pc", "data", "arr_0")
"""Names under which an `.npz` has its points, in order of preference."""

_FEW = 16
"""An array of fewer rows, and far more columns, has a point in each column."""

_FARTHEST_M = 1e5
"""Raw bytes that aren't a cloud are numbers beyond this; no sensor frame reaches so far."""


def read_npy(path: Path) -> list[np.ndarray]:
    """The points of an `.npy`: structured with fields x, y and z, or [N, >= 3] x y z and, in the
    fourth column, the intensity.

    Raises:
        InputError: no such array.
    """
    return [common_names(_points(load_npy(path), path), path)]


def ending_of_npy(path: Path) -> str:
    """The ending of the labelled copy of an `.npy`, see `write_npy`."""
    return ".npy" if load_npy(path).dtype.names else ".npz"


def write_npy(path: Path, out: Path, labels: list[PointLabels]) -> None:
    """A structured array as it was, with the fields `class_id`, `probability` and `rgb` (uint32,
    0x00RRGGBB) added. A plain array has no fields: it becomes an `.npz` of `points`, the array as
    it was, `class_id`, `probability`, `rgb` [N, 3] and `class_names`.

    Raises:
        InputError: as of `read_npy`, or the fields are there already.
    """
    array = load_npy(path)
    (added,) = labels
    if not array.dtype.names:
        _save_npz(out, {"points": array}, added, path)
        return
    array = array.reshape(-1)
    columns = {
        "class_id": added.class_id,
        "probability": added.probability,
        "rgb": added.packed_rgb,
    }
    fields = dict(array.dtype.fields or {})
    offset = array.dtype.itemsize
    names = list(array.dtype.names or ())
    kinds = [fields[name][0] for name in names]
    offsets = [fields[name][1] for name in names]
    for name, column in columns.items():
        names.append(new_name(name, names, path))
        kinds.append(column.dtype)
        offsets.append(offset)
        offset += column.itemsize
    layout = np.dtype({"names": names, "formats": kinds, "offsets": offsets, "itemsize": offset})
    points = np.zeros(len(array), layout)
    for name in array.dtype.names or ():
        points[name] = array[name]
    for name, column in zip(names[-len(columns) :], columns.values()):
        points[name] = column
    with out.open("wb") as file:
        np.save(file, points)


def read_npz(path: Path) -> list[np.ndarray]:
    """The points of an `.npz`: as of `read_npy` under one of the usual names or as its only array
    of that shape, or x, y and z as an array each.

    Raises:
        InputError: no such arrays.
    """
    arrays = load_npz(path)
    rows = {
        name: array
        for name, array in arrays.items()
        if array.ndim == 1 and array.dtype.kind in "iufb"
    }
    if {"x", "y", "z"} <= set(rows):
        length = len(rows["x"])
        columns = {name: row for name, row in rows.items() if len(row) == length}
        if not {"y", "z"} <= set(columns):
            raise InputError(f"{path}: x, y and z are not equally long")
        return [structured(columns)]
    points = arrays[_name_of_points(path, arrays)]
    cloud = common_names(_points(points, path), path)
    columns = {name: cloud[name] for name in cloud.dtype.names or ()}
    for name, row in rows.items():
        if name in columns:
            continue
        if len(row) == len(cloud):
            columns[name] = row
        elif name in INTENSITY_FIELDS:
            raise InputError(f"{path}: {name} has {len(row)} values, there are {len(cloud)} points")
    return [structured(columns)]


def write_npz(path: Path, out: Path, labels: list[PointLabels]) -> None:
    """Every array as it was, and `class_id`, `probability`, `rgb` [N, 3] and `class_names`.

    Raises:
        InputError: as of `read_npz`, or the arrays are there already.
    """
    (added,) = labels
    _save_npz(out, load_npz(path), added, path)


def read_raw(path: Path) -> list[np.ndarray]:
    """The points of raw float32: KITTI's x y z intensity, or nuScenes' x y z intensity ring.

    nuScenes' files end in `.pcd.bin`; others are taken for theirs where every fifth number is a
    ring's.

    Raises:
        InputError: the size fits neither, or the numbers are no coordinates and intensity.
    """
    return [structured(dict(zip(*_raw(path))))]


def write_raw(path: Path, out: Path, labels: list[PointLabels]) -> None:
    """An `.npz` of `points` [N, 4 or 5] float32 as they were, `class_id`, `probability`, `rgb` and
    `class_names`.

    Raises:
        InputError: as of `read_raw`.
    """
    (added,) = labels
    _, columns = _raw(path)
    _save_npz(out, {"points": columns.T}, added, path)


def _raw(path: Path) -> tuple[tuple[str, ...], np.ndarray]:
    """Names of the columns, and the columns [4 or 5, N] float32."""
    with reading(path):
        octets = path.read_bytes()
    names = NUSCENES if path.name.lower().endswith(".pcd.bin") or _has_rings(octets) else KITTI
    step = 4 * len(names)
    if len(octets) % step:
        raise InputError(
            f"{path} is cut off, or no cloud: points of {len(names)} float32 "
            f"({' '.join(names)}) have {step} bytes, the file has {len(octets):,}; "
            f"{_other_columns(path)}"
        )
    points = np.frombuffer(octets, "<f4").reshape(-1, len(names))
    with np.errstate(invalid="ignore"):
        plausible = (np.abs(points[:, :3]) < _FARTHEST_M).all(1)
    # Lost returns may be NaN, but not most of a cloud; bytes of another kind are half huge.
    finite = np.isfinite(points[:, :3]).all(1)
    if len(points) and (finite & ~plausible).any():
        raise InputError(
            f"{path} is no cloud of float32 {' '.join(names)}: "
            f"{int((finite & ~plausible).sum())} of {len(points)} points are further than "
            f"{_FARTHEST_M:,.0f} m away"
        )
    # What a sensor measures is never negative; coordinates that are taken for it often are.
    if negative := int((points[:, 3] < 0).sum()):
        raise InputError(
            f"{path} is no cloud of float32 {' '.join(names)}: the intensity of {negative} of "
            f"{len(points)} points would be negative; {_other_columns(path)}"
        )
    return names, points.T


def _other_columns(path: Path) -> str:
    """What makes a cloud of other columns one that can be read."""
    return (
        f"where points have other columns, `np.save('{path.stem}.npy', np.fromfile('{path}', "
        "'<f4').reshape(-1, COLUMNS))` in Python makes a file that says so"
    )


def _has_rings(octets: bytes) -> bool:
    if not octets or len(octets) % 20:
        return False
    ring = np.frombuffer(octets, "<f4").reshape(-1, 5)[:, 4]
    with np.errstate(invalid="ignore"):
        return bool(((ring >= 0) & (ring < 256) & (ring == np.round(ring))).all() and ring.any())


def load_npy(path: Path) -> np.ndarray:
    """
    Raises:
        InputError: no `.npy`, or one that holds Python objects.
    """
    with reading(path):
        array = np.load(path, allow_pickle=False)
        if not isinstance(array, np.ndarray):
            raise InputError(f"{path} is an .npz by its content; give it that ending")
        return array


def load_npz(path: Path) -> dict[str, np.ndarray]:
    """The arrays by name.

    Raises:
        InputError: no `.npz`, or it holds Python objects, or more than fits into memory.
    """
    with reading(path):
        try:
            with zipfile.ZipFile(path) as archive:
                check_memory(sum(member.file_size for member in archive.infolist()))
            with np.load(path, allow_pickle=False) as file:
                return {name: np.asarray(file[name]) for name in file.files}
        except (zipfile.BadZipFile, AttributeError) as error:
            raise InputError(f"{path} is cut off or no .npz file") from error


def _points(array: np.ndarray, path: Path) -> np.ndarray:
    """[N] structured of a structured or plain array."""
    if array.dtype.names:
        numbers = [name for name in array.dtype.names if array.dtype[name].kind in "iufb"]
        return np.asarray(array[numbers]).reshape(-1)
    if array.ndim != 2 or array.shape[1] < 3 or array.dtype.kind not in "fiu":
        raise InputError(
            f"{path}: an array of {array.dtype} {list(array.shape)} is no cloud; allowed are "
            "[N, 3] x y z, [N, 4 or more] x y z intensity, and structured arrays with fields "
            "x, y and z"
        )
    if len(array) < _FEW <= array.shape[1] // 2:
        raise InputError(
            f"{path}: an array of {list(array.shape)} has a column for each point; allowed are "
            "[N, 3] x y z and [N, 4 or more] x y z intensity: save its transpose"
        )
    if array.dtype.kind in "iu" or array.dtype.itemsize < 4:
        array = array.astype(np.float32 if array.dtype.itemsize < 4 else np.float64)
    names = [*KITTI, *(f"column_{number}" for number in range(4, array.shape[1]))]
    return structured(dict(zip(names, array.T)))


def _name_of_points(path: Path, arrays: dict[str, np.ndarray]) -> str:
    shaped = [name for name, array in arrays.items() if _holds_points(array)]
    usual = [name for name in _POINTS if name in shaped]
    if usual:
        return usual[0]
    if len(shaped) != 1:
        listed = ", ".join(f"{name} {list(array.shape)}" for name, array in arrays.items())
        raise InputError(
            f"{path}: which array holds the points? Allowed are {', '.join(_POINTS)}, the only "
            f"array [N, 3 or more], or x, y and z; there are {listed or '(none)'}"
        )
    return shaped[0]


def _holds_points(array: np.ndarray) -> bool:
    if array.dtype.names:
        return {"x", "y", "z"} <= set(array.dtype.names)
    return array.ndim == 2 and array.shape[1] >= 3 and array.dtype.kind == "f"


def _save_npz(out: Path, arrays: dict[str, np.ndarray], added: PointLabels, path: Path) -> None:
    named = dict(arrays)
    for name, array in (
        ("class_id", added.class_id),
        ("probability", added.probability),
        ("rgb", added.rgb),
    ):
        named[new_name(name, arrays, path)] = array
    if added.names:
        named[new_name("class_names", arrays, path)] = np.array(added.names)
    with out.open("wb") as file:
        np.savez(file, allow_pickle=False, **named)
