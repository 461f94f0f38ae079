"""What the tests of the commands share."""

from __future__ import annotations

import subprocess
import sys

import pytest

from haskd_training.commands.app import main


@pytest.fixture
def haskd(monkeypatch, capsys):
    """Calls the command's entry point: arguments -> exit code, stdout, stderr."""

    def call(*arguments: object) -> subprocess.CompletedProcess:
        monkeypatch.setattr(sys, "argv", ["haskd", *map(str, arguments)])
        with pytest.raises(SystemExit) as exit_:
            main()
        printed = capsys.readouterr()
        code = exit_.value.code or 0
        return subprocess.CompletedProcess(arguments, code, printed.out, printed.err)

    return call
