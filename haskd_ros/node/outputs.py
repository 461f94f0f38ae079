"""The node's topics: who watches them, and what a labelled cloud becomes on each."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from builtin_interfaces.msg import Time
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus, KeyValue
from rclpy.lifecycle import LifecycleNode

# From here, because the module that defines it has another name on Humble.
from rclpy.publisher import PublisherEventCallbacks
from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy
from sensor_msgs.msg import PointCloud2, PointField
from std_msgs.msg import Float32, Header
from visualization_msgs.msg import MarkerArray

from haskd_ros.clouds.pointcloud import create_cloud, select_points
from haskd_ros.node.diagnostics import Status
from haskd_ros.node.legend import label_info, label_info_type, legend
from haskd_ros.node.output_clouds import (
    packed_color_table,
    segmentation_points,
    visualization_points,
)
from haskd_ros.segmenter import Segmentation
from haskd_ros.taxonomy import Taxonomy

SEGMENTATION, VISUALIZATION, FILTERED = (
    "output/segmentation",
    "output/visualization",
    "output/filtered",
)
LEGEND, LABEL_INFO = "output/legend", "output/label_info"
LEGEND_PERIOD_S = 0.5
"""RViz forgets its markers when it is reset, and asks for no latched message again."""
STAGES = ("preprocess", "inference", "postprocess", "total", "latency")


class OutputPublishers:
    """Life cycle publishers: silent while the node is not active.

    Args:
        node: that publishes.
        warn_of_qos: makes the callback for a subscriber that asks for more than is offered, from a
            message with a place for the `{policy}`.
    """

    def __init__(
        self, node: LifecycleNode, warn_of_qos: Callable[[str], Callable[[Any], None]]
    ) -> None:
        self._node = node
        types: dict[str, type] = dict.fromkeys((SEGMENTATION, VISUALIZATION, FILTERED), PointCloud2)
        types |= {f"debug/{stage}_ms": Float32 for stage in STAGES}
        latched: dict[str, type] = {LEGEND: MarkerArray}
        if (info := label_info_type()) is not None:
            latched[LABEL_INFO] = info
        self._publishers = {
            name: node.create_lifecycle_publisher(
                message_type,
                f"~/{name}",
                QoSProfile(
                    depth=1,
                    reliability=ReliabilityPolicy.RELIABLE,
                    durability=(
                        DurabilityPolicy.TRANSIENT_LOCAL
                        if name in latched
                        else DurabilityPolicy.VOLATILE
                    ),
                ),
                event_callbacks=PublisherEventCallbacks(
                    incompatible_qos=warn_of_qos(
                        f"a subscriber of ~/{name} asks for more than this node offers; "
                        "subscribe with another {policy}"
                    )
                ),
            )
            for name, message_type in (types | latched).items()
        }
        self._per_cloud = tuple(types)
        self._legend_frame: str | None = None
        self._legend_due = 0.0

    def close(self) -> None:
        """Destroy the publishers."""
        for publisher in self._publishers.values():
            self._node.destroy_lifecycle_publisher(publisher)
        self._publishers = {}

    def watched(self) -> set[str]:
        """Those made from every cloud that somebody subscribes to."""
        return {name for name in self._per_cloud if self._publishers[name].get_subscription_count()}

    def describe(self, taxonomy: Taxonomy) -> None:
        """Publish the classes once for everybody who ever subscribes; the legend follows with the
        clouds, which tell its frame."""
        self._taxonomy = taxonomy
        self._packed_colors = packed_color_table(taxonomy.color_table())
        self._legend_frame = None
        if LABEL_INFO in self._publishers:
            header = Header(stamp=self._node.get_clock().now().to_msg())
            self._publishers[LABEL_INFO].publish(label_info(taxonomy, header))

    def publish(
        self,
        cloud: PointCloud2,
        points: np.ndarray,
        result: Segmentation,
        kept: Callable[[], np.ndarray],
        watched: set[str],
    ) -> None:
        """Publish a labelled cloud to those who watch.

        Args:
            cloud: it came from: gives header and shape.
            points: [N, >= 3] x y z in m.
            result: N rows.
            kept: [N] bool, what the filtered cloud keeps; called where that is watched.
        """
        if SEGMENTATION in watched:
            labelled = segmentation_points(
                points, result.class_id, result.probability, result.entropy
            )
            self._publish_cloud(SEGMENTATION, cloud, labelled)
        if VISUALIZATION in watched:
            colored = visualization_points(points, result.class_id, self._packed_colors)
            self._publish_cloud(VISUALIZATION, cloud, colored)
        if FILTERED in watched:
            self._publishers[FILTERED].publish(select_points(cloud, kept()))
        self._publish_legend(cloud.header.frame_id)

    def _publish_legend(self, frame: str) -> None:
        if frame != self._legend_frame:
            self._legend_frame, self._legend_due = frame, 0.0
            self._legend = legend(self._taxonomy, frame)
        if (now := time.monotonic()) >= self._legend_due:
            self._legend_due = now + LEGEND_PERIOD_S
            self._publishers[LEGEND].publish(self._legend)

    def publish_times(self, milliseconds: dict[str, float], watched: set[str]) -> None:
        """Publish the `STAGES` of a cloud."""
        for stage, value in milliseconds.items():
            if (name := f"debug/{stage}_ms") in watched:
                self._publishers[name].publish(Float32(data=value))

    def _publish_cloud(self, name: str, cloud: PointCloud2, points: np.ndarray) -> None:
        """Publish [N] points with the header and the shape of the cloud they came from."""
        organised = points.reshape(cloud.height, cloud.width)
        self._publishers[name].publish(
            create_cloud(cloud.header, organised, PointCloud2, PointField)
        )


def diagnostic_array(
    statuses: Sequence[Status], node: str, hardware: str, stamp: Time
) -> DiagnosticArray:
    """A message for /diagnostics.

    Args:
        node: its name, stands before that of each status.
        hardware: what the statuses are of.
    """
    return DiagnosticArray(
        header=Header(stamp=stamp),
        status=[
            DiagnosticStatus(
                level=bytes([status.level]),
                name=f"{node}: {status.name}",
                message=status.message,
                hardware_id=hardware,
                values=[KeyValue(key=key, value=text) for key, text in status.values.items()],
            )
            for status in statuses
        ],
    )
