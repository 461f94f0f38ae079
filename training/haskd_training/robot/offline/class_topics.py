"""A bag's own word on its classes: names by id in `label_info`, names and colours in `legend`, as
the node publishes them beside its labelled clouds."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
from rosbags.interfaces import Connection
from rosbags.rosbag2 import Writer
from rosbags.typesys import Stores, get_types_from_msg, get_typestore
from rosbags.typesys.store import Typestore

from haskd_ros.clouds.legend import NAMESPACE, TEXT_M, LegendLine, legend_lines
from haskd_ros.errors import InputError
from haskd_ros.taxonomy import ClassInfo, Taxonomy
from haskd_training.recordings.bag_writing import LATCHED
from haskd_training.recordings.readers.bag import Bag

LEGEND, LABEL_INFO = "legend", "label_info"
"""Topics beside that of the labelled clouds."""

_MARKERS = "visualization_msgs/msg/MarkerArray"
_LABEL_INFO = "vision_msgs/msg/LabelInfo"
_DEFINITIONS = {
    "vision_msgs/msg/VisionClass": "uint16 class_id\nstring class_name",
    _LABEL_INFO: ("std_msgs/Header header\nvision_msgs/VisionClass[] class_map\nfloat32 threshold"),
}
_TEXT_VIEW_FACING, _ADD, _DELETE_ALL = 9, 0, 3


@cache
def _types() -> Typestore:
    store = get_typestore(Stores.ROS2_HUMBLE)
    for name, definition in _DEFINITIONS.items():
        store.register(get_types_from_msg(definition, name))
    return store


class ClassTopics:
    """Writes the classes of a model into a bag: once, and the legend again in another frame.

    Both topics are latched, so that a player gives them to whoever subscribes later.

    Args:
        writer: open.
        namespace: of the labelled clouds' topic: /segment/output.
    """

    def __init__(self, writer: Writer, namespace: str, taxonomy: Taxonomy) -> None:
        self._taxonomy = taxonomy
        self._legend, self._label_info = (
            writer.add_connection(
                f"{namespace}/{name}", kind, typestore=_types(), offered_qos_profiles=[LATCHED]
            )
            for name, kind in ((LEGEND, _MARKERS), (LABEL_INFO, _LABEL_INFO))
        )
        self._frame: str | None = None

    def due(self, header: Any) -> list[tuple[Connection, bytes]]:
        """The messages that belong before a cloud.

        Args:
            header: of the cloud.
        """
        if header.frame_id == self._frame:
            return []
        messages: list[tuple[Connection, Any]] = [
            (self._legend, _markers(self._taxonomy, header.frame_id))
        ]
        if self._frame is None:
            messages.append((self._label_info, _info(self._taxonomy, header)))
        self._frame = header.frame_id
        return [
            (connection, bytes(_types().serialize_cdr(message, connection.msgtype)))
            for connection, message in messages
        ]


def taxonomy_of(bag: Bag, namespace: str) -> Taxonomy | None:
    """The classes of labelled clouds, by the legend beside them; None where none is recorded.

    Args:
        namespace: of the labelled clouds' topic.

    Raises:
        InputError: the legend is no list of classes.
    """
    topic = f"{namespace}/{LEGEND}"
    if bag.topics.get(topic) != _MARKERS:
        return None
    for _, message in bag.messages([topic]):
        texts = {
            marker.id: marker
            for marker in message.markers
            if marker.ns == NAMESPACE and marker.type == _TEXT_VIEW_FACING and marker.text
        }
        if not texts:
            continue
        if sorted(texts) != list(range(len(texts))):
            raise InputError(f"{bag.path}: the legend on {topic} misses classes: {sorted(texts)}")
        return Taxonomy(
            tuple(ClassInfo(marker.text, _rgb(marker.color)) for _, marker in sorted(texts.items()))
        )
    return None


def _rgb(color: Any) -> tuple[int, ...]:
    return tuple(np.rint(255 * np.array([color.r, color.g, color.b])).astype(int).tolist())


def _markers(taxonomy: Taxonomy, frame: str) -> Any:
    types = _types().types
    lines = [_marker(line, frame) for line in legend_lines(taxonomy)]
    return types[_MARKERS]([_delete_all(frame), *lines])


def _delete_all(frame: str) -> Any:
    """What removes the legend of another model."""
    return _marker(LegendLine(0, "", (0.0, 0.0, 0.0), (0.0, 0.0, 0.0)), frame, _DELETE_ALL)


def _marker(line: LegendLine, frame: str, action: int = _ADD) -> Any:
    types = _types().types
    vector, empty = types["geometry_msgs/msg/Vector3"], np.empty(0, np.uint8)
    return types["visualization_msgs/msg/Marker"](
        # The stamp stays 0: shown whatever the time is.
        header=types["std_msgs/msg/Header"](types["builtin_interfaces/msg/Time"](0, 0), frame),
        ns=NAMESPACE,
        id=line.class_id,
        type=_TEXT_VIEW_FACING,
        action=action,
        pose=types["geometry_msgs/msg/Pose"](
            types["geometry_msgs/msg/Point"](*line.position),
            types["geometry_msgs/msg/Quaternion"](0.0, 0.0, 0.0, 1.0),
        ),
        scale=vector(0.0, 0.0, TEXT_M),
        color=types["std_msgs/msg/ColorRGBA"](*line.color, 1.0),
        lifetime=types["builtin_interfaces/msg/Duration"](0, 0),
        frame_locked=False,
        points=[],
        colors=[],
        texture_resource="",
        texture=types["sensor_msgs/msg/CompressedImage"](
            types["std_msgs/msg/Header"](types["builtin_interfaces/msg/Time"](0, 0), ""), "", empty
        ),
        uv_coordinates=[],
        text=line.text,
        mesh_resource="",
        mesh_file=types["visualization_msgs/msg/MeshFile"]("", empty),
        mesh_use_embedded_materials=False,
    )


def _info(taxonomy: Taxonomy, header: Any) -> Any:
    types = _types().types
    classes = [
        types["vision_msgs/msg/VisionClass"](class_id, name)
        for class_id, name in enumerate(taxonomy.names)
    ]
    stamped = types["std_msgs/msg/Header"](header.stamp, "")
    return types[_LABEL_INFO](stamped, classes, 0.0)
