"""`suggest.json`: suggestions as other tools, and `haskd segment --only`, read them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from haskd_ros.errors import InputError
from haskd_training.core.checked_json import read_json, write_json
from haskd_training.data.caches.cache import Cache
from haskd_training.data.projection import transform_points
from haskd_training.suggestions.regions import Region
from haskd_training.suggestions.suggest import Suggestion, Suggestions

DOCUMENT = "suggest.json"


def write_document(found: Suggestions, caches: Sequence[Cache], path: Path) -> None:
    """Write suggestions, best first."""
    document = {
        "sweeps": found.sweeps,
        "labelled": found.labelled,
        "covered_by_labels": found.covered,
        "suggestions": [_entry(each, caches, found.taxonomy.names) for each in found.chosen],
    }
    write_json(path, document, indent=1)


def read_stamps(path: Path) -> dict[str, set[int]]:
    """The stamps in ns of the suggested sweeps, by recording.

    Raises:
        InputError: no such file, or a damaged one.
    """
    document = read_json(path, "run `haskd suggest` again, which writes it")
    stamps: dict[str, set[int]] = {}
    try:
        for entry in document["suggestions"]:
            stamps.setdefault(str(entry["recording"]), set()).add(int(entry["stamp_ns"]))
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(f"{path} holds no suggestions of `haskd suggest`") from error
    return stamps


def region_position(region: Region, cache: Cache, sweep: int) -> np.ndarray | None:
    """[3] m, a region's centre in the map; None where the sweep has no pose."""
    T_world_lidar = cache.sweeps[sweep].T_world_lidar
    if T_world_lidar is None:
        return None
    position: np.ndarray = transform_points(np.array(T_world_lidar), region.centre[None])[0]
    return position


def _entry(each: Suggestion, caches: Sequence[Cache], names: tuple[str, ...]) -> dict[str, Any]:
    cache = caches[each.ref.cache]
    row = cache.sweeps[each.ref.sweep]
    return {
        "cache": str(cache.path),
        "sweep": each.ref.sweep,
        "recording": row.recording,
        "stamp_ns": row.stamp_ns,
        "gain": each.choice.gain,
        "covered": each.choice.covered,
        "classes": dict(zip(names, each.choice.classes.tolist(), strict=True)),
        "regions": [_region(region, cache, each.ref.sweep, names) for region in each.regions],
    }


def _region(region: Region, cache: Cache, sweep: int, names: tuple[str, ...]) -> dict[str, Any]:
    position = region_position(region, cache, sweep)
    return {
        "low_m": region.low.tolist(),
        "high_m": region.high.tolist(),
        "map_m": None if position is None else position.tolist(),
        "voxels": region.voxels,
        "entropy": region.entropy,
        "worth": region.worth,
        "classes": dict(region.likely(names)),
    }
