"""`haskd segment`: a recording with its clouds labelled, as the node would have."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

from haskd_ros.clouds.output_clouds import (
    packed_color_table,
    segmentation_points,
    visualization_points,
)
from haskd_ros.clouds.pointcloud import CloudError, create_cloud
from haskd_ros.documents import parse_yaml
from haskd_ros.errors import InputError
from haskd_ros.node.parameters.info import ParameterInfo, ParameterValue
from haskd_ros.node.parameters.values import DEFAULTS, PARAMETERS, Parameters
from haskd_ros.segmenter import Segmenter
from haskd_ros.text import shown
from haskd_training.core.background import BackgroundCalls
from haskd_training.core.progress import Progress, no_progress
from haskd_training.data.preparing.examination.examination import Examination
from haskd_training.data.preparing.examination.examine import examine_clouds
from haskd_training.recordings.bag_writing import (
    MESSAGES_BEHIND,
    TYPES,
    add_copies,
    bag_writer,
    check_is_ros2,
    new_bag,
)
from haskd_training.recordings.findings import Finding
from haskd_training.recordings.readers.bag import POINT_CLOUD, Bag, open_bag
from haskd_training.robot.offline.bag_labeller import BagLabeller
from haskd_training.robot.offline.class_topics import LABEL_INFO, LEGEND, ClassTopics

_OUTPUT = "/segment/output"
SEGMENTATION, VISUALIZATION = f"{_OUTPUT}/segmentation", f"{_OUTPUT}/visualization"
"""The node's own topics: the shipped RViz configuration shows them in a replay."""

_CLOUD = TYPES.types[POINT_CLOUD]
_OF_LABELS = (
    "min_probability", "range.min", "range.max", "min_points", "intensity.scale", "crop.frame",
    "crop.min", "crop.max", "class_remap", "poses.source", "poses.fixed_frame",
    "motion.compensation", "motion.time_field", "motion.time_unit", "memory.half_life",
)  # fmt: skip

_FIELD = TYPES.types["sensor_msgs/msg/PointField"]


@dataclass(frozen=True)
class SegmentedBag:
    """The result of labelling a recording.

    Attributes:
        labelled: clouds that were labelled.
        beyond_range: clouds of which every point was beyond the range, and so none has a label.
        findings: what there is to say of the recording's clouds.
        rejected: clouds without, by reason.
        copied: messages that were taken over as they are, the clouds among them.
        seconds: spent in all.
    """

    labelled: int
    beyond_range: int
    rejected: Counter[str]
    copied: int
    seconds: float
    findings: list[Finding]


