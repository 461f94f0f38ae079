"""What tells people and programs which class id is which."""

from __future__ import annotations

import importlib
from typing import Any

from builtin_interfaces.msg import Time
from std_msgs.msg import ColorRGBA, Header
from visualization_msgs.msg import Marker, MarkerArray

from haskd_ros.taxonomy import Taxonomy

LINE_M = 1.5
"""From one line of the legend to the next, upwards and forwards: no line hides another one, whether
it is looked at from behind the sensor or from above."""

PLACE_M = (-5.0, 24.0)
"""x and y of the lowest line in the cloud's frame, to the left of the sensor: all lines lie within
the view of the shipped RViz configuration."""


def legend(taxonomy: Taxonomy, frame: str) -> MarkerArray:
    """The class names in their colours, the first one on top, as text that faces the viewer.

    Args:
        frame: of the clouds.
    """
    markers = [Marker(header=Header(frame_id=frame), action=Marker.DELETEALL)]
    for class_id, info in enumerate(taxonomy.classes):
        marker = Marker(
            # The stamp stays 0: shown whatever the time is.
            header=Header(frame_id=frame, stamp=Time()),
            ns="legend",
            id=class_id,
            type=Marker.TEXT_VIEW_FACING,
            action=Marker.ADD,
            text=info.name,
        )
        up = LINE_M * (len(taxonomy) - 1 - class_id)
        marker.pose.position.x = PLACE_M[0] + up
        marker.pose.position.y = PLACE_M[1]
        marker.pose.position.z = up
        marker.pose.orientation.w = 1.0
        marker.scale.z = 1.2
        red, green, blue = (value / 255 for value in info.color)
        marker.color = ColorRGBA(r=red, g=green, b=blue, a=1.0)
        markers.append(marker)
    return MarkerArray(markers=markers)


def label_info_type() -> type | None:
    """vision_msgs/LabelInfo; None where vision_msgs is not installed."""
    try:
        return importlib.import_module("vision_msgs.msg").LabelInfo
    except (ImportError, AttributeError):
        return None


def label_info(taxonomy: Taxonomy, header: Header) -> Any:
    """vision_msgs/LabelInfo of a model's classes.

    Args:
        header: of the message: when it was made.
    """
    messages = importlib.import_module("vision_msgs.msg")
    classes = [
        messages.VisionClass(class_id=class_id, class_name=name)
        for class_id, name in enumerate(taxonomy.names)
    ]
    return messages.LabelInfo(header=header, class_map=classes, threshold=0.0)
