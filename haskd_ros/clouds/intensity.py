"""The unit that a sensor's intensity is in: which raw value stands for a full return."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

import numpy as np

UNITS = {
    "i1": (127.0,), "u1": (255.0,), "i2": (255.0, 32767.0), "u2": (255.0, 65535.0),
    "i4": (255.0, 65535.0), "u4": (255.0, 65535.0), "i8": (255.0, 65535.0),
    "u8": (255.0, 65535.0), "f4": (1.0, 255.0, 65535.0), "f8": (1.0, 255.0, 65535.0),
}  # fmt: skip
"""Full returns of the units in use, by the type of the field. Drivers put a calibrated reflectivity
of 0 to 255 into fields of 16 bits, and no sensor fills 32 or 64."""

SAMPLE_SIZE = 20_000
"""Values of a cloud that are looked at, evenly spread."""

OUTLIERS = 1e-3
"""Share of the values that may exceed a unit: single returns of a retroreflector do."""

_BOUNDS = tuple(sorted({unit for units in UNITS.values() for unit in units}))


@dataclass(frozen=True)
class IntensityNote:
    """Something about the intensity of a recording or topic that its owner should know.

    Attributes:
        code: its kind, for programs.
        message: it, with its numbers, in one line.
        is_warning: whether labels may suffer.
    """

    code: str
    message: str
    is_warning: bool = True


def is_measured(values: np.ndarray | None) -> bool:
    """Whether a sensor measured the intensity of a cloud: some value is a number other than 0.
    Where it did not, the mean of a model's training stands in.

    Args:
        values: [N] of the field's own type; None: there is no such field.
    """
    return values is not None and bool((np.isfinite(values) & (values != 0)).any())


class IntensityUnit:
    """The unit of a topic's intensity, from the clouds seen so far; the same for the same clouds in
    any order.

    A field of 8 bits has its type for a unit, any other the least of its `UNITS` that its values
    keep to, but for `OUTLIERS` of them. Clouds that are not measured, see `is_measured`, tell
    nothing.

    Args:
        fixed: a unit that is known beforehand; 0: found from the clouds.

    Attributes:
        fixed: as given.
    """

    def __init__(self, fixed: float = 0.0) -> None:
        self.fixed = fixed
        self._clouds: Counter[str] = Counter()
        self._types: set[str] = set()
        self._positive = self._negative = 0
        self._above = np.zeros(len(_BOUNDS), np.int64)
        self._above_fixed = 0
        self._largest = 0.0

    def add(self, values: np.ndarray | None) -> bool:
        """Look at the intensities of a cloud.

        Args:
            values: [N] of the field's own type, see `pointcloud.read_intensity`; None: there is no
                such field.

        Returns:
            whether it was measured, see `is_measured`.
        """
        if values is None:
            self._clouds["without"] += 1
            return False
        if not len(values):
            self._clouds["empty"] += 1
            return False
        self._types.add(values.dtype.str[1:])
        sample = values[:: max(1, -(-len(values) // SAMPLE_SIZE))]
        finite = sample[np.isfinite(sample)]
        measured = bool(finite.any()) or is_measured(values)
        is_nan = not len(finite) and not np.isfinite(values).any()
        self._clouds["measured" if measured else "nan" if is_nan else "zero"] += 1
        self._positive += int(np.count_nonzero(finite > 0))
        self._negative += int(np.count_nonzero(finite < 0))
        self._above += [np.count_nonzero(finite > unit) for unit in _BOUNDS]
        self._above_fixed += int(np.count_nonzero(finite > self.fixed))
        self._largest = max(self._largest, float(finite.max(initial=0)))
        return measured

    @property
    def is_known(self) -> bool:
        """Whether the clouds have told the unit, or it is fixed."""
        return bool(self.fixed or self._positive or (self._types and len(self._units()) == 1))

    @property
    def full_scale(self) -> float:
        """The raw value that stands for a full return; 1 as long as there was no field of it."""
        units = self._units()
        return self.fixed or next(
            (unit for unit in units if self._above_bound(unit) <= self._allowed()), units[-1]
        )

    def notes(self) -> list[IntensityNote]:
        """What there is to say about the clouds so far."""
        clouds = self._clouds
        seen = clouds.total() - clouds["empty"]
        notes = []
        if missing := clouds["without"]:
            some = "the clouds" if missing == seen else f"{missing} of {seen} clouds"
            notes.append(_note("no-intensity", f"{some} have no intensity field"))
        if missing := clouds["nan"]:
            some = "all clouds" if missing == seen else f"{missing} of {seen} clouds"
            text = f"intensity is NaN throughout {some}: they are read as if they had none"
            notes.append(_note("intensity-nan", text))
        if clouds["zero"]:
            everywhere = not clouds["measured"]
            some = "all clouds" if clouds["zero"] == seen else f"{clouds['zero']} of {seen} clouds"
            text = f"intensity is 0 throughout {some}: they are read as if they had none"
            notes.append(_note("intensity-zero", text, is_warning=everywhere))
        if self._negative:
            text = f"intensity is below 0 in {self._share(self._negative)} of the points"
            notes.append(_note("intensity-negative", text))
        above = self._above_fixed if self.fixed else self._above_bound(self._units()[-1])
        if above > self._allowed():
            text = (
                f"intensity goes up to {self._largest:.6g}, {self._share(above)} of the points "
                f"exceed {self.full_scale:g}, which is taken for a full return"
            )
            notes.append(_note("intensity-exceeds-unit", text))
        elif self._positive and self._largest <= self.full_scale / 256:
            text = (
                f"intensity stays below {self._largest:.6g}, where {self.full_scale:g} is taken "
                "for a full return"
            )
            notes.append(_note("intensity-small", text))
        return notes

    def _units(self) -> list[float]:
        """The units that fields of the types seen may be in, in order."""
        return sorted({unit for kind in self._types for unit in UNITS[kind]}) or [1.0]

    def _above_bound(self, unit: float) -> int:
        return int(self._above[_BOUNDS.index(unit)])

    def _allowed(self) -> float:
        """Values that may exceed a unit: few, but one of hundreds."""
        return max(OUTLIERS * self._positive, 1 if self._positive >= 100 else 0)

    def _share(self, points: int) -> str:
        percent = 100 * points / max(1, self._positive + self._negative)
        return f"{percent:.0f} %" if percent >= 1 else f"{percent:.2g} %"


def _note(code: str, message: str, is_warning: bool = True) -> IntensityNote:
    return IntensityNote(code, message, is_warning)
