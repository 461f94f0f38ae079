"""`haskd view`: labelled clouds in a window, or as a picture where there is no display."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from rich.table import Table
from rich.text import Text

from haskd_ros import model_file
from haskd_ros.clouds.pointcloud import read_points, read_xyz_intensity, valid_returns
from haskd_ros.errors import InputError
from haskd_ros.model_header import ModelMetadata, ShippedStudent
from haskd_ros.node.parameters.values import DEFAULTS
from haskd_ros.segmentation import DEFAULT_MODEL
from haskd_ros.segmenter import Segmenter
from haskd_ros.taxonomy import Taxonomy
from haskd_ros.text import shown
from haskd_training.core.progress import Progress, no_progress
from haskd_training.data.caches.cache import Cache
from haskd_training.data.preparing.examination.examine import examine_clouds
from haskd_training.data.sensor_statistics import unlike_training
from haskd_training.learning.inference import label_as_robot
from haskd_training.recordings.findings import Finding
from haskd_training.recordings.readers.bag import Bag, open_bag
from haskd_training.recordings.readers.node_outputs import CLASS_ID, namespace
from haskd_training.reports import plots
from haskd_training.robot.offline.bag_labeller import BagLabeller
from haskd_training.robot.offline.class_topics import taxonomy_of
from haskd_training.robot.views.published_labels import published_topic

BACKGROUND = np.array([16, 20, 24]) / 255
KEYS = "N next cloud, P the one before, space another labelling, Q ends"


@dataclass(frozen=True)
class LabelledFrame:
    """A cloud to be shown.

    Attributes:
        name: of the cloud.
        points: [N, >= 3] x y z in m.
        labellings: (title, [N] uint8 class ids), at least one.
    """

    name: str
    points: np.ndarray
    labellings: Sequence[tuple[str, np.ndarray]]


@dataclass(frozen=True)
class Frames:
    """The clouds of a recording or a cache, labelled on demand.

    Attributes:
        findings: what there is to say of the clouds.
    """

    taxonomy: Taxonomy
    count: int
    frame: Callable[[int], LabelledFrame]
    findings: Sequence[Finding] = ()


def frames_of_cache(path: Path, model: Path | None, device: str) -> Frames:
    """Sweeps with their labels, and a model's labels where one is given.

    Raises:
        InputError: no cache, no model, neither labels nor a model, or classes that differ.
    """
    cache = Cache.open(path)
    predicted = None if model is None else (model.name, Segmenter.load(model, device=device))
    if predicted is not None and predicted[1].taxonomy.names != cache.taxonomy.names:
        raise InputError(f"{model} and {path} have different classes")

    def frame(number: int) -> LabelledFrame:
        sweep, row = cache.sweep(number), cache.sweeps[number]
        labellings = []
        if predicted is not None:
            name, segmenter = predicted
            labellings.append((name, label_as_robot(segmenter, cache, number).class_id))
        if any(row.class_counts) or not labellings:
            labellings.append(("truth", sweep.label))
        return LabelledFrame(f"{row.recording}, sweep {number}", sweep.points, labellings)

    findings = []
    if predicted is not None:
        findings = unlike_training(cache, predicted[1].metadata)
    return Frames(cache.taxonomy, len(cache), frame, findings)


def frames_of_bag(
    path: Path,
    model: Path | None,
    topic: str | None,
    device: str,
    progress: Progress = no_progress,
) -> Frames:
    """Clouds as a model labels them; without a model those labels that a node published, or, where
    none are recorded, those of the model that ships.

    Args:
        progress: of the examination of the clouds.

    Raises:
        InputError: no bag, no model, no clouds in the bag, or several topics of them.
    """
    with open_bag(path) as bag:
        published = None if model is not None else published_topic(bag, topic)
        if published is not None:
            return _published_frames(bag, published, progress)
    model = model or DEFAULT_MODEL
    segmenter = Segmenter.load(model, device=device)
    examination = examine_clouds(path, topic, progress)
    topic = examination.recording.points_topic
    label = BagLabeller(examination, segmenter, DEFAULTS)
    clouds, title = _CloudsOfBag(path, topic), model.name

    def frame(number: int) -> LabelledFrame:
        labelled = label(clouds[number])
        valid = valid_returns(labelled.points)
        labelling = (title, labelled.result.class_id[valid])
        return LabelledFrame(f"{path.name}, cloud {number}", labelled.points[valid], [labelling])

    findings = [*examination.findings, *label.findings]
    return Frames(segmenter.taxonomy, examination.sensor.clouds, frame, findings)


def _published_frames(bag: Bag, topic: str, progress: Progress) -> Frames:
    """Labelled clouds as they are in a bag, in the names and colours that it has of them."""
    taxonomy = taxonomy_of(bag, namespace(topic))
    found = examine_clouds(bag.path, topic, progress).findings
    # A node publishes no intensity.
    findings = [finding for finding in found if finding.code != "no-intensity"]
    if taxonomy is None:
        taxonomy = model_file.load(DEFAULT_MODEL)[1].taxonomy
        message = "there is no legend beside the labelled clouds; names and colours are those of "
        message += "the model that ships"
        remedy = "--model names another one, and labels anew"
        findings.append(Finding("no-legend", topic, "doubtful", message, remedy))
    path, clouds = bag.path, _CloudsOfBag(bag.path, topic)

    def frame(number: int) -> LabelledFrame:
        cloud = clouds[number]
        points, _ = read_xyz_intensity(cloud)
        valid = valid_returns(points)
        labels = read_points(cloud, [CLASS_ID])[CLASS_ID][valid].astype(np.uint8)
        return LabelledFrame(f"{path.name}, cloud {number}", points[valid], [("published", labels)])

    return Frames(taxonomy, bag.count([topic]), frame, findings)


class _CloudsOfBag:
    """The clouds of a topic by number; one is held at a time. A later one is read from there on, an
    earlier one from the bag's begin."""

    def __init__(self, path: Path, topic: str) -> None:
        self._path, self._topic = path, topic
        self._restart()

    def _restart(self) -> None:
        self._number, self._cloud, self._rest = -1, None, self._read()

    def __getitem__(self, number: int) -> Any:
        if number < self._number:
            self._restart()
        while self._number < number:
            self._cloud = next(self._rest)
            self._number += 1
        return self._cloud

    def _read(self) -> Iterator[Any]:
        with open_bag(self._path) as bag:
            for _, cloud in bag.messages([self._topic]):
                yield cloud


