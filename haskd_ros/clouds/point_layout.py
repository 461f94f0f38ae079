"""Where in a point's bytes its fields lie: PointFields -> a numpy dtype of the wanted ones."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from haskd_ros.errors import InputError
from haskd_ros.text import QUOTED_CHARACTERS, listed, quoted

DTYPES = {
    1: "i1", 2: "u1", 3: "i2", 4: "u2", 5: "i4", 6: "u4", 7: "f4", 8: "f8", 9: "i8", 10: "u8",
    11: "u1",
}  # fmt: skip
"""numpy type by `PointField.datatype` (INT8 .. BOOLEAN), without the byte order. PCL has long sent
the last three, in 64 bits times mostly; PointField names them since 2025."""

DATATYPES = {np.dtype(DTYPES[datatype]): datatype for datatype in range(1, 9)}
"""`PointField.datatype` of what is written: those that every release can read."""

MAX_POINT_STEP = 65536
"""Bytes. Above this a header is taken for damaged; real points have 12 to some 100 bytes."""

MAX_FIELDS = 256
"""Fields of a point; real ones have 3 to some 30."""

MAX_COLUMNS = 4096
"""Values of a point that can be read at once."""

_SIZES = {datatype: np.dtype(name).itemsize for datatype, name in DTYPES.items()}


class CloudError(InputError):
    """A PointCloud2 that can't be read: its header contradicts itself, its data or its use.

    `reason` is the kind of fault in a few words without numbers, made for counting: none of it is
    the message's own text, so there are as many reasons as there are kinds of faults.
    """

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason


def fields_of(cloud: Any) -> Sequence[Any]:
    """The PointFields of a cloud.

    Raises:
        CloudError: so many that looking at them would take longer than labelling a cloud.
    """
    fields: Sequence[Any] = cloud.fields
    if len(fields) > MAX_FIELDS:
        raise CloudError(
            "too many fields", f"cloud: it has {len(fields)} fields, must be {MAX_FIELDS} at most"
        )
    return fields


def point_dtype(
    cloud: Any,
    names: Collection[str] | None = None,
) -> np.dtype:
    """The structured dtype of one point. What it costs depends on the number of the fields and of
    the wanted columns, not on how many values the other fields say they have.

    Args:
        cloud: a PointCloud2.
        names: columns that the dtype is to have, in the cloud's order; None: all. The padding of a
            PCD file comes as several fields named `_`, so the names of others may occur twice.

    Raises:
        CloudError: too many fields or columns, unknown datatype, count 0, a field past
            `point_step`, a name that occurs twice, a wanted column that is not there, or a
            `point_step` that no point has.
    """
    point_step = octets_of_point(cloud)
    fields = fields_of(cloud)
    for field in fields:
        _check(field, point_step)
    columns = list(_every(fields) if names is None else _chosen(fields, names))
    present = Counter(column.name for column in columns)
    if missing := [name for name in names or () if name not in present]:
        raise CloudError(
            f"no field {missing[0]}",
            f"cloud: no field {', '.join(missing)}; its fields are "
            f"{listed((field.name for field in fields), QUOTED_CHARACTERS)}",
        )
    if twice := sorted(name for name in present if present[name] > 1):
        raise CloudError(
            "field stands twice",
            f"cloud: fields occur more than once: {listed(twice, QUOTED_CHARACTERS)}",
        )
    order = ">" if cloud.is_bigendian else "<"
    return np.dtype(
        {
            "names": [column.name for column in columns],
            "formats": [order + DTYPES[column.datatype] for column in columns],
            "offsets": [column.offset for column in columns],
            "itemsize": point_step,
        }
    )


def octets_of_point(cloud: Any) -> int:
    """Bytes of a point.

    Raises:
        CloudError: a number that no point has.
    """
    step: int = cloud.point_step
    if not 0 < step <= MAX_POINT_STEP:
        raise CloudError(
            "bad point_step", f"cloud: point_step is {step}, must be 1 to {MAX_POINT_STEP}"
        )
    return step


class _Column(NamedTuple):
    """One value of a point: datatype of its PointField, offset in bytes."""

    name: str
    datatype: int
    offset: int


def _check(field: Any, point_step: int) -> None:
    size = _SIZES.get(field.datatype)
    if size is None:
        raise CloudError(
            "unknown datatype",
            f"cloud: field {_quoted(field)} has datatype {field.datatype}, must be 1 (INT8) to "
            "11 (BOOLEAN)",
        )
    if field.count < 1:
        raise CloudError(
            "field of count 0", f"cloud: field {_quoted(field)} has count 0, must be > 0"
        )
    end = field.offset + field.count * size
    if end > point_step:
        raise CloudError(
            "field past point_step",
            f"cloud: field {_quoted(field)} ends at byte {end}, point_step is only {point_step}",
        )


def _quoted(field: Any) -> str:
    return quoted(field.name[: QUOTED_CHARACTERS + 1])


def _name(field: Any, index: int) -> str:
    return field.name or f"unnamed_field_{index}"


def _every(fields: Sequence[Any]) -> Iterator[_Column]:
    columns = sum(field.count for field in fields)
    if columns > MAX_COLUMNS:
        raise CloudError(
            "too many columns",
            f"cloud: a point has {columns} values, {MAX_COLUMNS} at most can be read at once; "
            "name those that are wanted",
        )
    for index, field in enumerate(fields):
        name = _name(field, index)
        for number in range(field.count):
            column = name if field.count == 1 else f"{name}_{number}"
            yield _column(column, field, number)


def _chosen(fields: Sequence[Any], names: Collection[str]) -> Iterator[_Column]:
    of_field = _elements(names)
    for index, field in enumerate(fields):
        name = _name(field, index)
        if field.count == 1:
            if name in names:
                yield _column(name, field, 0)
            continue
        for number in of_field.get(name, ()):
            if number < field.count:
                yield _column(f"{name}_{number}", field, number)


def _elements(names: Collection[str]) -> Mapping[str, Sequence[int]]:
    """By name of a field of several values, which of them are wanted, ascending."""
    found: dict[str, set[int]] = {}
    for name in names:
        field, _, digits = name.rpartition("_")
        # As columns are written, and none has a number of more digits than MAX_POINT_STEP.
        if re.fullmatch("0|[1-9][0-9]{0,4}", digits):
            found.setdefault(field, set()).add(int(digits))
    return {field: sorted(numbers) for field, numbers in found.items()}


def _column(name: str, field: Any, number: int) -> _Column:
    return _Column(name, field.datatype, field.offset + number * _SIZES[field.datatype])
