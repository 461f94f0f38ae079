"""What a recording's earlier clouds said of a place, as the node remembers it, by the recording's
TF."""

from __future__ import annotations

from functools import partial
from typing import Any

from haskd_ros.clouds.crop import frame_name
from haskd_ros.node.parameters.values import Parameters
from haskd_ros.score_memory import ScoreMemory
from haskd_ros.segmentation import Refine
from haskd_ros.taxonomy import Taxonomy
from haskd_training.recordings.readers.bag import frame_of, stamp_ns
from haskd_training.recordings.transform_tree import NoTransform, TransformTree
from haskd_training.robot.bag_outcomes import BagOutcomes


class BagMemory:
    """Gives each cloud the memory of those before it, where the parameters say so.

    Args:
        tree: all transforms of the recording.
        taxonomy: of the model.
        parameters: of the node.

    Attributes:
        findings: of `BagOutcomes`.
    """

    def __init__(self, tree: TransformTree, taxonomy: Taxonomy, parameters: Parameters) -> None:
        self._tree, self._fixed = tree, frame_name(parameters.poses_fixed_frame)
        half_life = parameters.memory_half_life
        self._memory = ScoreMemory(taxonomy, half_life) if half_life else None
        self._outcomes = BagOutcomes(
            "labelled-with-memory",
            "{count} clouds are labelled with what those before them said",
            "labelled-without-memory",
            "{count} clouds are labelled without those before them",
        )
        self.findings = self._outcomes.findings

    def refine_for(self, cloud: Any) -> Refine | None:
        """As of the node's `Remembering`."""
        if self._memory is None:
            return None
        stamp = stamp_ns(cloud)
        try:
            pose = self._tree.lookup(self._fixed, frame_of(cloud), stamp)
        except NoTransform as error:
            self._outcomes.note_left(str(error), str(error))
            return None
        self._outcomes.note()
        return partial(self._memory.refine, pose=pose, time_s=1e-9 * stamp)
