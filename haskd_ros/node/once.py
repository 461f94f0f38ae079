"""Commands that wait, for the launch file:

python -m haskd_ros.node.once active NODE COMMAND...   until a life cycle node is active
python -m haskd_ros.node.once cloud TOPIC COMMAND...   until a PointCloud2 has come; {frame} in the
                                                  command becomes its frame

The node's state is polled, since a quick node is active before launch receives any of its
transition events; and RViz shows nothing without a fixed frame, which only the clouds name.
"""

from __future__ import annotations

import os
import sys

from haskd_ros.node.program.ending import Ending


def main() -> None:
    """Wait for an event, then become the command that follows. A signal before that ends the
    process with exit code 0: nothing has failed."""
    ending = Ending()
    # Only now: while rclpy is imported, a signal would find nobody.
    from haskd_ros.node.program.waits import wait

    event, name, *command = sys.argv[1:]
    ready = wait(event, name, command, ending.asked)
    if ready is None:
        ending.leave(0)
    os.execvp(ready[0], ready)


if __name__ == "__main__":
    main()
