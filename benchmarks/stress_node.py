"""The node under traffic while things are done to it: reloads and life cycles, bursts, a subscriber
that comes and goes, two nodes on one machine, what a node takes that has little to do, minutes of
large clouds; or a soak in hostile messages and all of it at once.

python benchmarks/stress_node.py BAG [--rounds 100] [--rate 10] [--cases resting,large_clouds]
python benchmarks/stress_node.py --minutes 30 [--figures soak.csv] [--seed 0]

A soak writes its figures to the file as they come, one line every 10 s; exit code 1 where something
leaked, failed or was not accounted for.
"""

from __future__ import annotations

import argparse
import itertools
import os
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path

import numpy as np
import psutil

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "test" / "support"))

from rclpy.serialization import deserialize_message, serialize_message
from robot import DOMAIN, NodeProcess, Robot, cloud_of
from sensor_msgs.msg import PointCloud2
from soak import Soak, described
from std_srvs.srv import Trigger
from stress import Traffic, operate, recorded, traffic

from haskd_ros.clouds.pointcloud import read_points
from haskd_ros.node.dds.profiles import profile_environment
from haskd_training.recordings.readers.bag import POINT_CLOUD, choose_topic, open_bag
from haskd_training.robot.live.replay import RecordedCloud


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("bag", type=Path, nargs="?")
    parser.add_argument("--minutes", type=float, help="of a soak, without a bag")
    parser.add_argument("--figures", type=Path, default=Path("soak.csv"), help="of a soak")
    parser.add_argument("--seed", type=int, default=0, help="of a soak")
    parser.add_argument("--rounds", type=int, default=100, help="reloads and life cycles")
    parser.add_argument("--rate", type=float, default=10.0, help="clouds a second")
    parser.add_argument("--cases", type=lambda text: text.split(","), default=list(CASES))
    arguments = parser.parse_args()
    if unknown := set(arguments.cases) - set(CASES):
        parser.error(f"no such case: {', '.join(unknown)}; cases are {', '.join(CASES)}")
    if (arguments.bag is None) == (arguments.minutes is None):
        parser.error("give either a BAG or --minutes")
    with tempfile.TemporaryDirectory() as folder:
        os.environ |= {
            "ROS_AUTOMATIC_DISCOVERY_RANGE": "LOCALHOST",
            "ROS_LOG_DIR": folder,
            **profile_environment(),
        }
        if arguments.bag is None:
            return soaked(Path(folder), 60 * arguments.minutes, arguments.figures, arguments.seed)
        for case in arguments.cases:
            bench = Bench(Path(folder), clouds_of(arguments.bag), arguments.rate)
            CASES[case](bench, arguments.rounds)
    return 0


def soaked(folder: Path, seconds: float, figures: Path, seed: int) -> int:
    """The exit code of a soak."""
    soak = Soak(folder, figures, seed)
    print(f"figures go to {figures}", flush=True)
    soak.run(seconds)
    print(described(soak))
    for fault in soak.faults:
        print(f"fault: {fault}")
    return 1 if soak.faults else 0


def clouds_of(bag: Path) -> list[RecordedCloud]:
    """The first 10 clouds of a recording."""
    with open_bag(bag) as recording:
        topic = choose_topic(recording, POINT_CLOUD, None, "topic")
        stream = itertools.islice(recording.messages_with_cdr(topic), 10)
        return [RecordedCloud(0, cdr) for _, cdr in stream]


def with_more_points(cloud: RecordedCloud, count: int) -> RecordedCloud:
    """So many points, each a few cm from one of the cloud's."""
    message = deserialize_message(cloud.cdr, PointCloud2)
    points = np.resize(read_points(message), count)
    noise = np.random.default_rng(0).normal(0, 0.03, (3, count))
    for axis, offset in zip("xyz", noise, strict=True):
        points[axis] += offset
    return RecordedCloud(0, serialize_message(cloud_of(points)))


