"""Commands on a recording whose names try to be more than names."""

from __future__ import annotations

from pathlib import Path

import pytest
from hostile_names import hostile_drive

from haskd_training.commands import inspect, prepare


def test_no_name_is_taken_for_more_than_a_name(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bag, labels = hostile_drive(tmp_path)
    inspect.inspect([bag], labels=str(labels))
    tables = capsys.readouterr().out
    # The bag's own name (Rich itself takes the bell out of a title) and a class's.
    assert "\\x1b[31m[]$_$" in tables and "[red]a$b$_[/]<b>|`x`</script>" in tables
    out = tmp_path / "cache"
    prepare.prepare([bag], out, labels=str(labels), set_=["overlays=2"])
    # They lie in their folder, whatever the camera is called.
    assert len(list((out / "overlays").glob("*.png"))) == 2
    assert not set(tables + capsys.readouterr().out) & {"\x1b", "\a", "\u202e"}
