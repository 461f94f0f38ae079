"""What the node remembers of the clouds before, where the parameters say so."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any

from haskd_ros.clouds.sweeps import Moment
from haskd_ros.node.loaded_model import LoadedModel
from haskd_ros.node.parameters.values import Parameters
from haskd_ros.node.poses.odometry import NoPosesError
from haskd_ros.node.poses.sensor import source_told
from haskd_ros.node.reports.outcomes import Outcomes
from haskd_ros.node.reports.statuses import OK, WARN, Status
from haskd_ros.segmentation import Refine

if TYPE_CHECKING:
    from haskd_ros.score_memory import ScoreMemory


class Remembering:
    """Gives each cloud the memory of those before it. In the worker's thread, but for the status.

    Args:
        warn_seldom: logs a warning, but not each one of a kind.
    """

    def __init__(self, warn_seldom: Callable[[str, str], None]) -> None:
        self._warn_seldom = warn_seldom
        self._outcomes = Outcomes()
        self._memory: ScoreMemory | None = None
        self._of: tuple[Any, ...] = ()

    def forget(self) -> None:
        """Begin anew, and hold no model."""
        self._memory, self._of = None, ()

    def refine_for(
        self, moment: Moment | NoPosesError, model: LoadedModel, parameters: Parameters
    ) -> Refine | None:
        """What adds the memory to the labels of a cloud, and them to the memory; None where it is
        labelled by itself.

        Args:
            moment: when and where the cloud was measured, or why that is not known.
        """
        if not parameters.remembers:
            self.forget()
            return None
        if isinstance(moment, NoPosesError):
            self._outcomes.note(moment.reason, str(moment))
            self._warn_seldom(f"memory: {moment.reason}", f"labelled without memory: {moment}")
            return None
        self._outcomes.note()
        # Scores of another model, or places in another frame, mean something else.
        of = model, parameters.memory_half_life, source_told(parameters)
        if self._memory is None or of != self._of:
            from haskd_ros.score_memory import ScoreMemory  # and with it torch

            self._memory = ScoreMemory(model.taxonomy, parameters.memory_half_life)
            self._of = of
        return partial(self._memory.refine, pose=moment.pose, time_s=1e-9 * moment.stamp_ns)

    def status(self, parameters: Parameters) -> Status:
        """Whether the clouds since the last report were labelled with it."""
        counts, recent, _, message = self._outcomes.ask()
        if not parameters.remembers:
            return Status("memory", OK, "off: each cloud is labelled by itself")
        memory = self._memory
        values = {
            "poses": source_told(parameters),
            "places remembered": str(0 if memory is None else len(memory)),
            "clouds labelled with it": str(counts.pop("", 0)),
            "clouds labelled without": str(counts.total()),
        }
        values |= {f"labelled without: {each}": str(count) for each, count in counts.items()}
        if failed := recent.total() - recent[""]:
            text = f"{failed} of {recent.total()} clouds labelled without it recently: {message}"
            return Status("memory", WARN, text, values)
        told = f"{recent['']} clouds labelled with it recently" if recent else "no cloud recently"
        return Status("memory", OK, told, values)
