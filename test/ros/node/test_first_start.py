"""The first start on a machine of a checkout, which compiles the kernels."""

from __future__ import annotations

from pathlib import Path

import pytest

pytest.importorskip("rclpy", reason="needs ROS 2 (pip install '.[ros-wheels]')")

from kernel_cache import quick_compiler, script
from kernel_checks import needs_kernels

from haskd_ros.native.build import build, native_flags
from haskd_ros.native.own_folder import cache_folder
from haskd_ros.native.runtime.build import RUNTIME

pytestmark = [pytest.mark.live, needs_kernels]


def test_nodes_that_start_together_say_that_they_compile_and_that_they_wait(
    start_cold, tiny_model, tmp_path, monkeypatch
):
    quick = quick_compiler(tmp_path, build(native_flags(RUNTIME), cache_folder(), RUNTIME))
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
        node.wait_for_log("by libhaskd")
        # That is what keeps it small: torch alone is 200 MB.
        assert "libtorch" not in Path(f"/proc/{node.process.pid}/maps").read_text()
    assert "compiled kernels built in" in first.log
    assert "compiling" not in second.log
    # Each source is compiled, then all are linked.
    assert len((tmp_path / "calls").read_text()) == len(RUNTIME.sources) + 1


def test_a_node_without_a_compiler_says_why_it_labels_by_plain_torch(
    start_cold, tiny_model, tmp_path, monkeypatch
):
    monkeypatch.setenv("CXX", "no-such-compiler")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    node = start_cold(f"model:={tiny_model}", "warmup_points:=0", "device:=cpu")
    node.wait_for_log("by plain torch")
    lines = [line for line in node.log.splitlines() if "no-such-compiler" in line]
    told = "no libhaskd, torch labels instead", "the sparse engine runs on plain torch"
    for line, text in zip(lines, told, strict=True):
        assert line.startswith("[WARN]")
        assert text in line
