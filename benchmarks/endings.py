"""How long the node's process takes to end: starts it again and again, and signals it once, at a
random moment of its first seconds.

python benchmarks/endings.py [--starts 300] [--seconds 6] [--seed 0]

Prints one line a start (signal, s after the start, s to the end, exit code), and at the end the
longest by what the log had said by then; exit code 1 where one did not end in 2 s or not with 0.
"""

from __future__ import annotations

import argparse
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "test" / "support"))

from robot import DOMAIN, NodeProcess

from haskd_ros.node.dds.profiles import profile_environment

LIMIT_S = 2.0
GIVEN_UP_S = 60.0
STATES = {"waiting for clouds": "active", "ready after": "warming up", "": "starting"}
"""By what the log says, the latest first."""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--starts", type=int, default=300)
    parser.add_argument("--seconds", type=float, default=6.0, help="the latest signal")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    # A node that nohup has started goes on after a hang-up.
    signal.signal(signal.SIGHUP, signal.SIG_DFL)
    chance = random.Random(arguments.seed)
    took: dict[str, list[float]] = defaultdict(list)
    failed = 0
    with tempfile.TemporaryDirectory() as folder:
        os.environ |= {
            "ROS_AUTOMATIC_DISCOVERY_RANGE": "LOCALHOST",
            "ROS_LOG_DIR": folder,
            **profile_environment(),
        }
        for _ in range(arguments.starts):
            number = chance.choice([signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
            delay = chance.uniform(0.3, arguments.seconds)
            node = NodeProcess(Path(folder), DOMAIN)
            time.sleep(delay)
            state = next(name for text, name in STATES.items() if text in node.log)
            sent = time.monotonic()
            node.process.send_signal(number)
            try:
                code: int | None = node.process.wait(GIVEN_UP_S)
            except subprocess.TimeoutExpired:
                code = None
                node.process.kill()
            seconds = time.monotonic() - sent
            took[state].append(seconds)
            failed += code != 0 or seconds > LIMIT_S
            print(f"{number.name} {delay:.2f} {state} {seconds:.2f} {code}", flush=True)
    for state, times in took.items():
        times.sort()
        median = times[len(times) // 2]
        print(f"{state}: {len(times)}, median {median:.2f} s, max {times[-1]:.2f} s")
    print(f"{failed} of {arguments.starts} not in {LIMIT_S:g} s with exit code 0")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
