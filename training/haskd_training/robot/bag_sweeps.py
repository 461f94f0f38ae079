"""The sweeps before each cloud of a recording, as the node has them, by the recording's TF."""

from __future__ import annotations

from typing import Any

from haskd_ros.clouds.crop import frame_name
from haskd_ros.clouds.sweeps import Moment, SweepHistory
from haskd_ros.node.parameters.values import Parameters
from haskd_training.recordings.readers.bag import frame_of, stamp_ns
from haskd_training.recordings.transform_tree import NoTransform, TransformTree
from haskd_training.robot.bag_outcomes import BagOutcomes


class BagSweeps:
    """Gives each cloud the sweeps before it, where the model takes several.

    Args:
        tree: all transforms of the recording.
        sweeps: that the model takes at once.
        parameters: of the node.

    Attributes:
        history: gets the clouds that are labelled.
        findings: of `BagOutcomes`.
    """

    def __init__(self, tree: TransformTree, sweeps: int, parameters: Parameters) -> None:
        self._tree, self._fixed = tree, frame_name(parameters.poses_fixed_frame)
        self._sweeps, self.history = sweeps, SweepHistory(sweeps)
        self._outcomes = BagOutcomes(
            "labelled-by-several-sweeps",
            f"{{count}} clouds are labelled by {sweeps} sweeps",
            "labelled-by-fewer-sweeps",
            f"{{count}} clouds are labelled by fewer than {sweeps} sweeps",
        )
        self.findings = self._outcomes.findings

    def moment_of(self, cloud: Any) -> Moment | None:
        """As of the node's `SweepStacking`."""
        if self._sweeps == 1:
            return None
        stamp = stamp_ns(cloud)
        try:
            pose = self._tree.lookup(self._fixed, frame_of(cloud), stamp)
        except NoTransform as error:
            self._outcomes.note_left(str(error), str(error))
            return None
        earlier, reason = self.history.before(stamp)
        if reason:
            self._outcomes.note_left(reason, reason)
        else:
            self._outcomes.note()
        return Moment(stamp, pose, earlier)
