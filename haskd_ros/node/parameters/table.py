"""What documents the node's parameters, written from `Parameters`. No ROS.

python -m haskd_ros.node.parameters.table > config/segment.yaml
python -m haskd_ros.node.parameters.table --markdown > docs/parameters.md
"""

from __future__ import annotations

import sys
import textwrap

import yaml

from haskd_ros.node.parameters.info import ParameterInfo, ParameterValue
from haskd_ros.node.parameters.values import PARAMETERS

_MARKDOWN_HEAD = """\
# Parameters of the node

Parameters are set at start by a copy of `config/segment.yaml`, given to the launch file as
`params_file:=my_segment.yaml`; a launch argument (`ros2 launch haskd_ros segment.launch.py
--show-args` lists them) wins over the file. Those that are settable at any time are changed by
`ros2 param set /segment <name> <value>`: each change is checked, and in effect from the next cloud
on.

The filtered cloud with all that may be an obstacle, say, and cars and trucks as one class:

```yaml
filter.exclude: [road, road_marking, sidewalk]
class_remap: ["large_vehicle:car"]
```

"""

_MARKDOWN_TAIL = """
Written by `python -m haskd_ros.node.parameters.table --markdown > docs/parameters.md`.
"""


def yaml_text() -> str:
    """The text of `config/segment.yaml`: every parameter with its default and description."""
    lines = [
        "# Parameters of the node `segment`, with their defaults; written by",
        "# `python -m haskd_ros.node.parameters.table > config/segment.yaml`.",
        "/**:",
        "  ros__parameters:",
    ]
    for info in PARAMETERS:
        comment = f"{_explanation(info)} Settable {_settable(info)}."
        lines += [f"    # {line}" for line in textwrap.wrap(comment, 90)]
        lines.append(f"    {info.name}: {_yaml_scalar(info.default)}")
    return "\n".join(lines) + "\n"


def markdown_text() -> str:
    """The text of `docs/parameters.md`."""
    lines = ["| parameter | default | settable | what |", "| --- | --- | --- | --- |"]
    lines += [
        f"| `{info.name}` | `{_yaml_scalar(info.default)}` | {_settable(info)} "
        f"| {_explanation(info)} |"
        for info in PARAMETERS
    ]
    return _MARKDOWN_HEAD + "\n".join(lines) + "\n" + _MARKDOWN_TAIL


def _explanation(info: ParameterInfo) -> str:
    """The description and what is allowed."""
    if info.choices:
        return f"{info.description} One of {', '.join(info.choices)}."
    if info.minimum is not None:
        return f"{info.description} {info.minimum} to {info.maximum}."
    return info.description


def _settable(info: ParameterInfo) -> str:
    return "only at start" if info.read_only else "at any time"


def _yaml_scalar(value: ParameterValue) -> str:
    if isinstance(value, tuple):
        return f"[{', '.join(map(_yaml_scalar, value))}]"
    style = '"' if isinstance(value, str) else None
    return str(yaml.safe_dump(value, default_style=style)).split("\n")[0]


if __name__ == "__main__":
    sys.stdout.write(markdown_text() if sys.argv[1:] == ["--markdown"] else yaml_text())
