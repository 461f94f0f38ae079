"""A node under everything at once for as long as is wanted: good and hostile clouds, parameters,
reloads of good and of tampered files, life cycles. Shared by benchmarks/stress_node.py and
benchmarks/attacks/node.py."""

from __future__ import annotations

import csv
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, fields
from pathlib import Path

import numpy as np
import psutil
from diagnostic_msgs.msg import DiagnosticArray
from hostile_messages import hostile_messages, tampered_model
from rcl_interfaces.msg import Parameter, ParameterValue
from rcl_interfaces.srv import SetParameters
from robot import DOMAIN, WAIT_S, NodeProcess, Robot
from std_srvs.srv import Trigger
from stress import Traffic, recorded

from haskd_ros.segmentation import DEFAULT_MODEL

OTHERS = ("that nobody watched", "replaced by a newer one", "left out by max_rate", "rejected")
"""With those labelled, what became of the clouds received."""

MOST_MEMORY_MIB, MOST_THREADS, MOST_FILES = 64, 2, 8
"""By which the second half of a soak may exceed the first: more is a leak."""


@dataclass(frozen=True)
class Sample:
    """The node after a while.

    Attributes:
        seconds: since the start.
        rounds: of things done to it so far.
        memory_mib, threads, files: of the process; memory is the resident set.
        p50_ms, p95_ms, p99_ms: from handing a good cloud to DDS to having its labels, of those
            since the sample before; NaN: none came.
    """

    seconds: float
    rounds: int
    memory_mib: float
    threads: int
    files: int
    p50_ms: float
    p95_ms: float
    p99_ms: float


