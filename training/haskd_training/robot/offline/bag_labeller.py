"""The clouds of a recording, labelled as the node would."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from functools import cache, partial
from typing import Any

import numpy as np

from haskd_ros.clouds.crop import frame_name, is_unbounded
from haskd_ros.clouds.intensity import IntensityUnit
from haskd_ros.clouds.pointcloud import CloudError
from haskd_ros.clouds.sweeps import Moment
from haskd_ros.node.labelling import LabelledCloud, label_cloud
from haskd_ros.node.parameters.values import Parameters
from haskd_ros.segmentation import Refine
from haskd_ros.segmenter import Segmenter
from haskd_training.data.preparing.examination.examination import Examination
from haskd_training.recordings.cloud_sample import sensor_findings
from haskd_training.recordings.findings import Finding
from haskd_training.recordings.readers.bag import frame_of, open_bag, stamp_ns
from haskd_training.recordings.recording import Recording, RecordingConfig, transforms
from haskd_training.recordings.transform_tree import NoTransform, TransformTree
from haskd_training.robot.offline.bag_memory import BagMemory
from haskd_training.robot.offline.bag_motion import BagMotion, check_poses
from haskd_training.robot.offline.bag_sweeps import BagSweeps
from haskd_training.robot.offline.bag_votes import BagVotes
from haskd_training.robot.offline.missing_channels import MissingChannels
from haskd_training.robot.offline.score_votes import check_votes


class BagLabeller:
    """Labels the clouds of a recording that was examined. The unit of their intensity is the one
    that was found, from the first cloud on.

    Args:
        examination: of the recording, with the same parameters.
        segmenter: of the model.
        parameters: of the node.
        votes: s, as of `score_votes.voted`; 0: there are none. With them every cloud of the
            recording has to be labelled, or passed by, in order.

    Raises:
        InputError: votes that are not allowed, poses by anything but TF, or in a frame that it
            doesn't have.

    Attributes:
        findings: where the sensor is unlike that of the model's training; what is to be said of
            the clouds themselves is among the examination's.
    """

    def __init__(
        self,
        examination: Examination,
        segmenter: Segmenter,
        parameters: Parameters,
        votes: float = 0.0,
    ) -> None:
        check_votes(votes, parameters)
        recording = examination.recording
        self._segmenter, self._parameters = segmenter, parameters
        self._topic = recording.points_topic
        self.findings = sensor_findings(examination.examples, segmenter.metadata, self._topic)
        self._unit = IntensityUnit(recording.intensity.full_scale)
        # At most once: a recording with a restart of the clock is read anew for it.
        whole_tree = cache(partial(_whole_tree, recording))
        self._crop_transform = _crop_transform(whole_tree, parameters)
        self._tree = recording.tree
        sweeps = segmenter.metadata.sweeps
        self._needs_moments = parameters.remembers or sweeps > 1 or votes > 0
        if parameters.needs_poses or self._needs_moments:
            self._tree = whole_tree()
            check_poses(self._tree, recording.lidar_frame, parameters)
        self._motion = BagMotion(self._tree, parameters)
        self._memory = BagMemory(segmenter.taxonomy, parameters.memory_half_life)
        self._sweeps = BagSweeps(sweeps)
        self._votes: BagVotes | None = None
        if votes:
            self._votes = BagVotes(
                recording, segmenter, parameters, votes, self._moment_of, self._label
            )
        self._missing_channels = MissingChannels()
        self._beyond_range: Counter[str] = Counter()

    def __call__(self, cloud: Any) -> LabelledCloud:
        """Label a cloud.

        Raises:
            CloudError, InputError: as of `label_cloud`.
        """
        if self._votes is not None:
            return self._votes.label(cloud)
        if not self._needs_moments:
            return self._label(cloud, None, None, self._parameters)
        measured = self._moment_of(cloud)
        return self._label(cloud, measured, self._memory.refine_for(measured), self._parameters)

    def _label(
        self,
        cloud: Any,
        measured: Moment | NoTransform | None,
        refine: Refine | None,
        parameters: Parameters,
    ) -> LabelledCloud:
        moment = None if measured is None else self._sweeps.moment_for(measured)
        labelled = label_cloud(
            self._motion(cloud),
            self._segmenter,
            parameters,
            unit=self._unit,
            crop_transform=partial(self._crop_transform, cloud),
            refine=refine,
            moment=moment,
            history=self._sweeps.history,
        )
        self._missing_channels.note(labelled)
        if labelled.is_beyond_range:
            self._beyond_range[labelled.beyond_range_message] += 1
        return labelled

    def _moment_of(self, cloud: Any) -> Moment | NoTransform:
        """When and where a cloud was measured, or why that is not known."""
        stamp, fixed = stamp_ns(cloud), frame_name(self._parameters.poses_fixed_frame)
        try:
            return Moment(stamp, self._tree.lookup(fixed, frame_of(cloud), stamp))
        except NoTransform as error:
            return error

    def pass_by(self, cloud: Any) -> None:
        """Go on to the next cloud; this one is not to be labelled, but may be one of the sweeps
        before it, or votes for others."""
        if self._votes is not None or self._segmenter.metadata.sweeps > 1:
            with suppress(CloudError):
                self(cloud)

    @property
    def later_findings(self) -> list[Finding]:
        """What has shown only when the clouds were labelled."""
        topic = self._topic
        found = self._motion.findings(topic) + self._memory.findings(topic)
        found += self._sweeps.findings(topic)
        if self._votes is not None:
            found += self._votes.findings(topic)
        return found + self._missing_channels.findings(topic) + [
            Finding("all-beyond-range", topic, "doubtful", f"{count} clouds without a label",
                    message)
            for message, count in self._beyond_range.items()
        ]  # fmt: skip


def _crop_transform(
    whole_tree: Callable[[], TransformTree], parameters: Parameters
) -> Callable[[Any], np.ndarray | None]:
    """The transform of a cloud to the frame of the crop box, from the recording's TF."""
    frame = frame_name(parameters.crop_frame)
    if not frame or is_unbounded(parameters.crop_min, parameters.crop_max):
        return lambda cloud: None
    tree = whole_tree()

    def matrix(cloud: Any) -> np.ndarray | None:
        source = frame_of(cloud)
        if source == frame:
            return None
        try:
            return tree.lookup(frame, source, stamp_ns(cloud))
        except NoTransform as error:
            raise CloudError("no transform to crop.frame", str(error)) from error

    return matrix


def _whole_tree(recording: Recording) -> TransformTree:
    """All transforms, for clouds behind a restart of the clock too."""
    if recording.stop_ns is None:
        return recording.tree
    with open_bag(recording.path) as bag:
        return transforms(bag, RecordingConfig())
