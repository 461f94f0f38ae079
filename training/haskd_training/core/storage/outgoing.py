"""Folders on their way to an object store: written here, then uploaded."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path
from threading import Lock

from haskd_ros.file_lock import LOCK, locked
from haskd_ros.files import write_atomically
from haskd_training.core.background import map_in_order
from haskd_training.core.progress import Progress, no_progress
from haskd_training.core.storage import object_store
from haskd_training.core.storage.local_copies import folder_name
from haskd_training.core.storage.location import Location, Url
from haskd_training.core.storage.settings import store_settings

_UPLOADED = ".uploaded"
"""Ending of the list of a folder's files that are uploaded, beside it."""


def written_in(where: Location) -> Path:
    """The folder on this machine in which what is to lie somewhere is written: for a path that one,
    for a URL one that `upload` empties."""
    if isinstance(where, Path):
        return where
    return store_settings().folder / "outgoing" / folder_name(where.text)


def upload(
    folder: Path, url: Url, last: str, kept: str | None = None, progress: Progress = no_progress
) -> None:
    """Upload all files of a folder, then remove them here. After an interruption it goes on with
    the files that are left, unless they were written anew.

    Args:
        last: name of the file that makes the rest valid: it is uploaded when all others are.
        kept: name of a file that stays here too.
        progress: counts files.

    Raises:
        InputError: the store doesn't take them, or another process uploads them.
        OSError: they can't be read.
    """
    record = folder.with_name(folder.name + _UPLOADED)
    with locked(folder.with_name(f"{folder.name}{LOCK}"), Path(folder.name)):
        done = set(record.read_text().splitlines()) if record.exists() else set()
        files = sorted(path for path in folder.rglob("*") if path.is_file() and path.name != LOCK)
        before = [path for path in files if path != folder / last and _state(path) not in done]

        def send(path: Path) -> None:
            object_store.upload(path, f"{url}/{path.relative_to(folder).as_posix()}")
            with lock, record.open("a") as lines:
                lines.write(f"{_state(path)}\n")

        lock, count = Lock(), len(files) - len(before) - 1
        for _ in map_in_order(send, before):
            count += 1
            progress(count, len(files), "uploading")
        send(folder / last)
        progress(len(files), len(files), "uploading")
        record.unlink()
        for entry in folder.iterdir():
            if entry.is_dir():
                shutil.rmtree(entry)
            elif entry.name not in (LOCK, kept):
                entry.unlink()


def copy_to(where: Location, entries: Sequence[Path]) -> None:
    """Copy files, and folders with all in them, into a folder.

    Raises:
        InputError: a store doesn't take them.
        OSError: a folder doesn't.
    """
    for entry in entries:
        for path in sorted(entry.rglob("*")) if entry.is_dir() else (entry,):
            name = path.relative_to(entry.parent).as_posix()
            if path.is_dir():
                continue
            if isinstance(where, Url):
                object_store.upload(path, f"{where}/{name}")
            else:
                (where / name).parent.mkdir(parents=True, exist_ok=True)
                write_atomically(where / name, path.read_bytes())


def _state(path: Path) -> str:
    state = path.stat()
    return f"{path.parent.name}/{path.name} {state.st_size} {state.st_mtime_ns}"
