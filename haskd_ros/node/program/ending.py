"""How the process of the node ends: by a signal, in time, whatever it is doing. No ROS, and nothing
that takes long to import."""

from __future__ import annotations

import gc
import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import NoReturn

GRACE_S = 1.5
"""For an orderly end: the cloud in work, the last report."""

_STARTING_S = 0.2
"""Before the node is there, nothing has to be put in order."""


class Ending:
    """Hears the signals that end the process from its construction on.

    Python runs the handlers of signals in the main thread, between two of its instructions: a
    signal that comes just before that thread begins to wait for a lock is handled when the wait is
    over, if ever, and one that comes during a compilation after it. So no handler does anything
    here: what C code notes at once, in whatever thread the signal reaches, a thread of its own
    reads.

    Attributes:
        asked: set once a signal has come.
        in_order: to be set once there is something to put in order, and to say.
        wake: called once `asked` is set, in the thread that reads: for who waits for another thing.
    """

    def __init__(self) -> None:
        self.asked = threading.Event()
        self.in_order = threading.Event()
        self.wake: Callable[[], object] = lambda: None
        noted, note = os.pipe()
        os.set_blocking(note, False)
        signal.set_wakeup_fd(note, warn_on_full_buffer=False)
        for number in _numbers():
            # Not SIG_IGN, which notes nothing, and which the compiler would inherit.
            signal.signal(number, lambda *_: None)
        threading.Thread(target=self._watch, args=(noted,), name="ending", daemon=True).start()

    def _watch(self, noted: int) -> None:
        """Wait for the first signal; end the process where it does not end by itself."""
        number = os.read(noted, 1)[0]
        self.asked.set()
        with suppress(Exception):  # whatever it is, the process has to end
            self.wake()
        time.sleep(GRACE_S if self.in_order.is_set() else _STARTING_S)
        if self.in_order.is_set():
            name = signal.Signals(number).name
            with suppress(OSError, ValueError):
                sys.stderr.write(f"segment: ended by {name} in the middle of its work\n")
                sys.stderr.flush()
        for child in _descendants(os.getpid()):
            with suppress(OSError):
                os.kill(child, signal.SIGKILL)
        os._exit(0)

    def leave(self, code: int) -> NoReturn:
        """End the process. What Python and torch take apart after the last line of a program costs
        up to seconds on a busy machine, and nobody needs it."""
        # rclpy's life cycle nodes are in cycles, and the middleware says goodbye when they are
        # freed; else others would believe for 20 s that the node is there.
        gc.collect()
        for stream in (sys.stdout, sys.stderr):
            with suppress(OSError, ValueError):
                stream.flush()
        os._exit(code)


def _numbers() -> list[int]:
    """Of the signals that end the process. A hang-up does not where nohup has started it."""
    numbers = [signal.SIGINT, signal.SIGTERM]
    if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:
        numbers.append(signal.SIGHUP)
    return list(map(int, numbers))


def _descendants(process: int) -> list[int]:
    """Ids of the processes that a process has started, and those that they have: a compiler."""
    found: list[int] = []
    for children in Path(f"/proc/{process}/task").glob("*/children"):
        with suppress(OSError):
            for child in map(int, children.read_text().split()):
                found += [child, *_descendants(child)]
    return found
