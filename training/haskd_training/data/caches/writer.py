"""Writing a cache, or going on with one."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from haskd_ros.errors import InputError
from haskd_ros.file_lock import LOCK
from haskd_ros.files import TEMPORARY, remove_leftovers
from haskd_training.core.progress import Progress, no_progress
from haskd_training.core.storage.files import names_in
from haskd_training.core.storage.location import Location, Url
from haskd_training.core.storage.outgoing import upload
from haskd_training.data.caches.index import INDEX, INPUTS, OVERLAYS, REPORT, is_cache
from haskd_training.data.caches.rows import ImageRow, SweepRow
from haskd_training.data.caches.shards import SHARD_BYTES, ShardStream

_OWN = re.compile(
    rf"((sweeps|images)-\d{{5,}}\.safetensors|{'|'.join(map(re.escape, (REPORT, INDEX, INPUTS)))})"
    rf"({re.escape(TEMPORARY)})?|{OVERLAYS}|{re.escape(LOCK)}"
)
"""Names of what lies in an unfinished cache, or in one some shards of which are made again."""


class CacheWriter:
    """Writes a cache, or resumes one that was interrupted.

    sweeps, images: the streams of rows.

    Raises:
        InputError: the folder holds something else than an unfinished cache of the same inputs.
    """

    def __init__(self, path: Path, fingerprint: str, shard_bytes: int = SHARD_BYTES) -> None:
        self.path = path
        self.fingerprint = fingerprint
        self._was_there = path.exists()
        try:
            path.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise InputError(f"{path}: the folder can't be made: {error.strerror}") from error
        check_is_free(path)
        remove_leftovers(path)
        self.sweeps = ShardStream(
            path, "sweeps", row_type=SweepRow, fingerprint=fingerprint, shard_bytes=shard_bytes
        )
        self.images = ShardStream(
            path, "images", row_type=ImageRow, fingerprint=fingerprint, shard_bytes=shard_bytes
        )
        # Of a finished cache some shards of which are made again.
        (path / INDEX).unlink(missing_ok=True)

    def close(self) -> None:
        """Write what is pending; afterwards all that was added is on disk.

        Raises:
            OSError: it could not be written.
        """
        self.sweeps.close()
        self.images.close()

    @contextmanager
    def writing(self) -> Iterator[None]:
        """What fills it: for inputs that can't become a cache nothing is left of it; what is
        finished stays where a disk is full.

        Raises:
            InputError: what was raised, or for an error of the file system.
        """
        try:
            yield
        except InputError:
            self.discard()
            raise
        except OSError as error:
            raise InputError(
                f"{error.filename or self.path}: {error.strerror}; what is finished in "
                f"{self.path} is kept"
            ) from error

    def discard(self) -> None:
        """Remove all that was written, for inputs that can't become a cache."""
        self.sweeps.cancel()
        self.images.cancel()
        for entry in self.path.iterdir():
            if entry.name == LOCK or not _OWN.fullmatch(entry.name):
                continue
            if entry.is_dir():
                shutil.rmtree(entry)
            else:
                entry.unlink()
        if not self._was_there and not any(self.path.iterdir()):
            self.path.rmdir()


def check_is_free(path: Location) -> None:
    """Check that nothing lies in a folder but what may lie in an unfinished cache.

    Raises:
        InputError: something else does.
    """
    if foreign := [name for name in names_in(path) if not _OWN.fullmatch(name)]:
        raise InputError(
            f"{path} is neither empty nor an unfinished cache ({min(foreign)} is in it); "
            "choose another folder"
        )


def hand_over(folder: Path, out: Location, progress: Progress = no_progress) -> None:
    """Upload a finished cache that waits in a folder to be taken to a store; nothing else.

    Args:
        folder: in which it was written.
        out: where it is to be.

    Raises:
        InputError: the store doesn't take it; it goes on where it was at the next call.
    """
    if isinstance(out, Url) and is_cache(folder):
        upload(folder, out, INDEX, kept=INPUTS, progress=progress)
