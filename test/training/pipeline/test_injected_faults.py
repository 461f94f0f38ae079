"""What is written is whole or not there, and the next call goes on, whatever happens at a write.

`benchmarks/attacks/runs.py` makes every fault at every write; here are some of each.
"""

from __future__ import annotations

import shutil

import pytest
from injected_jobs import BAG, CACHE, STUDENT, make_inputs
from injection import FAULTS, KILL, TORN, attempt, inject

from haskd_training.experiments.run import MODEL

pytestmark = pytest.mark.long


@pytest.fixture(scope="module")
def inputs(tmp_path_factory):
    root = tmp_path_factory.mktemp("inputs")
    make_inputs(root)
    return root


@pytest.fixture
def root(inputs, tmp_path):
    for name in (BAG, CACHE, STUDENT):
        (tmp_path / name).symlink_to(inputs / name)
    return tmp_path


@pytest.mark.parametrize(
    ("job", "most"), [("stage", 5), ("ship", 2), ("cached", 3), ("recorded", 3)]
)
def test_after_a_fault_at_any_write_the_next_call_ends_as_if_nothing_had_happened(root, job, most):
    made = inject(f"injected_jobs:{job}", root, most=most)
    assert made.faults == []
    assert made.tried >= 2 * len(FAULTS)


def test_a_finished_model_stays_whole_while_it_is_made_again(root):
    finished = root / "finished"
    assert attempt("injected_jobs:ship", finished).ended == "done"
    content = (finished / MODEL).read_bytes()
    (finished / MODEL).write_bytes(content[:-1] + bytes([content[-1] ^ 1]))  # an older one
    older = (finished / MODEL).read_bytes()

    def wrong(folder):
        is_whole = (folder / MODEL).read_bytes() in (older, content)
        return "" if is_whole else "neither the old model nor the new one"

    made = inject(
        "injected_jobs:ship", root, (KILL, TORN), most=2,
        begin=lambda folder: shutil.copytree(finished, folder), check=wrong,
    )  # fmt: skip
    assert made.faults == []
    assert made.tried >= 4
