"""The first start on a machine of a checkout, which compiles the kernels."""

from __future__ import annotations

import pytest

pytest.importorskip("rclpy", reason="needs ROS 2 (pip install '.[ros-wheels]')")

from kernel_cache import quick_compiler, script
from kernel_checks import needs_kernels

from haskd_ros.native import build
from haskd_ros.native.own_folder import cache_folder

pytestmark = [pytest.mark.live, needs_kernels]


def test_nodes_that_start_together_say_that_they_compile_and_that_they_wait(
    start_cold, tiny_model, tmp_path, monkeypatch
):
    quick = quick_compiler(tmp_path, build.build(build.native_flags(), cache_folder()))
    slow = script(
        tmp_path / "slow-g++",
        f'echo >> {tmp_path}/calls\nwhile [ ! -e {tmp_path}/go ]; do sleep 0.1; done\n{quick} "$@"',
    )
    monkeypatch.setenv("CXX", str(slow))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    model = (f"model:={tiny_model}", "warmup_points:=0", "device:=cpu")

    first = start_cold(*model, namespace="/first")
    first.wait_for_log(f"compiling kernels for this CPU with {slow}, once for all later starts")
    second = start_cold(*model, namespace="/second")
    second.wait_for_log(f"waiting for the process that compiles kernels in {tmp_path}/cache")
    (tmp_path / "go").touch()
    for node in (first, second):
        node.wait_for_log("by compiled kernels")
    assert "compiled kernels built in" in first.log
    assert "compiling" not in second.log
    # Each source is compiled, then all are linked.
    assert len((tmp_path / "calls").read_text()) == len(build.KERNELS.sources) + 1


def test_a_node_without_a_compiler_says_why_it_labels_by_plain_torch(
    start_cold, tiny_model, tmp_path, monkeypatch
):
    monkeypatch.setenv("CXX", "no-such-compiler")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    node = start_cold(f"model:={tiny_model}", "warmup_points:=0", "device:=cpu")
    node.wait_for_log("by plain torch")
    (line,) = (line for line in node.log.splitlines() if "no-such-compiler" in line)
    assert line.startswith("[WARN]")
    assert "[segment]: no compiled kernels, the sparse engine runs on plain torch" in line