class Soak:
    """
    Args:
        folder: empty; gets the log of the node and its model file.
        figures: CSV with a line for each `Sample`, written as they come; None: nowhere.
        seed: of what is done.
    """

    def __init__(self, folder: Path, figures: Path | None = None, seed: int = 0) -> None:
        self._figures = figures
        self._random = np.random.default_rng(seed)
        self._model = folder / "model.safetensors"
        self._model.write_bytes(DEFAULT_MODEL.read_bytes())
        self._good = DEFAULT_MODEL.read_bytes()
        self.node = NodeProcess(
            folder, DOMAIN, f"model:={self._model}", "warmup_points:=1000",
            "diagnostics.period:=0.5",
        )  # fmt: skip
        self.node.wait_for_log("active after")
        self._robot = Robot(DOMAIN)
        self._messages = hostile_messages(seed)
        self._traffic = Traffic(self._robot, [recorded(20_000)], 10.0)
        self._hostile = self._robot.node.create_timer(0.05, self._send_hostile)
        self._robot.subscribe("/diagnostics", DiagnosticArray, 10)
        self.sent = 0
        self.samples: list[Sample] = []
        self.faults: list[str] = []

    def run(self, seconds: float, period_s: float = 10.0) -> None:
        """Go on for so long, with a sample every `period_s`; what should not have been is in
        `faults`."""
        actions = (self._parameters, self._reload, self._life_cycle, self._leave, self._wait)
        begun = due = time.monotonic()
        rounds = 0
        try:
            while time.monotonic() < begun + seconds:
                action = actions[self._random.integers(len(actions))]
                self._tried(action)
                rounds += 1
                if time.monotonic() >= due:
                    due = time.monotonic() + period_s
                    self._take_sample(time.monotonic() - begun, rounds)
        except psutil.NoSuchProcess:
            pass  # told at the end
        self._end()

    def _tried(self, action: Callable[[], None]) -> None:
        """Do something to the node: that it doesn't respond in time is a fault."""
        if self.node.process.poll() is not None:
            raise psutil.NoSuchProcess(self.node.process.pid)
        try:
            action()
        except AssertionError as error:
            self.faults.append(f"{action.__name__}: {error}"[:300])

    def _send_hostile(self) -> None:
        self._traffic.publish(next(self._messages))
        self.sent += 1

    def _parameters(self) -> None:
        """Ten requests at once, half of them nonsense."""
        names = ("range.max", "diagnostics.period", "max_rate", "min_probability", "class_remap")
        values = (0.0, 0.5, 1e308, float("nan"), -1.0, 60.0)
        parameters = [
            Parameter(
                name=names[self._random.integers(5)],
                value=ParameterValue(
                    type=int(self._random.choice([3, 3, 3, 200])),
                    double_value=values[self._random.integers(6)],
                ),
            )
            for _ in range(10)
        ]
        request = SetParameters.Request(parameters=parameters)
        results = self._robot.call(SetParameters, "set_parameters", request).results
        assert len(results) == 10, "not every parameter was answered"
        for name, value in (("range.max", float("inf")), ("min_probability", 0.0),
                            ("max_rate", 0.0), ("diagnostics.period", 0.5)):  # fmt: skip
            assert self._robot.set_parameter(name, value) == (True, ""), name

    def _reload(self) -> None:
        """A tampered file, which may be refused or not, then the good one again."""
        self._model.write_bytes(tampered_model(DEFAULT_MODEL, self._random))
        self._robot.call(Trigger, "reload", Trigger.Request())
        self._model.write_bytes(self._good)
        response = self._robot.call(Trigger, "reload", Trigger.Request())
        assert response.success or "meanwhile" in response.message, response.message

    def _life_cycle(self) -> None:
        for transition in ("deactivate", "cleanup", "configure", "activate"):
            assert self._robot.change(transition), transition

    def _leave(self) -> None:
        """The subscriber goes and comes back."""
        self._traffic.unsubscribe()
        self._traffic.run_for(0.5)
        self._traffic.subscribe()

    def _wait(self) -> None:
        """Labels go on coming."""
        before = len(self._traffic.replies)
        self._robot.wait(lambda: len(self._traffic.replies) > before + 5)

    def _take_sample(self, seconds: float, rounds: int) -> None:
        process = psutil.Process(self.node.process.pid)
        latencies = self._traffic.forget()
        percentiles = np.percentile(latencies, [50, 95, 99]) if len(latencies) else [np.nan] * 3
        sample = Sample(
            round(seconds, 1),
            rounds,
            round(process.memory_info().rss / 2**20, 1),
            process.num_threads(),
            process.num_fds(),
            *(round(float(value), 1) for value in percentiles),
        )
        self._robot.received["/diagnostics"].clear()
        self.samples.append(sample)
        if self._figures is None:
            return
        is_new = not self._figures.exists()
        with self._figures.open("a", newline="") as file:
            writer = csv.writer(file)
            if is_new:
                writer.writerow([field.name for field in fields(Sample)])
            writer.writerow(asdict(sample).values())

    def _end(self) -> None:
        self._robot.node.destroy_timer(self._hostile)
        self._traffic.stop()
        if self.node.process.poll() is not None:
            self.faults.append(f"the node ended with {self.node.process.returncode}")
        elif (code := self.node.end()) != 0:
            self.faults.append(f"the node's exit code is {code}")
        else:
            counts = self._robot.final_counts()
            accounted = counts["labelled"] + sum(counts[name] for name in OTHERS)
            if counts["received"] != accounted:
                self.faults.append(f"{counts['received']} received, {accounted} accounted for")
        if "internal fault" in self.node.log:
            line = self.node.log.partition("internal fault")[2].splitlines()[0]
            self.faults.append(f"internal fault{line}"[:300])
        self.faults += self._leaks()
        self._robot.close()

    def _leaks(self) -> list[str]:
        """What the second half of the samples, but for the first two, uses more than the first."""
        settled = self.samples[2:]
        if len(settled) < 4:
            return []
        first, second = settled[: len(settled) // 2], settled[len(settled) // 2 :]
        limits = {"memory_mib": MOST_MEMORY_MIB, "threads": MOST_THREADS, "files": MOST_FILES}
        faults = []
        for name, most in limits.items():
            before, after = (
                float(np.median([getattr(sample, name) for sample in half]))
                for half in (first, second)
            )
            if after > before + most:
                faults.append(f"{name} grew from {before:.0f} to {after:.0f}")
        return faults


def described(soak: Soak) -> str:
    """What came of a soak, in one line."""
    first, last = soak.samples[0], soak.samples[-1]
    slowest = np.nanmedian([[s.p50_ms, s.p95_ms, s.p99_ms] for s in soak.samples], axis=0)
    return (
        f"{last.seconds:.0f} s, {last.rounds} rounds, {soak.sent} hostile messages; RSS "
        f"{first.memory_mib:.0f} -> {last.memory_mib:.0f} MiB, threads {first.threads} -> "
        f"{last.threads}, files {first.files} -> {last.files}; ms p50 {slowest[0]:.0f} "
        f"p95 {slowest[1]:.0f} p99 {slowest[2]:.0f} (medians of the samples); "
        f"longest wait allowed {WAIT_S:.0f} s"
    )
