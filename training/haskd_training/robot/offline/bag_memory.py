"""What a recording's earlier clouds said of a place, as the node remembers it."""

from __future__ import annotations

from functools import partial

from haskd_ros.clouds.sweeps import Moment
from haskd_ros.score_memory import ScoreMemory
from haskd_ros.segmentation import Refine
from haskd_ros.taxonomy import Taxonomy
from haskd_training.recordings.transform_tree import NoTransform
from haskd_training.robot.offline.bag_outcomes import BagOutcomes


class BagMemory:
    """Gives each cloud the memory of those before it, where there is to be one.

    Args:
        taxonomy: of the model.
        half_life: as of `ScoreMemory`; 0: there is no memory.

    Attributes:
        findings: of `BagOutcomes`.
    """

    def __init__(self, taxonomy: Taxonomy, half_life: float) -> None:
        self._memory = ScoreMemory(taxonomy, half_life) if half_life else None
        self._outcomes = BagOutcomes(
            "labelled-with-memory",
            "{count} clouds are labelled with what those before them said",
            "labelled-without-memory",
            "{count} clouds are labelled without those before them",
        )
        self.findings = self._outcomes.findings

    def refine_for(self, moment: Moment | NoTransform) -> Refine | None:
        """As of the node's `Remembering`."""
        if self._memory is None:
            return None
        if isinstance(moment, NoTransform):
            self._outcomes.note_left(str(moment), str(moment))
            return None
        self._outcomes.note()
        return partial(self._memory.refine, pose=moment.pose, time_s=1e-9 * moment.stamp_ns)
