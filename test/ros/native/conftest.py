"""What the tests of the compiled kernels share."""

import pytest

from haskd_ros.native import library


@pytest.fixture
def fresh_process(monkeypatch):
    """A process that has not loaded the kernels yet, and none that remembers this test."""
    monkeypatch.setattr(library, "_attempted", False)
    monkeypatch.setattr(library, "_loaded", None)
