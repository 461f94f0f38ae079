"""What processes that work together tell each other: counts, arrays, which files are there.

Everything is told in arrays of numbers, each process its own rows among zeros, which are added up:
that is exact, and nothing that comes in can be more than numbers.
"""

from __future__ import annotations

import json
import socket
import uuid
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from haskd_ros.errors import InputError
from haskd_training.core.processes import (
    block,
    count,
    is_first,
    is_seen,
    join_group,
    own,
    peers,
    rank,
    wait,
)
from haskd_training.core.progress import Progress, no_progress

Item = TypeVar("Item")
Number = TypeVar("Number", bound=np.generic)

_TOKEN = ".shared-"

_NEW_SHOWS_S = 5.0
"""Within which a machine sees a new file in a shared folder, by a name that it never asked for."""


def join(folder: Path | None) -> None:
    """Join the other processes that torchrun started, once; without torchrun nothing happens.

    Args:
        folder: that the command writes to, which all machines have to share; None: it writes
            nothing.

    Raises:
        InputError: some process did not start, or does not see the folder of the first one.
    """
    if join_group() and folder is not None:
        _check_shared(folder)


def share_files(
    items: Sequence[Item],
    path: Callable[[Item], Path],
    write: Callable[[Item], str | None],
    progress: Progress = no_progress,
) -> None:
    """Have a file for every item: each process writes those of its own part that are missing, and
    all wait until all are there.

    Args:
        items: the same in all processes.
        path: of an item's file.
        write: writes it, atomically; its answer is a remark for `progress`.
        progress: counts this process's part.

    Raises:
        InputError: as of `wait`, or of `write`.
    """
    # As the first one sees them: another would take what has just been written for an older one,
    # and a machine remembers for a while that a file was not there.
    is_missing = np.zeros(len(items), np.uint8)
    if is_first():
        is_missing[:] = [not path(item).exists() for item in items]
    is_missing = from_first(is_missing)
    part = own([item for item, missing in zip(items, is_missing, strict=True) if missing])
    for number, item in enumerate(part, 1):
        progress(number, len(part), write(item) or "")
    wait(*map(path, items))


def sum_over_processes(counts: NDArray[Number]) -> NDArray[Number]:
    """The sum of all processes' arrays of one shape, in each of them."""
    if count() == 1:
        return counts
    import torch

    total = torch.from_numpy(np.array(counts))
    torch.distributed.all_reduce(total)
    return total.numpy()


def from_first(values: NDArray[Number]) -> NDArray[Number]:
    """The first process's array, in each of them; the others give one of the same shape."""
    if count() == 1:
        return values
    import torch

    told = torch.from_numpy(np.array(values))
    torch.distributed.broadcast(told, 0)
    return told.numpy()


def first_says(answer: bool) -> bool:
    """The first process's answer, in each of them."""
    return bool(from_first(np.array([answer], np.uint8))[0])


def of_all(
    part: Sequence[NDArray[Number]], items: int, kind: type[Number]
) -> list[NDArray[Number]]:
    """The arrays of all items, in each process.

    Args:
        part: [n, W] for each of this process's items, see `own`; each has its n, and those that
            have rows have one W.
        items: how many there are in all.
        kind: of the numbers.
    """
    if count() == 1 or not items:
        return list(part)
    first, end = block(items)
    shapes = np.zeros((items, 2), np.int64)
    shapes[first:end] = np.reshape([array.shape for array in part], (-1, 2))
    shapes = sum_over_processes(shapes)
    ends = shapes[:, 0].cumsum()
    whole = np.zeros((int(ends[-1]), int(shapes[:, 1].max())), kind)
    if any(map(len, part)):
        # Nobody else has a number but 0 in these rows: the sum is exact.
        rows = slice(int(ends[first] - shapes[first, 0]), int(ends[end - 1]))
        whole[rows] = np.concatenate([array for array in part if len(array)])
    return np.split(sum_over_processes(whole), ends[:-1])


def documents_of_all(part: Sequence[Any], items: int) -> list[Any]:
    """The same of JSON values."""
    texts = [np.frombuffer(json.dumps(each).encode(), np.uint8)[:, None] for each in part]
    return [json.loads(text.tobytes()) for text in of_all(texts, items, np.uint8)]


def _check_shared(folder: Path) -> None:
    """Check that all processes see what the first one writes.

    Raises:
        InputError: one doesn't.
    """
    token = np.frombuffer(uuid.uuid4().bytes, np.uint8)
    file = folder / f"{_TOKEN}{from_first(token).tobytes().hex()}"
    made = False
    if is_first():
        made = not folder.exists()
        try:
            folder.mkdir(parents=True, exist_ok=True)
            for left in folder.glob(f"{_TOKEN}*"):  # by one that was killed here
                left.unlink(missing_ok=True)
            file.touch()
        except OSError as error:
            raise InputError(f"{folder} can't be written: {error.strerror}") from error
    try:
        wait()
        seen = is_seen(file, _NEW_SHOWS_S)
        host = np.zeros((count(), 64), np.uint8)
        if not seen:
            name = socket.gethostname().encode()[:64]
            host[rank(), : len(name)] = np.frombuffer(name, np.uint8)
        blind = [bytes(row).rstrip(bytes(1)).decode() for row in sum_over_processes(host)]
        if any(blind):
            number = next(number for number, name in enumerate(blind) if name)
            first = "rank 0" if (known := peers()) is None else known.name(0)
            raise InputError(
                f"{folder} is not one folder on all machines: rank {number} on {blind[number]} "
                f"does not see what {first} writes there"
            )
    finally:
        if is_first():
            with suppress(OSError):
                file.unlink()
                if made:
                    folder.rmdir()
    # A folder that goes while another process makes it is an error there.
    wait()
