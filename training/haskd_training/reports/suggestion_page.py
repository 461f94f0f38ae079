"""Suggested sweeps: what is open in them, from above and in the images around."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
import rich.table
from matplotlib.patches import Rectangle

from haskd_ros.files import write_atomically
from haskd_ros.taxonomy import Taxonomy
from haskd_training.data.caches.cache import Cache
from haskd_training.data.preparing.overlay import draw_points
from haskd_training.data.preparing.report import nearest_images
from haskd_training.data.projection import MIN_DEPTH, Projection, project
from haskd_training.reports.figures import drawn
from haskd_training.reports.html_page import Cell, Picture, Report, Section, Table
from haskd_training.suggestions.document import region_position
from haskd_training.suggestions.open_voxels import OpenVoxels
from haskd_training.suggestions.regions import OPEN, Region
from haskd_training.suggestions.suggest import PICTURED, Suggestion, Suggestions

CAMERAS = 3
"""Images of a sweep at most, of the cameras that see most open voxels."""
NAMED = 3
"""Classes that a sweep is said to be open about."""
_BOX = (255, 255, 255)


def table(found: Suggestions, caches: Sequence[Cache]) -> rich.table.Table:
    """The suggestions in order, with why."""
    result = rich.table.Table(title=_summary(found))
    for column in ("", "recording", "sweep", "stamp in ns", "open there"):
        result.add_column(column)
    for column in ("gain", "covered"):
        result.add_column(column, justify="right")
    for rank, each in enumerate(found.chosen, 1):
        row = caches[each.ref.cache].sweeps[each.ref.sweep]
        result.add_row(
            str(rank), row.recording, str(each.ref.sweep), str(row.stamp_ns),
            _open_classes(each, found.taxonomy),
            f"{100 * each.choice.gain:.1f} %", f"{100 * each.choice.covered:.1f} %",
        )  # fmt: skip
    return result


def page(found: Suggestions, caches: Sequence[Cache], folder: Path) -> Report:
    """A page with a section for each suggested sweep, at most for the `PICTURED` best ones.

    Args:
        caches: those that the suggestions were made for.
        folder: that the pictures are written into.

    Raises:
        InputError: a cache is damaged, or a picture can't be written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    rows: list[list[Cell]] = []
    for rank, each in enumerate(found.chosen, 1):
        row = caches[each.ref.cache].sweeps[each.ref.sweep]
        rows.append(
            [
                rank, row.recording, each.ref.sweep, str(row.stamp_ns),
                _open_classes(each, found.taxonomy),
                100 * each.choice.gain, 100 * each.choice.covered,
            ]
        )  # fmt: skip
    columns = ["", "recording", "sweep", "stamp in ns", "open there", "gain in %", "covered in %"]
    text = (
        "The gain of a sweep is the share that it adds of all that the model leaves open: looks "
        "(what the network can tell apart) and places in the map, each weighed by entropy. What a "
        "sweep shows is covered in all others that show the same look or place."
    )
    if len(found.chosen) > PICTURED:
        text += f"\n\nBelow are the {PICTURED} best ones; suggest.json has the regions of all."
    overview = Section("Sweeps to label, in this order", text, [Table(columns, rows)])
    sections = [
        _section(rank, each, each.voxels, found.taxonomy, caches[each.ref.cache], folder)
        for rank, each in enumerate(found.chosen, 1)
        if each.voxels is not None
    ]
    return Report("What to label next", [overview, *sections], _summary(found))


def _summary(found: Suggestions) -> str:
    return (
        f"{len(found.chosen)} of {found.sweeps - found.labelled} sweeps without labels; "
        f"{found.labelled} with labels cover {100 * found.covered:.1f} % of what is open"
    )


def _open_classes(each: Suggestion, taxonomy: Taxonomy) -> str:
    order = np.argsort(-each.choice.classes)[:NAMED]
    return ", ".join(f"{taxonomy.names[k]} {100 * each.choice.classes[k]:.0f} %" for k in order)


def _section(
    rank: int,
    each: Suggestion,
    voxels: OpenVoxels,
    taxonomy: Taxonomy,
    cache: Cache,
    folder: Path,
) -> Section:
    row = cache.sweeps[each.ref.sweep]
    stem = f"{each.ref.cache}-{each.ref.sweep}"
    above = folder / f"{stem}.png"
    _draw_from_above(voxels, each.regions, above)
    pictures = [
        Picture(above, "From above, the sensor at 0, 0, x ahead: entropy, and the regions' numbers")
    ]
    pictures += _images(each, voxels, cache, folder / stem)
    rows = [
        _region_row(number, region, cache, each.ref.sweep, taxonomy)
        for number, region in enumerate(each.regions, 1)
    ]
    columns = [
        "region", "x y z in m", "size in m", "in the map in m", "entropy in %", "share of the gain "
        "in %", "likely classes",
    ]  # fmt: skip
    text = f"Adds {100 * each.choice.gain:.1f} %: {_open_classes(each, taxonomy)}."
    heading = f"{rank}. {row.recording}, sweep {each.ref.sweep}"
    return Section(heading, text, [Table(columns, rows)] if rows else [], pictures)


