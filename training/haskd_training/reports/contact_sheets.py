"""What a selection looks like: the chosen images with the points that each of them shows."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
from rich.table import Table

from haskd_ros.files import write_atomically
from haskd_ros.taxonomy import UNLABELLED
from haskd_training.data.caches.cache import Cache
from haskd_training.data.preparing.legend_strip import class_entries, with_legend
from haskd_training.data.sweep_ref import SweepRef
from haskd_training.images.candidates import CandidateImage
from haskd_training.images.selection import Selection
from haskd_training.images.visibility import View, views

CHOSEN_WIDTH, OTHER_WIDTH = 640, 320
"""px of a chosen image and of another candidate on a sheet."""
OTHERS = 6
"""Candidates that were not chosen, shown on a sheet below those that were."""
BAND = 22
"""px, height of the line of text above an image."""
BACKGROUND = (24, 20, 16)


class ContactSheet(NamedTuple):
    """A file and what it shows."""

    path: Path
    caption: str


def contact_sheets(
    caches: Sequence[Cache], selection: Selection, folder: Path, count: int = 6
) -> list[ContactSheet]:
    """Write a JPEG for each of `count` sweeps, spread evenly over the selection.

    Above: the chosen images by rank, the points that each shows in the colours of the baseline's
    classes, its gain, and the share of the points seen so far. Below: other candidates, the
    nearest in time of each reason, and the reason.

    Args:
        caches: those that the selection was made from.
    """
    folder.mkdir(parents=True, exist_ok=True)
    places = np.linspace(0, len(selection.sweeps) - 1, min(count, len(selection.sweeps)))
    pictures = []
    for ref in (selection.sweeps[int(number)] for number in places):
        cache = caches[ref.cache]
        _, jpeg = cv2.imencode(".jpg", _sheet(cache, selection, ref)[:, :, ::-1])
        path = folder / f"{ref.cache}-{ref.sweep}.jpg"
        write_atomically(path, jpeg.tobytes())
        pictures.append(ContactSheet(path, _caption(cache, selection.records(ref), ref)))
    return pictures


def table(selection: Selection) -> Table:
    """What became of the candidates, and how much of a sweep the chosen ones show."""
    total = sum(selection.reasons.values())
    result = Table(
        title=f"{selection.config.strategy}: {len(selection.sweeps)} sweeps, "
        f"{100 * seen_share(selection):.1f} % of their points seen"
    )
    result.add_column("candidates")
    result.add_column("images", justify="right")
    result.add_column("a sweep", justify="right")
    for reason, images in Counter(selection.reasons).most_common():
        result.add_row(reason, str(images), f"{images / len(selection.sweeps):.1f}")
    result.add_row("all", str(total), f"{total / len(selection.sweeps):.1f}", style="bold")
    return result


def seen_share(selection: Selection) -> float:
    """Share of a sweep's points that its chosen images show together, mean over the sweeps."""
    covered = sum(_covered(selection.records(ref)) for ref in selection.sweeps)
    return covered / len(selection.sweeps)


def by_rank(selection: Selection) -> list[tuple[int, int, float, float]]:
    """Of the chosen images of each rank: the rank, how many there are, their mean gain as a share
    of the objective's weight (NaN where the strategy knows of none), and the mean share of the
    points seen with them and those before them."""
    images: Counter[int] = Counter()
    sums: dict[int, np.ndarray] = {}
    for ref in selection.sweeps:
        for record in selection.records(ref):
            if record.rank is not None:
                images[record.rank] += 1
                # None becomes NaN.
                values = np.array([record.gain, record.covered], float)
                sums[record.rank] = sums.get(record.rank, np.zeros(2)) + values
    return [(rank, count, *(sums[rank] / count).tolist()) for rank, count in sorted(images.items())]


def _covered(records: Sequence[CandidateImage]) -> float:
    """Share of the points that the chosen images show together."""
    return max((record.covered for record in records if record.covered is not None), default=0.0)


def _caption(cache: Cache, records: Sequence[CandidateImage], ref: SweepRef) -> str:
    counts = Counter(record.reason for record in records)
    reasons = ", ".join(f"{reason} {images}" for reason, images in counts.most_common())
    return (
        f"{cache.sweeps[ref.sweep].recording}, sweep {ref.sweep}: "
        f"{100 * _covered(records):.0f} % of the points seen. Candidates: {reasons}"
    )


