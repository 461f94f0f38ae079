"""A cloud as files hold it, and the labels that are added to it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
from numpy.lib import recfunctions

from haskd_ros.clouds.pointcloud import INTENSITY_FIELDS
from haskd_ros.errors import InputError
from haskd_ros.text import listed

AGAIN = "predicted_"
"""Begin of an added field's name where the file has a field of that name already: what was there
stays as it is."""

_OTHER_INTENSITIES = ("remission", "reflectance")


@dataclass(frozen=True)
class PointLabels:
    """The labels of a cloud; row i belongs to point i of the file.

    Attributes:
        class_id: [N] uint8; 255 = not labelled.
        probability: [N] float32.
        rgb: [N, 3] uint8, the colour of the class.
        names: of the classes; each is written as text where the file can hold it.
    """

    class_id: np.ndarray
    probability: np.ndarray
    rgb: np.ndarray
    names: tuple[str, ...] = ()

    @property
    def packed_rgb(self) -> np.ndarray:
        """[N] uint32, 0x00RRGGBB."""
        red, green, blue = self.rgb.astype(np.uint32).T
        packed: np.ndarray = red << 16 | green << 8 | blue
        return packed

    @property
    def legend(self) -> list[str]:
        """A line for each class."""
        return [f"class_id {number} is {name}" for number, name in enumerate(self.names)]


def new_name(name: str, present: Iterable[str], path: Path) -> str:
    """What a field that is added is called: its name, or with `AGAIN` before it where the file has
    that name already.

    Raises:
        InputError: the file has both, so it has been labelled already.
    """
    present = set(present)
    if name not in present:
        return name
    if AGAIN + name in present:
        raise InputError(
            f"{path} has been segmented already: it has {name} and {AGAIN + name}; "
            "give the file as it was before"
        )
    return AGAIN + name


def common_names(points: np.ndarray, path: Path) -> np.ndarray:
    """The points [N] with x, y, z and the intensity under these names, as a PointCloud2 has them.

    CloudCompare calls a field `scalar_Intensity`, others write `X` or `Remission`.

    Raises:
        InputError: no x, y and z.
    """
    names = list(points.dtype.names or ())
    renamed = {}
    for axis in "xyz":
        if axis not in names:
            if axis.upper() not in names:
                raise InputError(f"{path}: the cloud has no {axis}; its fields are {listed(names)}")
            renamed[axis.upper()] = axis
    if not set(INTENSITY_FIELDS) & set(names):
        for name in names:
            plain = name.lower().removeprefix("scalar_").removeprefix("scalar field ")
            if plain in (*INTENSITY_FIELDS, *_OTHER_INTENSITIES):
                renamed[name] = "intensity"
                break
    if not renamed:
        return points
    return np.asarray(recfunctions.rename_fields(points, renamed))


def structured(columns: dict[str, np.ndarray]) -> np.ndarray:
    """Columns [N] by name as points [N]."""
    length = len(next(iter(columns.values())))
    points = np.empty(length, [(name, column.dtype) for name, column in columns.items()])
    for name, column in columns.items():
        points[name] = column
    return points


def library(name: str, path: Path) -> Any:
    """A library that reads a kind of file.

    Raises:
        InputError: it is not installed.
    """
    try:
        return import_module(name)
    except ImportError as error:
        raise InputError(
            f"{path} can't be read without {error.name or name}; `pip install 'haskd_ros[files]'` "
            "installs it"
        ) from error
