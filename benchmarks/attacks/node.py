"""On the running node: its process on one side, a sender that means harm on the other."""

from __future__ import annotations

import itertools
import math
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import psutil

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "test" / "support"))

from attacks.outcome import Attack, Outcome
from haskd_ros.node.dds.profiles import profile_environment

MESSAGES = 3000
TINY, HUGE, NAN, INF = 5e-324, 1e308, math.nan, math.inf

ARGUMENTS = (
    "-p crop.frame:=[", "-p nonsense", "-r __node:=1bad", "-r __ns:=//x", "--bogus",
    "--params-file /nonexistent", "-p threads:=99999999999999999999", "-p min_probability:=.nan",
    "-p crop.frame:=/", "-p use_sim_time:=5", "-p crop.min:=[0.0]", "--log-level nonsense",
)  # fmt: skip
"""Arguments of the node that are none; where text has no escape, in the shell's words."""

CLOCKS = (
    (1000, 0), (1000, 2**32 - 1), (0, 0), (2**31 - 1, 2**32 - 1), (5, 0), (10**9, 0), (-1, 0),
    (-(2**31), 5), (2**31 - 1, 0), (1000, 0),
)  # fmt: skip
"""Times on /clock, s and ns."""


def to_itself(scratch: Path) -> None:
    """Keep what is started from now on to this machine, with its logs in a folder."""
    os.environ |= {
        "ROS_AUTOMATIC_DISCOVERY_RANGE": "LOCALHOST",
        "ROS_LOG_DIR": str(scratch),
        **profile_environment(),
    }


@contextmanager
def live(scratch: Path, *parameters: str) -> Iterator[tuple]:
    """A node that is active, with the model of the package, and the other side of its topics; at
    the end it must still live, end well, and have accounted for every cloud."""
    to_itself(scratch)
    from robot import DOMAIN, NodeProcess, Robot
    from soak import OTHERS

    quick = ("warmup_points:=1000", "diagnostics.period:=0.2")
    node = NodeProcess(scratch, DOMAIN, *quick, *parameters)
    robot = None
    outcome = Outcome()
    try:
        node.wait_for_log("active after")
        robot = Robot(DOMAIN)
        robot.subscribe("output/segmentation")
        robot.publish_on("/segment/input/points")
        try:
            yield node, robot, outcome
        except AssertionError as error:
            outcome.faults.append(f"{error}, exit code {node.process.poll()}"[:300])
        if node.process.poll() is not None:
            outcome.faults.append(f"the node ended: {node.log.strip().splitlines()[-1]}"[:300])
        elif node.end() != 0:
            outcome.faults.append(f"exit code {node.process.returncode}")
        else:
            counts = robot.final_counts()
            accounted = counts["labelled"] + sum(counts[name] for name in OTHERS)
            if counts["received"] != accounted:
                outcome.faults.append(f"{counts['received']} received, {accounted} accounted for")
        for text in ("Traceback", "internal fault"):
            if text in node.log:
                last = [line for line in node.log.splitlines() if "Error" in line][-1:]
                outcome.faults.append(f"{text} in the log: {' '.join(last)}"[:300])
    finally:
        node.close()
        if robot is not None:
            robot.close()


def _still_labels(robot) -> None:
    from robot import cloud_of, some_points

    assert robot.label(cloud_of(some_points(50))).width == 50


def _spin(robot, seconds: float) -> None:
    end = time.monotonic() + seconds
    robot.wait(lambda: time.monotonic() > end)


def messages_over_dds(scratch: Path, seconds: float) -> Outcome:
    """`MESSAGES` that lie, and as many more as there is time for."""
    from hostile_messages import hostile_messages

    with live(scratch) as (node, robot, outcome):
        _still_labels(robot)
        process = psutil.Process(node.process.pid)
        before, begun = process.memory_info().rss, time.monotonic()
        messages = hostile_messages(0)
        while outcome.tried < MESSAGES or time.monotonic() < begun + seconds:
            robot.send_now(next(messages))
            outcome.tried += 1
            robot._executor.spin_once(timeout_sec=0.005)
            assert node.process.poll() is None, f"dead after {outcome.tried} messages"
        _still_labels(robot)
        grown = (process.memory_info().rss - before) / 2**20
        outcome.remark = f"{grown:.0f} MiB more memory"
        if grown > 300:
            outcome.faults.append(outcome.remark)
    return outcome