def _sheet(cache: Cache, selection: Selection, ref: SweepRef) -> np.ndarray:
    """[H, W, 3] uint8, RGB."""
    records = selection.records(ref)
    chosen = [record for record in records if record.reason == "chosen"]
    sweep, class_id = cache.sweep(ref.sweep), selection.predicted(ref)
    movable = np.array([info.movable for info in cache.taxonomy.classes] + [False])
    seen = views(
        cache,
        ref.sweep,
        points=sweep.points,
        images=[record.image for record in chosen],
        movable=movable[np.minimum(class_id, len(cache.taxonomy))],
        config=selection.config.visibility,
        image_quality=lambda _: 1.0,
        times=sweep.time,
    )
    colors = cache.taxonomy.color_table()[class_id]
    above = [
        _framed(_with_points(cache, view, class_id, colors), _title(cache, record))
        for view, record in zip(seen, chosen)
    ]
    below = [
        _framed(_scaled(cache.image(record.image), OTHER_WIDTH), _title(cache, record))
        for record in _examples(records)
    ]
    sheet = _stacked([_side_by_side(above), _side_by_side(below)])
    return with_legend(sheet, class_entries(cache.taxonomy, class_id[class_id != UNLABELLED]))


def _examples(records: Sequence[CandidateImage]) -> list[CandidateImage]:
    """Candidates that were not chosen: the first of each reason, then the next of each ..."""
    seen: Counter[str] = Counter()
    turns = []
    for number, record in enumerate(records):
        if record.reason != "chosen":
            turns.append((seen[record.reason], number, record))
            seen[record.reason] += 1
    return [record for _, _, record in sorted(turns, key=lambda turn: turn[:2])[:OTHERS]]


def _title(cache: Cache, record: CandidateImage) -> str:
    text = f"{cache.images[record.image].camera} {record.dt_s:+.2f} s: "
    text += f"no. {record.rank}" if record.reason == "chosen" else record.reason
    if record.gain is not None:
        text += f", gain {100 * record.gain:.1f} %"
    if record.covered is not None:
        text += f", {100 * record.covered:.0f} % seen so far"
    if record.duplicate_of is not None:
        row = cache.images[record.duplicate_of]
        text += f" of {(row.stamp_ns - cache.images[record.image].stamp_ns) / 1e9:+.1f} s"
    return text


def _with_points(cache: Cache, view: View, class_id: np.ndarray, colors: np.ndarray) -> np.ndarray:
    """The view's image, scaled, with the visible points that have a class."""
    picture = _scaled(cache.image(view.image), CHOSEN_WIDTH)
    shown = (view.quality > 0) & (class_id != UNLABELLED)
    scale = CHOSEN_WIDTH / cache.images[view.image].width
    column, row = np.floor((view.pixels[shown] + 0.5) * scale).astype(int).T
    picture[np.clip(row, 0, len(picture) - 1), np.clip(column, 0, CHOSEN_WIDTH - 1)] = colors[shown]
    return picture


def _scaled(image: np.ndarray, width: int) -> np.ndarray:
    height = max(1, round(image.shape[0] * width / image.shape[1]))
    return cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA)


def _framed(image: np.ndarray, title: str) -> np.ndarray:
    """The image below a line of text."""
    band = np.full((BAND, image.shape[1], 3), BACKGROUND, np.uint8)
    size = 0.5 if image.shape[1] == CHOSEN_WIDTH else 0.36
    cv2.putText(band, title, (4, 15), cv2.FONT_HERSHEY_SIMPLEX, size, (255,) * 3, 1, cv2.LINE_AA)
    return np.vstack([band, image])


def _side_by_side(images: Sequence[np.ndarray]) -> np.ndarray:
    height = max((len(image) for image in images), default=0)
    return np.hstack(
        [_padded(image, height, image.shape[1]) for image in images]
        or [np.empty((0, 0, 3), np.uint8)]
    )


def _stacked(rows: Sequence[np.ndarray]) -> np.ndarray:
    width = max(CHOSEN_WIDTH, *(row.shape[1] for row in rows))
    return np.vstack([_padded(row, max(1, len(row)), width) for row in rows])


def _padded(image: np.ndarray, height: int, width: int) -> np.ndarray:
    padded = np.full((height, width, 3), BACKGROUND, np.uint8)
    padded[: image.shape[0], : image.shape[1]] = image
    return padded
