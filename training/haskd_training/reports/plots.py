"""Pictures: scores, and clouds in the colours of their classes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from haskd_ros.taxonomy import UNLABELLED, Taxonomy
from haskd_training.metrics.confusion import RANGES_M, Evaluation, iou, range_name
from haskd_training.reports.figures import drawn, name_text

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def confusion_matrix(evaluation: Evaluation, path: Path) -> None:
    """Share of each true class that was called what; rows add up to 100 %."""
    counts = evaluation.counts
    total = counts.sum(1, keepdims=True)
    share = np.divide(100.0 * counts, total, out=np.full(counts.shape, np.nan), where=total > 0)
    names = [name_text(name) for name in evaluation.taxonomy.names]
    with drawn(path, dpi=110, figsize=(9, 8)) as figure:
        axes = figure.add_subplot()
        axes.imshow(share, cmap="Blues", vmin=0, vmax=100)
        axes.set_xticks(range(len(names) + 1), [*names, "no label"], rotation=60, ha="right")
        axes.set_yticks(range(len(names)), names)
        axes.set(xlabel="predicted", ylabel="true", title="share of each true class in %")
        for (row, column), value in np.ndenumerate(share):
            if value >= 0.5:
                color = "white" if value > 60 else "black"
                axes.text(
                    column, row, f"{value:.0f}", ha="center", va="center", color=color, size=8
                )


def iou_by_range(evaluation: Evaluation, path: Path) -> None:
    """A group of bars a class, one bar for each span of distances."""
    names = [name_text(name) for name in evaluation.taxonomy.names]
    with drawn(path, dpi=110, figsize=(10, 4.5)) as figure:
        axes = figure.add_subplot()
        width = 0.8 / len(RANGES_M)
        for number, (span, counts) in enumerate(zip(RANGES_M, evaluation.by_range)):
            place = np.arange(len(names)) + (number - (len(RANGES_M) - 1) / 2) * width
            axes.bar(place, 100 * iou(counts), width, label=f"{range_name(span)} m")
        axes.set_xticks(range(len(names)), names, rotation=30, ha="right")
        axes.set(ylabel="IoU in %", ylim=(0, 100))
        axes.legend(title="distance")


def latencies(milliseconds: Mapping[str, np.ndarray], path: Path) -> None:
    """Share of the clouds that were back within a time, a curve for each candidate.

    Args:
        milliseconds: [n] by name.
    """
    with drawn(path, dpi=110, figsize=(8, 4.5)) as figure:
        axes = figure.add_subplot()
        for name, values in milliseconds.items():
            if len(values):
                axes.ecdf(values, label=f"{name_text(name)} (p50 {np.median(values):.0f} ms)")
        for share in (0.5, 0.95, 0.99):
            axes.axhline(share, color="lightgrey", linewidth=0.8, zorder=0)
        axes.set_yticks([0, 0.5, 0.95, 1], ["0", "50 %", "95 %", "100 %"])
        axes.set(xlabel="message in to message out, ms", ylabel="clouds", xlim=(0, None))
        axes.legend()


_LEGEND_POINTS = 13
_CHARACTER_INCH, _HANDLE_INCH = 0.125, 0.7
"""Width of a character of the legend, and of what stands around a name there."""


_REACH_M = 40.0


def segmentation(
    points: np.ndarray,
    labellings: Sequence[tuple[str, np.ndarray]],
    taxonomy: Taxonomy,
    path: Path,
) -> None:
    """A cloud from above and in perspective, once for each labelling, with a legend.

    Args:
        points: [N, >= 3] x y z in m in the sensor frame.
        labellings: (title, [N] uint8 class ids), side by side.
        path: PNG to write. It shows 40 m around the sensor, or as far as nearly all points are.
    """
    beside = np.abs(points[:, :2]).max(1)
    reach = min(_REACH_M, 1.1 * float(np.quantile(beside, 0.99))) if len(points) else _REACH_M
    from matplotlib.lines import Line2D  # loaded by what draws alone, see `drawn`

    with drawn(path, dpi=90, figsize=(7.5 * len(labellings), 12), facecolor="#101418") as figure:
        rows = figure.subplots(2, len(labellings), squeeze=False)
        for column, (title, labels) in enumerate(labellings):
            _from_above(rows[0, column], points, labels, taxonomy, reach)
            rows[0, column].set_title(name_text(title), color="white", size=16)
            _in_perspective(rows[1, column], points, labels, taxonomy, reach)
        shown = sorted({int(label) for _, labels in labellings for label in np.unique(labels)})
        handles = [
            Line2D(
                [], [], marker="o", linestyle="", markersize=9,
                color=taxonomy.color_table()[label] / 255,
                label=_name(taxonomy, label),
            )
            for label in shown
        ]  # fmt: skip
        longest = max((len(_name(taxonomy, label)) for label in shown), default=0)
        columns = int(figure.get_figwidth() / (_CHARACTER_INCH * longest + _HANDLE_INCH))
        figure.legend(
            handles=handles, loc="outside lower center", ncols=max(1, columns), frameon=False,
            labelcolor="white", fontsize=_LEGEND_POINTS,
        )  # fmt: skip


def _name(taxonomy: Taxonomy, label: int) -> str:
    if label == UNLABELLED:
        return "not labelled"
    return name_text(taxonomy.names[label]) if label < len(taxonomy) else f"class {label}"


def _scatter(axes: Axes, xy: np.ndarray, colors: np.ndarray, size: np.ndarray | float) -> None:
    x, y = xy.T
    axes.scatter(x, y, s=size, c=colors / 255, marker="o", linewidths=0, rasterized=True)
    axes.set_facecolor("#101418")
    axes.set_axis_off()


def _from_above(
    axes: Axes, points: np.ndarray, labels: np.ndarray, taxonomy: Taxonomy, reach: float
) -> None:
    near = np.abs(points[:, :2]).max(1) < reach
    order = np.argsort(points[near, 2])  # what is higher hides what is lower
    xy = points[near][order, :2]
    _scatter(axes, xy, taxonomy.color_table()[labels[near][order]], 1.6)
    axes.plot(0, 0, marker="^", color="white", markersize=8)
    axes.set(xlim=(-reach, reach), ylim=(-reach, reach), aspect="equal")


def _in_perspective(
    axes: Axes, points: np.ndarray, labels: np.ndarray, taxonomy: Taxonomy, reach: float
) -> None:
    """As a pinhole camera sees it that hangs behind and above the sensor and looks ahead, down."""
    centre, pitch = np.array([-16.0, 0.0, 11.0]), np.radians(22.0)
    moved = points[:, :3] * (_REACH_M / reach) - centre
    depth = moved[:, 0] * np.cos(pitch) - moved[:, 2] * np.sin(pitch)
    height = moved[:, 0] * np.sin(pitch) + moved[:, 2] * np.cos(pitch)
    visible = (depth > 3.0) & (depth < 1.6 * _REACH_M + 16.0)
    order = np.argsort(-depth[visible])  # near points are drawn over far ones
    depth = depth[visible][order]
    image = np.stack([-moved[visible, 1][order], height[visible][order]], 1) / depth[:, None]
    _scatter(
        axes, image, taxonomy.color_table()[labels[visible][order]], np.clip(90 / depth, 0.8, 8)
    )
    axes.set(xlim=(-0.85, 0.85), ylim=(-0.55, 0.45), aspect="equal")
