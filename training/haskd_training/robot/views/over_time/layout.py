"""How Rerun's viewer first shows a recording: labellings side by side, below them the cameras."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

import rerun
from rerun import blueprint
from rerun.blueprint import Blueprint, Container, View

STAMP = "stamp"
"""Timeline that is shown: of the headers."""

LABELS = "labels"
"""Name of the true labels among the labellings."""

_BACKGROUND = (16, 20, 24)
_EYE, _TARGET = (-16.0, 0.0, 11.0), (8.0, 0.0, 0.0)
"""m in the sensor frame: from behind the sensor and above it, looking ahead."""


def layout(
    cameras: Mapping[str, Collection[str]], labellings: Collection[str], compared: Collection[str]
) -> Blueprint:
    """
    Args:
        cameras: names by recording.
        labellings: names, `LABELS` where there are labels.
        compared: those that are compared with the labels.
    """
    recordings = [
        _recording(name, sorted(names), labellings, compared) for name, names in cameras.items()
    ]
    return Blueprint(
        blueprint.Tabs(*recordings) if len(recordings) > 1 else recordings[0],
        blueprint.TimePanel(timeline=STAMP),
        collapse_panels=True,
    )


def _recording(
    name: str, cameras: Sequence[str], labellings: Collection[str], compared: Collection[str]
) -> Container:
    lidar = [name, "lidar"]
    models = [labelling for labelling in labellings if labelling != LABELS]
    by_class = [_clouds(model, lidar, [model, "class"]) for model in models]
    if LABELS in labellings:
        by_class.append(_clouds(LABELS, lidar, [LABELS]))
    tabs = [blueprint.Horizontal(*by_class, name="classes")]
    for kind, shown in (
        ("disagreement", [model for model in models if model in compared]),
        ("entropy", models),
    ):
        if shown:
            views = [_clouds(model, lidar, [model, kind]) for model in shown]
            tabs.append(blueprint.Horizontal(*views, name=kind))
    clouds = blueprint.Tabs(*tabs, name=name, active_tab=0)
    if not cameras:
        return clouds
    images = [
        _image(camera, [name, "cameras", camera, "image"], (models or [LABELS])[0])
        for camera in cameras
    ]
    return blueprint.Vertical(clouds, blueprint.Grid(*images), row_shares=[3, 2], name=name)


def _clouds(title: str, lidar: Sequence[str], below: Sequence[str]) -> View:
    """A view from the moving sensor."""
    return blueprint.Spatial3DView(
        origin=_path(*lidar),
        contents=[_path(*lidar, *below)],
        name=title,
        background=_BACKGROUND,
        line_grid=False,
        eye_controls=blueprint.EyeControls3D(
            position=_EYE, look_target=_TARGET, eye_up=(0.0, 0.0, 1.0)
        ),
    )


def _image(camera: str, path: Sequence[str], labelling: str) -> View:
    """An image with the points of one labelling; the others can be switched on."""
    return blueprint.Spatial2DView(
        origin=_path(*path), contents=[_path(*path), _path(*path, labelling)], name=camera
    )


def _path(*parts: str) -> str:
    return rerun.new_entity_path(list(parts))
