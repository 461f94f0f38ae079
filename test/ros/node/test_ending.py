"""The node's process ends by one signal, whatever it is doing."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("rclpy", reason="needs ROS 2 (pip install '.[ros-wheels]')")

from robot import WAIT_S, NodeProcess, cloud_of, some_points, wait_until

pytestmark = pytest.mark.live

ENDS = [signal.SIGINT, signal.SIGTERM, signal.SIGHUP]


@pytest.fixture(autouse=True)
def hang_ups_are_heard():
    """Whatever has started the tests: a node that nohup has started goes on after one."""
    before = signal.signal(signal.SIGHUP, signal.SIG_DFL)
    yield
    signal.signal(signal.SIGHUP, before)


def ends_by_one(node: NodeProcess, number: int) -> int:
    node.process.send_signal(number)
    return node.process.wait(WAIT_S)


@pytest.mark.parametrize("number", ENDS)
def test_one_signal_ends_an_active_node_in_order(start_cold, second_robot, tiny_model, number):
    before = shared_memory()
    node = start_cold(f"model:={tiny_model}", "warmup_points:=1000")
    second_robot.subscribe("output/segmentation")
    second_robot.label(cloud_of(some_points()))
    its_own = (shared_memory() - before) & mapped(node.process.pid)
    assert its_own
    assert ends_by_one(node, number) == 0
    # Sent again where best effort was not enough.
    assert re.search(r"[1-9]\d* labelled", node.log)
    assert "Traceback" not in node.log
    assert "middle of its work" not in node.log
    # What stays there stays until somebody cleans up.
    assert not its_own & shared_memory()


def shared_memory() -> set[str]:
    """Segments that Fast DDS has for messages."""
    files = Path("/dev/shm").glob("fastdds_*")
    return {file.name for file in files if file.stat().st_size > 1e6}


def mapped(process: int) -> set[str]:
    """Names of the files that a process has in its memory."""
    return {Path(line).name for line in Path(f"/proc/{process}/maps").read_text().splitlines()}


@pytest.mark.parametrize("number", ENDS)
def test_one_signal_ends_a_process_that_still_imports(start_cold, tiny_model, number):
    node = start_cold(f"model:={tiny_model}")
    libraries = Path(f"/proc/{node.process.pid}/maps")
    wait_until(lambda: "numpy" in libraries.read_text())
    assert ends_by_one(node, number) == 0
    assert node.log == ""


def test_one_signal_ends_a_compilation_and_the_compiler(start, tiny_model, tmp_path, monkeypatch):
    compiler, its_id = tmp_path / "compiler", tmp_path / "id"
    compiler.write_text(f"#!/bin/sh\necho $$ > {its_id}\nsleep 1000\n")
    compiler.chmod(0o755)
    monkeypatch.setenv("CXX", str(compiler))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    node = start(f"model:={tiny_model}", "device:=cpu")
    wait_until(lambda: its_id.exists() and its_id.read_text() != "")
    assert ends_by_one(node, signal.SIGTERM) == 0
    assert "ended by SIGTERM in the middle of its work" in node.log
    process = int(its_id.read_text())
    wait_until(lambda: not Path(f"/proc/{process}").exists() or is_zombie(process))


def is_zombie(process: int) -> bool:
    """Whether it has ended, but nobody has waited for it."""
    return "\nState:\tZ" in Path(f"/proc/{process}/status").read_text()


def test_a_hang_up_does_not_end_what_nohup_has_started(tmp_path):
    """A process that only hears signals, so that nothing but them decides."""
    code = (
        "from haskd_ros.node.program.ending import Ending\n"
        "ending = Ending(); ending.in_order.set();"
        "print('here', flush=True); ending.asked.wait(); print('asked', flush=True)"
    )
    process = subprocess.Popen(
        ["nohup", sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
        text=True, env={**os.environ},
    )  # fmt: skip
    assert process.stdout is not None
    assert process.stdout.readline() == "here\n"
    process.send_signal(signal.SIGHUP)
    with pytest.raises(subprocess.TimeoutExpired):
        process.wait(1.0)
    process.send_signal(signal.SIGTERM)
    assert process.stdout.readline() == "asked\n"
    assert process.wait(WAIT_S) == 0
