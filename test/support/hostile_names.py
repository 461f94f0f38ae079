"""A small drive in which every name is one that something might take for an order."""

from __future__ import annotations

from pathlib import Path

import yaml
from rosbags.rosbag2 import Reader
from rosbags.typesys import Stores, get_typestore
from small_run import small_drive

from haskd_training.recordings.bag_writing import bag_writer
from haskd_training.recordings.labels import LABEL_MAPS

ORDERS = "[red]a$b$_[/]<b>|`x`</script>"
"""Markup of rich, mathematics, HTML, cells of Markdown: in every class's name."""

UNSEEN = "\x1b[31m\a[/]$_$</script>\u202e"
"""The same and what steers a terminal: in topics, frames and the camera's name."""

TOPICS = {
    "/lidar/points": f"/lidar{UNSEEN}/points",
    "/camera/front/image/compressed": f"/camera/{UNSEEN}..\0/image/compressed",
    "/camera/front/camera_info": f"/camera/{UNSEEN}..\0/camera_info",
}


def _renamed(message: object) -> None:
    """Frames of a message, in place."""
    if hasattr(message, "transforms"):
        for transform in message.transforms:
            transform.header.frame_id += UNSEEN
            transform.child_frame_id += UNSEEN
    else:
        message.header.frame_id += UNSEEN


def hostile_drive(folder: Path) -> tuple[Path, Path]:
    """The bag and its label map."""
    store = get_typestore(Stores.ROS2_HUMBLE)
    bag = folder / f"drive {UNSEEN.replace('/', '')}"
    with Reader(small_drive(folder)) as reader, bag_writer(bag) as writer:
        connections = {
            one.id: writer.add_connection(
                TOPICS.get(one.topic, one.topic),
                one.msgtype,
                typestore=store,
                offered_qos_profiles=one.ext.offered_qos_profiles,
            )
            for one in reader.connections
        }
        for one, time_ns, raw in reader.messages():
            message = store.deserialize_cdr(raw, one.msgtype)
            _renamed(message)
            writer.write(connections[one.id], time_ns, store.serialize_cdr(message, one.msgtype))
    document = yaml.safe_load((LABEL_MAPS / "simulation.yaml").read_text())
    for number, entry in enumerate(document["classes"]):
        entry["name"] = f"{number}{ORDERS}" if number else f"_{ORDERS}"
    labels = folder / "labels.yaml"
    labels.write_text(yaml.safe_dump(document))
    return bag, labels
