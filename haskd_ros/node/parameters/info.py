"""What is known of a parameter of the node: type, bounds, description. No ROS."""

from __future__ import annotations

import array
from dataclasses import dataclass, field
from typing import Any, TypeAlias, TypeVar

from haskd_ros.errors import InputError
from haskd_ros.text import quoted, shown

ParameterValue: TypeAlias = (
    "bool | int | float | str | tuple[float, float, float] | tuple[str, ...]"
)

MOST_CHARACTERS = 4096
"""Of a parameter that is text: the longest path of Linux."""

MOST_TEXTS = 256
"""In a parameter that is a list of text: one for each class that a model can have."""

_Value = TypeVar("_Value", bound=ParameterValue)


@dataclass(frozen=True)
class ParameterInfo:
    """What is known of one parameter.

    Attributes:
        name: in ROS, with dots for groups.
        attribute: of `Parameters`.
        default: its type is the parameter's type.
        description: one or two plain sentences; the unit in them.
        minimum, maximum: inclusive bounds of a number.
        choices: the allowed values, where they can be listed.
        length: of a list whose length is fixed.
        read_only: can only be set at start; else a change takes effect with the next cloud.
    """

    name: str
    attribute: str
    default: ParameterValue
    description: str
    minimum: float | None = None
    maximum: float | None = None
    choices: tuple[str, ...] = ()
    length: int | None = None
    read_only: bool = False

    def fitted(self, value: Any) -> Any:
        """A value in the parameter's own type where it was sent in the one that ROS guesses: an
        empty list has no type, and `ros2 param load` sends an infinity as text. What is meant
        otherwise stays as it is."""
        if isinstance(self.default, tuple):
            if isinstance(value, str) and self.length and value.startswith("["):
                value = value.strip("[] ").split(",")  # a list of numbers and such texts
            if not isinstance(value, (list, tuple, array.array)):
                return value
            if not len(value):
                return []
            return [_number(each) for each in value] if self.length else value
        return _number(value) if isinstance(self.default, float) else value

    def check_form(self, value: ParameterValue) -> None:
        """
        Raises:
            InputError: the value is not one of the choices, a list of another length, text that
                can't be shown, or true or false for a number.
        """
        if isinstance(value, bool) and type(self.default) in (int, float):
            raise InputError(f"parameter {self.name} is {value}, must be a number")
        values = value if isinstance(value, tuple) else (value,)
        texts = [each for each in values if isinstance(each, str)]
        if len(texts) > MOST_TEXTS:
            raise InputError(
                f"parameter {self.name} has {len(texts)} values, must have at most {MOST_TEXTS}"
            )
        for text in texts:
            if len(text) > MOST_CHARACTERS or shown(text) != text:
                raise InputError(
                    f"parameter {self.name} is {quoted(text)}, must be printable and of at most "
                    f"{MOST_CHARACTERS} characters"
                )
        if self.choices and value not in self.choices:
            allowed = ", ".join(self.choices)
            raise InputError(f"parameter {self.name} is {quoted(value)}, must be one of {allowed}")
        if self.length is not None and isinstance(value, tuple) and len(value) != self.length:
            raise InputError(
                f"parameter {self.name} has {len(value)} values, must have {self.length}"
            )

    def check_bounds(self, value: ParameterValue) -> None:
        """
        Raises:
            InputError: the number is out of bounds, or NaN.
        """
        if self.minimum is None or self.maximum is None or not isinstance(value, (int, float)):
            return
        if not self.minimum <= value <= self.maximum:
            raise InputError(
                f"parameter {self.name} is {value}, must be {self.minimum} to {self.maximum}"
            )


def _number(value: Any) -> Any:
    """A float where the value is a number, or the text of an infinity or NaN in YAML or Python."""
    if isinstance(value, str):
        try:
            return float(value.replace(".inf", "inf").replace(".nan", "nan"))
        except ValueError:
            return value
    return float(value) if type(value) is int else value


def parameter(
    default: _Value,
    description: str,
    *,
    name: str | None = None,
    minimum: float | None = None,
    maximum: float | None = None,
    choices: tuple[str, ...] = (),
    length: int | None = None,
    read_only: bool = False,
) -> _Value:
    """A field of `Parameters`; arguments as of `ParameterInfo`, `name` where it has a dot."""
    facts = {
        "description": description, "minimum": minimum, "maximum": maximum, "choices": choices,
        "length": length, "read_only": read_only,
    }  # fmt: skip
    return field(default=default, metadata=facts if name is None else facts | {"name": name})