def a_flood(scratch: Path, seconds: float) -> Outcome:
    """Clouds as fast as they can be sent, some of 100 MB that lie about what is in them: services
    respond meanwhile."""
    from robot import cloud_of, some_points

    with live(scratch) as (node, robot, outcome):
        _still_labels(robot)
        process = psutil.Process(node.process.pid)
        good, huge = cloud_of(some_points(20_000)), cloud_of(some_points(10))
        huge.data.frombytes(bytes(100_000_000))
        huge.width = 2**31
        begun, slowest = time.monotonic(), 0.0
        while time.monotonic() < begun + min(seconds, 30.0):
            for _ in range(50):
                robot.send_now(good)
                outcome.tried += 1
            robot.send_now(huge)
            asked = time.monotonic()
            assert robot.set_parameter("min_points", 0) == (True, "")
            slowest = max(slowest, time.monotonic() - asked)
        _still_labels(robot)
        peak = process.memory_info().rss / 2**20
        outcome.remark = f"slowest response {slowest:.1f} s, RSS {peak:.0f} MiB"
        if slowest > 10 or peak > 3000:
            outcome.faults.append(outcome.remark)
    return outcome


def parameters(scratch: Path, seconds: float) -> Outcome:
    """Values at the ends of their types and beyond, one by one and in bursts, while clouds come:
    each is answered, and labels come again once the defaults are back."""
    from rcl_interfaces.msg import Parameter, ParameterType, ParameterValue
    from rcl_interfaces.srv import SetParameters
    from robot import cloud_of, some_points

    from haskd_ros.node.parameters.values import PARAMETERS

    numbers = (NAN, INF, -INF, HUGE, -HUGE, TINY, 1e-300, -1.0, 0.3, 1e9)
    texts = ("", "/", "[", "\x1b[2J", "\n", "a b", "x" * 10**6, "car:", ":", "unlabelled:car")
    values = [
        *(ParameterValue(type=ParameterType.PARAMETER_DOUBLE, double_value=v) for v in numbers),
        *(ParameterValue(type=2, integer_value=v) for v in (-(2**63), 2**63 - 1, 0)),
        *(ParameterValue(type=4, string_value=text) for text in texts),
        *(ParameterValue(type=9, string_array_value=[text]) for text in texts),
        ParameterValue(type=9, string_array_value=[""] * 100_000),
        *(ParameterValue(type=8, double_array_value=[v] * 3) for v in numbers),
        *(ParameterValue(type=kind) for kind in (0, 1, 5, 6, 7, 10, 200, 255)),
    ]
    names = [info.name for info in PARAMETERS] + ["use_sim_time", "nonsense", "", "[", "x" * 10**5]
    with live(scratch) as (_, robot, outcome):
        _still_labels(robot)
        requests = [
            SetParameters.Request(
                parameters=[Parameter(name=name, value=value) for value in values]
            )
            for name in names
        ]
        for name, request in zip(names, requests, strict=True):
            results = robot.call(SetParameters, "set_parameters", request).results
            outcome.tried += len(values)
            if len(results) != len(values):
                outcome.faults.append(f"{name}: {len(results)} of {len(values)} were answered")
            long = [each.reason for each in results if len(each.reason) > 2000]
            if long:
                outcome.faults.append(f"{name}: a reason of {len(long[0])} characters")
            # What was taken has to do with a cloud.
            for value, result in zip(values, results, strict=False):
                if result.successful and name not in ("nonsense", "use_sim_time"):
                    one = SetParameters.Request(parameters=[Parameter(name=name, value=value)])
                    robot.call(SetParameters, "set_parameters", one)
                    robot.send(cloud_of(some_points(30)))
                    _spin(robot, 0.15)
            for info in PARAMETERS:
                if info.name == name and not info.read_only:
                    default = (
                        list(info.default) if isinstance(info.default, tuple) else info.default
                    )
                    assert robot.set_parameter(name, default)[0], name
            if name == "use_sim_time":
                assert robot.set_parameter(name, False)[0]
        _still_labels(robot)
    return outcome


def clocks(scratch: Path, seconds: float) -> Outcome:
    """Times on /clock that are none or years away, while clouds come: no silence is reported."""
    from diagnostic_msgs.msg import DiagnosticArray
    from robot import cloud_of, some_points
    from rosgraph_msgs.msg import Clock

    with live(scratch, "use_sim_time:=true") as (_, robot, outcome):
        publisher = robot.node.create_publisher(Clock, "/clock", 10)
        robot.subscribe("/diagnostics", DiagnosticArray)
        for sec, nanosec in CLOCKS:
            outcome.tried += 1
            message = Clock()
            message.clock.sec, message.clock.nanosec = sec, nanosec
            robot.received["/diagnostics"].clear()
            end = time.monotonic() + 1.0
            while time.monotonic() < end or not robot.received["/diagnostics"]:
                assert time.monotonic() < end + 20, f"/clock {sec} s {nanosec} ns: no diagnostics"
                publisher.publish(message)
                robot.send(cloud_of(some_points(30)))
                robot._executor.spin_once(timeout_sec=0.05)
            for status in (s for m in robot.received["/diagnostics"] for s in m.status):
                if status.name.endswith("input") and status.message.startswith("silent for"):
                    outcome.faults.append(f"/clock {sec} s {nanosec} ns: {status.message}")
    return outcome


