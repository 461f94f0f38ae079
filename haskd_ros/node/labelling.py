"""From a PointCloud2 to the labels of its points, by a model and the node's parameters. No ROS."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from haskd_ros.channels import SWEEP_AGE, ChannelName
from haskd_ros.clouds.channels import read_channels
from haskd_ros.clouds.class_rules import ClassRules
from haskd_ros.clouds.crop import inside_box, is_unbounded
from haskd_ros.clouds.intensity import IntensityUnit
from haskd_ros.clouds.pointcloud import (
    CloudError,
    read_coordinates,
    read_intensity,
    read_xyz_intensity,
    valid_returns,
)
from haskd_ros.clouds.ranges import squared_range
from haskd_ros.clouds.sweeps import Moment, PlacedSweep, SweepHistory, stack
from haskd_ros.clouds.thinning import one_per_voxel
from haskd_ros.model_header import ModelMetadata, channel_columns
from haskd_ros.node.parameters.values import Parameters
from haskd_ros.segmentation import NO_CHANNELS, PointSegmenter, Refine, Segmentation
from haskd_ros.taxonomy import UNLABELLED

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class LabelledCloud:
    """A cloud and its labels; row i belongs to point i.

    Attributes:
        points: [N, 4] float32 x y z in m and intensity in the cloud's own unit (0 without one); a
            view of the message where that is possible.
        coordinates: [N, 3] x y z as precise as in the cloud, see `read_coordinates`.
        intensity_scale: intensity of a full return; None: it was not measured.
        missing_channels: those of the model that the cloud does not have; their means stood in.
        max_range: m, within which points are labelled: of the model or the parameters.
        is_beyond_range: whether the cloud has valid points and all of them are beyond it.
        result: labels as they are to be published.
        parameters: by which it was labelled.
        in_filtered: [256] bool by class id, which classes the filtered cloud keeps.
        inside: [N] bool, which points are in the crop box; None: there is no box.
        decoding_ms: duration of what comes before the model.
    """

    points: np.ndarray
    coordinates: np.ndarray
    intensity_scale: float | None
    missing_channels: tuple[ChannelName, ...]
    max_range: float
    is_beyond_range: bool
    result: Segmentation
    parameters: Parameters
    in_filtered: np.ndarray
    inside: np.ndarray | None
    decoding_ms: float

    @property
    def has_intensity(self) -> bool:
        return self.intensity_scale is not None

    @property
    def beyond_range_message(self) -> str:
        """What to say where it `is_beyond_range`."""
        return (
            f"every point is beyond the range of {self.max_range:g} m; is the cloud in the "
            "sensor's frame?"
        )

    def filter_mask(self) -> np.ndarray:
        """[N] bool, the points of the filtered cloud: those of its classes, and those that nobody
        knows the class of, where they are to be kept. What the parameters leave out by its place
        is not unknown: a range and a box are there to be rid of the robot's own body, say. Of those
        in a voxel one stays, where the parameters have voxels."""
        parameters, class_id = self.parameters, self.result.class_id
        known = class_id != UNLABELLED
        if parameters.filter_min_probability > 0:
            known &= self.result.probability >= parameters.filter_min_probability
        mask: np.ndarray = known & self.in_filtered[class_id]
        if parameters.filter_unlabelled == "keep":
            unknown = ~known & valid_returns(self.points)
            if self.inside is not None:
                unknown &= self.inside
            if parameters.range_min > 0 or parameters.range_max < math.inf:
                squared = squared_range(self.points)
                unknown &= squared >= parameters.range_min**2
                unknown &= squared <= parameters.range_max**2
            mask |= unknown
        if (voxel_size := parameters.filter_voxel_size) > 0:
            mask = one_per_voxel(self.points, mask, voxel_size)
        return mask


def label_cloud(
    cloud: Any,
    segmenter: PointSegmenter,
    parameters: Parameters,
    *,
    unit: IntensityUnit | None = None,
    crop_transform: Callable[[], np.ndarray | None] = lambda: None,
    refine: Refine | None = None,
    moment: Moment | None = None,
    history: SweepHistory | None = None,
) -> LabelledCloud:
    """Label the points of a cloud.

    Args:
        cloud: a PointCloud2 of any layout, see `read_xyz_intensity`.
        segmenter: of the model.
        parameters: of the node; those that are read-only have no effect here.
        unit: of the intensity of the clouds before, to which this one is added; None: this one is
            all there is.
        crop_transform: gives the transform [4, 4] from the cloud's frame to that of the crop box,
            None where they are the same; called where there is a box.
        refine: as of `PointSegmenter`.
        moment: of the cloud, where the model takes several; None: it is labelled by itself.
        history: gets the cloud once it is labelled, where it has a moment.

    Raises:
        CloudError: a malformed cloud, or one with too few valid points.
        InputError: a cloud without intensity, or a channel, for a model that requires it, or
            whatever `crop_transform` raises.
    """
    started = time.perf_counter()
    points, _ = read_xyz_intensity(cloud)
    channels = read_channels(cloud, [each.name for each in segmenter.metadata.channels])
    unit = IntensityUnit(parameters.intensity_scale) if unit is None else unit
    has_intensity = unit.add(read_intensity(cloud)) or not len(points)
    scale = unit.full_scale if has_intensity else None
    inside = _inside_box(points, parameters, crop_transform)
    cropped = time.perf_counter()
    result = label_points(
        points,
        scale,
        segmenter,
        parameters,
        channels=channels,
        inside=inside,
        refine=refine,
        moment=moment,
    )
    if moment is not None and history is not None:
        sweep = PlacedSweep(moment.stamp_ns, moment.pose, points, scale, channels)
        history.keep(without_own_body(sweep, parameters, inside))
    max_range = min(parameters.range_max, segmenter.metadata.max_range)
    return LabelledCloud(
        points=points,
        coordinates=read_coordinates(cloud, points),
        intensity_scale=scale,
        missing_channels=tuple(
            name for name, values in channels.items() if values is None and name != SWEEP_AGE
        ),
        max_range=max_range,
        is_beyond_range=_is_beyond_range(points, result, max_range),
        result=result,
        parameters=parameters,
        in_filtered=_rules(segmenter, parameters).in_filtered,
        inside=inside,
        decoding_ms=1e3 * (cropped - started),
    )


def label_points(
    points: np.ndarray,
    intensity_scale: float | None,
    segmenter: PointSegmenter,
    parameters: Parameters,
    *,
    channels: Mapping[ChannelName, np.ndarray | None] = NO_CHANNELS,
    inside: np.ndarray | None = None,
    refine: Refine | None = None,
    moment: Moment | None = None,
) -> Segmentation:
    """Label points that were read already, as `label_cloud` does.

    Args:
        points: [N, 4] float32 x y z in m and intensity.
        intensity_scale: intensity of a full return; None: it was not measured.
        segmenter, parameters: as of `label_cloud`.
        channels: as of `PointSegmenter`.
        inside: [N] bool, the points in the parameters' box; None: it is in the cloud's own frame.
        refine: as of `PointSegmenter`.
        moment: as of `label_cloud`.

    Returns:
        the labels as they are to be published: without a class the probability is 0. What is
        beyond the training counts in the sweeps before too.

    Raises:
        CloudError, InputError: as `label_cloud`, but for a malformed cloud.
    """
    started = time.perf_counter()
    if (least := parameters.min_points) and (valid := int(valid_returns(points).sum())) < least:
        raise CloudError(
            "fewer than min_points",
            f"cloud: {valid} valid points of {len(points)}, min_points is {least}",
        )
    visible = points[:, :3] if intensity_scale is None else points
    if inside is None:
        inside = _inside_box(points, parameters, lambda: None)
    if inside is not None:
        visible = np.where(inside[:, None], visible, np.float32(math.nan))
    if not len(points):
        empty = np.empty(0, np.float32)
        return Segmentation(np.empty(0, np.uint8), empty, empty)
    if segmenter.metadata.sweeps > 1:
        visible, channels = stack(visible, intensity_scale, channels, moment)
        refine = None if refine is None else _of_newest(refine, segmenter.metadata)
    prepared = time.perf_counter()
    result = segmenter(
        visible,
        min_range=parameters.range_min,
        max_range=parameters.range_max,
        intensity_scale=intensity_scale,
        channels=channels,
        refine=refine,
    )
    if len(visible) > len(points):
        newest = slice(len(points))
        result = replace(
            result,
            class_id=result.class_id[newest],
            probability=result.probability[newest],
            entropy=result.entropy[newest],
        )
    timings = dict(result.timings)
    timings["preprocess"] += 1e3 * (prepared - started)
    return published(replace(result, timings=timings), segmenter, parameters)


def published(
    result: Segmentation, segmenter: PointSegmenter, parameters: Parameters
) -> Segmentation:
    """A segmenter's labels as they are to be published: classes as the rules have them, and none
    with too low a probability.

    Raises:
        InputError: rules for a class that the model doesn't have.
    """
    class_id = _rules(segmenter, parameters).published[result.class_id]
    class_id[result.probability < parameters.min_probability] = UNLABELLED
    probability = np.where(class_id == UNLABELLED, np.float32(0), result.probability)
    return replace(result, class_id=class_id, probability=probability)


def without_own_body(
    sweep: PlacedSweep, parameters: Parameters, inside: np.ndarray | None = None
) -> PlacedSweep:
    """A sweep as later ones are put on top of it: what the parameters leave out by its place, the
    robot's own body say, is left out by its place in its own frame.

    Args:
        inside: as of `label_points`.
    """
    points = sweep.points
    kept = valid_returns(points)
    if inside is None:
        inside = _inside_box(points, parameters, lambda: None)
    if inside is not None:
        kept &= inside
    if parameters.range_min > 0:
        kept &= squared_range(points) >= parameters.range_min**2
    channels = {
        name: None if values is None else values[kept] for name, values in sweep.channels.items()
    }
    return replace(sweep, points=points[kept], channels=channels)


def _of_newest(refine: Refine, metadata: ModelMetadata) -> Refine:
    """The same for the newest of several sweeps alone: the others had their turn."""
    age = next(own for each, own in channel_columns(metadata.channels) if each.name == SWEEP_AGE)

    def newest_refined(points: Tensor, probabilities: Tensor) -> Tensor:
        newest = (points[:, age] == 0)[:, 0]
        refined = probabilities.clone()
        refined[newest] = refine(points[newest], probabilities[newest])
        return refined

    return newest_refined


def _inside_box(
    points: np.ndarray,
    parameters: Parameters,
    crop_transform: Callable[[], np.ndarray | None],
) -> np.ndarray | None:
    """[N] bool, which points [N, >= 3] are in the crop box; None: there is no box."""
    low, high = parameters.crop_min, parameters.crop_max
    if not len(points) or is_unbounded(low, high):
        return None
    return inside_box(points, np.array(low), np.array(high), crop_transform())


def _rules(segmenter: PointSegmenter, parameters: Parameters) -> ClassRules:
    return ClassRules.of(
        segmenter.taxonomy,
        class_remap=parameters.class_remap,
        filter_classes=parameters.filter_classes,
        filter_exclude=parameters.filter_exclude,
    )


def _is_beyond_range(points: np.ndarray, result: Segmentation, max_range: float) -> bool:
    """Whether there are valid points [N, >= 3], all of them further away than `max_range` m."""
    if not len(points) or (result.class_id != UNLABELLED).any():
        return False
    returns = points[valid_returns(points)]
    return bool(len(returns) and (squared_range(returns) > max_range * max_range).all())
