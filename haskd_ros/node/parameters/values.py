"""The node's parameters. No ROS.

From the fields of `Parameters` come the declarations, `config/segment.yaml` and
`docs/parameters.md`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import Any

from haskd_ros.clouds.crop import frame_name
from haskd_ros.errors import InputError
from haskd_ros.node.parameters.info import ParameterInfo, ParameterValue, parameter
from haskd_ros.text import quoted

SMALLEST_VOXEL_M = 0.01
"""Of the filtered cloud: their numbers then reach further than sensors do, 1.3 km."""

MOST_OTHER_LIDARS = 16
"""Whose clouds are merged with the input's: each holds the newest of them in memory."""


@dataclass(frozen=True)
class Parameters:
    """Values of all parameters, checked.

    Raises:
        InputError: names the parameter, its value and what is allowed.
    """

    model: str = parameter(
        "",
        "Model file (.safetensors). Empty: the model that comes with the package. Another one is "
        "loaded while the old one labels.",
    )
    device: str = parameter(
        "auto",
        "Where the network runs: auto (the first GPU if there is one), cpu, or cuda:N.",
        read_only=True,
    )
    precision: str = parameter(
        "auto",
        "Number format of the network: auto takes the fastest one that keeps the labels, fp16 on a "
        "GPU, bf16 on a CPU with AMX or AMD's AVX-512 BF16, else fp32.",
        choices=("auto", "fp32", "bf16", "fp16"),
        read_only=True,
    )
    threads: int = parameter(
        0,
        "CPU threads of the network. 0: as OMP_NUM_THREADS says, else one a core.",
        minimum=0,
        maximum=1024,
        read_only=True,
    )
    warmup_points: int = parameter(
        100_000,
        "Size of the random cloud labelled once before the node is active, so that the first "
        "real cloud is not the slowest. 0: none.",
        minimum=0,
        maximum=10_000_000,
        read_only=True,
    )
    autostart: bool = parameter(
        True,
        "Configure and activate by itself. false: wait for a life cycle manager to do it.",
        read_only=True,
    )
    min_probability: float = parameter(
        0.0,
        "A point whose most probable class has less than this is published as 255, not labelled, "
        "with probability 0.",
        minimum=0.0,
        maximum=1.0,
    )
    range_min: float = parameter(
        0.0,
        "Distance from the sensor in m; nearer points are not labelled, nor in the filtered cloud.",
        name="range.min",
        minimum=0.0,
        maximum=math.inf,
    )
    range_max: float = parameter(
        math.inf,
        "Distance from the sensor in m; points farther away are not labelled, nor in the filtered "
        "cloud.",
        name="range.max",
        minimum=0.0,
        maximum=math.inf,
    )
    min_points: int = parameter(
        0,
        "Clouds with fewer valid points (finite, not at the sensor's origin) are rejected.",
        minimum=0,
        maximum=10_000_000,
    )
    intensity_scale: float = parameter(
        0.0,
        "Intensity of a full return. 0: found from the clouds, 255 for a field of uint8, else 1, "
        "255 or 65535 by the largest values so far.",
        name="intensity.scale",
        minimum=0.0,
        maximum=math.inf,
    )
    crop_frame: str = parameter(
        "",
        "Frame of the box outside of which points are not labelled, nor in the filtered cloud; "
        "another one than the cloud's needs tf2_ros, and a cloud waits up to 0.1 s for the "
        "transform at its own time. Empty: the cloud's own.",
        name="crop.frame",
    )
    crop_min: tuple[float, float, float] = parameter(
        (-math.inf, -math.inf, -math.inf),
        "Least x, y and z of the box in m.",
        name="crop.min",
        length=3,
    )
    crop_max: tuple[float, float, float] = parameter(
        (math.inf, math.inf, math.inf),
        "Largest x, y and z of the box in m.",
        name="crop.max",
        length=3,
    )
    poses_source: str = parameter(
        "tf",
        "How motion compensation, the memory and models of several sweeps know where the sensor "
        "is: tf (needs tf2_ros) or odometry (needs nav_msgs).",
        name="poses.source",
        choices=("tf", "odometry"),
    )
    poses_fixed_frame: str = parameter(
        "odom",
        "Frame that stands still, with tf. One without jumps: odom rather than map.",
        name="poses.fixed_frame",
    )
    poses_odometry_topic: str = parameter(
        "odom", "Topic of nav_msgs/Odometry, with odometry.", name="poses.odometry_topic"
    )
    poses_timeout: float = parameter(
        0.1,
        "Seconds that a cloud waits at most for the poses of its own time.",
        name="poses.timeout",
        minimum=0.0,
        maximum=10.0,
    )
    motion_compensation: bool = parameter(
        False,
        "Move the points of a cloud to where they were at its stamp, by the time of each.",
        name="motion.compensation",
    )
    motion_time_field: str = parameter(
        "", "Field with the time of each point. Empty: found by name.", name="motion.time_field"
    )
    motion_time_unit: str = parameter(
        "auto",
        "Unit of that field: auto (by its name or its values), s, ms, us or ns.",
        name="motion.time_unit",
        choices=("auto", "s", "ms", "us", "ns"),
    )
    memory_half_life: float = parameter(
        0.0,
        "Seconds after which what a cloud said of a place counts half for the labels of later "
        "ones; 0.66 was measured. 0: each cloud is labelled by itself.",
        name="memory.half_life",
        minimum=0.0,
        maximum=5.0,
    )
    merge_topics: tuple[str, ...] = parameter(
        (),
        "Topics of other LiDARs, 16 at most, whose points go into the input's cloud; their frames "
        "come from TF (needs tf2_ros, unless they have the input's frame). None: the input alone.",
        name="merge.topics",
    )
    merge_max_gap: float = parameter(
        0.06,
        "Seconds by which the stamp of another LiDAR's cloud may differ from the input's.",
        name="merge.max_gap",
        minimum=0.0,
        maximum=1.0,
    )
    merge_timeout: float = parameter(
        0.1,
        "Seconds that a cloud waits at most for those of the other LiDARs and for their frames.",
        name="merge.timeout",
        minimum=0.0,
        maximum=1.0,
    )
    max_rate: float = parameter(
        0.0,
        "Clouds a second that are labelled at most, evenly spread, in Hz. 0: all.",
        minimum=0.0,
        maximum=1000.0,
    )
    class_remap: tuple[str, ...] = parameter(
        (),
        "Classes that are published as another one of the model's, each as from:to; to may be "
        "unlabelled.",
    )
    filter_classes: tuple[str, ...] = parameter(
        (),
        "Classes whose points the filtered cloud keeps, as they are published. None: all but those "
        "of filter.exclude.",
        name="filter.classes",
    )
    filter_exclude: tuple[str, ...] = parameter(
        (),
        "Classes whose points the filtered cloud leaves out, as they are published. Only while "
        "filter.classes is empty.",
        name="filter.exclude",
    )
    filter_unlabelled: str = parameter(
        "keep",
        "What becomes, in the filtered cloud, of points that were measured within range and crop "
        "box and have no label: each may be an obstacle.",
        name="filter.unlabelled",
        choices=("keep", "drop"),
    )
    filter_min_probability: float = parameter(
        0.0,
        "In the filtered cloud a point whose class has less than this counts as unlabelled.",
        name="filter.min_probability",
        minimum=0.0,
        maximum=1.0,
    )
    filter_voxel_size: float = parameter(
        0.0,
        "Edge in m of the voxels of which the filtered cloud keeps one point each, the nearest to "
        "the voxel's centre, whatever its class; 0.01 or more. 0: all points.",
        name="filter.voxel_size",
        minimum=0.0,
        maximum=10.0,
    )
    diagnostics_period: float = parameter(
        1.0,
        "Seconds between two reports on /diagnostics.",
        name="diagnostics.period",
        minimum=0.1,
        maximum=60.0,
    )
    diagnostics_window: float = parameter(
        10.0,
        "Seconds over which rates and percentiles are taken.",
        name="diagnostics.window",
        minimum=1.0,
        maximum=600.0,
    )
    diagnostics_silence_warn: float = parameter(
        1.0,
        "Seconds without a cloud, by the node's clock, that are worth a warning.",
        name="diagnostics.silence_warn",
        minimum=0.0,
        maximum=math.inf,
    )
    diagnostics_silence_error: float = parameter(
        5.0,
        "Seconds without a cloud, by the node's clock, that are an error.",
        name="diagnostics.silence_error",
        minimum=0.0,
        maximum=math.inf,
    )
    diagnostics_max_latency: float = parameter(
        200.0,
        "Message in to message out in ms: a 95th percentile above it is worth a warning. 0: none.",
        name="diagnostics.max_latency",
        minimum=0.0,
        maximum=math.inf,
    )
    diagnostics_max_age: float = parameter(
        1.0,
        "Seconds by which a cloud's stamp may differ from the node's clock when it is received; "
        "more is an error: another clock, use_sim_time missing, or clouds that come late. 0: any.",
        name="diagnostics.max_age",
        minimum=0.0,
        maximum=math.inf,
    )

    def __post_init__(self) -> None:
        for info in PARAMETERS:
            info.check_form(getattr(self, info.attribute))
        if self.crop_frame and not frame_name(self.crop_frame):
            raise InputError(f"parameter crop.frame is {self.crop_frame!r}, must name a frame")
        if not frame_name(self.poses_fixed_frame):
            raise InputError(
                f"parameter poses.fixed_frame is {self.poses_fixed_frame!r}, must name a frame"
            )
        if len(self.other_lidars) > MOST_OTHER_LIDARS:
            raise InputError(
                f"parameter merge.topics has {len(self.other_lidars)} topics, must have at most "
                f"{MOST_OTHER_LIDARS}"
            )
        for low, high in zip(self.crop_min, self.crop_max):
            if not low < high:  # nor a NaN
                raise InputError(
                    f"parameter crop.min is {list(self.crop_min)}, must be less than crop.max, "
                    f"{list(self.crop_max)}, in each of x, y, z"
                )
        if self.range_min >= self.range_max:
            raise InputError(
                f"parameter range.min is {self.range_min} m, must be less than range.max, "
                f"{self.range_max} m"
            )
        if any(self.filter_classes) and any(self.filter_exclude):
            raise InputError(
                f"parameter filter.exclude is {quoted(list(self.filter_exclude))}, must be empty "
                f"while filter.classes is {quoted(list(self.filter_classes))}"
            )
        for info in PARAMETERS:
            info.check_bounds(getattr(self, info.attribute))
        if 0 < self.filter_voxel_size < SMALLEST_VOXEL_M:
            raise InputError(
                f"parameter filter.voxel_size is {self.filter_voxel_size} m, must be 0 or at least "
                f"{SMALLEST_VOXEL_M}"
            )

    @property
    def needs_poses(self) -> bool:
        """Whether it has to be known where the sensor is."""
        return self.motion_compensation or self.remembers

    @property
    def remembers(self) -> bool:
        """Whether labels take part of what earlier clouds said."""
        return self.memory_half_life > 0

    @property
    def other_lidars(self) -> tuple[str, ...]:
        """Topics of the clouds to be merged with the input's."""
        return tuple(topic for topic in self.merge_topics if topic)

    def changed(self, values: Mapping[str, ParameterValue]) -> Parameters:
        """With other values for some, by their names in ROS.

        Raises:
            InputError: as of the class.
        """
        changes: dict[str, Any] = {
            info.attribute: values[info.name] for info in PARAMETERS if info.name in values
        }
        return replace(self, **changes)


PARAMETERS: tuple[ParameterInfo, ...] = tuple(
    ParameterInfo(
        **{"name": each.name, **each.metadata},
        attribute=each.name,
        default=getattr(Parameters, each.name),
    )
    for each in fields(Parameters)
)

DEFAULTS = Parameters()
