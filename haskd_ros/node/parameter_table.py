"""The node's parameters: one table, from which come the declarations, `config/segment.yaml` and the
README's table. No ROS."""

from __future__ import annotations

import math
import sys
import textwrap
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import yaml

from haskd_ros.errors import InputError


@dataclass(frozen=True)
class ParameterInfo:
    """One parameter of the node.

    Attributes:
        name: with dots for groups.
        default: its type is the parameter's type.
        description: one or two plain sentences; the unit in them.
        minimum, maximum: inclusive bounds of a number.
        choices: the values there are, where they can be listed.
        length: of a list that has a fixed one.
        read_only: only settable at start; else a change takes effect with the next cloud.
    """

    name: str
    default: bool | int | float | str | tuple[float, ...] | tuple[str, ...]
    description: str
    minimum: float | None = None
    maximum: float | None = None
    choices: tuple[str, ...] = ()
    length: int | None = None
    read_only: bool = False


PARAMETERS = (
    ParameterInfo(
        "model",
        "",
        "Model file (.safetensors). Empty: the model that comes with the package.",
        read_only=True,
    ),
    ParameterInfo(
        "device",
        "auto",
        "Where the network runs: auto (the first GPU if there is one), cpu, or cuda:N.",
        read_only=True,
    ),
    ParameterInfo(
        "precision",
        "auto",
        "Number format of the network: auto takes the fastest one that keeps the labels, fp16 on a "
        "GPU, bf16 on a CPU with AVX-512 BF16, else fp32.",
        choices=("auto", "fp32", "bf16", "fp16"),
        read_only=True,
    ),
    ParameterInfo(
        "threads",
        0,
        "CPU threads of the network. 0: as torch chooses, mostly one a core.",
        minimum=0,
        maximum=1024,
        read_only=True,
    ),
    ParameterInfo(
        "warmup_points",
        100_000,
        "Size of the made-up cloud labelled once before the node is active, so that the first "
        "real cloud is not the slowest. 0: none.",
        minimum=0,
        maximum=10_000_000,
        read_only=True,
    ),
    ParameterInfo(
        "autostart",
        True,
        "Configure and activate by itself. false: wait for a life cycle manager to do it.",
        read_only=True,
    ),
    ParameterInfo(
        "min_probability",
        0.0,
        "A point whose most probable class has less than this is published as 255, not labelled.",
        minimum=0.0,
        maximum=1.0,
    ),
    ParameterInfo(
        "range.min",
        0.0,
        "Distance from the sensor in m; nearer points are not labelled.",
        minimum=0.0,
        maximum=math.inf,
    ),
    ParameterInfo(
        "range.max",
        math.inf,
        "Distance from the sensor in m; points farther away are not labelled.",
        minimum=0.0,
        maximum=math.inf,
    ),
    ParameterInfo(
        "min_points",
        0,
        "Clouds with fewer valid points (finite, not at the sensor's origin) are rejected.",
        minimum=0,
        maximum=10_000_000,
    ),
    ParameterInfo(
        "crop.frame",
        "",
        "Frame of the box outside of which points are not labelled; another one than the cloud's "
        "needs tf2_ros, and a cloud waits up to 0.1 s for where that frame is at its own time. "
        "Empty: the cloud's own.",
    ),
    ParameterInfo(
        "crop.min",
        (-math.inf,) * 3,
        "Least x, y and z of the box in m.",
        length=3,
    ),
    ParameterInfo(
        "crop.max",
        (math.inf,) * 3,
        "Largest x, y and z of the box in m.",
        length=3,
    ),
    ParameterInfo(
        "max_rate",
        0.0,
        "Clouds a second that are labelled at most, evenly spread, in Hz. 0: all.",
        minimum=0.0,
        maximum=1000.0,
    ),
    ParameterInfo(
        "class_remap",
        ("",),
        "Classes that are published as another one of the model's, each as from:to; to may be "
        "unlabelled.",
    ),
    ParameterInfo(
        "filter.classes",
        ("",),
        "Classes whose points the filtered cloud keeps, as they are published. None: all that have "
        "a label.",
    ),
    ParameterInfo(
        "filter.min_probability",
        0.0,
        "Least probability of the points that the filtered cloud keeps.",
        minimum=0.0,
        maximum=1.0,
    ),
    ParameterInfo(
        "diagnostics.period",
        1.0,
        "Seconds between two reports on /diagnostics.",
        minimum=0.1,
        maximum=60.0,
    ),
    ParameterInfo(
        "diagnostics.window",
        10.0,
        "Seconds over which rates and percentiles are taken.",
        minimum=1.0,
        maximum=600.0,
    ),
    ParameterInfo(
        "diagnostics.silence_warn",
        1.0,
        "Seconds without a cloud, by the node's clock, that are worth a warning.",
        minimum=0.0,
        maximum=math.inf,
    ),
    ParameterInfo(
        "diagnostics.silence_error",
        5.0,
        "Seconds without a cloud, by the node's clock, that are an error.",
        minimum=0.0,
        maximum=math.inf,
    ),
    ParameterInfo(
        "diagnostics.max_latency",
        200.0,
        "Message in to message out in ms: a 95th percentile above it is worth a warning. 0: none.",
        minimum=0.0,
        maximum=math.inf,
    ),
)