def _region_row(
    number: int, region: Region, cache: Cache, sweep: int, taxonomy: Taxonomy
) -> list[Cell]:
    position = region_position(region, cache, sweep)
    likely = (f"{name} {100 * share:.0f} %" for name, share in region.likely(taxonomy.names))
    return [
        number,
        _metres(region.centre),
        _metres(region.high - region.low),
        None if position is None else _metres(position),
        100 * region.entropy,
        100 * region.worth,
        ", ".join(likely),
    ]


def _metres(values: np.ndarray) -> str:
    return " ".join(f"{value:.1f}" for value in values)


def _draw_from_above(voxels: OpenVoxels, regions: Sequence[Region], path: Path) -> None:
    """Entropy of the voxels, open ones over others, and boxes of the regions."""
    order = np.argsort(voxels.entropy)
    x, y = voxels.centroids[order, :2].T
    with drawn(path, dpi=100, figsize=(8, 7.2)) as figure:
        axes = figure.subplots()
        # A map that ends in a bright colour would hide what is open on a white page.
        points = axes.scatter(
            x, y, c=voxels.entropy[order], s=1.5, cmap="viridis_r", vmin=0, vmax=0.7
        )
        figure.colorbar(points, label="entropy as a share of log C", shrink=0.8)
        for number, region in enumerate(regions, 1):
            size = region.high - region.low
            corner = (region.low[0] - 0.5, region.low[1] - 0.5)
            box = Rectangle(corner, size[0] + 1, size[1] + 1, fill=False, color="red")
            axes.add_patch(box)
            axes.annotate(str(number), (corner[0], region.high[1] + 1), color="red", weight="bold")
        axes.set(xlabel="x in m", ylabel="y in m", aspect="equal")


def _images(each: Suggestion, voxels: OpenVoxels, cache: Cache, stem: Path) -> list[Picture]:
    """The nearest images of the cameras that see most of what is open, with the open voxels and the
    regions drawn over them."""
    is_open = voxels.entropy >= OPEN
    points, entropy = voxels.centroids[is_open], voxels.entropy[is_open]
    shown = {}
    for j in nearest_images(cache, each.ref.sweep).values():
        T_camera_lidar = cache.t_camera_lidar(j, each.ref.sweep)
        projection = project(points, T_camera_lidar, cache.images[j].camera_model)
        if projection.inside.any():
            shown[j] = projection
    best = sorted(shown, key=lambda j: (-entropy[shown[j].inside].sum(), j))[:CAMERAS]
    level = (255 * np.clip(entropy / 0.7, 0, 1)).astype(np.uint8)
    colors = cv2.applyColorMap(level[:, None], cv2.COLORMAP_PLASMA)[:, 0, ::-1]
    pictures: list[Picture] = []
    for j in best:
        row = cache.images[j]
        picture = np.ascontiguousarray(cache.image(j))
        draw_points(picture, shown[j], colors)
        T_camera_lidar = cache.t_camera_lidar(j, each.ref.sweep)
        for number, region in enumerate(each.regions, 1):
            corners = project(_corners(region), T_camera_lidar, row.camera_model)
            _draw_box(picture, corners, str(number))
        _, jpeg = cv2.imencode(".jpg", picture[:, :, ::-1])
        path = stem.with_name(f"{stem.name}-{len(pictures)}.jpg")
        write_atomically(path, jpeg.tobytes())
        dt_s = (row.stamp_ns - cache.sweeps[each.ref.sweep].stamp_ns) / 1e9
        pictures.append(
            Picture(path, f"{row.camera}, {dt_s:+.2f} s: what is open, and the regions")
        )
    return pictures


def _corners(region: Region) -> np.ndarray:
    """[8, 3] m."""
    ends = np.stack([region.low, region.high])
    index = np.indices((2, 2, 2)).reshape(3, 8)
    corners: np.ndarray = ends[index, np.arange(3)[:, None]].T
    return corners


def _draw_box(picture: np.ndarray, corners: Projection, number: str) -> None:
    """The outline of a box, where the whole of it is in front of the camera and its middle in the
    image."""
    if (corners.depth <= MIN_DEPTH).any() or not np.isfinite(corners.pixels).all():
        return
    column, row = corners.pixels.mean(0)
    if not (0 <= row < len(picture) and 0 <= column < picture.shape[1]):
        return
    outline = cv2.convexHull(np.round(corners.pixels).astype(np.int32))
    thickness = max(1, picture.shape[1] // 640)
    cv2.polylines(picture, [outline], True, _BOX, thickness, cv2.LINE_AA)
    left, top = outline[:, 0].min(0)
    at = (max(int(left), 0), max(int(top) - 4, 14))
    size = picture.shape[1] / 1200
    cv2.putText(picture, number, at, cv2.FONT_HERSHEY_SIMPLEX, size, _BOX, thickness, cv2.LINE_AA)
