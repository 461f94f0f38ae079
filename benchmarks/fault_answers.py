"""What comes of recordings with a fault, for `faults.py`: of preparing, planning, running and
segmenting them.

The yard of these recordings: ground, a wall at x = 12 m, a box at x = 8 m, y = 2 m, 2,928 points a
cloud, LiDAR 2 m above base_link; the camera has 200 x 120 px, a focal length of 150 px and its
centre at (100, 60).
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from haskd_ros.clouds.pointcloud import read_points
from haskd_ros.errors import InputError
from haskd_ros.segmentation import DEFAULT_MODEL
from haskd_ros.taxonomy import UNLABELLED
from haskd_training.core.progress import silent
from haskd_training.core.settings import load_settings
from haskd_training.data.caches.cache import Cache
from haskd_training.data.preparing.inputs import PrepareConfig, examine_bags
from haskd_training.data.preparing.prepare import prepare
from haskd_training.data.preparing.report import PrepareReport
from haskd_training.experiments.inspection import run_plan
from haskd_training.experiments.run import RunConfig, run
from haskd_training.pipeline.config import MethodConfig
from haskd_training.recordings.findings import Finding
from haskd_training.recordings.readers.bag import open_bag
from haskd_training.robot.offline.segment_bag import SEGMENTATION, SegmentedBag, parse, segment_bag

SEEN = 0.7292
"""Share of the yard's points that its camera sees: 2,135 of 2,928."""

WARNINGS = ("doubtful ", "left out ")


@dataclass
class Today:
    """What comes of an input.

    Attributes:
        answer: it, in words.
        is_right: whether the values are those of the right answer.
        said: a line for each finding, with its outcome and code first; and the refusal.
    """

    answer: str
    is_right: bool
    said: list[str] = field(default_factory=list)

    @property
    def warnings(self) -> list[str]:
        return [line for line in self.said if line.startswith(WARNINGS)]


@dataclass(frozen=True)
class Answer:
    """The right answer to an input.

    Attributes:
        right: in words.
        today: works out what comes of the input in its folder.
        must_say: words that have to stand together in one line each, by a finding's code and
            numbers, without which data would be changed or lost without a word. `NOTHING`: nothing
            is wrong with the input, and a warning would be a false alarm.
    """

    right: str
    today: Callable[[Path], Today]
    must_say: tuple[tuple[str, ...], ...]

    def unsaid(self, today: Today) -> list[tuple[str, ...]]:
        """What has to be said and isn't."""
        return [
            words
            for words in self.must_say
            if not any(all(word in line for word in words) for line in today.said)
        ]


NOTHING: tuple[tuple[str, ...], ...] = ()


def lines(findings: Iterable[Finding]) -> list[str]:
    """Findings as a user reads them, with their codes."""
    return [f"{finding.outcome} {finding.code}: {finding}" for finding in findings]


@dataclass(frozen=True)
class Prepared:
    report: PrepareReport
    cache: Cache

    @property
    def said(self) -> list[str]:
        return lines(self.report.findings)


@contextmanager
def prepared(bag: Path, labels: str = "labels.yaml") -> Iterator[Prepared]:
    """A bag's cache, for as long as it is looked at."""
    with tempfile.TemporaryDirectory() as scratch:
        out = Path(scratch) / "cache"
        report = prepare([bag], bag.parent / labels, out, PrepareConfig(overlays=0))
        yield Prepared(report, Cache.open(out))


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
            return Today(f"{answer}{'; ' * bool(wrong)}{wrong}", is_right, found.said)

    return today


def refused(*words: str, bag: str = "bag") -> Callable[[Path], Today]:
    """One line of refusal that holds some words, when the bag is prepared."""

    def today(folder: Path) -> Today:
        try:
            with prepared(folder / bag) as found:
                report = found.report
                return Today(f"{report.sweeps} sweeps, {report.images} images", False, found.said)
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
    is_right = all(word in text for word in words) and "\n" not in text
    return Today(f"refused: {text}", is_right, [text])


def both(*parts: Callable[[Path], Today]) -> Callable[[Path], Today]:
    """All of several answers."""

    def today(folder: Path) -> Today:
        found = [part(folder) for part in parts]
        return Today(
            " | ".join(one.answer for one in found),
            all(one.is_right for one in found),
            [line for one in found for line in one.said],
        )

    return today


def segmented(
    clouds: int, points: int | None = None, assignments: list[str] | None = None
) -> Callable[[Path], Today]:
    """How many clouds `haskd segment` labels, and how many points of each."""

    def today(folder: Path) -> Today:
        found = segment(folder / "bag", assignments or [])
        counts = sorted({int((labels != UNLABELLED).sum()) for labels in found.labels})
        answer = f"{found.result.labelled} clouds labelled"
        is_right = found.result.labelled == clouds
        if points is not None:
            answer += f", {', '.join(f'{count:,}' for count in counts)} points of each"
            is_right &= counts == [points]
        return Today(answer, is_right, found.said)

    return today


@dataclass(frozen=True)
class Segmented:
    """A bag that `haskd segment` made.

    Attributes:
        labels: class ids of each labelled cloud.
        y: of its points, as they come out.
    """

    result: SegmentedBag
    labels: list[np.ndarray]
    y: list[np.ndarray]

    @property
    def said(self) -> list[str]:
        # The yard is in fact unlike the streets that the shipped model was trained on.
        findings = [f for f in self.result.findings if f.code != "sensor-unlike-training"]
        return [*lines(findings), *self.result.rejected]


def segment(bag: Path, assignments: Sequence[str] = ()) -> Segmented:
    """A bag labelled by the shipped model."""
    with tempfile.TemporaryDirectory() as scratch:
        out = Path(scratch) / "out"
        result = segment_bag(DEFAULT_MODEL, bag, out, None, "cpu", parse(assignments))
        with open_bag(out) as written:
            clouds = [
                read_points(cloud, ["y", "class_id"])
                for _, cloud in written.messages([SEGMENTATION])
            ]
    return Segmented(result, [c["class_id"] for c in clouds], [c["y"] for c in clouds])


def plans(train: int | None = None, images: int | None = None, bag: str = "bag"):
    """What `haskd run` would do: sweeps to train on, images that teach, and no reason to stop."""

    def today(folder: Path) -> Today:
        examined = examine_bags([folder / bag], folder / "labels.yaml", PrepareConfig())
        plan = run_plan(examined, MethodConfig())
        said = lines(finding for one in examined for finding in one.findings)
        teaching = sum(sum(cameras.values()) for cameras in plan.teaching_images.values())
        answer = f"{plan.sweeps.get('train')} sweeps to train, {teaching} images teach"
        if plan.stops is not None:
            return Today(f"would stop: {plan.stops}", False, [*said, plan.stops])
        is_right = (train is None or plan.sweeps["train"] == train) and (
            images is None or teaching == images
        )
        return Today(answer, is_right, said)

    return today
