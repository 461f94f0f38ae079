"""The Fast DDS settings without which large clouds don't arrive."""

from __future__ import annotations

import os
from pathlib import Path

DATA = Path(__file__).parents[1] / "data"
LARGE, SMALL = DATA / "fastdds.xml", DATA / "fastdds_small.xml"
"""256 MiB of shared memory for what a process sends, which hold two clouds of 2 million points, and
32 MiB. Fast DDS's own default of 0.5 MiB loses every best-effort cloud of 100,000 points."""

_SHARED_MEMORY = Path("/dev/shm")
_ROOM = 1 << 30
"""Bytes of shared memory that a machine must have for `LARGE`: a driver, the node, and two more."""


def _shared_memory_bytes() -> int:
    """Size of the machine's shared memory; a container has 64 MiB unless told otherwise."""
    try:
        state = os.statvfs(_SHARED_MEMORY)
    except OSError:
        return 0
    return state.f_blocks * state.f_frsize


# Where a segment finds no room, Fast DDS goes without shared memory, and loses what is large.
PROFILE = LARGE if _shared_memory_bytes() >= _ROOM else SMALL
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


def lost_clouds_advice() -> str:
    """What helps where clouds are lost on the way."""
    advice = f"start the sender with {profile_variable()}={PROFILE}"
    own = os.environ.get(_NEW) or os.environ.get(_OLD)
    if own and Path(own) != PROFILE:
        advice += f", and this node too, whose profile is {own}"
    if PROFILE == SMALL:
        advice += (
            f"; {_SHARED_MEMORY} has only {_shared_memory_bytes() >> 20} MiB: clouds of more than "
            "10 MB need 1 GiB of it, as by docker run --shm-size=1g"
        )
    return advice