def segment_bag(
    model: Path,
    bag: Path,
    out: Path,
    topic: str | None = None,
    device: str = "auto",
    parameters: Parameters = DEFAULTS,
    progress: Progress = no_progress,
    *,
    examination: Examination | None = None,
    views: int = 1,
    votes: float = 0.0,
) -> SegmentedBag:
    """Copy a recording, every message and topic of it, and add its labelled clouds, recorded at the
    time of the clouds they belong to, and the names and colours of their classes.

    Args:
        model: model file.
        bag: rosbag2, of either storage.
        out: new folder, a rosbag2 in MCAP.
        topic: of the clouds; None: the only PointCloud2 topic there is.
        device: as of `Segmenter`.
        parameters: of the node.
        progress: called with the clouds done and those there are.
        examination: of the clouds, as of `examine_clouds`; None: they are examined here.
        views: as of `Segmenter`.
        votes: as of `BagLabeller`.

    Raises:
        InputError: model or bag can't be read, the bag is ROS 1's, it has labelled clouds already,
            or `out` exists.
    """
    started = time.perf_counter()
    segmenter = Segmenter.load(model, device=device, views=views)
    colors = packed_color_table(segmenter.taxonomy.color_table())
    rejected: Counter[str] = Counter()
    labelled = beyond_range = copied = 0
    with open_bag(bag) as recording, new_bag(out) as folder:
        check_is_ros2(recording)
        _check(recording)
        if examination is None:
            examination = examine_clouds(bag, topic, intensity_scale=parameters.intensity_scale)
        topic = examination.recording.points_topic
        clouds = recording.count([topic])
        label = BagLabeller(examination, segmenter, parameters, votes)
        with bag_writer(folder) as writer, BackgroundCalls(MESSAGES_BEHIND) as writes:
            copies = add_copies(writer, recording.connections)
            added = [
                writer.add_connection(name, POINT_CLOUD, typestore=TYPES)
                for name in (SEGMENTATION, VISUALIZATION)
            ]
            classes = ClassTopics(writer, _OUTPUT, segmenter.taxonomy)
            for connection, time_ns, raw, decode in recording.recorded():
                writes.call(writer.write, copies[connection.id], time_ns, raw)
                copied += 1
                if connection.topic != topic:
                    continue
                cloud = decode()
                try:
                    labelled_cloud = label(cloud)
                except CloudError as error:
                    rejected[error.reason] += 1
                else:
                    labelled += not labelled_cloud.is_beyond_range
                    beyond_range += labelled_cloud.is_beyond_range
                    result, points = labelled_cloud.result, labelled_cloud.coordinates
                    clouds_out = (
                        segmentation_points(
                            points, result.class_id, result.probability, result.entropy
                        ),
                        visualization_points(points, result.class_id, colors),
                    )
                    for connection_out, content in classes.due(cloud.header):
                        writes.call(writer.write, connection_out, time_ns, content)
                    for connection_out, rows in zip(added, clouds_out):
                        organised = rows.reshape(cloud.height, cloud.width)
                        message = create_cloud(cloud.header, organised, _CLOUD, _FIELD)
                        cdr = TYPES.serialize_cdr(message, POINT_CLOUD)
                        writes.call(writer.write, connection_out, time_ns, cdr)
                progress(labelled + beyond_range + rejected.total(), clouds)
    found = [*examination.findings, *label.findings, *label.later_findings]
    return SegmentedBag(
        labelled=labelled,
        beyond_range=beyond_range,
        rejected=rejected,
        copied=copied,
        seconds=time.perf_counter() - started,
        findings=list(dict.fromkeys(found)),
    )


def parse(assignments: Sequence[str], names: Collection[str] = _OF_LABELS) -> Parameters:
    """Parameters of the node from `name=value`, the value as in YAML.

    Args:
        names: of those that may be given, by default all that have an effect on labels.

    Raises:
        InputError: no such parameter, or a value that is of another type or not allowed.
    """
    allowed = {info.name: info for info in PARAMETERS if info.name in names}
    values: dict[str, ParameterValue] = {}
    for assignment in assignments:
        name, equals, text = assignment.partition("=")
        if not equals or name not in allowed:
            raise InputError(
                f"{assignment!r} is not of the form name=value with a name of {', '.join(allowed)}"
            )
        values[name] = _value(allowed[name], text)
    return DEFAULTS.changed(values)


def _value(info: ParameterInfo, text: str) -> ParameterValue:
    value, default = parse_yaml(text, f"{info.name}={shown(text)[:99]}"), info.default
    try:
        if isinstance(default, tuple):
            kind = type(default[0]) if default else str
            value = tuple(kind(entry) for entry in (value if isinstance(value, list) else [value]))
        elif isinstance(default, float) and isinstance(value, int):
            value = float(value)
    except (TypeError, ValueError, OverflowError):
        value = None
    if type(value) is not type(default):
        raise InputError(f"{info.name}={shown(text)[:99]}: must be of the kind of {default!r}")
    return value


def _check(recording: Bag) -> None:
    topics = {connection.topic for connection in recording.connections}
    outputs = (SEGMENTATION, VISUALIZATION, f"{_OUTPUT}/{LEGEND}", f"{_OUTPUT}/{LABEL_INFO}")
    if known := [output for output in outputs if output in topics]:
        raise InputError(
            f"{recording.path} has labelled clouds already, on {known[0]}; take the recording that "
            "it was made from, or write labels as files: --export labels"
        )
