"""The header of an MCAP file (mcap.dev/spec)."""

from __future__ import annotations

import struct
from pathlib import Path

from haskd_ros.errors import InputError

_MAGIC = b"\x89MCAP0\r\n"
_HEADER = 0x01
_LONGEST = 4096


def profile(path: Path) -> str | None:
    """Which messages the file says to hold: `ros1`, `ros2`, empty where it doesn't say; None where
    it has no header."""
    with open(path, "rb") as file:
        head = file.read(_LONGEST)
    start = len(_MAGIC)
    if not head.startswith(_MAGIC) or len(head) < start + 13 or head[start] != _HEADER:
        return None
    (length,) = struct.unpack_from("<I", head, start + 9)
    return head[start + 13 : start + 13 + length].decode("utf-8", "replace")


def check_profile(path: Path) -> None:
    """Check that a file holds ROS 2 messages.

    Raises:
        InputError: it holds others, with what mends that.
    """
    found = profile(path)
    if found == "ros1":
        raise InputError(
            f"{path} holds ROS 1 messages in MCAP (profile ros1), which are not read; convert the "
            f".bag that it was made of: `rosbags-convert --src {path.stem}.bag --dst {path.stem}`"
        )
    if found not in (None, "ros2"):
        named = f"of profile {found!r}" if found else "without a profile"
        raise InputError(
            f"{path} is an MCAP {named}; only ROS 2's are read (profile ros2): record it with "
            "`ros2 bag record -s mcap`"
        )
