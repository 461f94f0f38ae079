"""Whether clouds are like those of the model's training, and what their intensities mean."""

from __future__ import annotations

from collections.abc import Callable

from rclpy.lifecycle import LifecycleNode

from haskd_ros.clouds.channels import missing_channel
from haskd_ros.clouds.intensity import IntensityUnit
from haskd_ros.clouds.sensor_match import mismatches
from haskd_ros.node.labelling import LabelledCloud
from haskd_ros.node.loaded_model import LoadedModel
from haskd_ros.node.reports.diagnostics import DiagnosticsMonitor

PERIOD_S = 60.0
"""How often a cloud is compared with those of the training."""


class SensorWatch:
    """Finds the unit of the clouds' intensities, and tells of it and of clouds that are unlike
    those of the training. In the worker's thread, but for `restart` and `forget_model`.

    Args:
        node: to which the log belongs.
        monitor: is told how the clouds differ.
        warn: logs a warning.
        warn_seldom: logs a warning, but not each one of a kind.
        fixed_scale: parameter `intensity.scale`.
    """

    def __init__(
        self,
        node: LifecycleNode,
        monitor: DiagnosticsMonitor,
        warn: Callable[[str], None],
        warn_seldom: Callable[[str, str], None],
        fixed_scale: float,
    ) -> None:
        self._node, self._monitor = node, monitor
        self._warn, self._warn_seldom = warn, warn_seldom
        self.restart(fixed_scale)

    def restart(self, fixed_scale: float) -> None:
        """Begin anew."""
        self.forget_model()
        self._forget_unit(fixed_scale)

    def forget_model(self) -> None:
        """Compare the next cloud, and hold no model."""
        self._last_comparison: tuple[LoadedModel, float] | None = None

    def unit(self, fixed_scale: float) -> IntensityUnit:
        """The unit of the intensities by the clouds so far, for the next one to be added."""
        if self._unit.fixed != fixed_scale:
            self._forget_unit(fixed_scale)
        return self._unit

    def _forget_unit(self, fixed_scale: float) -> None:
        self._unit = IntensityUnit(fixed_scale)
        self._told_scale: float | None = None

    def tell_intensity(self, labelled: LabelledCloud) -> None:
        """Say in which unit intensities are taken, and where there are none."""
        log, unit = self._node.get_logger(), self._unit
        if not labelled.has_intensity:
            log.info(
                "clouds have no intensity, or NaN or 0 for all of it; the mean of the training "
                "clouds is used",
                once=True,
            )
        elif unit.is_known and unit.full_scale != self._told_scale:
            told, self._told_scale = self._told_scale, unit.full_scale
            if told is None:
                log.info(f"an intensity of {unit.full_scale:g} is taken for a full return")
            else:
                self._warn_seldom(
                    "intensity unit",
                    f"an intensity of {unit.full_scale:g} is taken for a full return from now on, "
                    f"before it was {told:g}; parameter intensity.scale fixes it",
                )

    def compare(self, labelled: LabelledCloud, model: LoadedModel, now: float) -> None:
        """Warn where clouds are unlike those of the model's training; not for every cloud.

        Args:
            now: s of `time.perf_counter`.
        """
        if self._last_comparison is not None:
            compared, when = self._last_comparison
            if compared is model and now - when < PERIOD_S:
                return
        self._last_comparison = model, now
        messages = [
            mismatch.message
            for mismatch in mismatches(labelled.points, labelled.intensity_scale, model.metadata)
        ]
        messages += [note.message for note in self._unit.notes() if note.is_warning]
        messages += [missing_channel(name) for name in labelled.missing_channels]
        self._monitor.sensor_mismatches = messages
        if messages:
            self._warn(
                "labels may be wrong, the clouds are not like those the model was trained on: "
                + "; ".join(messages)
            )
