"""An inspection for the screen: every table fits 80 columns."""

from __future__ import annotations

from collections.abc import Iterator

from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from haskd_training.data.preparing.examination.examination import Examination, TopicSummary
from haskd_training.experiments.inspection import Inspection, RunPlan


def tables(inspection: Inspection) -> Iterator[RenderableType]:
    """Tables of each recording, then what a run would do."""
    for one in inspection.examinations:
        yield Text(f"{one.recording.name}: {one.recording.path}", style="bold")
        yield _topics(one)
        yield _sensor(one, inspection)
        if one.cameras:
            yield _cameras(one, inspection.plan)
        if one.labels is not None:
            yield _labels(one)
    yield _plan(inspection.plan)


def _table(title: str, *columns: str) -> Table:
    """A table whose first column is text and whose others are numbers."""
    table = Table(title=title, title_justify="left", box=None, pad_edge=False)
    for number, column in enumerate(columns):
        table.add_column(
            column, justify="right" if number else "left", overflow="fold", header_style="dim"
        )
    return table


def _topics(one: Examination) -> Table:
    table = _table("topics", "topic", "type", "messages", "Hz", "gap s", "frame")
    for topic in one.topics:
        table.add_row(
            topic.topic,
            topic.type.rsplit("/", 1)[-1],
            _of_expected(topic),
            _number(topic.rate_hz, 1),
            _number(topic.longest_gap_s, 2),
            ", ".join(topic.frames) or "-",
        )
    return table


def _sensor(one: Examination, inspection: Inspection) -> Table:
    sensor, unit = one.sensor, one.recording.intensity
    table = Table(title="sensor", title_justify="left", box=None, pad_edge=False, show_header=False)
    table.add_row("clouds", f"{sensor.clouds:,} ({sensor.sampled} of them looked into)")
    fields = ", ".join(f"{name} {kind}" for name, kind in sensor.fields.items())
    table.add_row("fields", fields or "-")
    table.add_row("beams", "-" if sensor.beams is None else f"{sensor.beams}")
    table.add_row("points", _percentiles(sensor.points, "{:,.0f}"))
    table.add_row("range", _percentiles(sensor.range_m, "{:.1f}", " m"))
    span = sensor.elevation_deg
    table.add_row("elevation", f"{span['min']:.1f} to {span['max']:.1f} degrees" if span else "-")
    table.add_row("times", sensor.point_times or "-")
    table.add_row("intensity", _percentiles(sensor.intensity, "{:.4g}"))
    if sensor.intensity is not None:
        table.add_row("full return", f"{unit.full_scale:g}" if unit.is_known else "unknown")
    unlike = inspection.unlike[one.recording.name]
    table.add_row(
        f"like {inspection.model}",
        Text("\n".join(unlike), style="yellow") if unlike else "yes",
    )
    return table


def _cameras(one: Examination, plan: RunPlan | None) -> Table:
    table = _table("cameras", "camera", "images", "teach", "size", "sees", "frame", "left out")
    for camera in one.cameras:
        teach = "-" if plan is None else str(plan.teaching_images[one.recording.name][camera.name])
        table.add_row(
            camera.name,
            f"{camera.images:,}",
            teach,
            "-" if camera.width is None else f"{camera.width} x {camera.height}",
            "-" if camera.seen is None else f"{camera.seen:.1%}",
            camera.frame or "-",
            "" if camera.problem is None else "see above",
        )
    return table


def _labels(one: Examination) -> Table:
    labels = one.labels
    assert labels is not None
    table = _table("labels", "class", "points", "share", "clouds", "seen by cameras")
    total = max(1, sum(labels.classes.values()) + labels.ignored)
    for number, (name, points) in enumerate(labels.classes.items()):
        clouds = int((labels.counts[:, number] > 0).sum())
        seen = labels.seen.get(name)
        table.add_row(
            name,
            f"{points:,}",
            f"{points / total:.2%}",
            f"{clouds}",
            "-" if seen is None else f"{seen:.1%}",
        )
    table.add_row("(ignored)", f"{labels.ignored:,}", f"{labels.ignored / total:.2%}", "", "")
    return table


def _plan(plan: RunPlan | None) -> RenderableType:
    if plan is None:
        return Text(
            "haskd run: needs --labels, a label map; or --labels none and --images-know, labels "
            "that label-images made",
            style="dim",
        )
    parts = [f"{count} {role}" for role, count in plan.sweeps.items()]
    text = Text(f"haskd run: sweeps: {', '.join(parts)}" if parts else "haskd run:")
    if plan.stops is not None:
        text.append(f"\nwould stop before training: {plan.stops}", style="red")
    return text


def _of_expected(topic: TopicSummary) -> str:
    if topic.expected in (None, topic.messages):
        return f"{topic.messages:,}"
    return f"{topic.messages:,} of {topic.expected:,}"


def _number(value: float | None, digits: int) -> str:
    return "-" if value is None else f"{value:.{digits}f}"


def _percentiles(values: dict[str, float] | None, form: str, unit: str = "") -> str:
    if values is None:
        return "-"
    low, middle, high = (form.format(values[name]) for name in ("p5", "median", "p95"))
    return f"{middle}{unit} (5 to 95 %: {low} to {high})"
