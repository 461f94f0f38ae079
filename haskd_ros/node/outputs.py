"""The node's publishers: which have subscribers, and what each publishes of a labelled cloud."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from builtin_interfaces.msg import Time
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus, KeyValue
from rclpy.lifecycle import LifecycleNode, LifecyclePublisher

# From here, because the module that defines it has another name on Humble.
from rclpy.publisher import PublisherEventCallbacks
from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy
from sensor_msgs.msg import PointCloud2, PointField
from std_msgs.msg import Float32, Header
from visualization_msgs.msg import MarkerArray

from haskd_ros.clouds.output_clouds import (
    segmentation_points,
    visualization_points,
)
from haskd_ros.clouds.pointcloud import append_columns, create_cloud, select_points
from haskd_ros.node.labelling import LabelledCloud
from haskd_ros.node.legend import ClassDescription, label_info, label_info_type
from haskd_ros.node.loaded_model import LoadedModel
from haskd_ros.node.parameters.qos import OVERRIDABLE
from haskd_ros.node.reports.model_record import model_record
from haskd_ros.node.reports.statuses import Status
from haskd_ros.text import QUOTED_CHARACTERS, shown

MOST_CHARACTERS = 4096
"""Of a text on /diagnostics: the names of 255 classes, the longest path."""

SEGMENTATION, LABELLED, VISUALIZATION, FILTERED = (
    "output/segmentation",
    "output/labelled",
    "output/visualization",
    "output/filtered",
)
LEGEND, LABEL_INFO, MODEL = "output/legend", "output/label_info", "output/model"
STAGES = ("preprocess", "inference", "postprocess", "total", "latency")


class OutputPublishers:
    """Life cycle publishers: silent while the node is not active.

    Args:
        node: that publishes.
        warn_of_qos: makes the callback for a subscriber with incompatible QoS, from a message with
            a gap for the `{policy}`.

    Raises:
        Exception: whatever rclpy raises of QoS that users have given.
    """

    def __init__(
        self, node: LifecycleNode, warn_of_qos: Callable[[str], Callable[[Any], None]]
    ) -> None:
        self._node, self._warn_of_qos = node, warn_of_qos
        types: dict[str, type[Any]] = dict.fromkeys(
            (SEGMENTATION, LABELLED, VISUALIZATION, FILTERED), PointCloud2
        )
        types |= {f"debug/{stage}_ms": Float32 for stage in STAGES}
        latched: dict[str, type[Any]] = {LEGEND: MarkerArray, MODEL: DiagnosticArray}
        if (info := label_info_type()) is not None:
            latched[LABEL_INFO] = info
        self._publishers: dict[str, LifecyclePublisher[Any]] = {}
        self._per_cloud = tuple(types)
        self._description: ClassDescription | None = None
        self._recorded: tuple[LoadedModel, bool] | None = None
        try:
            for name, message_type in (types | latched).items():
                self._publishers[name] = self._publisher(name, message_type, name in latched)
        except BaseException:
            self.close()
            raise

    def _publisher(
        self, name: str, message_type: type[Any], is_latched: bool
    ) -> LifecyclePublisher[Any]:
        topic = self._node.resolve_topic_name(f"~/{name}")
        return self._node.create_lifecycle_publisher(
            message_type,
            f"~/{name}",
            QoSProfile(
                depth=1,
                reliability=ReliabilityPolicy.RELIABLE,
                durability=(
                    DurabilityPolicy.TRANSIENT_LOCAL if is_latched else DurabilityPolicy.VOLATILE
                ),
            ),
            event_callbacks=PublisherEventCallbacks(
                incompatible_qos=self._warn_of_qos(
                    f"a subscriber of {topic} requests more than this node offers; subscribe with "
                    "another {policy}, or set this node's parameter "
                    f"qos_overrides.{topic}.publisher.{{policy}}"
                )
            ),
            qos_overriding_options=OVERRIDABLE,
        )

    def close(self) -> None:
        """Destroy the publishers, and hold no model."""
        for publisher in self._publishers.values():
            self._node.destroy_lifecycle_publisher(publisher)
        self._publishers, self._recorded = {}, None

    def subscribed_topics(self) -> set[str]:
        """The topics with a message per cloud that have a subscriber."""
        return {name for name in self._per_cloud if self._publishers[name].get_subscription_count()}

    def describe(self, model: LoadedModel, since: Time | None = None) -> ClassDescription:
        """Publish the model and its classes, latched, unless that has been done; the legend follows
        with the next cloud, labelled or not, whose frame it needs.

        Args:
            since: stamp of a cloud that it labelled; None: it may not have labelled any yet.
        """
        self._record(model, since)
        taxonomy = model.taxonomy
        description = self._description
        if description is None or description.taxonomy is not taxonomy:
            self._description = description = ClassDescription(taxonomy)
            if LABEL_INFO in self._publishers:
                header = Header(stamp=self._node.get_clock().now().to_msg())
                self._publishers[LABEL_INFO].publish(label_info(taxonomy, header))
        return description

    def publish_legend(self, model: LoadedModel, frame: str) -> None:
        """Publish the legend where it is due.

        Args:
            model: that labels now.
            frame: of the newest cloud.
        """
        watched = self._publishers[LEGEND].get_subscription_count() > 0
        legend = self.describe(model).legend_if_due(frame, watched=watched)
        if legend is not None:
            self._publishers[LEGEND].publish(legend)

    def _record(self, model: LoadedModel, since: Time | None) -> None:
        """Publish which model labels: once when it is loaded and once with its first cloud, under
        that cloud's stamp. A cloud is stamped before it is labelled, so a time of the node's own
        clock would leave the clouds on the way to the wrong model."""
        labels = since is not None
        if self._recorded is not None:
            recorded, has_labelled = self._recorded
            if recorded is model and (has_labelled or not labels):
                return
        self._recorded = model, labels
        self._publishers[MODEL].publish(
            diagnostic_array(
                [model_record(model, labels=labels)],
                node=self._node.get_fully_qualified_name(),
                hardware="",
                stamp=self._node.get_clock().now().to_msg() if since is None else since,
            )
        )

    def publish(
        self,
        cloud: PointCloud2,
        labelled: LabelledCloud,
        *,
        model: LoadedModel,
        topics: set[str],
    ) -> None:
        """Publish a labelled cloud; before it the description of its classes, where they are
        another model's than before.

        Args:
            cloud: the input; gives header and shape.
            labelled: its points and their labels.
            model: that labelled it.
            topics: of `subscribed_topics`.
        """
        description = self.describe(model, cloud.header.stamp)
        points, result = labelled.coordinates, labelled.result
        if SEGMENTATION in topics:
            rows = segmentation_points(points, result.class_id, result.probability, result.entropy)
            self._publish_cloud(SEGMENTATION, cloud, rows)
        if LABELLED in topics:
            columns: dict[str, np.ndarray] = {
                "class_id": result.class_id,
                "probability": result.probability,
            }
            self._publishers[LABELLED].publish(append_columns(cloud, columns, PointField))
        if VISUALIZATION in topics:
            rows = visualization_points(points, result.class_id, description.packed_colors)
            self._publish_cloud(VISUALIZATION, cloud, rows)
        if FILTERED in topics:
            self._publishers[FILTERED].publish(select_points(cloud, labelled.filter_mask()))

    def publish_times(self, milliseconds: dict[str, float], topics: set[str]) -> None:
        """Publish the duration in ms of each of the `STAGES` of a cloud."""
        for stage, value in milliseconds.items():
            if (name := f"debug/{stage}_ms") in topics:
                self._publishers[name].publish(Float32(data=value))

    def _publish_cloud(self, name: str, cloud: PointCloud2, points: np.ndarray) -> None:
        """Publish [N] points with the header and the shape of the input."""
        organised = points.reshape(cloud.height, cloud.width)
        self._publishers[name].publish(
            create_cloud(cloud.header, organised, PointCloud2, PointField)
        )


def diagnostic_array(
    statuses: Sequence[Status], *, node: str, hardware: str, stamp: Time
) -> DiagnosticArray:
    """A message for /diagnostics; whatever file or sender a text comes from, it can be encoded and
    stands in one line.

    Args:
        node: its name, stands before that of each status.
        hardware: the sensor that the statuses are of.
    """
    return DiagnosticArray(
        header=Header(stamp=stamp),
        status=[
            DiagnosticStatus(
                level=bytes([status.level]),
                name=f"{node}: {status.name}",
                message=shown(status.message, MOST_CHARACTERS),
                hardware_id=shown(hardware, MOST_CHARACTERS),
                values=[
                    KeyValue(key=shown(key, QUOTED_CHARACTERS), value=shown(text, MOST_CHARACTERS))
                    for key, text in status.values.items()
                ],
            )
            for status in statuses
        ],
    )
