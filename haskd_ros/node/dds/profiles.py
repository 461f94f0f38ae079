"""The Fast DDS settings without which large clouds don't arrive."""

from __future__ import annotations

import os
import xml.etree.ElementTree as ElementTree
from pathlib import Path
from typing import NamedTuple

DATA = Path(__file__).parents[2] / "data"
LARGE, SMALL = DATA / "fastdds.xml", DATA / "fastdds_small.xml"
"""256 MiB of shared memory for what a process sends, which hold two clouds of 2 million points, and
32 MiB. Fast DDS's own default of 0.5 MiB loses every best-effort cloud of 100,000 points."""

NAMESPACE = "http://www.eprosima.com"
CLOUDS = 6
"""So many clouds a segment should hold: one more than the receiver may be late by. A sender that
finds no room in it takes back what the receiver has not yet read."""

_SHARED_MEMORY = Path("/dev/shm")
_ROOM = 5 << 28
"""Bytes of shared memory that a machine must have for `LARGE`: a driver, the node, and two more."""


class SharedMemory(NamedTuple):
    """Bytes of the machine's shared memory; a container has 64 MiB unless told otherwise."""

    total: int
    free: int


def shared_memory() -> SharedMemory:
    try:
        state = os.statvfs(_SHARED_MEMORY)
    except OSError:
        return SharedMemory(0, 0)
    return SharedMemory(state.f_blocks * state.f_frsize, state.f_bavail * state.f_frsize)


def bytes_taken(segment: int) -> int:
    """Bytes of shared memory that a process takes at once for a segment: for each KiB of it Fast
    DDS keeps 48 bytes of its own."""
    return segment + segment * 48 // 1024


def segment_bytes(profile: Path) -> int | None:
    """Size of the shared memory segment of a profile; None where it names none, or can't be
    read."""
    try:
        text = ElementTree.parse(profile).findtext(f".//{{{NAMESPACE}}}segment_size")
        return None if text is None else int(text)
    except (OSError, ValueError, ElementTree.ParseError):
        return None


def _fitting_profile() -> Path:
    memory = shared_memory()
    # Where a segment finds no room, Fast DDS goes without shared memory, and loses what is large.
    needed = bytes_taken(segment_bytes(LARGE) or 0)
    return LARGE if memory.total >= _ROOM and memory.free >= needed else SMALL


PROFILE = _fitting_profile()
"""The one that fits this machine."""

_OLD, _NEW = "FASTRTPS_DEFAULT_PROFILES_FILE", "FASTDDS_DEFAULT_PROFILES_FILE"
_SKIP = "SKIP_DEFAULT_XML_FILE"


def profile_environment() -> dict[str, str]:
    """Environment variables that make Fast DDS read `PROFILE`, where the user has not chosen one,
    and none from the working directory, where anybody may have left one; a user can ask for that by
    SKIP_DEFAULT_XML_FILE=0. Other middlewares don't look at them."""
    variables = {} if _SKIP in os.environ else {_SKIP: "1"}
    if not (os.environ.get(_OLD) or os.environ.get(_NEW)):
        variables[profile_variable()] = str(PROFILE)
    return variables


def profile_variable() -> str:
    """Name of the environment variable with the path of the user's profile."""
    # Fast DDS 2 knows only the old name; Fast DDS 3, since Kilted, complains about it.
    return _OLD if os.environ.get("ROS_DISTRO") in ("humble", "iron", "jazzy") else _NEW


def lost_clouds_advice(middleware: str, points: int, point_step: int) -> str:
    """What helps where clouds are lost on the way.

    Args:
        middleware: as RMW_IMPLEMENTATION names it.
        points, point_step: number of points, and bytes of one, of the last cloud that arrived; 0
            before the first.
    """
    if "fastrtps" not in middleware:
        return f"over {middleware}, see Other middlewares in docs/troubleshooting.md"
    profile = Path(os.environ.get(_NEW) or os.environ.get(_OLD) or PROFILE)
    segment, cloud = segment_bytes(profile), points * point_step
    room = "of unknown size" if segment is None else f"of {megabytes(segment)}"
    start = f"start the sender with {profile_variable()}={profile}"
    if cloud and (segment is None or segment < CLOUDS * cloud):
        return (
            f"the last cloud that arrived had {megabytes(cloud)}, and this node's profile "
            f"{profile} has a segment {room}, which should be {megabytes(CLOUDS * cloud)}: "
            f"start the sender and this node with what `{command(points, point_step)}` writes"
        )
    advice = f"{start}, with a segment {room}"
    if segment is not None:
        advice += f" for clouds of up to {megabytes(segment // CLOUDS)}"
    return f"{advice}; for larger ones with what `{command('N', 'B')}` writes"


def command(points: int | str, point_step: int | str) -> str:
    """The command that writes a profile for clouds of so many points."""
    return f"ros2 run haskd_ros dds_profile --points {points} --point-step {point_step}"


def megabytes(count: int) -> str:
    return f"{count / 1e6:.1f} MB"
