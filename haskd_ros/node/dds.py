"""The Fast DDS settings without which large clouds don't arrive."""

from __future__ import annotations

import os
from pathlib import Path

PROFILE = Path(__file__).parents[1] / "data" / "fastdds.xml"
"""32 MiB of shared memory for what a process sends; Fast DDS's own default of 0.5 MiB loses every
best-effort cloud of 100,000 points."""

_OLD, _NEW = "FASTRTPS_DEFAULT_PROFILES_FILE", "FASTDDS_DEFAULT_PROFILES_FILE"


def profile_environment() -> dict[str, str]:
    """The environment variable that makes Fast DDS read `PROFILE`; none where the user has already
    chosen a profile. Other middlewares don't look at it."""
    if os.environ.get(_OLD) or os.environ.get(_NEW):
        return {}
    return {profile_variable(): str(PROFILE)}


def profile_variable() -> str:
    """Name of the environment variable with the path of the user's profile."""
    # Fast DDS 2 knows only the old name; Fast DDS 3, since Kilted, complains about it.
    return _OLD if os.environ.get("ROS_DISTRO") in ("humble", "iron", "jazzy") else _NEW
