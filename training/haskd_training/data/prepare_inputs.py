"""What a cache is made from: recordings, labels and settings, looked at before it is written."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from pydantic import Field, PositiveFloat

from haskd_ros.errors import InputError
from haskd_ros.taxonomy import LabelMap
from haskd_training.core.progress import Progress, no_progress
from haskd_training.data.cache import FORMAT, INDEX, REPORT, Cache
from haskd_training.data.examination.examination import Examination
from haskd_training.data.examination.examine import examine
from haskd_training.data.prepare_report import PrepareReport
from haskd_training.data.shards import SHARD_BYTES
from haskd_training.recordings.findings import Finding
from haskd_training.recordings.labels import (
    LabelSource,
    check_folders,
    label_source,
    load_label_map,
)
from haskd_training.recordings.readers.bag import STORAGE_SUFFIXES, bag_files, check_is_bag
from haskd_training.recordings.recording import RecordingConfig

UNLABELLED_MAP = "simulation"
"""The label map whose classes a cache without labels gets."""

_DIGEST_BYTES = 64 * 1024


class PrepareConfig(RecordingConfig):
    """Settings of `prepare`; part of a cache's fingerprint."""

    label_field: str | None = Field(
        None, description="cloud field with raw ids; overrides the map's"
    )
    label_folder: Path | None = Field(
        None, description="folder of .label files; overrides the map's"
    )
    intensity_scale: Literal["auto"] | PositiveFloat = Field(
        "auto", description="intensity / scale = 0..1; auto: 1, 255 or 65535 by the first clouds"
    )
    jpeg_quality: int = Field(92, ge=1, le=100, description="for images that aren't JPEG yet")
    overlays: int = Field(
        6, ge=0, description="images with points drawn over them, to check the camera calibration"
    )
    shard_bytes: int = Field(SHARD_BYTES, gt=0, description="size at which a shard is written")


@dataclass(frozen=True)
class Inputs:
    """What a cache is made from.

    Attributes:
        out: folder of the cache.
        label_map: its classes; `labelled`: whether it names the labels, too.
        sources: of labels, one a recording.
        examinations: of the recordings; empty where the cache is finished.
        finished: the report of the cache where it is finished.
    """

    out: Path
    config: PrepareConfig
    label_map: LabelMap
    labelled: bool
    sources: list[LabelSource]
    fingerprint: str
    examinations: list[Examination]
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
    out: Path,
    config: PrepareConfig,
    progress: Progress = no_progress,
) -> Inputs:
    """Examine recordings, unless `out` is a finished cache of them.

    Args:
        bags, labels, out: as of `prepare`.
        progress: counts messages, of each recording from 0.

    Raises:
        InputError: anything wrong with the input.
    """
    if not bags:
        raise InputError("no bag given")
    label_map = _label_map(labels, config)
    names = _recording_names(bags)
    if labels is not None:
        check_folders(label_map, names)
    for bag in bags:
        check_is_bag(bag)
    sources = [label_source(None if labels is None else label_map, name) for name in names]
    fingerprint = _fingerprint(dict(zip(names, bags, strict=True)), sources, label_map, config)
    finished = _finished(out, fingerprint) if (out / INDEX).exists() else None
    return Inputs(
        out=out,
        config=config,
        label_map=label_map,
        labelled=labels is not None,
        sources=sources,
        fingerprint=fingerprint,
        examinations=[]
        if finished
        else [examine(bag, name, config, progress) for bag, name in zip(bags, names, strict=True)],
        finished=finished,
    )


def _finished(out: Path, fingerprint: str) -> PrepareReport:
    """The report of a finished cache."""
    if Cache.open(out).fingerprint != fingerprint:
        raise InputError(
            f"{out} holds a cache of other bags, labels or settings; "
            "delete it or choose another folder"
        )
    try:
        report = PrepareReport.from_json(json.loads((out / REPORT).read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise InputError(f"{out / REPORT} is damaged: {error}; delete the folder") from error
    return replace(report, up_to_date=True)


def check_labels(bags: Sequence[Path], labels: Path | str | None, config: PrepareConfig) -> None:
    """Check that recordings that are prepared one by one have their own labels.

    Raises:
        InputError: as of `labels.check_folders`.
    """
    check_folders(_label_map(labels, config), [_recording_name(bag) for bag in bags])


def _label_map(labels: Path | str | None, config: PrepareConfig) -> LabelMap:
    """The map, with the label field or folder that the configuration names."""
    label_map = load_label_map(UNLABELLED_MAP if labels is None else labels)
    if config.label_field is not None:
        label_map = replace(label_map, field=config.label_field, folder=None)
    if config.label_folder is not None:
        label_map = replace(label_map, folder=str(config.label_folder))
    return label_map


def _recording_name(bag: Path) -> str:
    return bag.stem if bag.suffix in STORAGE_SUFFIXES else bag.name


def _recording_names(bags: Sequence[Path]) -> list[str]:
    """Name of each bag; later bags of the same name get a number."""
    names: list[str] = []
    for stem in map(_recording_name, bags):
        alike = sum(name == stem or name.rpartition("~")[0] == stem for name in names)
        names.append(f"{stem}~{alike + 1}" if alike else stem)
    return names


def _fingerprint(
    recordings: Mapping[str, Path],
    sources: list[LabelSource],
    label_map: LabelMap,
    config: PrepareConfig,
) -> str:
    """Digest of all inputs of a cache, so that two inputs never mix in one."""
    content = {
        "format": FORMAT,
        "bags": [
            [name, [_file_digest(file) for file in bag_files(path)]]
            for name, path in recordings.items()
        ],
        "labels": [[type(source).__name__, *source.identity()] for source in sources],
        "label_map": [label_map.taxonomy.to_json(), label_map.ids, label_map.ignored],
        "config": config.model_dump(mode="json", exclude={"label_folder", "overlays"}),
    }
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def _file_digest(path: Path) -> list[str | int]:
    """Name, size, and hash of the first and last bytes: a bag may have hundreds of gigabytes."""
    size = path.stat().st_size
    with open(path, "rb") as file:
        head = file.read(_DIGEST_BYTES)
        file.seek(max(0, size - _DIGEST_BYTES))
        tail = file.read()
    return [path.name, size, hashlib.sha256(head + tail).hexdigest()]