class Bench:
    """Runs the cases one after the other and prints what came of each."""

    def __init__(self, folder: Path, clouds: list[RecordedCloud], rate_hz: float) -> None:
        self._folder, self._clouds, self._rate_hz = folder, clouds, rate_hz

    @contextmanager
    def _flow(self, rate_hz: float, *namespaces: str):
        """A robot, running nodes and traffic to each of them; printed at the end."""
        with ExitStack() as stack:
            robot = Robot(DOMAIN)
            stack.callback(robot.close)
            nodes = [NodeProcess(self._folder, DOMAIN, namespace=name) for name in namespaces]
            for node in nodes:
                stack.callback(node.close)
                node.wait_for_log("active")
            with ExitStack() as traffics:
                flows = [
                    traffics.enter_context(traffic(robot, self._clouds, rate_hz, f"{name}/segment"))
                    for name in namespaces
                ]
                yield robot, nodes, flows
            for name, node, flow in zip(namespaces, nodes, flows, strict=True):
                assert node.end() == 0, node.log
                self._print(robot.final_counts(f"{name}/segment"), flow)

    def _print(self, counts: Mapping[str, int], flow: Traffic) -> None:
        stamps = flow.stamps()
        duplicates = len(stamps) - len(set(stamps))
        print(f"  sent {len(flow.sent)}, replies {len(stamps)}, duplicates {duplicates}, ", end="")
        print(f"labelled but not received {counts['labelled'] - len(stamps)}")
        print("  node:", ", ".join(f"{number} {what}" for what, number in counts.items() if number))
        p50, p95, p99, most = np.percentile(flow.latencies_ms(), [50, 95, 99, 100])
        print(f"  ms: p50 {p50:.0f}, p95 {p95:.0f}, p99 {p99:.0f}, max {most:.0f}", flush=True)

    def reloads_and_life_cycles(self, rounds: int) -> None:
        print(f"{rounds} times: parameter, reload, deactivate, cleanup, configure, activate")
        with self._flow(self._rate_hz, "") as (robot, (node,), _):
            usages = operate(robot, node, rounds)
        for name in ("memory_mib", "threads"):
            values = [getattr(each, name) for each in usages]
            tenth = max(1, rounds // 10)
            shown = [np.median(values[start : start + tenth]) for start in range(0, rounds, tenth)]
            print(f"  {name}, median of each tenth:", " ".join(f"{value:.0f}" for value in shown))

    def reloads(self, number: int, points: int = 10_000, rate_hz: float = 25.0) -> None:
        """Of a model that is already there, beside clouds so small that the node keeps pace."""
        print(f"{number} reloads under {rate_hz:g} Hz of {points} points, 2 s apart")
        self._clouds = [recorded(points)]
        busy: list[tuple[float, float]] = []
        with self._flow(rate_hz, "") as (robot, _, (flow,)):
            for _ in range(number):
                flow.run_for(2.0)
                begin = time.perf_counter()
                response = robot.call(Trigger, "reload", Trigger.Request())
                assert response.success, response.message
                busy.append((begin, time.perf_counter()))
            flow.run_for(2.0)
        seconds = [end - begin for begin, end in busy]
        print(f"  s a reload: median {np.median(seconds):.2f}, max {max(seconds):.2f}")
        times = np.array([when for _, when in flow.replies])
        during = np.zeros(len(times) - 1, bool)
        for begin, end in busy:
            during |= (times[1:] > begin) & (times[:-1] < end)
        for name, which in (("during reloads", during), ("between them", ~during)):
            gaps = 1e3 * np.diff(times)[which]
            p50, p99, most = np.percentile(gaps, [50, 99, 100])
            print(
                f"  ms from labels to labels {name}: p50 {p50:.0f}, p99 {p99:.0f}, max {most:.0f}"
            )

    def bursts(self, number: int) -> None:
        print(f"{number} bursts of 10 clouds at once, and a cloud a second")
        last = []
        with self._flow(1.0, "") as (_, _, (flow,)):
            for _ in range(number):
                for _ in range(10):
                    flow.send()
                last.append(max(flow.sent))
                flow.run_for(2.0)
        seconds = [when - flow.sent[stamp] for stamp, when in flow.replies if stamp in last]
        print(f"  the last of a burst was labelled {len(seconds)} times, ", end="")
        print(f"ms: median {1e3 * np.median(seconds):.0f}, max {1e3 * max(seconds):.0f}")

    def a_subscriber_that_comes_and_goes(self, number: int) -> None:
        print(f"a subscriber that comes and goes {number} times, a second each")
        with self._flow(self._rate_hz, "") as (_, _, (flow,)):
            for _ in range(number):
                flow.run_for(1.0)
                flow.unsubscribe()
                flow.run_for(1.0)
                flow.subscribe()

    def two_nodes(self, seconds: float) -> None:
        print(f"two nodes in two namespaces, {self._rate_hz:g} Hz each")
        with self._flow(self._rate_hz, "/front", "/rear") as (_, _, (flow, _)):
            flow.run_for(seconds)

    def resting(self, seconds: float) -> None:
        print(f"CPU time of the node in % of one core, over {seconds:g} s each")
        with ExitStack() as stack:
            robot = Robot(DOMAIN)
            stack.callback(robot.close)
            node = NodeProcess(self._folder, DOMAIN)
            node.wait_for_log("active")
            process = psutil.Process(node.process.pid)

            def tell(what: str) -> None:
                begin = sum(process.cpu_times()[:2]), time.perf_counter()
                end = time.monotonic() + seconds
                robot.wait(lambda: time.monotonic() > end)
                taken = sum(process.cpu_times()[:2]) - begin[0]
                print(f"  {what}: {100 * taken / (time.perf_counter() - begin[1]):.1f}")

            tell("active, without clouds")
            assert robot.change("deactivate")
            tell("inactive")
            assert robot.change("activate")
            flow = Traffic(robot, self._clouds, self._rate_hz)
            flow.unsubscribe()
            tell(f"{self._rate_hz:g} clouds a second that nobody watches")
            flow.stop()
            assert node.end() == 0, node.log

    def large_clouds(self, minutes: float, points: int = 1_000_000, rate_hz: float = 1.0) -> None:
        """Of a sensor that sees the same street with ten times as many beams."""
        print(f"{minutes:g} minutes of {rate_hz:g} cloud a second of {points} points")
        self._clouds = [with_more_points(self._clouds[0], points)]
        memory = []
        with self._flow(rate_hz, "") as (_, (node,), (flow,)):
            process = psutil.Process(node.process.pid)
            for _ in range(10):
                end = time.monotonic() + 6 * minutes
                while time.monotonic() < end:
                    flow.run_for(min(10.0, end - time.monotonic()))
                memory.append(process.memory_info().rss / 2**20)
        print("  MiB at the end of each tenth:", " ".join(f"{mib:.0f}" for mib in memory))


CASES: dict[str, Callable[[Bench, int], None]] = {
    "life_cycles": lambda bench, rounds: bench.reloads_and_life_cycles(rounds),
    "reloads": lambda bench, rounds: bench.reloads(rounds),
    "bursts": lambda bench, _: bench.bursts(10),
    "subscriber": lambda bench, _: bench.a_subscriber_that_comes_and_goes(10),
    "two_nodes": lambda bench, _: bench.two_nodes(20.0),
    "resting": lambda bench, _: bench.resting(30.0),
    "large_clouds": lambda bench, _: bench.large_clouds(10.0),
}


if __name__ == "__main__":
    sys.exit(main())
