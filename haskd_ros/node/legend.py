"""Which class id is which: for people the legend, for programs vision_msgs/LabelInfo."""

from __future__ import annotations

import importlib
import time
from typing import Any

from builtin_interfaces.msg import Time
from std_msgs.msg import ColorRGBA, Header
from visualization_msgs.msg import Marker, MarkerArray

from haskd_ros.clouds.legend import NAMESPACE, TEXT_M, legend_lines
from haskd_ros.clouds.output_clouds import packed_color_table
from haskd_ros.taxonomy import Taxonomy

LEGEND_PERIOD_S = 0.5
"""RViz drops its markers when it is reset, and does not get a latched message a second time."""


def legend(taxonomy: Taxonomy, frame: str) -> MarkerArray:
    """The class names in their colours, the first one on top, as text that faces the viewer.

    Args:
        frame: of the clouds.
    """
    markers = [Marker(header=Header(frame_id=frame), action=Marker.DELETEALL)]
    for line in legend_lines(taxonomy):
        marker = Marker(
            # The stamp stays 0: shown whatever the time is.
            header=Header(frame_id=frame, stamp=Time()),
            ns=NAMESPACE,
            id=line.class_id,
            type=Marker.TEXT_VIEW_FACING,
            action=Marker.ADD,
            text=line.text,
        )
        position = marker.pose.position
        position.x, position.y, position.z = line.position
        marker.pose.orientation.w = 1.0
        marker.scale.z = TEXT_M
        red, green, blue = line.color
        marker.color = ColorRGBA(r=red, g=green, b=blue, a=1.0)
        markers.append(marker)
    return MarkerArray(markers=markers)


class ClassDescription:
    """What is published about the classes of one model.

    Attributes:
        taxonomy: of the model.
        packed_colors: [256] uint32, 0x00RRGGBB by class id.
    """

    def __init__(self, taxonomy: Taxonomy) -> None:
        self.taxonomy = taxonomy
        self.packed_colors = packed_color_table(taxonomy.color_table())
        self._frame: str | None = None
        self._legend = MarkerArray()
        self._due = 0.0

    def legend_if_due(self, frame: str, *, watched: bool) -> MarkerArray | None:
        """The legend where it is to be published: in another frame than before, and again for
        who watches it, but once in `LEGEND_PERIOD_S` at most, for frames may alternate.

        Args:
            frame: of the newest cloud.
            watched: whether somebody subscribes to it.
        """
        now = time.monotonic()
        if now < self._due or (frame == self._frame and not watched):
            return None
        if frame != self._frame:
            self._frame, self._legend = frame, legend(self.taxonomy, frame)
        self._due = now + LEGEND_PERIOD_S
        return self._legend


def label_info_type() -> type[Any] | None:
    """vision_msgs/LabelInfo; None where vision_msgs is not installed."""
    try:
        message_type: type[Any] = importlib.import_module("vision_msgs.msg").LabelInfo
    except (ImportError, AttributeError):
        return None
    return message_type


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