def check(values: Mapping[str, Any]) -> None:
    """Refuse what types and bounds of single values can't: an unknown choice, a range upside down.

    Args:
        values: every parameter of the table by name, as it would stand after the change.

    Raises:
        InputError: names the parameter, the value and what is allowed.
    """
    for info in PARAMETERS:
        if info.choices and values[info.name] not in info.choices:
            raise InputError(
                f"parameter {info.name} is {values[info.name]!r}, must be one of "
                f"{', '.join(info.choices)}"
            )
        if info.length is not None and len(values[info.name]) != info.length:
            raise InputError(
                f"parameter {info.name} has {len(values[info.name])} values, must have "
                f"{info.length}"
            )
    for low, high in zip(values["crop.min"], values["crop.max"]):
        if not low < high:  # nor a NaN
            raise InputError(
                f"parameter crop.min is {list(values['crop.min'])}, must be less than crop.max, "
                f"{list(values['crop.max'])}, in each of x, y, z"
            )
    if values["range.min"] >= values["range.max"]:
        raise InputError(
            f"parameter range.min is {values['range.min']} m, must be less than range.max, "
            f"{values['range.max']} m"
        )


def defaults() -> dict[str, Any]:
    """What the parameters are where nobody sets them, by name."""
    return {info.name: info.default for info in PARAMETERS}


def yaml_text() -> str:
    """The text of `config/segment.yaml`: every parameter with its default and description."""
    lines = [
        "# Parameters of the node `segment`, with their defaults; written by",
        "# `python -m haskd_ros.node.parameter_table > config/segment.yaml`.",
        "/**:",
        "  ros__parameters:",
    ]
    for info in PARAMETERS:
        comment = f"{_explained(info)} Settable {_settable(info)}."
        lines += [f"    # {line}" for line in textwrap.wrap(comment, 90)]
        lines.append(f"    {info.name}: {_yaml_scalar(info.default)}")
    return "\n".join(lines) + "\n"


def markdown_table() -> str:
    """The README's table of parameters."""
    lines = ["| parameter | default | settable | what |", "| --- | --- | --- | --- |"]
    lines += [
        f"| `{info.name}` | `{_yaml_scalar(info.default)}` | {_settable(info)} "
        f"| {_explained(info)} |"
        for info in PARAMETERS
    ]
    return "\n".join(lines) + "\n"


def _explained(info: ParameterInfo) -> str:
    """The description and what is allowed."""
    if info.choices:
        return f"{info.description} One of {', '.join(info.choices)}."
    if info.minimum is not None:
        return f"{info.description} {info.minimum} to {info.maximum}."
    return info.description


def _settable(info: ParameterInfo) -> str:
    return "only at start" if info.read_only else "at any time"


def _yaml_scalar(value: Any) -> str:
    if isinstance(value, tuple):
        return f"[{', '.join(map(_yaml_scalar, value))}]"
    return yaml.safe_dump(value, default_style='"' if isinstance(value, str) else None).split("\n")[
        0
    ]


if __name__ == "__main__":
    sys.stdout.write(markdown_table() if sys.argv[1:] == ["--markdown"] else yaml_text())