def has_display() -> bool:
    """Whether a window can be opened."""
    return bool(os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"))


def legend(taxonomy: Taxonomy) -> Text:
    """The class names in their colours, for the screen: a window has no room for them."""
    squares = [
        Text.assemble(("■ ", f"rgb({','.join(map(str, info.color))})"), info.name)
        for info in taxonomy.classes
    ]
    return Text("  ").join(squares)


def write_picture(frames: Frames, number: int, path: Path) -> None:
    """A PNG of one cloud, from above and in perspective, once for each labelling.

    Raises:
        InputError: there is no such cloud.
    """
    shown = _frame(frames, number)
    plots.segmentation(shown.points, shown.labellings, frames.taxonomy, path)


def show(frames: Frames, number: int, show_title: Callable[[str], None]) -> None:
    """A window that goes through the clouds by key, see `KEYS`.

    Args:
        show_title: receives the name of the cloud and labelling shown.

    Raises:
        InputError: there is no such cloud, or no window can be opened.
    """
    import open3d as o3d

    window = o3d.visualization.VisualizerWithKeyCallback()
    if not window.create_window("haskd view", 1400, 900):
        raise InputError("no window can be opened here; --out PICTURE.png writes a picture")
    colors = frames.taxonomy.color_table() / 255
    cloud = o3d.geometry.PointCloud()
    shown_at = {"number": number, "labelling": 0}

    def draw() -> None:
        shown = _frame(frames, shown_at["number"])
        title, labels = shown.labellings[shown_at["labelling"] % len(shown.labellings)]
        cloud.points = o3d.utility.Vector3dVector(shown.points[:, :3].astype(np.float64))
        cloud.colors = o3d.utility.Vector3dVector(colors[labels])
        show_title(f"{shown.name}: {title}")

    def turn(name: str, by: int) -> Callable[[Any], bool]:
        def pressed(_: Any) -> bool:
            shown_at[name] += by
            shown_at["number"] %= frames.count
            draw()
            window.update_geometry(cloud)
            return True

        return pressed

    draw()
    window.add_geometry(cloud)
    window.get_render_option().background_color = BACKGROUND
    window.get_render_option().point_size = 2.0
    # From behind the sensor and above it, looking ahead.
    view = window.get_view_control()
    view.set_lookat([10.0, 0.0, 0.0])
    view.set_front([-0.8, 0.0, 0.6])
    view.set_up([0.0, 0.0, 1.0])
    view.set_zoom(0.1)
    for key, name, by in (("N", "number", 1), ("P", "number", -1), (" ", "labelling", 1)):
        window.register_key_callback(ord(key), turn(name, by))
    show_title(KEYS)
    window.run()
    window.destroy_window()


def _frame(frames: Frames, number: int) -> LabelledFrame:
    if not 0 <= number < frames.count:
        raise InputError(f"there is no cloud {number}; there are {frames.count}, counted from 0")
    return frames.frame(number)


def model_table(path: Path) -> Table:
    """The metadata of a model file.

    Raises:
        ModelFileError: not a model.
    """
    _, metadata = model_file.load(path)
    table = Table(title=str(path), show_header=False)
    for name, value in _facts(metadata):
        table.add_row(name, Text(shown(value)))
    return table


def _facts(metadata: ModelMetadata) -> Iterator[tuple[str, str]]:
    yield "network", f"{metadata.architecture}, " + ", ".join(_arguments(metadata))
    yield "classes", ", ".join(metadata.taxonomy.names)
    yield "range", f"{metadata.max_range:g} m"
    rule = metadata.intensity
    yield (
        "intensity",
        (
            f"{rule.scale:g} stands for a full return; "
            + ("required" if rule.required else f"where there is none, {rule.mean:.3f} of that")
        ),
    )
    if metadata.sweeps > 1:
        yield "sweeps", f"{metadata.sweeps}: the newest cloud, which is labelled, and those before"
    for channel in metadata.channels:
        mean = ", ".join(f"{value:.3f}" for value in channel.mean)
        yield (
            channel.name,
            (
                f"{channel.scale:g} stands for 1; "
                + ("required" if channel.required else f"where there is none, {mean}")
            ),
        )
    yield "temperature", f"{metadata.temperature:.3f}"
    seen = metadata.input_range
    yield "heights seen", f"{seen.height.min:.1f} to {seen.height.max:.1f} m"
    yield "intensities seen", f"{seen.intensity.min:.3f} to {seen.intensity.max:.3f}"
    if points := metadata.sensor.points_per_sweep:
        yield "points a sweep", f"{points.p5:,.0f} to {points.p95:,.0f}"
    if span := metadata.sensor.elevation_deg:
        yield "elevation", f"{span.min:.0f} to {span.max:.0f} degrees"
    origin = metadata.provenance
    if origin.shipped:
        yield "student", _student(origin.shipped)
    for name, value in (
        ("trained", origin.trained),
        ("haskd_ros", origin.haskd_ros),
        ("recordings", ", ".join(origin.recordings)),
        ("sweeps", origin.sweeps),
        ("started from", (origin.initial or {}).get("init")),
        ("labels from images", _image_labels(origin.image_labels or {})),
        ("attribution", origin.attribution),
    ):
        if value:
            yield name, str(value)


def _image_labels(origin: dict[str, Any]) -> str:
    """The networks or masks that taught, as the file has them."""
    told = ("networks", "masks", "min_confidence")
    return ", ".join(f"{key} {json.dumps(origin[key])}" for key in told if key in origin)


def _arguments(metadata: ModelMetadata) -> Iterator[str]:
    """What tells the network from others of its architecture."""
    # The channels stand above, by their names.
    arguments = {k: v for k, v in metadata.arguments.items() if k != "extra_inputs"}
    if voxel_size := arguments.pop("voxel_size", None):
        yield f"voxels of {voxel_size:g} m"
    if elevation := arguments.pop("elevation", None):
        yield "{:g} to {:g} degrees".format(*elevation)
    for name, value in arguments.items():
        listed = value if isinstance(value, (list, tuple)) else [value]
        yield shown(f"{name.replace('_', ' ')} {' '.join(map(str, listed))}")


def _student(shipped: ShippedStudent) -> str:
    """Which student a run handed out."""
    scores = ", ".join(
        f"{name} {100 * miou:.1f} %" for name, miou in shipped.validation_miou.items()
    )
    compared = f"mIoU on {shipped.validation_sweeps} validation sweeps: {scores}"
    return f"{shipped.student} ({compared if scores else 'nothing to compare on'})"
