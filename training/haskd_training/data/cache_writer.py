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
from haskd_training.data.cache import INDEX, INPUTS, OVERLAYS, REPORT
from haskd_training.data.cache_rows import ImageRow, SweepRow
from haskd_training.data.shards import SHARD_BYTES, ShardStream

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
        if foreign := [entry for entry in path.iterdir() if not _is_own(entry)]:
            raise InputError(
                f"{path} is neither empty nor an unfinished cache ({min(foreign).name} is in it); "
                "choose another folder"
            )
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
        for entry in filter(_is_own, self.path.iterdir()):
            if entry.name == LOCK:
                continue
            if entry.is_dir():
                shutil.rmtree(entry)
            else:
                entry.unlink()
        if not self._was_there and not any(self.path.iterdir()):
            self.path.rmdir()


def _is_own(entry: Path) -> bool:
    """Whether a file of this name may lie in an unfinished cache."""
    return _OWN.fullmatch(entry.name) is not None
