"""What the other clouds of a recording say of a place, the later ones too, for each of them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

from haskd_ros.clouds.pointcloud import CloudError
from haskd_ros.clouds.sweeps import Moment
from haskd_ros.node.labelling import LabelledCloud
from haskd_ros.node.parameters.values import Parameters
from haskd_ros.segmentation import Refine
from haskd_ros.segmenter import Segmenter
from haskd_training.recordings.readers.bag import open_bag, stamp_ns
from haskd_training.recordings.recording import Recording
from haskd_training.recordings.transform_tree import NoTransform
from haskd_training.robot.offline.bag_outcomes import BagOutcomes
from haskd_training.robot.offline.score_votes import Heard, Voter, elected, first_parameters, voted

LabelCloud = Callable[[Any, Moment | NoTransform, Refine, Parameters], LabelledCloud]
"""(PointCloud2, when and where it was measured, refine, parameters) -> its labels."""

_First = tuple[int, LabelledCloud | CloudError]
"""The stamp of a cloud in ns, and its labels by itself."""


class BagVotes:
    """Labels the clouds of a recording one after the other, reading ahead in it.

    Args:
        recording: that was examined.
        segmenter: of the model.
        parameters: of the node.
        seconds: as of `voted`.
        moment_of: tells when and where a cloud was measured.
        label: labels one by itself.

    Attributes:
        findings: of `BagOutcomes`.
    """

    def __init__(
        self,
        recording: Recording,
        segmenter: Segmenter,
        parameters: Parameters,
        seconds: float,
        moment_of: Callable[[Any], Moment | NoTransform],
        label: LabelCloud,
    ) -> None:
        self._recording = recording
        self._segmenter, self._parameters = segmenter, parameters
        self._moment_of, self._label = moment_of, label
        self._voted = voted(self._first_labels(), segmenter.taxonomy, seconds)
        self._outcomes = BagOutcomes(
            "labelled-with-votes",
            f"{{count}} clouds are labelled with what those within {seconds:g} s say, before and "
            "after them",
            "labelled-without-votes",
            "{count} clouds are labelled without those before and after them",
        )
        self.findings = self._outcomes.findings

    def label(self, cloud: Any) -> LabelledCloud:
        """The labels of the next cloud of the recording.

        Raises:
            CloudError, InputError: as of `label_cloud`.
        """
        (stamp, first), probabilities = next(self._voted)
        assert stamp == stamp_ns(cloud), "both readers give a topic's clouds in the same order"
        if isinstance(first, CloudError):
            raise first
        result = elected(first.result, probabilities, self._segmenter, self._parameters)
        return replace(first, result=result, parameters=self._parameters)

    def _first_labels(self) -> Iterator[Voter[_First]]:
        parameters = first_parameters(self._parameters)
        with open_bag(self._recording.path) as bag:
            for _, cloud in bag.messages([self._recording.points_topic]):
                stamp, moment, heard = stamp_ns(cloud), self._moment_of(cloud), Heard()
                pose = None if isinstance(moment, NoTransform) else moment.pose
                try:
                    labelled = self._label(cloud, moment, heard, parameters)
                except CloudError as error:
                    yield Voter((stamp, error), stamp, pose, heard)
                    continue
                if isinstance(moment, NoTransform):
                    self._outcomes.note_left(str(moment), str(moment))
                else:
                    self._outcomes.note()
                yield Voter((stamp, labelled), stamp, pose, heard)
