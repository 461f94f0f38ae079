"""What identifies the inputs of a cache."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from haskd_ros.taxonomy import LabelMap
from haskd_training.core.file_digests import FileDigests
from haskd_training.core.progress import Progress, no_progress
from haskd_training.data.caches.index import FORMAT
from haskd_training.data.readers.interface import Drive
from haskd_training.recordings.labels import LabelSource
from haskd_training.recordings.readers.bag import bag_files


def fingerprint(
    recordings: Mapping[str, Path],
    sources: Sequence[LabelSource],
    label_map: LabelMap,
    settings: dict[str, Any],
    digests: FileDigests,
    progress: Progress = no_progress,
) -> str:
    """Digest of all inputs of a cache, so that two inputs never mix in one.

    Args:
        recordings: bags by name.
        sources: of their labels.
        settings: those that change what is in it, in JSON values.
        digests: of the recordings' and the labels' files.
        progress: as of `FileDigests.of`.

    Raises:
        InputError: a file can't be read, or changes while it is.
    """
    of_bags = {name: bag_files(path) for name, path in recordings.items()}
    of_labels = [source.files() for source in sources]
    files = [file for each in (*of_bags.values(), *of_labels) for file in each]
    digest = dict(zip(files, digests.of(files, progress), strict=True))
    inputs = {
        "bags": [
            [name, [[os.path.relpath(file, recordings[name]), digest[file]] for file in each]]
            for name, each in of_bags.items()
        ],
        "labels": [
            [
                type(source).__name__,
                *source.identity(),
                [[file.name, digest[file]] for file in each],
            ]
            for source, each in zip(sources, of_labels, strict=True)
        ],
    }
    return _digest(inputs, label_map, settings)


def dataset_fingerprint(
    reader: str,
    drives: Sequence[Drive],
    label_map: LabelMap,
    settings: dict[str, Any],
    digests: FileDigests,
    progress: Progress = no_progress,
) -> str:
    """The same of drives of a public data set, wherever it lies; raises as `fingerprint` does.

    Args:
        reader: its name.
    """
    files = [file for drive in drives for file in drive.files]
    digest = dict(zip(files, digests.of(files, progress), strict=True))
    inputs = {
        "reader": reader,
        "drives": [
            [drive.name, [["/".join(file.parts[-2:]), digest[file]] for file in drive.files]]
            for drive in drives
        ],
    }
    return _digest(inputs, label_map, settings)


def _digest(inputs: dict[str, Any], label_map: LabelMap, settings: dict[str, Any]) -> str:
    content = {
        "format": FORMAT,
        **inputs,
        "label_map": [label_map.taxonomy.to_json(), label_map.ids, label_map.ignored],
        "config": settings,
    }
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()
