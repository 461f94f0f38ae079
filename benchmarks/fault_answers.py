"""The right answers to recordings with a fault, worked out by hand, for `faults.py`.

The yard of these recordings: ground, a wall at x = 12 m, a box at x = 8 m, y = 2 m, 2,928 points a
cloud, LiDAR 2 m above base_link; the camera has 200 x 120 px, a focal length of 150 px and its
centre at (100, 60).
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from haskd_ros.clouds.pointcloud import read_points
from haskd_ros.errors import InputError
from haskd_ros.segmenter import DEFAULT_MODEL
from haskd_training.core.progress import silent
from haskd_training.core.settings import load_settings
from haskd_training.data.cache import Cache
from haskd_training.data.examination.examine import examine_clouds
from haskd_training.data.prepare import prepare
from haskd_training.data.prepare_inputs import PrepareConfig, examine_bags
from haskd_training.data.prepare_report import PrepareReport
from haskd_training.data.projection import project
from haskd_training.experiments.inspection import RunPlan, run_plan
from haskd_training.experiments.run import RunConfig, run
from haskd_training.pipeline.config import MethodConfig
from haskd_training.recordings.readers.bag import open_bag
from haskd_training.robot.segment_bag import SEGMENTATION, parse, segment_bag

SEEN = 0.7292
"""Share of the yard's points that its camera sees: 2,135 of 2,928."""

BOX = ["crop.frame=lidar", "crop.min=[0, -6, -3]", "crop.max=[10, 6, 3]"]


@dataclass
class Today:
    """What comes of an input.

    Attributes:
        answer: it, in words.
        is_right: whether the values are those of the right answer.
        said: codes of the findings, or words of the refusal.
    """

    answer: str
    is_right: bool
    said: set[str] = field(default_factory=set)


@dataclass(frozen=True)
class Answer:
    """The right answer to an input.

    Attributes:
        right: in words.
        today: works out what comes of the input in its folder.
        must_say: codes of findings without which data would be changed or lost without a word.
    """

    right: str
    today: Callable[[Path], Today]
    must_say: tuple[str, ...] = ()


@dataclass(frozen=True)
class Prepared:
    report: PrepareReport
    cache: Cache

    @property
    def codes(self) -> set[str]:
        return {finding.code for finding in self.report.findings}


@contextmanager
def prepared(bag: Path, labels: str = "labels.yaml"):
    """A bag's cache, for as long as it is looked at."""
    with tempfile.TemporaryDirectory() as scratch:
        out = Path(scratch) / "cache"
        report = prepare([bag], bag.parent / labels, out, PrepareConfig(overlays=0))
        yield Prepared(report, Cache.open(out))


def planned(bag: Path, labels: str = "labels.yaml") -> RunPlan:
    """What `haskd run` would do with a bag."""
    examined = examine_bags([bag], bag.parent / labels, PrepareConfig())
    return run_plan(examined, MethodConfig())


def of_cache(
    sweeps: int, images: int | None = None, seen: float | None = SEEN, bag: str = "bag",
    labels: str = "labels.yaml", further: Callable[[Prepared], str] = lambda found: "",
) -> Callable[[Path], Today]:  # fmt: skip
    """Counts of sweeps and images in the cache, the share of points seen, and what `further` finds
    to be wrong with it."""

    def today(folder: Path) -> Today:
        with prepared(folder / bag, labels) as found:
            report = found.report
            wrong = further(found)
            is_right = report.sweeps == sweeps and not wrong
            if images is not None:
                is_right &= report.images == images
            if seen is not None:
                is_right &= abs((report.seen_share or 0) - seen) < 0.02
            answer = f"{report.sweeps} sweeps, {report.images} images, "
            answer += "nothing seen" if not report.seen_share else f"{report.seen_share:.1%} seen"
            return Today(f"{answer}{'; ' * bool(wrong)}{wrong}", is_right, found.codes)

    return today


