"""What a cache is made from: recordings, labels and settings, looked at before it is written."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Literal, get_args

from pydantic import BaseModel, ConfigDict, Field

from haskd_ros.channels import RecordedChannel
from haskd_ros.errors import InputError
from haskd_ros.model_header import FullReturn
from haskd_ros.taxonomy import LabelMap, Taxonomy
from haskd_ros.text import shown
from haskd_training.core.checked_json import from_text
from haskd_training.core.file_digests import FileDigests
from haskd_training.core.progress import Progress, no_progress
from haskd_training.core.storage.files import names_in, read_file
from haskd_training.core.storage.location import Location
from haskd_training.core.storage.outgoing import written_in
from haskd_training.data.caches.cache import Cache
from haskd_training.data.caches.index import INDEX, INPUTS, REPORT, is_cache
from haskd_training.data.caches.shards import SHARD_BYTES
from haskd_training.data.preparing.examination.examination import Examination
from haskd_training.data.preparing.examination.examine import examine
from haskd_training.data.preparing.fingerprint import fingerprint
from haskd_training.data.preparing.report import PrepareReport
from haskd_training.recordings.findings import Finding
from haskd_training.recordings.label_names import CloudTime
from haskd_training.recordings.labels import (
    LabelSource,
    check_folders,
    cloud_times,
    label_source,
    load_label_map,
)
from haskd_training.recordings.readers.bag import POINT_CLOUD, choose_topic, open_bag
from haskd_training.recordings.readers.container import STORAGE_SUFFIXES, check_is_bag
from haskd_training.recordings.recording import RecordingConfig

UNLABELLED_MAP = "simulation"
"""The label map whose classes a cache without labels gets."""


class CacheConfig(BaseModel):
    """Settings of every cache."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    jpeg_quality: int = Field(92, ge=1, le=100, description="for images that aren't JPEG yet")
    overlays: int = Field(
        6, ge=0, description="images with points drawn over them, to check the camera calibration"
    )
    channels: tuple[RecordedChannel, ...] = Field(
        get_args(RecordedChannel),
        description="what is kept of the points beside place and intensity, where they have it",
    )
    shard_bytes: int = Field(SHARD_BYTES, gt=0, description="size at which a shard is written")


class PrepareConfig(RecordingConfig, CacheConfig):
    """Settings of `prepare`; part of a cache's fingerprint."""

    label_field: str | None = Field(
        None, description="cloud field with raw ids; overrides the map's"
    )
    label_folder: Path | None = Field(
        None, description="folder of label files; overrides the map's"
    )
    intensity_scale: Literal["auto"] | FullReturn = Field(
        "auto",
        description="intensity of a full return; auto: 255 for a field of uint8, else 1, 255 or "
        "65535 by all clouds of the recording",
    )


@dataclass(frozen=True)
class Inputs:
    """What a cache is made from.

    Attributes:
        out: folder of the cache, or URL.
        folder: in which it is written.
        label_map: its classes; `labelled`: whether it names the labels, too.
        sources: of labels, one a recording.
        examinations: of the recordings; empty where the cache is finished.
        finished: the report of the cache where it is finished.
        digests: of the recordings' and labels' files.
    """

    out: Location
    folder: Path
    config: PrepareConfig
    label_map: LabelMap
    labelled: bool
    sources: list[LabelSource]
    fingerprint: str
    examinations: list[Examination]
    digests: FileDigests
    finished: PrepareReport | None = None

    @property
    def findings(self) -> list[Finding]:
        """Of all recordings; those of a finished cache as they were when it was made."""
        if self.finished is not None:
            return self.finished.findings
        return [finding for one in self.examinations for finding in one.findings]


def read_inputs(
    bags: Sequence[Path],
    labels: Path | str | None,
    out: Location,
    config: PrepareConfig,
    progress: Progress = no_progress,
) -> Inputs:
    """Examine recordings, unless `out` is a finished cache of them.

    Args:
        bags, labels, out: as of `prepare`.
        progress: counts pieces of files where much of them has to be read to tell whether `out` is
            of them, then messages, of each recording from 0.

    Raises:
        InputError: anything wrong with the input.
    """
    recordings, label_map, sources = _sources(bags, labels, config)
    settings = config.model_dump(mode="json", exclude={"label_folder", "overlays"})
    folder = written_in(out)
    digests = FileDigests(folder / INPUTS)
    digest = fingerprint(recordings, sources, label_map, settings, digests, progress)
    finished = finished_report(out, digest)
    taxonomy = None if labels is None else label_map.taxonomy
    return Inputs(
        out=out,
        folder=folder,
        config=config,
        label_map=label_map,
        labelled=labels is not None,
        sources=sources,
        fingerprint=digest,
        examinations=[] if finished else _examined(recordings, taxonomy, sources, config, progress),
        digests=digests,
        finished=finished,
    )


