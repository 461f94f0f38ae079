"""The kernels' own threads, in a program of their own."""

import shutil
import subprocess

import pytest

from haskd_ros.native.build import FOLDER

PROGRAM = """
#include <cstdio>
#include <stdexcept>
#include <string>
#include "threads.h"

int main() {
    std::atomic<int> done{0};
    for (int round = 0; round < 50; ++round) {
        try {
            parallel_for(100, -4, [&](int64_t i) {
                if (i == round) throw std::runtime_error("of a thread");
                ++done;
            });
            return 1;
        } catch (const std::runtime_error& problem) {
            if (std::string(problem.what()) != "of a thread") return 2;
        }
        done = 0;
        parallel_for(100, -4, [&](int64_t) { ++done; });
        if (done != 100) return 3;
    }
    std::puts("all rounds");
}
"""


def test_what_a_loop_throws_reaches_the_caller_and_the_next_loop_is_whole(tmp_path):
    compiler = shutil.which("g++")
    if compiler is None:
        pytest.skip("no g++ here")
    (tmp_path / "program.cpp").write_text(PROGRAM)
    subprocess.run(
        [compiler, "-std=c++17", "-pthread", f"-I{FOLDER}", "program.cpp", "-o", "program"],
        cwd=tmp_path,
        check=True,
    )
    ended = subprocess.run(
        [tmp_path / "program"], capture_output=True, text=True, timeout=60, check=False
    )
    assert (ended.returncode, ended.stdout) == (0, "all rounds\n")