def refused(*words: str, bag: str = "bag") -> Callable[[Path], Today]:
    """One line of refusal that holds some words, when the bag is prepared."""

    def today(folder: Path) -> Today:
        try:
            with prepared(folder / bag) as found:
                report = found.report
                return Today(f"{report.sweeps} sweeps, {report.images} images", False, found.codes)
        except InputError as error:
            return _refusal(error, words)

    return today


def run_stops(*words: str, bag: str = "bag") -> Callable[[Path], Today]:
    """`haskd run` ends before any training, with some words."""

    def today(folder: Path) -> Today:
        config = load_settings(RunConfig, None, ["student.loop.epochs=1"])
        with tempfile.TemporaryDirectory() as scratch:
            out = Path(scratch)
            try:
                run([folder / bag], out, str(folder / "labels.yaml"), config, silent)
            except InputError as error:
                trained = list(out.glob("stages/*"))
                told = _refusal(error, words)
                if trained:
                    return Today("stopped after training", False, told.said)
                return told
        return Today("ran to its end", False)

    return today


def _refusal(error: InputError, words: tuple[str, ...]) -> Today:
    text = str(error)
    return Today(f"refused: {text}", all(word in text for word in words), {text})


def both(*parts: Callable[[Path], Today]) -> Callable[[Path], Today]:
    """All of several answers."""

    def today(folder: Path) -> Today:
        found = [part(folder) for part in parts]
        return Today(
            " | ".join(one.answer for one in found),
            all(one.is_right for one in found),
            set().union(*(one.said for one in found)),
        )

    return today


def segmented(
    labelled: int | None = None, assignments: list[str] | None = None, like: str | None = None
) -> Callable[[Path], Today]:
    """How many clouds `haskd segment` labels, or that it labels as many points as in another
    input."""

    def today(folder: Path) -> Today:
        clouds, points, said = _segment(folder / "bag", assignments or [])
        if like is None:
            return Today(f"{clouds} clouds labelled", clouds == labelled, said)
        _, others, _ = _segment(folder.parent / like / "bag", assignments or [])
        answer = f"{points:,} points labelled, {others:,} in {like}"
        return Today(answer, points == others > 0, said)

    return today


def _segment(bag: Path, assignments: list[str]) -> tuple[int, int, set[str]]:
    with tempfile.TemporaryDirectory() as scratch:
        out = Path(scratch) / "out"
        found = segment_bag(DEFAULT_MODEL, bag, out, None, "cpu", parse(assignments))
        points = 0
        with open_bag(out) as written:
            for _, cloud in written.messages([SEGMENTATION]):
                points += int((read_points(cloud, ["class_id"])["class_id"] != 255).sum())
    said = {finding.code for finding in examine_clouds(bag, None).findings}
    return found.labelled, points, said | set(found.rejected)


def plans(train: int | None = None, images: int | None = None, bag: str = "bag"):
    """What `haskd run` would do: sweeps to train on, images that teach, and no reason to stop."""

    def today(folder: Path) -> Today:
        plan = planned(folder / bag)
        teaching = sum(sum(cameras.values()) for cameras in plan.teaching_images.values())
        answer = f"{plan.sweeps.get('train')} sweeps to train, {teaching} images teach"
        if plan.stops is not None:
            return Today(f"would stop: {plan.stops}", False, {plan.stops})
        is_right = (train is None or plan.sweeps["train"] == train) and (
            images is None or teaching == images
        )
        return Today(answer, is_right)

    return today


# What is looked at in a cache; each gives what is wrong.


def pixel_of(camera: str, point: tuple, pixel: tuple, image: int = 0):
    """Where a point of the first sweep lies in an image of a camera."""

    def wrong(found: Prepared) -> str:
        cache = found.cache
        rows = [j for j, row in enumerate(cache.images) if row.camera == camera]
        if not rows:
            return f"no images of {camera}"
        j = rows[image]
        near = min(
            range(len(cache)),
            key=lambda i: abs(cache.sweeps[i].stamp_ns - cache.images[j].stamp_ns),
        )
        # At the image's own time the vehicle is 5 m/s x 20 ms = 0.1 m further.
        at = np.array([[point[0] + 0.1, *point[1:]]])
        u, v = project(at, cache.t_camera_lidar(j, near), cache.images[j].camera_model).pixels[0]
        if np.hypot(u - pixel[0], v - pixel[1]) < 0.5:
            return ""
        return f"{point} at pixel ({u:.0f}, {v:.0f})"

    return wrong


