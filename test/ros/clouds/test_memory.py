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


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="other C libraries have no arenas")
def test_all_threads_share_what_is_kept():
    done = subprocess.run([sys.executable, "-c", ARENAS], capture_output=True, text=True)
    assert done.stdout.count("<heap nr=") == 1, done.stdout + done.stderr