def headers(scratch: Path, seconds: float) -> Outcome:
    """Stamps and frames that are none: the labels come back under the same."""
    from hostile_messages import FRAMES, STAMPS
    from robot import cloud_of, some_points

    with live(scratch) as (_, robot, outcome):
        _still_labels(robot)
        for (sec, nanosec), frame in itertools.product(STAMPS, FRAMES):
            outcome.tried += 1
            cloud = cloud_of(some_points(50))
            cloud.header.frame_id = frame
            cloud.header.stamp.sec, cloud.header.stamp.nanosec = sec, nanosec
            replies = robot.received["output/segmentation"]
            replies.clear()
            end = time.monotonic() + 20
            while not any(reply.header == cloud.header for reply in replies):
                assert time.monotonic() < end, f"no labels: {sec} s, {nanosec} ns, {frame!r:.50}"
                robot.send(cloud)
                robot._executor.spin_once(timeout_sec=0.1)
    return outcome


def reloads(scratch: Path, seconds: float) -> Outcome:
    """Files whose headers were tampered with, written while they are loaded, 10 requests at once:
    each is answered, and /diagnostics names the file that labels."""
    import hashlib

    from hostile_messages import tampered_model
    from std_srvs.srv import Trigger

    from haskd_ros.segmentation import DEFAULT_MODEL

    model, good = scratch / "model.safetensors", DEFAULT_MODEL.read_bytes()
    model.write_bytes(good)
    random = np.random.default_rng(0)
    with live(scratch, f"model:={model}") as (node, robot, outcome):
        _still_labels(robot)
        client = robot.node.create_client(Trigger, "/segment/reload")
        robot.wait(client.service_is_ready)
        begun = time.monotonic()
        while outcome.tried < 100 or time.monotonic() < begun + seconds:
            content = tampered_model(DEFAULT_MODEL, random)
            futures = []
            for _ in range(5):
                model.write_bytes(content[: random.integers(1, len(content))])
                futures.append(client.call_async(Trigger.Request()))
            model.write_bytes(content)
            futures += [client.call_async(Trigger.Request()) for _ in range(5)]
            outcome.tried += len(futures)
            robot.wait(lambda futures=futures: all(future.done() for future in futures))
            assert node.process.poll() is None, "the node ended"
            robot._executor.spin_once(timeout_sec=0.3)
        model.write_bytes(good)
        response = robot.call(Trigger, "reload", Trigger.Request())
        digest = hashlib.sha256(good).hexdigest()[:12]
        assert response.success and digest in response.message, response.message
        _still_labels(robot)
    return outcome


def arguments(scratch: Path, seconds: float) -> Outcome:
    """Command lines that are wrong: one line, exit code 2."""
    outcome = Outcome()
    for line in ARGUMENTS:
        outcome.tried += 1
        done = subprocess.run(
            [sys.executable, "-m", "haskd_ros", "--ros-args", *line.split(" ")],
            env={**os.environ, "ROS_LOG_DIR": str(scratch)},
            capture_output=True,
            text=True,
            timeout=120,
        )
        said = (done.stdout + done.stderr).strip()
        if done.returncode != 2 or "Traceback" in said:
            last = said.splitlines()[-1] if said else "nothing"
            outcome.faults.append(f"{line}: exit code {done.returncode}, {last}"[:300])
    return outcome


def soak(scratch: Path, seconds: float) -> Outcome:
    """Everything at once; `stress_node.py --minutes` is the same for longer."""
    to_itself(scratch)
    from soak import Soak, described

    folder = scratch / "soak"
    folder.mkdir()
    soak = Soak(folder)
    soak.run(max(seconds, 30.0), period_s=5.0)
    return Outcome(soak.sent, soak.faults, described(soak))


ATTACKS: dict[str, Attack] = {
    "messages over DDS": messages_over_dds,
    "flood": a_flood,
    "parameters": parameters,
    "/clock": clocks,
    "headers": headers,
    "reloads": reloads,
    "arguments": arguments,
    "soak": soak,
}
