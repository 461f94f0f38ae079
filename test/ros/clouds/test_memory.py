"""Memory that a process keeps."""

from __future__ import annotations

import platform
import subprocess
import sys

import pytest

ARENAS = """
import ctypes, threading
from haskd_ros.clouds.memory import keep_freed_memory
keep_freed_memory()
libc = ctypes.CDLL(None)
libc.malloc.restype = ctypes.c_void_p
all_there = threading.Barrier(4)
def use():
    libc.malloc(1000)
    all_there.wait()
    libc.malloc(1000)
threads = [threading.Thread(target=use) for _ in range(4)]
for thread in threads: thread.start()
for thread in threads: thread.join()
libc.malloc_info(0, ctypes.c_void_p.in_dll(libc, "stdout"))
libc.fflush(None)
"""


GIVEN_BACK = """
import ctypes
from haskd_ros.clouds.memory import give_back_freed_memory, keep_freed_memory
keep_freed_memory()
libc = ctypes.CDLL(None)
libc.malloc.restype = ctypes.c_void_p
def resident_mib():
    pages = int(open("/proc/self/statm").read().split()[1])
    return pages * 4096 / 2**20
pieces = [ctypes.c_void_p(libc.malloc(1 << 20)) for _ in range(100)]
for piece in pieces:
    ctypes.memset(piece, 1, 1 << 20)
used = resident_mib()
for piece in pieces: libc.free(piece)
kept = resident_mib()
give_back_freed_memory()
print(used - kept, kept - resident_mib())
"""

is_glibc = pytest.mark.skipif(
    platform.libc_ver()[0] != "glibc", reason="of the C library glibc alone"
)


@is_glibc
def test_freed_memory_is_kept_until_it_is_given_back():
    done = subprocess.run([sys.executable, "-c", GIVEN_BACK], capture_output=True, text=True)
    freed_at_once, given_back = map(float, done.stdout.split())
    assert freed_at_once < 5  # MiB of the 100 that were freed
    assert given_back > 95


@is_glibc
def test_all_threads_share_what_is_kept():
    done = subprocess.run([sys.executable, "-c", ARENAS], capture_output=True, text=True)
    assert done.stdout.count("<heap nr=") == 1, done.stdout + done.stderr
