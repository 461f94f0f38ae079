"""Which folders compiled code is kept in and loaded from: those that nobody else can write to."""

from __future__ import annotations

import grp
import logging
import os
import pwd
import stat
from pathlib import Path

from haskd_ros.native.compiler import Unavailable
from haskd_ros.text import quoted, shown

log = logging.getLogger(__name__)


class Unsuitable(Unavailable):
    """Why no compiled kernels can be kept in a folder."""


def cache_folder() -> Path:
    """Where compiled kernels are kept: `haskd_ros` in XDG_CACHE_HOME, or in ~/.cache. It need not
    be there, nor be the user's own: `own_folder` finds out.

    Raises:
        Unsuitable: neither is known.
    """
    base = os.environ.get("XDG_CACHE_HOME")
    if base and os.path.isabs(base):
        return Path(base) / "haskd_ros"
    if base:
        log.warning("XDG_CACHE_HOME=%s is not absolute and is not used", quoted(base))
    try:
        home = Path.home()
    except RuntimeError as error:
        raise Unsuitable(f"no folder to keep them in: {error}") from error
    if not home.is_absolute():
        raise Unsuitable(f"HOME={quoted(str(home))} is not absolute")
    return home / ".cache" / "haskd_ros"


def own_folder(path: Path) -> Path:
    """The folder without symbolic links, made where it is missing.

    The rule is that of OpenSSH for its keys: the folder and all that it lies in belong to this user
    or to root, and nobody else can write there. Then nobody else can put another file under the
    name of one that has been looked at. Folders above may be open to all where they are sticky, as
    /tmp is.

    Raises:
        Unsuitable: it is not like that, can't be made, or nothing in it can be executed.
    """
    try:
        path = path.resolve()
        # From the root down: nothing is made in a folder that is another user's.
        for part in (*reversed(path.parents), path):
            if not os.path.lexists(part):
                part.mkdir(mode=0o700, exist_ok=True)
            state = part.lstat()
            if not stat.S_ISDIR(state.st_mode):
                raise Unsuitable(f"{shown(part)} is not a folder")
            sticky = part != path and bool(state.st_mode & stat.S_ISVTX)
            if others := others_who_write(state, sticky=sticky):
                raise Unsuitable(f"{shown(part)} {others}")
        if os.statvfs(path).f_flag & os.ST_NOEXEC:
            raise Unsuitable(f"{shown(path)} is mounted noexec")
    # A loop of links is a RuntimeError before Python 3.13.
    except (OSError, RuntimeError) as error:
        raise Unsuitable(shown(error)) from error
    return path


def others_who_write(state: os.stat_result, *, sticky: bool = False) -> str:
    """Who but this user and root could change a file or folder, in words; empty where nobody.

    Args:
        sticky: it is a folder in which only its owner can replace what is another's.
    """
    if state.st_uid not in (0, os.geteuid()):
        return f"belongs to user {state.st_uid}, not to user {os.geteuid()}"
    if sticky:
        return ""
    if state.st_mode & stat.S_IWOTH:
        return "can be written by everybody"
    if state.st_mode & stat.S_IWGRP and not _is_only_own(state.st_gid, state.st_uid):
        return f"can be written by group {state.st_gid}"
    return ""


def _is_only_own(group: int, user: int) -> bool:
    """Whether this user is the only one of the group, as where each user has a group of the same
    name and files are made group-writable (umask 002)."""
    try:
        name = pwd.getpwuid(user).pw_name
        members = set(grp.getgrgid(group).gr_mem)
    except KeyError:
        return False
    members |= {entry.pw_name for entry in pwd.getpwall() if entry.pw_gid == group}
    return members == {name}
