"""What goes wrong in a callback costs that call and is told, whatever it is."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator

import pytest

pytest.importorskip("rclpy", reason="needs ROS 2 (pip install '.[ros-wheels]')")

import rclpy
from rcl_interfaces.msg import Parameter, ParameterValue
from rcl_interfaces.srv import SetParameters, SetParametersAtomically
from rclpy.waitable import NumberOfEntities, Waitable
from robot import DOMAIN_OF_THIS_PROCESS
from std_msgs.msg import String
from std_srvs.srv import Trigger

from haskd_ros.errors import InputError
from haskd_ros.node.guarded_node import GuardedNode
from haskd_ros.node.outputs import diagnostic_array
from haskd_ros.node.program.executor import SurvivingExecutor
from haskd_ros.node.reports.faults import MOST_KINDS, InternalFaults, LogPeriods, is_out_of_memory
from haskd_ros.node.reports.statuses import ERROR, OK, WARN, Status, each_status, faults_status


class Bench:
    """A guarded node, a client's node, and the executor that runs both."""

    def __init__(self) -> None:
        rclpy.init(domain_id=DOMAIN_OF_THIS_PROCESS)
        self.notices: list[str] = []
        self.node = GuardedNode("guarded", lambda notice, _: self.notices.append(notice))
        self.client_node = rclpy.create_node("client")
        self.executor = SurvivingExecutor(self.node.faults)
        for node in (self.node, self.client_node):
            self.executor.add_node(node)

    def spin_until(self, condition: Callable[[], bool]) -> None:
        end = time.monotonic() + 20
        while not condition():
            assert time.monotonic() < end, "waited too long"
            self.executor.spin_once(timeout_sec=0.1)

    def mark(self) -> None:
        """Count the faults from here on."""
        self._before = self.node.faults.summary.count

    @property
    def faults(self) -> int:
        return self.node.faults.summary.count - self._before

    def call(self, service_type: type, name: str, request):
        client = self.client_node.create_client(service_type, name)
        self.spin_until(client.service_is_ready)
        future = client.call_async(request)
        self.spin_until(future.done)
        return future.result()

    def close(self) -> None:
        self.executor.shutdown()
        self.node.destroy_node()
        self.client_node.destroy_node()
        rclpy.shutdown()


@pytest.fixture(scope="module")
def one_bench(ros_environment) -> Iterator[Bench]:
    bench = Bench()
    yield bench
    bench.close()


@pytest.fixture
def bench(one_bench) -> Bench:
    one_bench.mark()
    return one_bench


class FailingWaitable(Waitable):
    """Ready once, and then its data can't be taken: as a message for which there is no memory."""

    def __init__(self, group) -> None:
        super().__init__(group)
        self.is_due = True

    def is_ready(self, wait_set) -> bool:
        return self.is_due

    def take_data(self) -> None:
        self.is_due = False
        raise MemoryError("no room for the message")

    async def execute(self, taken_data) -> None: ...

    def get_num_entities(self) -> NumberOfEntities:
        return NumberOfEntities()

    def add_to_wait_set(self, wait_set) -> None: ...

    def __enter__(self) -> None: ...

    def __exit__(self, *_) -> None: ...


def test_whatever_a_callback_raises_the_next_calls_are_made(bench):
    node, calls = bench.node, []

    def raising(error: BaseException) -> Callable[..., None]:
        def callback(*_) -> None:
            calls.append(type(error))
            raise error

        return callback

    errors = [ValueError("a value"), MemoryError(), SystemExit(3), KeyboardInterrupt()]
    timers = [node.create_timer(0.01, raising(error)) for error in errors]
    subscription = node.create_subscription(String, "text", raising(RuntimeError("\ud800")), 10)
    publisher = bench.client_node.create_publisher(String, "text", 10)
    bench.spin_until(lambda: all(calls.count(type(error)) > 2 for error in errors))
    for timer in timers:
        node.destroy_timer(timer)
    bench.spin_until(lambda: publisher.publish(String()) or calls.count(RuntimeError) > 2)
    bench.executor.create_task(sys.exit)
    bench.spin_until(lambda: bench.faults == len(calls) + 1)
    node.destroy_subscription(subscription)
    # Nothing that has ended is kept
    bench.spin_until(lambda: len(bench.executor._tasks) < 3)