def examine_bags(
    bags: Sequence[Path],
    labels: Path | str | None,
    config: PrepareConfig,
    progress: Progress = no_progress,
) -> list[Examination]:
    """Examine recordings, with their labels where a label map is given.

    Raises:
        InputError: anything wrong with the input.
    """
    recordings, label_map, sources = _sources(bags, labels, config)
    taxonomy = None if labels is None else label_map.taxonomy
    return _examined(recordings, taxonomy, sources, config, progress)


def _examined(
    recordings: dict[str, Path],
    taxonomy: Taxonomy | None,
    sources: Sequence[LabelSource],
    config: PrepareConfig,
    progress: Progress,
) -> list[Examination]:
    scale = 0.0 if config.intensity_scale == "auto" else config.intensity_scale
    return [
        examine(
            bag,
            name,
            config,
            None if taxonomy is None else (taxonomy, source),
            progress,
            intensity_scale=scale,
        )
        for (name, bag), source in zip(recordings.items(), sources, strict=True)
    ]


def _sources(
    bags: Sequence[Path], labels: Path | str | None, config: PrepareConfig
) -> tuple[dict[str, Path], LabelMap, list[LabelSource]]:
    """Bags by name, the label map, and where the labels of each bag come from."""
    if not bags:
        raise InputError("no bag given")
    label_map = _label_map(labels, config)
    recordings = dict(zip(_recording_names(bags), bags, strict=True))
    for bag in bags:
        check_is_bag(bag)
    clouds = {name: partial(_cloud_times, bag, config) for name, bag in recordings.items()}
    if labels is not None:
        check_folders(label_map, list(clouds.items()))
    sources = [
        label_source(None if labels is None else label_map, name, times)
        for name, times in clouds.items()
    ]
    return recordings, label_map, sources


def finished_report(out: Location, fingerprint: str) -> PrepareReport | None:
    """The report of a cache that is finished already; None where it isn't, or shards of it were
    deleted. One for a store may be finished but still here.

    Raises:
        InputError: it is of other inputs, or damaged.
    """
    for place in dict.fromkeys((out, written_in(out))):
        if not is_cache(place):
            continue
        cache = Cache.read_index(place)
        if cache.fingerprint != fingerprint:
            raise InputError(
                f"{place} holds a cache of other bags, labels or settings, or these have changed; "
                "delete it or choose another folder"
            )
        if cache.shards <= names_in(place):
            return replace(read_report(cache), cache=str(out), up_to_date=True)
    return None


def read_report(cache: Cache) -> PrepareReport:
    """The report of a finished cache.

    Raises:
        InputError: it is missing, damaged, or of another cache.
    """
    path = cache.path / REPORT
    remedy = f"delete {INDEX} beside it and prepare the cache again, which keeps its shards"
    try:
        document = from_text(read_file(path))
    except InputError:
        raise
    except (OSError, ValueError) as error:
        raise InputError(f"{path} is missing or damaged: {shown(error)}; {remedy}") from error
    if document.pop("fingerprint", None) != cache.fingerprint:
        raise InputError(f"{path} is of another cache; {remedy}")
    try:
        return PrepareReport.from_json(document)
    except (TypeError, KeyError) as error:
        raise InputError(f"{path} is of another version; {remedy}") from error


def check_labels(bags: Sequence[Path], labels: Path | str | None, config: PrepareConfig) -> None:
    """Check that recordings that are prepared one by one have their own labels.

    Raises:
        InputError: as of `labels.check_folders`.
    """
    check_folders(
        _label_map(labels, config),
        [(recording_name(bag), partial(_cloud_times, bag, config)) for bag in bags],
    )


def _cloud_times(path: Path, config: RecordingConfig) -> list[CloudTime]:
    with open_bag(path) as bag:
        topic = choose_topic(bag, POINT_CLOUD, config.points_topic, "points_topic")
    return cloud_times(path, topic)


def _label_map(labels: Path | str | None, config: PrepareConfig) -> LabelMap:
    """The map, with the label field or folder that the configuration names."""
    label_map = load_label_map(UNLABELLED_MAP if labels is None else labels)
    if config.label_field is not None:
        label_map = replace(label_map, field=config.label_field, folder=None)
    if config.label_folder is not None:
        label_map = replace(label_map, folder=str(config.label_folder))
    return label_map


def recording_name(bag: Location) -> str:
    """What a bag is called in a cache, and its own folder of labels."""
    is_file = isinstance(bag, Path) and bag.suffix in STORAGE_SUFFIXES
    return Path(bag.name).stem if is_file else bag.name


def _recording_names(bags: Sequence[Path]) -> list[str]:
    """Name of each bag; later bags of the same name get a number."""
    names: list[str] = []
    for stem in map(recording_name, bags):
        alike = sum(name == stem or name.rpartition("~")[0] == stem for name in names)
        names.append(f"{stem}~{alike + 1}" if alike else stem)
    return names
