"""Whether the processes that work together are all still there.

Each writes into the store that torchrun keeps on the first machine, again and again, that it lives,
and on what it works; each reads what the others wrote. One that is no longer heard of is lost, and
so is a run that it belongs to: the others would wait for it without end. Times are measured by the
reader's own steady clock, from one news to the next; no clock is compared with another machine's.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

from haskd_ros.errors import InputError
from haskd_ros.text import shown

if TYPE_CHECKING:  # takes a second
    from torch.distributed.distributed_c10d import Store

PATIENCE = "HASKD_PEER_TIMEOUT_S"
"""Name in the environment: s after which a process that is not heard of is lost."""

_PATIENCE_S = 60.0
_BEAT_S = 0.5
_SILENT_S = 4.0
"""After which one is suspected, where something else says that a process is gone."""

_GRACE_S = 5.0
"""For this process to end by itself when another one is lost."""

_FINISHED, _INTERRUPTED, _FAILED = "finished", "interrupted", "failed"

GOES_ON = "the same command goes on where this one was"

_doing = "starting"
_known: Peers | None = None


@contextmanager
def working_on(what: str) -> Iterator[None]:
    """What this process works on within it, for those who lose it."""
    before = _doing
    _work_on(what)
    # Not after an error, which is told with what was being done.
    yield
    _work_on(before)


def _work_on(what: str) -> None:
    global _doing
    _doing = what
    if _known is not None:
        with suppress(RuntimeError):  # that the network is gone is noticed elsewhere
            _known.write()


@dataclass
class _Heard:
    """The last news of a process: its count of beats, when they came, where it runs, what it works
    on, how it ended."""

    beats: int
    at: float
    host: str
    doing: str
    end: str


def patience_s() -> float:
    """s after which a process that is not heard of is lost.

    Raises:
        InputError: the environment names no positive number.
    """
    told = os.environ.get(PATIENCE, str(_PATIENCE_S))
    try:
        patience = float(told)
    except ValueError:
        patience = 0.0
    if not 0 < patience < float("inf"):
        raise InputError(f"{PATIENCE} is {told!r}: it must be a number of seconds above 0")
    return patience


class Peers:
    """The processes of this run, as this one hears of them.

    Args:
        store: a connection of its own.
        rank, count: of this process, and of all.
        first_machine: where the store is, for messages.
        start_s: how long others may take to start.

    Raises:
        InputError: one did not start in time.
    """

    def __init__(
        self, store: Store, rank: int, count: int, first_machine: str, start_s: float
    ) -> None:
        self._patience_s = patience_s()
        self._store, self._rank, self._first_machine = store, rank, first_machine
        self._keys = [f"haskd/beat/{one}" for one in range(count)]
        self._beats, self._end = 0, ""
        self._is_connected = True
        self._told = False
        self._heard: dict[int, _Heard] = {}
        self._stopping = threading.Event()
        self._lock = threading.Lock()
        self.write()
        self._wait_for_all(start_s)
        self._read()
        # Two: the first one may be stuck in a call where the network is gone.
        self._threads = [
            threading.Thread(target=run, name=f"haskd-peers-{run.__name__}", daemon=True)
            for run in (self._beat, self._watch)
        ]
        for thread in self._threads:
            thread.start()
        global _known
        _known = self

    def name(self, rank: int) -> str:
        """Of a process, with its machine."""
        heard = self._heard.get(rank)
        return f"rank {rank}" + (f" on {heard.host}" if heard else "")

    def here(self) -> str:
        """Which process this is, and what it works on."""
        return f"{self.name(self._rank)}, {_doing}"

    def write(self) -> None:
        """Tell the others that this process lives, and on what it works."""
        # Where the network is gone, another thread waits for it within.
        if not self._lock.acquire(timeout=_SILENT_S):
            raise RuntimeError("the store does not answer")
        try:
            self._beats += 1
            news = [self._beats, socket.gethostname(), _doing, self._end]
            self._store.set(self._keys[self._rank], json.dumps(news))
        finally:
            self._lock.release()

    def leave(self, failed: bool = False, interrupted: bool = False) -> bool:
        """Say, once, that this process ends; whether it is the first one of which something has to
        be told, so that one line tells it."""
        if self._end:
            return False
        self._stopping.set()
        self._end = _FAILED if failed else _INTERRUPTED if interrupted else _FINISHED
        is_first = self._is_first_to_tell() if failed or interrupted else False
        if self._is_connected and not self._is_stuck():
            try:
                self.write()
            except RuntimeError:  # the first machine has ended
                self._is_connected = False
        for thread in self._threads:
            if thread is not threading.current_thread():
                thread.join(2 * _BEAT_S)
        return is_first

    def loss(self, silent_s: float | None = None) -> str | None:
        """Which process is lost, in one line, or an empty one where somebody tells it; None where
        all are there.

        Args:
            silent_s: how long it has not been heard of; None: as long as the environment says.
        """
        silent_s = self._patience_s if silent_s is None else silent_s
        now = time.monotonic()
        others = {rank: one for rank, one in self._heard.items() if rank != self._rank}
        if any(one.end in (_FAILED, _INTERRUPTED) for one in others.values()):
            return ""
        if not self._is_connected or now - self._heard[self._rank].at > silent_s:
            return (
                f"{self.here()}: the first machine ({self._first_machine}) does not answer any "
                f"more: rank 0 has ended there, or the network between is gone; {GOES_ON}"
            )
        for rank, one in others.items():
            if not one.end and now - one.at > silent_s:
                return (
                    f"{self.name(rank)}, {one.doing}, is not heard of any more: it was killed, ran "
                    f"out of memory, or its machine or the network is gone; {GOES_ON}"
                )
        return None

    def sudden_loss(self) -> str | None:
        """As `loss`, where something says that a process is gone: waits until it is known which."""
        until = time.monotonic() + _SILENT_S + 4 * _BEAT_S
        while (lost := self.loss(_SILENT_S)) is None and time.monotonic() < until:
            time.sleep(_BEAT_S)
        return lost

    def tell(self, lost: str) -> None:
        """Write the line of a loss, unless somebody else did."""
        if lost and not self._told and self._is_first_to_tell():
            sys.stderr.write(f"error: {shown(lost)}\n")
            sys.stderr.flush()
        self._told = True

    def _is_first_to_tell(self) -> bool:
        if self._is_connected and not self._is_stuck():
            try:
                return self._store.add("haskd/told", 1) == 1
            except RuntimeError:
                self._is_connected = False
        # One on this machine: the others can't be asked.
        return os.environ.get("LOCAL_RANK", "0") == "0"

    def _is_stuck(self) -> bool:
        return time.monotonic() - self._heard[self._rank].at > _SILENT_S

    def _beat(self) -> None:
        while not self._stopping.wait(_BEAT_S):
            try:
                self.write()
                self._read()
            except RuntimeError:  # closed: the torchrun there has ended
                self._is_connected = False
                return

    def _watch(self) -> None:
        while not self._stopping.wait(_BEAT_S):
            if (lost := self.loss()) is None:
                continue
            self.tell(lost)
            # What is being written is cleared away, unless this process is stuck.
            os.kill(os.getpid(), signal.SIGTERM)
            time.sleep(_GRACE_S)
            os._exit(1)

    def _read(self) -> None:
        with self._lock:
            texts = self._store.multi_get(self._keys)
        now = time.monotonic()
        for rank, text in enumerate(texts):
            beats, host, doing, end = json.loads(text)
            known = self._heard.get(rank)
            if known is None or known.beats != beats:
                self._heard[rank] = _Heard(beats, now, host, doing, end)

    def _wait_for_all(self, start_s: float) -> None:
        until = time.monotonic() + start_s
        while missing := [k for k, key in enumerate(self._keys) if not self._store.check([key])]:
            if time.monotonic() > until:
                listed = ", ".join(map(str, missing))
                raise InputError(f"rank {listed} did not start within {start_s:.0f} s")
            time.sleep(_BEAT_S / 5)
