"""The node's parameters and what is known of each. No ROS.

From the fields of `Parameters` come the declarations, `config/segment.yaml` and
`docs/parameters.md`.
"""

from __future__ import annotations

import array
import math
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from typing import Any, TypeAlias, TypeVar

from haskd_ros.clouds.crop import frame_name
from haskd_ros.errors import InputError
from haskd_ros.text import quoted, shown

ParameterValue: TypeAlias = (
    "bool | int | float | str | tuple[float, float, float] | tuple[str, ...]"
)

MOST_CHARACTERS = 4096
"""Of a parameter that is text: the longest path of Linux."""

SMALLEST_VOXEL_M = 0.01
"""Of the filtered cloud: their numbers then reach further than sensors do, 1.3 km."""

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
            InputError: the value is not one of the choices, a list of another length, or text that
                can't be shown.
        """
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


def _parameter(
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


@dataclass(frozen=True)
class Parameters:
    """Values of all parameters, checked.

    Raises:
        InputError: names the parameter, its value and what is allowed.
    """

    model: str = _parameter(
        "",
        "Model file (.safetensors). Empty: the model that comes with the package. Another one is "
        "loaded while the old one labels.",
    )
    device: str = _parameter(
        "auto",
        "Where the network runs: auto (the first GPU if there is one), cpu, or cuda:N.",
        read_only=True,
    )
    precision: str = _parameter(
        "auto",
        "Number format of the network: auto takes the fastest one that keeps the labels, fp16 on a "
        "GPU, bf16 on a CPU with AVX-512 BF16, else fp32.",
        choices=("auto", "fp32", "bf16", "fp16"),
        read_only=True,
    )
    threads: int = _parameter(
        0,
        "CPU threads of the network. 0: as torch chooses, mostly one a core.",
        minimum=0,
        maximum=1024,
        read_only=True,
    )
    warmup_points: int = _parameter(
        100_000,
        "Size of the random cloud labelled once before the node is active, so that the first "
        "real cloud is not the slowest. 0: none.",
        minimum=0,
        maximum=10_000_000,
        read_only=True,
    )
    autostart: bool = _parameter(
        True,
        "Configure and activate by itself. false: wait for a life cycle manager to do it.",
        read_only=True,
    )
    min_probability: float = _parameter(
        0.0,
        "A point whose most probable class has less than this is published as 255, not labelled, "
        "with probability 0.",
        minimum=0.0,
        maximum=1.0,
    )
    range_min: float = _parameter(
        0.0,
        "Distance from the sensor in m; nearer points are not labelled, nor in the filtered cloud.",
        name="range.min",
        minimum=0.0,
        maximum=math.inf,
    )
    range_max: float = _parameter(
        math.inf,
        "Distance from the sensor in m; points farther away are not labelled, nor in the filtered "
        "cloud.",
        name="range.max",
        minimum=0.0,
        maximum=math.inf,
    )
    min_points: int = _parameter(
        0,
        "Clouds with fewer valid points (finite, not at the sensor's origin) are rejected.",
        minimum=0,
        maximum=10_000_000,
    )
    intensity_scale: float = _parameter(
        0.0,
        "Intensity of a full return. 0: found from the clouds, 255 for a field of uint8, else 1, "
        "255 or 65535 by the largest values so far.",
        name="intensity.scale",
        minimum=0.0,
        maximum=math.inf,
    )
    crop_frame: str = _parameter(
        "",
        "Frame of the box outside of which points are not labelled, nor in the filtered cloud; "
        "another one than the cloud's needs tf2_ros, and a cloud waits up to 0.1 s for the "
        "transform at its own time. Empty: the cloud's own.",
        name="crop.frame",
    )
    crop_min: tuple[float, float, float] = _parameter(
        (-math.inf, -math.inf, -math.inf),
        "Least x, y and z of the box in m.",
        name="crop.min",
        length=3,
    )
    crop_max: tuple[float, float, float] = _parameter(
        (math.inf, math.inf, math.inf),
        "Largest x, y and z of the box in m.",
        name="crop.max",
        length=3,
    )
    motion_compensation: str = _parameter(
        "off",
        "How the sensor moves during a sweep, to move its points to where they were at the cloud's "
        "stamp: off, tf (needs tf2_ros) or odometry (needs nav_msgs).",
        name="motion.compensation",
        choices=("off", "tf", "odometry"),
    )
    motion_fixed_frame: str = _parameter(
        "odom",
        "Frame that stands still, with tf. One without jumps: odom rather than map.",
        name="motion.fixed_frame",
    )
    motion_odometry_topic: str = _parameter(
        "odom",
        "Topic of nav_msgs/Odometry, with odometry.",
        name="motion.odometry_topic",
    )
    motion_time_field: str = _parameter(
        "", "Field with the time of each point. Empty: found by name.", name="motion.time_field"
    )
    motion_time_unit: str = _parameter(
        "auto",
        "Unit of that field: auto (by its name or its values), s, ms, us or ns.",
        name="motion.time_unit",
        choices=("auto", "s", "ms", "us", "ns"),
    )
    motion_timeout: float = _parameter(
        0.1,
        "Seconds that a cloud waits for the poses of its own time.",
        name="motion.timeout",
        minimum=0.0,
        maximum=10.0,
    )
    max_rate: float = _parameter(
        0.0,
        "Clouds a second that are labelled at most, evenly spread, in Hz. 0: all.",
        minimum=0.0,
        maximum=1000.0,
    )
    class_remap: tuple[str, ...] = _parameter(
        (),
        "Classes that are published as another one of the model's, each as from:to; to may be "
        "unlabelled.",
    )
    filter_classes: tuple[str, ...] = _parameter(
        (),
        "Classes whose points the filtered cloud keeps, as they are published. None: all but those "
        "of filter.exclude.",
        name="filter.classes",
    )
    filter_exclude: tuple[str, ...] = _parameter(
        (),
        "Classes whose points the filtered cloud leaves out, as they are published. Only while "
        "filter.classes is empty.",
        name="filter.exclude",
    )
    filter_unlabelled: str = _parameter(
        "keep",
        "What becomes, in the filtered cloud, of points that were measured within range and crop "
        "box and have no label: each may be an obstacle.",
        name="filter.unlabelled",
        choices=("keep", "drop"),
    )
    filter_min_probability: float = _parameter(
        0.0,
        "In the filtered cloud a point whose class has less than this counts as unlabelled.",
        name="filter.min_probability",
        minimum=0.0,
        maximum=1.0,
    )
    filter_voxel_size: float = _parameter(
        0.0,
        "Edge in m of the voxels of which the filtered cloud keeps one point each, the nearest to "
        "the voxel's centre, whatever its class; 0.01 or more. 0: all points.",
        name="filter.voxel_size",
        minimum=0.0,
        maximum=10.0,
    )
    diagnostics_period: float = _parameter(
        1.0,
        "Seconds between two reports on /diagnostics.",
        name="diagnostics.period",
        minimum=0.1,
        maximum=60.0,
    )
    diagnostics_window: float = _parameter(
        10.0,
        "Seconds over which rates and percentiles are taken.",
        name="diagnostics.window",
        minimum=1.0,
        maximum=600.0,
    )
    diagnostics_silence_warn: float = _parameter(
        1.0,
        "Seconds without a cloud, by the node's clock, that are worth a warning.",
        name="diagnostics.silence_warn",
        minimum=0.0,
        maximum=math.inf,
    )
    diagnostics_silence_error: float = _parameter(
        5.0,
        "Seconds without a cloud, by the node's clock, that are an error.",
        name="diagnostics.silence_error",
        minimum=0.0,
        maximum=math.inf,
    )
    diagnostics_max_latency: float = _parameter(
        200.0,
        "Message in to message out in ms: a 95th percentile above it is worth a warning. 0: none.",
        name="diagnostics.max_latency",
        minimum=0.0,
        maximum=math.inf,
    )
    diagnostics_max_age: float = _parameter(
        1.0,
        "Seconds by which a cloud's stamp may differ from the node's clock when it is received; "
        "more is an error: another clock, use_sim_time missing, or clouds that come late. 0: any.",
        name="diagnostics.max_age",
        minimum=0.0,
        maximum=math.inf,
    )

    def __post_init__(self) -> None:
        for info in PARAMETERS:
            info.check_form(getattr(self, info.attribute))
        if self.crop_frame and not frame_name(self.crop_frame):
            raise InputError(f"parameter crop.frame is {self.crop_frame!r}, must name a frame")
        if not frame_name(self.motion_fixed_frame):
            raise InputError(
                f"parameter motion.fixed_frame is {self.motion_fixed_frame!r}, must name a frame"
            )
        for low, high in zip(self.crop_min, self.crop_max):
            if not low < high:  # nor a NaN
                raise InputError(
                    f"parameter crop.min is {list(self.crop_min)}, must be less than crop.max, "
                    f"{list(self.crop_max)}, in each of x, y, z"
                )
        if self.range_min >= self.range_max:
            raise InputError(
                f"parameter range.min is {self.range_min} m, must be less than range.max, "
                f"{self.range_max} m"
            )
        if any(self.filter_classes) and any(self.filter_exclude):
            raise InputError(
                f"parameter filter.exclude is {quoted(list(self.filter_exclude))}, must be empty "
                f"while filter.classes is {quoted(list(self.filter_classes))}"
            )
        for info in PARAMETERS:
            info.check_bounds(getattr(self, info.attribute))
        if 0 < self.filter_voxel_size < SMALLEST_VOXEL_M:
            raise InputError(
                f"parameter filter.voxel_size is {self.filter_voxel_size} m, must be 0 or at least "
                f"{SMALLEST_VOXEL_M}"
            )

    def changed(self, values: Mapping[str, ParameterValue]) -> Parameters:
        """With other values for some, by their names in ROS.

        Raises:
            InputError: as of the class.
        """
        changes: dict[str, Any] = {
            info.attribute: values[info.name] for info in PARAMETERS if info.name in values
        }
        return replace(self, **changes)


PARAMETERS: tuple[ParameterInfo, ...] = tuple(
    ParameterInfo(
        **{"name": each.name, **each.metadata},
        attribute=each.name,
        default=getattr(Parameters, each.name),
    )
    for each in fields(Parameters)
)

DEFAULTS = Parameters()
