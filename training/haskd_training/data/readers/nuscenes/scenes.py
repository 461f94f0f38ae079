"""The scenes of nuScenes' splits, and the folder whose tables hold them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cache
from pathlib import Path

from haskd_ros.documents import parse_yaml, read_text

_NUMBERS = Path(__file__).with_name("scenes.yaml")

MINI, TRAINVAL, TEST = "v1.0-mini", "v1.0-trainval", "v1.0-test"
_SPLITS_OF = {MINI: ("mini_train", "mini_val"), TRAINVAL: ("train", "val"), TEST: ("test",)}


def names(root: Path, split: str | None) -> Sequence[str]:
    """Of the scenes of a split, or of all: the same wherever they lie."""
    splits = _splits()
    return splits[split] if split else (*splits["train"], *splits["val"], *splits["test"])


def by_version(root: Path, names: Sequence[str]) -> dict[str, list[str]]:
    """Scenes by the folder of their tables in `root`.

    The ten of mini have the same files as in trainval, and small tables: taken by those where all
    that are asked for are among them.
    """
    held = {
        version: {name for split in splits for name in _splits()[split]}
        for version, splits in _SPLITS_OF.items()
    }
    is_mini = held[MINI].issuperset(names) and (root / MINI).is_dir()
    versions = [version for version in held if is_mini or version != MINI]
    found: dict[str, list[str]] = {}
    for name in names:
        version = next(version for version in versions if name in held[version])
        found.setdefault(version, []).append(name)
    return found


@cache
def _splits() -> dict[str, tuple[str, ...]]:
    what = "the scenes of nuScenes"
    numbers = parse_yaml(read_text(_NUMBERS, what), what)
    return {split: tuple(_scene_names(ranges)) for split, ranges in numbers.items()}


def _scene_names(ranges: str) -> Iterator[str]:
    for part in ranges.split(","):
        first, _, last = part.strip().partition("-")
        yield from (f"scene-{number:04d}" for number in range(int(first), int(last or first) + 1))
