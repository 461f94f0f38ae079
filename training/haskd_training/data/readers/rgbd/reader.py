"""RGB-D recordings: which of the known kinds a folder is, and the reader of them."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path

from haskd_ros.errors import InputError
from haskd_ros.text import listed
from haskd_training.data.readers.interface import DatasetReader, Drive, ReaderSettings
from haskd_training.data.readers.rgbd import replica, tum
from haskd_training.data.readers.rgbd.bag import open_rgbd_bag
from haskd_training.data.readers.rgbd.config import RgbdConfig
from haskd_training.data.readers.rgbd.frames import RgbdRecording
from haskd_training.data.readers.rgbd.fusing import fused
from haskd_training.recordings.readers.container import STORAGE_SUFFIXES
from haskd_training.recordings.readers.metadata import METADATA

_NEEDED = (
    "an RGB-D recording is a bag (its folder with metadata.yaml, or its .mcap, .db3 or .bag), "
    f"{tum.EXPECTED}; or {replica.EXPECTED}; or a folder of such recordings"
)


def names(root: Path, split: str | None) -> Sequence[str]:
    """Of the recordings in a folder; its own name where it is one.

    Raises:
        InputError: there is none; the message says what each kind needs.
    """
    return tuple(_recordings(root))


def open_drives(config: RgbdConfig, root: Path, names: Sequence[str]) -> list[Drive]:
    """
    Raises:
        InputError: a recording that is not whole, or can't be read.
    """
    if config.min_depth >= config.max_depth:
        raise InputError(
            f"min_depth is {config.min_depth:g} m, must be below max_depth, {config.max_depth:g} m"
        )
    there = _recordings(root)
    return [fused(_opened(there[name], name, config), config) for name in names]


def _opened(path: Path, name: str, config: RgbdConfig) -> RgbdRecording:
    if _is_bag(path):
        return open_rgbd_bag(path, name, config)
    opened = tum.open_tum if tum.is_tum(path) else replica.open_replica
    return opened(path, name, config)


def _recordings(root: Path) -> dict[str, Path]:
    """By name."""
    if not root.exists():
        raise InputError(f"{root} does not exist")
    if _is_recording(root):
        return {_name(root): root}
    inside = sorted(root.iterdir()) if root.is_dir() else []
    found: dict[str, Path] = {}
    for path in filter(_is_recording, inside):
        if _name(path) in found:
            raise InputError(
                f"{root} holds two recordings of one name: {found[_name(path)].name} and "
                f"{path.name}"
            )
        found[_name(path)] = path
    if not found:
        there = [path.name for path in inside[:20]]
        raise InputError(f"{root} holds no RGB-D recording: {_NEEDED}. In it are: {listed(there)}")
    return found


def _name(path: Path) -> str:
    path = path.resolve()
    return path.stem if path.is_file() else path.name


def _is_recording(path: Path) -> bool:
    return _is_bag(path) or tum.is_tum(path) or replica.is_replica(path)


def _is_bag(path: Path) -> bool:
    if path.is_file():
        return path.suffix in STORAGE_SUFFIXES
    return (path / METADATA).is_file()


def reader(config: RgbdConfig) -> DatasetReader:
    """The reader that goes by these settings."""
    return DatasetReader(
        name="rgbd",
        title="RGB-D recording",
        splits={},
        label_map=Path(__file__).with_name("classes.yaml"),
        intensity_scale=None,
        names=names,
        open_drives=partial(open_drives, config),
        settings=ReaderSettings(RgbdConfig, reader),
    )


READER = reader(RgbdConfig())
