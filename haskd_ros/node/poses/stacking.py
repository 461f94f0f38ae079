"""The sweeps before, for a model that takes several."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from haskd_ros.clouds.sweeps import Moment, SweepHistory
from haskd_ros.node.loaded_model import LoadedModel
from haskd_ros.node.parameters.values import Parameters
from haskd_ros.node.poses.odometry import NoPosesError
from haskd_ros.node.poses.sensor import source_told
from haskd_ros.node.reports.outcomes import Outcomes
from haskd_ros.node.reports.statuses import OK, WARN, Status


class SweepStacking:
    """Gives each cloud the sweeps before it. In the worker's thread, but for the status.

    Args:
        warn_seldom: logs a warning, but not each one of a kind.

    Attributes:
        history: gets the clouds that are labelled.
    """

    def __init__(self, warn_seldom: Callable[[str, str], None]) -> None:
        self._warn_seldom = warn_seldom
        self._outcomes = Outcomes()
        self.forget()

    def forget(self) -> None:
        """Begin anew, and hold no model."""
        self.history = SweepHistory(1)
        self._of: tuple[Any, ...] = ()

    def moment_for(
        self, moment: Moment | NoPosesError, model: LoadedModel, parameters: Parameters
    ) -> Moment | None:
        """The moment of a cloud with the sweeps before it; None where it is labelled by itself.

        Args:
            moment: when and where the cloud was measured, or why that is not known.
        """
        sweeps = model.metadata.sweeps
        if sweeps == 1:
            if self._of:
                self.forget()
            return None
        # Channels of another model, or places in another frame, mean something else.
        of = model, source_told(parameters)
        if of != self._of:
            self.history, self._of = SweepHistory(sweeps), of
        if isinstance(moment, NoPosesError):
            self._outcomes.note(moment.reason, str(moment))
            self._warn_seldom(f"sweeps: {moment.reason}", f"labelled by one sweep: {moment}")
            return None
        earlier, reason = self.history.before(moment.stamp_ns)
        told = f"{reason}: labelled by {1 + len(earlier)} of {sweeps} sweeps" if reason else ""
        self._outcomes.note(reason, told)
        return replace(moment, earlier=earlier)

    def status(self, model: LoadedModel, parameters: Parameters) -> Status:
        """Whether the clouds since the last report were labelled with all sweeps."""
        counts, recent, _, message = self._outcomes.ask()
        sweeps = model.metadata.sweeps
        if sweeps == 1:
            return Status("sweeps", OK, "the model takes one sweep")
        values = {
            "sweeps that the model takes": str(sweeps),
            "poses": source_told(parameters),
            "points kept": str(self.history.points),
            "clouds labelled with all": str(counts.pop("", 0)),
            "clouds labelled with fewer": str(counts.total()),
        }
        values |= {f"labelled with fewer: {each}": str(count) for each, count in counts.items()}
        if fewer := recent.total() - recent[""]:
            text = f"{fewer} of {recent.total()} clouds with fewer than {sweeps} sweeps recently"
            return Status("sweeps", WARN, f"{text}: {message}", values)
        told = "no cloud recently"
        if recent:
            told = f"{recent['']} clouds with {sweeps} sweeps recently"
        return Status("sweeps", OK, told, values)
