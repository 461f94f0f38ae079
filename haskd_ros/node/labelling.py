"""From a PointCloud2 to the labels of its points, by a model and the node's parameters. No ROS."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from haskd_ros.clouds.class_rules import ClassRules
from haskd_ros.clouds.crop import inside_box, is_unbounded
from haskd_ros.clouds.pointcloud import CloudError, read_xyz_intensity, valid_returns
from haskd_ros.node.parameters import Parameters
from haskd_ros.segmenter import Segmentation, Segmenter
from haskd_ros.taxonomy import UNLABELLED


@dataclass(frozen=True)
class LabelledCloud:
    """A cloud and its labels; row i belongs to point i.

    Attributes:
        points: [N, 4] float32 x y z in m and intensity in the cloud's own unit (0 without one); a
            view of the message where that is possible.
        has_intensity: whether the cloud has an intensity.
        result: labels as they are to be published.
        in_filtered: [256] bool by class id, which classes the filtered cloud keeps.
        decoding_ms: duration of what comes before the model.
    """

    points: np.ndarray
    has_intensity: bool
    result: Segmentation
    in_filtered: np.ndarray
    decoding_ms: float

    def filter_mask(self, min_probability: float) -> np.ndarray:
        """[N] bool, the points of the filtered cloud."""
        mask: np.ndarray = self.in_filtered[self.result.class_id]
        return mask & (self.result.probability >= min_probability)


def label_cloud(
    cloud: Any,
    segmenter: Segmenter,
    parameters: Parameters,
    crop_transform: Callable[[], np.ndarray | None] = lambda: None,
) -> LabelledCloud:
    """Label the points of a cloud.

    Args:
        cloud: a PointCloud2 of any layout, see `read_xyz_intensity`.
        segmenter: of the model.
        parameters: of the node; those that are read-only have no effect here.
        crop_transform: gives the transform [4, 4] from the cloud's frame to that of the crop box,
            None where they are the same; called where there is a box.

    Raises:
        CloudError: a malformed cloud, or one with too few valid points.
        InputError: a cloud without intensity for a model that requires it, or whatever
            `crop_transform` raises.
    """
    started = time.perf_counter()
    rules = ClassRules.of(
        segmenter.taxonomy,
        class_remap=parameters.class_remap,
        filter_classes=parameters.filter_classes,
    )
    points, intensity = read_xyz_intensity(cloud)
    if (least := parameters.min_points) and (valid := int(valid_returns(points).sum())) < least:
        raise CloudError(
            "fewer than min_points",
            f"cloud: {valid} valid points of {len(points)}, min_points is {least}",
        )
    visible = points if intensity else points[:, :3]
    if len(points) and not is_unbounded(parameters.crop_min, parameters.crop_max):
        inside = inside_box(
            points, np.array(parameters.crop_min), np.array(parameters.crop_max), crop_transform()
        )
        visible = np.where(inside[:, None], visible, np.float32(math.nan))
    decoded = time.perf_counter()
    result = _segment(segmenter, visible, parameters, rules)
    return LabelledCloud(
        points, intensity is not None, result, rules.in_filtered, 1e3 * (decoded - started)
    )


def _segment(
    segmenter: Segmenter, points: np.ndarray, parameters: Parameters, rules: ClassRules
) -> Segmentation:
    if not len(points):
        empty = np.empty(0, np.float32)
        return Segmentation(np.empty(0, np.uint8), empty, empty)
    result = segmenter(points, min_range=parameters.range_min, max_range=parameters.range_max)
    class_id = rules.published[result.class_id]
    class_id[result.probability < parameters.min_probability] = UNLABELLED
    return Segmentation(class_id, result.probability, result.entropy, result.timings)