def test_a_message_that_can_not_be_taken_blocks_no_other_callback(bench):
    node, calls = bench.node, []
    waitable = FailingWaitable(node.default_callback_group)
    node.add_waitable(waitable)
    bench.spin_until(lambda: not waitable.is_due)
    timer = node.create_timer(0.01, lambda: calls.append("timer"))
    bench.spin_until(lambda: len(calls) > 2)
    assert "MemoryError: no room for the message" in node.faults.summary.last
    waitable.is_due = True
    bench.spin_until(lambda: bench.faults == 2)
    node.destroy_timer(timer)


def test_a_service_that_fails_refuses(bench):
    async def later(request, response):
        raise SystemError("later")

    bench.node.create_service(Trigger, "now", lambda *_: sys.exit("now"))
    bench.node.create_service(Trigger, "later", later)
    for name, said in (("now", "SystemExit: now"), ("later", "SystemError: later")):
        response = bench.call(Trigger, name, Trigger.Request())
        assert (response.success, response.message) == (False, said)
    assert bench.faults == 2


def test_a_parameter_of_a_type_that_is_none_is_refused(bench):
    bad = Parameter(name="use_sim_time", value=ParameterValue(type=200))
    said = "parameter use_sim_time has type 200, must be 0 to 9"
    request = SetParameters.Request(parameters=[bad, bad])
    found = bench.call(SetParameters, "guarded/set_parameters", request).results
    assert [(each.successful, each.reason) for each in found] == [(False, said)] * 2
    name = "guarded/set_parameters_atomically"
    request = SetParametersAtomically.Request(parameters=[bad])
    found = bench.call(SetParametersAtomically, name, request).result
    assert (found.successful, found.reason) == (False, said)
    assert bench.faults == 0


def test_a_fault_is_logged_with_its_traceback_once_per_kind_and_period():
    now, logged = [0.0], []
    faults = InternalFaults(logged.append, lambda: now[0])

    def fail(kind: type[Exception]) -> None:
        try:
            raise kind("no\x1b[31m\ud800")
        except kind as error:
            faults.note(error)

    for kind in (KeyError, ValueError, KeyError):
        fail(kind)
    assert len(logged) == 2
    now[0] = 4.9
    fail(KeyError)
    assert len(logged) == 2
    now[0] = 5.0
    fail(KeyError)
    assert len(logged) == 3 and faults.summary.count == 5
    assert "Traceback" in logged[0] and "in fail" in logged[0]
    assert all("\x1b" not in text and text.encode() for text in logged)


@pytest.mark.parametrize(("now", "level"), [(103.0, ERROR), (120.0, WARN)])
def test_a_fault_is_an_error_as_long_as_it_is_recent(now, level):
    faults = InternalFaults(lambda _: None, lambda: 100.0)
    assert faults_status(faults.summary, now, 10.0).level == OK
    faults.note(ValueError("odd"))
    status = faults_status(faults.summary, now, 10.0)
    assert status.level == level
    assert status.values["count"] == "1"
    assert status.values["last"] == "ValueError: odd (no traceback)"


def test_a_status_that_fails_silences_no_other():
    noted = []

    def failing() -> Status:
        raise TypeError("entropy is text")

    tasks = {"labels": failing, "sensor": lambda: Status("sensor", OK, "fine")}
    labels, sensor = each_status(tasks, lambda error: noted.append(error) or "TypeError")
    assert (labels.name, labels.level) == ("labels", ERROR)
    assert sensor.level == OK and len(noted) == 1


def test_whatever_text_a_status_has_can_be_sent(ros_environment):
    from builtin_interfaces.msg import Time
    from rclpy.serialization import serialize_message

    text = "\ud800\n\x1b[2J" + "x" * 10_000
    status = Status("model", OK, text, {text: text})
    message = diagnostic_array([status], node="/segment", hardware=text, stamp=Time())
    assert len(serialize_message(message)) < 16_000
    assert message.status[0].message.startswith("\\ud800\\n\\x1b[2Jxxx")


def test_kinds_beyond_the_limit_share_one_period():
    periods = LogPeriods(5.0)
    due = [periods.is_due(f"kind {number}", 0.0) for number in range(1000)]
    assert sum(due) == MOST_KINDS + 1
    assert not periods.is_due("kind 1", 4.9)
    assert periods.is_due("kind 1", 5.0)


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (MemoryError(), True),
        (RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory"), True),
        (RuntimeError("shape"), False),
        (InputError("no"), False),
    ],
)
def test_too_little_memory_is_known_as_such(error, expected):
    assert is_out_of_memory(error) is expected
