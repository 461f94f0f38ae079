"""`python -m haskd_ros`: the segmentation node."""

from __future__ import annotations

import faulthandler
import sys
from typing import NoReturn

from haskd_ros.clouds.memory import keep_freed_memory
from haskd_ros.node.program.ending import Ending


def main(args: list[str] | None = None) -> NoReturn:
    """Run the node until SIGINT, SIGTERM or SIGHUP, and end the process: with exit code 0, or 2
    where a parameter is not allowed."""
    # A crash of native code, whose ever it is, says at least where.
    if sys.stderr is not None:
        faulthandler.enable()
    # Before there is a second thread: from then on glibc's number of arenas is fixed.
    keep_freed_memory()
    ending = Ending()
    # Only now: for the seconds that torch takes to import, a signal would find nobody.
    from haskd_ros.node.program.process import run_node

    ending.leave(run_node(ending, args))


if __name__ == "__main__":
    main()