def focal_lengths(expected: dict[float, int]):
    def wrong(found: Prepared) -> str:
        values, counts = np.unique([row.K[0][0] for row in found.cache.images], return_counts=True)
        there = dict(zip(values.tolist(), counts.tolist()))
        return "" if there == expected else f"focal lengths {there}"

    return wrong


def rear_lidar(found: Prepared) -> str:
    """The rear LiDAR is at (-3, 0, 2) of base_link, which is at x = 0.5 m in the second sweep."""
    T = np.array(found.cache.sweeps[1].T_world_lidar)
    if np.allclose(T[:3, 3], (-2.5, 0, 2)) and np.allclose(T[:3, 0], (-1, 0, 0)):
        return ""
    return f"rear LiDAR at {T[:3, 3].round(2).tolist()}, facing {T[:3, 0].round(2).tolist()}"


def times(found: Prepared) -> str:
    time = found.cache.sweep(5).time
    if abs(float(time.min())) < 1e-4 and abs(float(time.max()) - 0.099) < 1e-4:
        return ""
    return f"times {float(time.min()):.3g} to {float(time.max()):.3g} s"


def red_box(found: Prepared) -> str:
    """A red box of (220 30 30), with noise of 25 and JPEG between it and the picture."""
    colour = found.cache.image(0)[70:92, 64:86].reshape(-1, 3).astype(float).mean(0)
    return "" if np.abs(colour - (220, 30, 30)).max() < 15 else f"box {colour.round().tolist()}"


def no_intensity(found: Prepared) -> str:
    scale = found.cache.sweeps[0].intensity_scale
    return "" if scale is None else f"intensity of scale {scale}"


def labelled_points(expected: int):
    def wrong(found: Prepared) -> str:
        points = sum(sum(row.class_counts) for row in found.cache.sweeps)
        return "" if points == expected else f"{points:,} labelled points"

    return wrong


def only_first_pass(found: Prepared) -> str:
    far = sum(abs(row.T_world_lidar[1][3]) > 1 for row in found.cache.sweeps if row.T_world_lidar)
    rows = found.cache.sweeps
    last = max(row.stamp_ns for row in rows) - min(row.stamp_ns for row in rows)
    return "" if not far and last == 1_900_000_000 else "sweeps of the second pass"


def as_in_control(folder: Path) -> Today:
    """Intensity of a drive whose sensor was dark at first, as without that."""
    with prepared(folder / "bag") as dark, prepared(folder / "control_bag") as bright:
        last = (dark.cache.sweep(39).points[:, 3], bright.cache.sweep(39).points[:, 3])
        top = float(last[0].max())
        return Today(
            f"up to {top:.2f} of a full return",
            bool(np.array_equal(*last)) and top > 0.9,
            dark.codes,
        )


def precise(folder: Path) -> Today:
    """Coordinates of a segmented cloud in UTM, as they were recorded."""
    with tempfile.TemporaryDirectory() as scratch:
        out = Path(scratch) / "out"
        segment_bag(DEFAULT_MODEL, folder / "bag", out, None, "cpu")
        with open_bag(folder / "bag") as bag, open_bag(out) as written:
            before = next(iter(bag.messages(["/points"])))[1]
            after = next(iter(written.messages([SEGMENTATION])))[1]
        one, other = (read_points(cloud, ["y"])["y"] for cloud in (before, after))
    said = {finding.code for finding in examine_clouds(folder / "bag", None).findings}
    return Today(f"y {one[0]!r} comes out as {other[0]!r}", bool(np.array_equal(one, other)), said)
