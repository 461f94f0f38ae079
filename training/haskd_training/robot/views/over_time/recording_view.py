"""`haskd view --rerun`: recordings over time in Rerun's viewer, or as a file for it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import count
from pathlib import Path

from haskd_ros.errors import InputError
from haskd_ros.segmentation import DEFAULT_MODEL
from haskd_ros.segmenter import Segmenter
from haskd_ros.taxonomy import Taxonomy
from haskd_training.core.progress import Progress, no_progress
from haskd_training.core.run_folder import RESULT
from haskd_training.data.caches.cache import Cache
from haskd_training.data.caches.index import INDEX
from haskd_training.recordings.findings import Say, refuse, say_nothing
from haskd_training.robot.views.over_time.bag_sweeps import sweeps_of_bag
from haskd_training.robot.views.over_time.cache_sweeps import sweeps_of_caches
from haskd_training.robot.views.over_time.layout import LABELS
from haskd_training.robot.views.over_time.log import RerunLog, open_stream
from haskd_training.robot.views.over_time.sweeps import Labels, RecordedSweeps, SweepWithImages

PUBLISHED = "published"
"""Name of the labels that a node published."""

_MODEL = "model.safetensors"


@dataclass(frozen=True)
class Shown:
    """What went into a recording of Rerun.

    Attributes:
        clouds, images: how many.
        skipped: clouds and images that could not be shown, by reason.
        not_compared: models whose classes are not those of the labels.
    """

    clouds: int
    images: int
    skipped: Counter[str]
    not_compared: Sequence[str]


def view_recording(
    path: Path,
    models: Sequence[Path] = (),
    save: Path | None = None,
    *,
    topic: str | None = None,
    labels: str | None = None,
    clouds: str | None = None,
    every: int = 1,
    device: str = "auto",
    progress: Progress = no_progress,
    say: Say = say_nothing,
    strict: bool = False,
) -> Shown:
    """Show a bag, a cache or the folder of a run.

    Args:
        models: that label; by default those of a run, none for a cache with labels or a bag with
            published ones, and otherwise the model that ships.
        save: file to write; None: a viewer is opened.
        topic: of a bag's clouds.
        labels: label map for the labels in a bag.
        clouds: FIRST:LAST, of the clouds from 0; LAST is left out.
        every: every how many clouds.
        say: receives what the examination of a bag finds, before anything is shown.
        strict: refuse what it warns of.

    Raises:
        InputError: neither bag nor cache nor run, no such model or clouds, or as `open_stream`.
    """
    sweeps, defaults = _open(path, topic, labels)
    chosen = chosen_clouds(clouds, every, sweeps.count)
    named = named_models(models) or defaults
    segmenters = {name: Segmenter.load(file, device=device) for name, file in named.items()}
    findings = [*sweeps.findings]
    for segmenter in segmenters.values():
        findings += (f for f in sweeps.findings_of(segmenter) if f not in findings)
    for finding in findings:
        say(finding)
    refuse(findings, strict)
    taxonomies: dict[str, Taxonomy] = {
        name: segmenter.taxonomy for name, segmenter in segmenters.items()
    }
    if sweeps.published:
        classes = sweeps.published_taxonomy or _assumed_taxonomy(taxonomies)
        taxonomies = {PUBLISHED: classes, **taxonomies}
    if sweeps.taxonomy is not None:
        taxonomies[LABELS] = sweeps.taxonomy
    truth = sweeps.taxonomy
    shown = images = 0
    with open_stream(save) as stream:
        log = RerunLog(stream, sweeps.cameras, taxonomies)
        for sweep in sweeps.read(chosen):
            _log_sweep(log, sweep, segmenters)
            shown, images = shown + 1, images + len(sweep.images)
            progress(shown, len(chosen))
    return Shown(
        clouds=shown,
        images=images,
        skipped=sweeps.skipped,
        not_compared=[
            name
            for name, taxonomy in taxonomies.items()
            if truth is not None and taxonomy.names != truth.names
        ],
    )


def _log_sweep(log: RerunLog, sweep: SweepWithImages, segmenters: Mapping[str, Segmenter]) -> None:
    labellings: dict[str, Labels] = {}
    if sweep.published is not None:
        labellings[PUBLISHED] = sweep.published
    for name, segmenter in segmenters.items():
        labellings[name] = sweep.label(segmenter)
    log.sweep(sweep.number, sweep.row, sweep.points, labellings, sweep.truth)
    class_ids = {name: labels.class_id for name, labels in labellings.items()}
    if sweep.truth is not None:
        class_ids[LABELS] = sweep.truth
    for row, jpeg in sweep.images:
        log.image(row, jpeg, sweep.row, sweep.points, class_ids)


def _assumed_taxonomy(taxonomies: Mapping[str, Taxonomy]) -> Taxonomy:
    """Of published labels without classes: those of the first model, or of the one that ships."""
    return next(iter(taxonomies.values()), None) or Segmenter.load(DEFAULT_MODEL, "cpu").taxonomy


def _open(
    path: Path, topic: str | None, labels: str | None
) -> tuple[RecordedSweeps, Mapping[str, Path]]:
    """What a path holds, and the models that belong to it."""
    if (path / INDEX).is_file() or is_run(path):
        for option, given in (("--topic", topic), ("--labels", labels)):
            if given is not None:
                raise InputError(f"{option} is for bags; {path} is none")
    shipped = {DEFAULT_MODEL.stem: DEFAULT_MODEL}
    if (path / INDEX).is_file():
        sweeps = sweeps_of_caches([Cache.open(path)])
        return sweeps, shipped if sweeps.taxonomy is None else {}
    if is_run(path):
        return sweeps_of_caches(_caches_of_run(path)), _models_of_run(path)
    sweeps = sweeps_of_bag(path, topic, labels)
    return sweeps, {} if sweeps.published else shipped


def is_run(path: Path) -> bool:
    """Whether a folder is one of `haskd run`, finished or not."""
    return (path / "caches").is_dir() and (path / "stages").is_dir()


def _caches_of_run(path: Path) -> list[Cache]:
    """Of several caches of one recording the newest."""
    found = sorted((path / "caches").glob(f"*/{INDEX}"), key=lambda file: file.stat().st_mtime)
    newest = {Cache.open(file.parent).sweeps[0].recording: file.parent for file in found}
    if not newest:
        raise InputError(f"{path}: the run has no finished cache yet")
    return [Cache.open(folder) for _, folder in sorted(newest.items())]


def _models_of_run(path: Path) -> dict[str, Path]:
    """The model that the run made, and the newest that it trained on labels alone."""
    models = {}
    if (path / _MODEL).is_file():
        models["model"] = path / _MODEL
    baselines = sorted(
        (path / "stages").glob(f"baseline-*/{RESULT}"), key=lambda file: file.stat().st_mtime
    )
    if baselines:
        models["labels alone"] = baselines[-1].with_name(_MODEL)
    return models


def named_models(models: Sequence[Path]) -> dict[str, Path]:
    """Models by the end of their paths, as long as it takes to tell them apart.

    Raises:
        InputError: one is named twice.
    """
    paths = [model.resolve() for model in models]
    if len(set(paths)) < len(paths):
        raise InputError("a model is named twice; name each --model once")
    for length in count(1):
        names = ["/".join(path.with_suffix("").parts[-length:]) for path in paths]
        if len(set(names)) == len(names):
            break
    return dict(zip(names, models))


def chosen_clouds(clouds: str | None, every: int, total: int) -> range:
    """Numbers of the clouds to be shown.

    Args:
        clouds: FIRST:LAST, either may be missing; LAST is left out.
        total: clouds that there are.

    Raises:
        InputError: not of that form, or no cloud is left.
    """
    first, colon, last = (clouds or ":").partition(":")
    if not colon or not all(part.isdecimal() for part in (first, last) if part):
        raise InputError(f"--clouds {clouds}: must be FIRST:LAST, such as 0:100, 50: or :20")
    if every < 1:
        raise InputError(f"--every {every}: must be 1 or more")
    chosen = range(int(first or 0), min(int(last or total), total), every)
    if not chosen:
        raise InputError(f"no cloud to show: there are {total}, counted from 0")
    return chosen
