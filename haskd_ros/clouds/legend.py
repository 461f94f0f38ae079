"""The legend of a labelled cloud: where each class's name stands in space. No ROS."""

from __future__ import annotations

from dataclasses import dataclass

from haskd_ros.taxonomy import Taxonomy

NAMESPACE = "legend"
"""Of its markers."""

TEXT_M = 1.2
"""Height of its letters."""

LINE_M = 1.5
"""From one line of the legend to the next, upwards and forwards: seen from behind the sensor or
from above, no line hides another one."""

POSITION_M = (-5.0, 24.0)
"""x and y of the lowest line in the cloud's frame, to the left of the sensor: all lines lie within
the view of the shipped RViz configuration."""


@dataclass(frozen=True)
class LegendLine:
    """A class's name: its place x y z in m in the cloud's frame, and its colour, RGB 0..1."""

    class_id: int
    text: str
    position: tuple[float, float, float]
    color: tuple[float, float, float]


def legend_lines(taxonomy: Taxonomy) -> list[LegendLine]:
    """The class names in their colours, the first one on top."""
    lines = []
    for class_id, info in enumerate(taxonomy.classes):
        up = LINE_M * (len(taxonomy) - 1 - class_id)
        red, green, blue = (value / 255 for value in info.color)
        position = (POSITION_M[0] + up, POSITION_M[1], up)
        lines.append(LegendLine(class_id, info.name, position, (red, green, blue)))
    return lines
