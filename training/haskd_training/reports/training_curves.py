"""Curves of a training, from the TensorBoard files that it left."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

from haskd_ros.errors import InputError
from haskd_training.reports.figures import drawn


def scalars(folder: Path) -> dict[str, tuple[list[int], list[float]]]:
    """Steps and values by name from the TensorBoard files in `folder`, steps ascending.

    A run that was killed has logged some steps twice; the later value counts.

    Raises:
        InputError: no TensorBoard file there.
    """
    if not any(folder.glob("events.out.tfevents.*")):
        raise InputError(f"{folder} holds no TensorBoard file")
    from tensorboard.backend.event_processing.event_accumulator import SCALARS, EventAccumulator

    events = EventAccumulator(str(folder), size_guidance={SCALARS: 0})  # 0: all of them
    events.Reload()
    result = {}
    for name in events.Tags()["scalars"]:
        logged = sorted(events.Scalars(name), key=lambda event: event.wall_time)
        by_step = {event.step: event.value for event in logged}
        steps = sorted(by_step)
        result[name] = (steps, [by_step[step] for step in steps])
    return result


def draw_curves(folder: Path, path: Path) -> None:
    """Draw a run's loss terms, its validation score if there is one, and its distilled share if it
    was distilled.

    Args:
        folder: with the run's TensorBoard files.
        path: PNG to write.

    Raises:
        InputError: no TensorBoard file, or nothing of `loop.fit` in it.
    """
    logged = scalars(folder)

    def curves_of(kind: str) -> dict[str, tuple[list[int], list[float]]]:
        return {
            name.removeprefix(kind): curve
            for name, curve in logged.items()
            if name.startswith(kind)
        }

    terms, distilled_share = curves_of("train/"), curves_of("distilled_share/")
    terms.pop("learning_rate", None)
    if not terms:
        raise InputError(f"the TensorBoard files in {folder} hold no loss")
    score = logged.get("validation/score")
    with drawn(path, dpi=110, figsize=(10, 3.6)) as figure:
        plots = figure.subplots(1, 1 + bool(score) + bool(distilled_share), squeeze=False)[0]
        for axes, curves in ((plots[0], terms), (plots[-1], distilled_share)):
            for name, (steps, values) in curves.items():
                axes.plot(steps, _running_mean(values), label=name.replace("_", " "), linewidth=1.2)
            if curves:
                axes.legend(frameon=False)
        plots[0].set(xlabel="step", ylabel="loss, running mean", ylim=(0, None))
        if distilled_share:
            plots[-1].set(xlabel="step", ylabel="distilled share, running mean", ylim=(0, 1.05))
        if score:
            steps, values = score
            plots[1].plot(steps, [100 * value for value in values], marker="o", markersize=3)
            plots[1].set(xlabel="step", ylabel="validation mIoU in %")
        for axes in plots:
            axes.grid(alpha=0.3)


def _running_mean(values: Sequence[float], share: float = 0.02) -> list[float]:
    """Mean of the values up to each one, over the last `share` of the run."""
    width = max(1, round(share * len(values)))
    return [
        math.fsum(values[max(0, i + 1 - width) : i + 1]) / min(i + 1, width)
        for i in range(len(values))
    ]
