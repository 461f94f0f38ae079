"""The sweeps before each cloud of a recording, as the node has them."""

from __future__ import annotations

from dataclasses import replace

from haskd_ros.clouds.sweeps import Moment, SweepHistory
from haskd_training.recordings.transform_tree import NoTransform
from haskd_training.robot.offline.bag_outcomes import BagOutcomes


class BagSweeps:
    """Gives each cloud the sweeps before it, where the model takes several.

    Args:
        sweeps: that the model takes at once.

    Attributes:
        history: gets the clouds that are labelled.
        findings: of `BagOutcomes`.
    """

    def __init__(self, sweeps: int) -> None:
        self._sweeps, self.history = sweeps, SweepHistory(sweeps)
        self._outcomes = BagOutcomes(
            "labelled-by-several-sweeps",
            f"{{count}} clouds are labelled by {sweeps} sweeps",
            "labelled-by-fewer-sweeps",
            f"{{count}} clouds are labelled by fewer than {sweeps} sweeps",
        )
        self.findings = self._outcomes.findings

    def moment_for(self, moment: Moment | NoTransform) -> Moment | None:
        """As of the node's `SweepStacking`."""
        if self._sweeps == 1:
            return None
        if isinstance(moment, NoTransform):
            self._outcomes.note_left(str(moment), str(moment))
            return None
        earlier, reason = self.history.before(moment.stamp_ns)
        if reason:
            self._outcomes.note_left(reason, reason)
        else:
            self._outcomes.note()
        return replace(moment, earlier=earlier)
