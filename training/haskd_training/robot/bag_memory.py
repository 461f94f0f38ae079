"""What a recording's earlier clouds said of a place, as the node remembers it, by the recording's
TF."""

from __future__ import annotations

from collections import Counter
from functools import partial
from typing import Any

from haskd_ros.clouds.crop import frame_name
from haskd_ros.node.parameters.values import Parameters
from haskd_ros.score_memory import ScoreMemory
from haskd_ros.segmenter import Refine
from haskd_ros.taxonomy import Taxonomy
from haskd_training.recordings.findings import Finding
from haskd_training.recordings.readers.bag import frame_of, stamp_ns
from haskd_training.recordings.transform_tree import NoTransform, TransformTree


class BagMemory:
    """Gives each cloud the memory of those before it, where the parameters say so.

    Args:
        tree: all transforms of the recording.
        taxonomy: of the model.
        parameters: of the node.
    """

    def __init__(self, tree: TransformTree, taxonomy: Taxonomy, parameters: Parameters) -> None:
        self._tree, self._fixed = tree, frame_name(parameters.poses_fixed_frame)
        half_life = parameters.memory_half_life
        self._memory = ScoreMemory(taxonomy, half_life) if half_life else None
        self._with = 0
        self._without: Counter[str] = Counter()

    def refine_for(self, cloud: Any) -> Refine | None:
        """As of the node's `Remembering`."""
        if self._memory is None:
            return None
        stamp = stamp_ns(cloud)
        try:
            pose = self._tree.lookup(self._fixed, frame_of(cloud), stamp)
        except NoTransform as error:
            self._without[str(error)] += 1
            return None
        self._with += 1
        return partial(self._memory.refine, pose=pose, time_s=1e-9 * stamp)

    def findings(self, topic: str) -> list[Finding]:
        """How many clouds were labelled with it, and why others were not.

        Args:
            topic: of the clouds.
        """
        found = []
        if self._with:
            message = f"{self._with} clouds are labelled with what those before them said"
            found.append(Finding("labelled-with-memory", topic, "repaired", message))
        return found + [
            Finding(
                "labelled-without-memory",
                topic,
                "doubtful",
                f"{count} clouds are labelled without those before them: {message}",
            )
            for message, count in self._without.items()
        ]
