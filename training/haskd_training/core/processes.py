"""Several processes that work on one command, on one machine or on many.

`torchrun` starts them and sets each one's rank in the environment; without it there is one process,
which has every item and waits for nobody. What is shared out is a sequence of items, the same in
all processes: each has a block of neighbours, so that what neighbours have in common is read once.
"""

from __future__ import annotations

import atexit
import gc
import os
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import timedelta
from pathlib import Path
from typing import TypeVar

from haskd_ros.errors import InputError
from haskd_training.core.peers import Peers

Item = TypeVar("Item")

_START = timedelta(minutes=10)
_NO_END = timedelta(days=7)
"""How long a process may wait for the others: as long as they are heard of."""

_SHOWS_S = 60.0
"""Within which a machine sees what another one wrote into a shared folder: NFS asks again for what
was not there after up to 60 s (`acdirmax`)."""

_peers: Peers | None = None
_is_alone = False


def processes_and_machines() -> tuple[int, int]:
    """How many processes torchrun started on each machine, and on how many machines.

    Raises:
        InputError: different numbers on different machines.
    """
    if "TORCHELASTIC_RUN_ID" not in os.environ:
        return 1, 1
    every, here = int(os.environ["WORLD_SIZE"]), int(os.environ["LOCAL_WORLD_SIZE"])
    if every % here:
        raise InputError(
            f"torchrun started {here} of {every} processes on this machine; "
            "every machine must get the same --nproc-per-node"
        )
    return here, every // here


def join_group() -> bool:
    """Join the other processes that torchrun started; whether it has joined them now: a process
    that has before, or is the only one, goes on at once.

    Raises:
        InputError: some process did not start.
    """
    global _peers
    here, machines = processes_and_machines()
    if _peers is not None or here * machines == 1:
        return False
    import torch
    from torch.distributed import TCPStore, init_process_group  # type: ignore[attr-defined]

    address, port = os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"])
    rank, count = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
    # torchrun keeps the store; this connection is for the peers' news alone.
    store = TCPStore(address, port, is_master=False, timeout=_START, wait_for_workers=False)
    _peers = Peers(store, rank, count, address, _START.total_seconds())
    # Counts and files are shared by the CPUs, whatever the networks are trained on.
    backend = "cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo"
    init_process_group(backend, timeout=_NO_END)
    # Handlers run last in, first out: this one before Fabric's own.
    atexit.register(_leave_group)
    return True


def rank() -> int:
    """Of this process, from 0."""
    return 0 if _peers is None or _is_alone else int(os.environ["RANK"])


def count() -> int:
    """Of the processes."""
    return 1 if _peers is None or _is_alone else int(os.environ["WORLD_SIZE"])


def is_first() -> bool:
    """Whether this is the process that writes what is written once."""
    return rank() == 0


def peers() -> Peers | None:
    """What is heard of the others; None where there are none."""
    return _peers


@contextmanager
def alone() -> Iterator[None]:
    """Within it this process works for itself: it has every item, and waits for nobody."""
    global _is_alone
    before, _is_alone = _is_alone, True
    try:
        yield
    finally:
        _is_alone = before


def own(items: Sequence[Item]) -> Sequence[Item]:
    """The items of this process: a block; every item belongs to exactly one process."""
    first, end = block(len(items))
    return items[first:end]


def wait(*written: Path) -> None:
    """Wait until all processes are here.

    Args:
        written: files that one of them wrote before: on return this process sees them.

    Raises:
        InputError: it doesn't: the folder is not shared, or lost.
    """
    if count() == 1:
        return
    import torch

    # On the CPU: a barrier of the group may be one of GPUs.
    torch.distributed.all_reduce(torch.zeros(1))
    for path in written:
        if not is_seen(path, _SHOWS_S):
            raise InputError(
                f"{path} is not seen here, where another process has written it: the folder is no "
                "longer one that all machines share, or it was removed"
            )


def block(items: int) -> tuple[int, int]:
    """First item of this process's part, and the one behind its last."""
    return rank() * items // count(), (rank() + 1) * items // count()


def is_seen(path: Path, within_s: float) -> bool:
    """Whether this machine sees a file that another one has written."""
    until, pause = time.monotonic() + within_s, 0.05
    while not path.exists():
        if time.monotonic() > until:
            return False
        time.sleep(pause)
        pause = min(2 * pause, 2.0)
        with suppress(OSError):  # asks the server for what is in the folder now
            os.listdir(path.parent)
    return True


def _leave_group() -> None:
    """Leave the group before the interpreter is finalised.

    Threads of gloo hold references to tensors for a moment after a collective operation, and for as
    long as anything references the group, such as the wrapped networks of past trainings. A thread
    that releases a tensor while the interpreter is finalised aborts the process
    (pytorch/pytorch#179291).
    """
    import torch

    if _peers is not None:
        _peers.leave()
    # Garbage in reference cycles would keep the group, and its threads, alive.
    gc.collect()
    if torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()
    gc.collect()
