"""The clouds of a recording, labelled as the node would."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

from haskd_ros.clouds.crop import is_unbounded
from haskd_ros.clouds.intensity import IntensityUnit
from haskd_ros.clouds.pointcloud import CloudError
from haskd_ros.node.labelling import LabelledCloud, label_cloud
from haskd_ros.node.parameters import Parameters
from haskd_ros.segmenter import Segmenter
from haskd_training.recordings.cloud_sample import (
    intensity_findings,
    intensity_unit,
    measured_points,
    sampled_clouds,
    sensor_findings,
)
from haskd_training.recordings.findings import Finding
from haskd_training.recordings.readers.bag import Bag, stamp_ns
from haskd_training.recordings.recording import RecordingConfig, transforms
from haskd_training.recordings.transform_tree import NoTransform

_OUTLYING = "intensity-exceeds-unit"


class BagLabeller:
    """Labels the clouds of one topic of a recording. The unit of their intensity is that of the
    whole recording, from all of its clouds, and holds from the first one on.

    Args:
        bag: open; read here for the unit, a sample of its clouds, and TF where a box needs it.
        topic: of the clouds.
        segmenter: of the model.
        parameters: of the node.

    Attributes:
        findings: what there is to say of the clouds before they are labelled: the intensity, and
            where the sensor is unlike that of the model's training.

    Raises:
        InputError: the bag is cut off or damaged.
    """

    def __init__(self, bag: Bag, topic: str, segmenter: Segmenter, parameters: Parameters) -> None:
        self._segmenter, self._parameters, self._topic = segmenter, parameters, topic
        clouds = (cloud for _, cloud in bag.messages([topic]))
        unit = intensity_unit(clouds, parameters.intensity_scale)
        self.findings = intensity_findings(unit, topic)
        measured = measured_points(sampled_clouds(bag, topic), unit.full_scale)
        self.findings += sensor_findings(measured, segmenter.metadata, topic)
        self._unit = IntensityUnit(unit.full_scale)
        self._crop_transform = _crop_transform(bag, parameters)
        self._beyond_range: Counter[str] = Counter()

    def __call__(self, cloud: Any) -> LabelledCloud:
        """Label a cloud.

        Raises:
            CloudError, InputError: as of `label_cloud`.
        """
        labelled = label_cloud(
            cloud,
            self._segmenter,
            self._parameters,
            unit=self._unit,
            crop_transform=partial(self._crop_transform, cloud),
        )
        if labelled.is_beyond_range:
            self._beyond_range[labelled.beyond_range_message] += 1
        return labelled

    @property
    def later_findings(self) -> list[Finding]:
        """What has shown only when the clouds were labelled."""
        found = [
            Finding("all-beyond-range", self._topic, "doubtful", f"{count} clouds without a label",
                    message)
            for message, count in self._beyond_range.items()
        ]  # fmt: skip
        if _OUTLYING not in {finding.code for finding in self.findings}:
            later = intensity_findings(self._unit, self._topic)
            found += [finding for finding in later if finding.code == _OUTLYING]
        return found


def _crop_transform(bag: Bag, parameters: Parameters) -> Callable[[Any], np.ndarray | None]:
    """The transform of a cloud to the frame of the crop box, from the recording's TF."""
    frame = parameters.crop_frame.lstrip("/")
    if not frame or is_unbounded(parameters.crop_min, parameters.crop_max):
        return lambda cloud: None
    tree = transforms(bag, RecordingConfig())

    def matrix(cloud: Any) -> np.ndarray | None:
        source = cloud.header.frame_id.lstrip("/")
        if source == frame:
            return None
        try:
            return tree.lookup(frame, source, stamp_ns(cloud))
        except NoTransform as error:
            raise CloudError("no transform to crop.frame", str(error)) from error

    return matrix
