"""`haskd` before it does anything: quick to answer, completed by the shell, plain exit codes."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

import haskd_ros

REPOSITORY = Path(__file__).resolve().parents[2]

# Of a shell that has `haskd` on its path
ENVIRONMENT = {
    **os.environ,
    "PATH": os.pathsep.join((str(Path(sys.executable).parent), os.environ["PATH"])),
    "PYTHONPATH": os.pathsep.join((str(REPOSITORY), str(REPOSITORY / "training"))),
}

# Runs the command line in a fresh interpreter and lists what it has imported.
ANSWER = """
import sys
from haskd_training.__main__ import main
sys.argv = ["haskd", *sys.argv[1:]]
try:
    main()
finally:
    print(*sorted({name.partition(".")[0] for name in sys.modules}), file=sys.stderr)
"""


def run(*command: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command, env=ENVIRONMENT | environment, capture_output=True, text=True, timeout=120
    )


@pytest.mark.parametrize(
    ("arguments", "environment", "answer"),
    [
        (["--help"], {}, "Usage: haskd"),
        (["run", "--help"], {}, "--unlabelled"),
        (["--version"], {}, f"haskd_ros {haskd_ros.__version__}\n"),
        (
            [],
            {"_HASKD_COMPLETE": "complete_bash", "COMP_WORDS": "haskd se", "COMP_CWORD": "1"},
            "segment\nselect\n",
        ),
    ],
    ids=["help", "help of a command", "version", "completion"],
)
def test_what_needs_no_network_imports_none(arguments, environment, answer):
    done = run(sys.executable, "-c", ANSWER, *arguments, **environment)
    assert done.returncode == 0, done.stderr
    assert answer in done.stdout
    imported = set(done.stderr.splitlines()[-1].split())
    assert "typer" in imported
    assert not imported & {"torch", "numpy", "open3d"}


def test_bash_completes_commands_and_options():
    if shutil.which("bash") is None:
        pytest.skip("needs bash")
    if shutil.which("haskd", path=ENVIRONMENT["PATH"]) is None:
        pytest.skip("needs haskd on the path (pip install -e .)")
    script = """
        source <(_HASKD_COMPLETE=source_bash haskd)
        COMP_WORDS=(haskd ru) COMP_CWORD=1
        _haskd_completion haskd
        echo "${COMPREPLY[*]}"
        COMP_WORDS=(haskd run --un) COMP_CWORD=2
        _haskd_completion haskd
        echo "${COMPREPLY[*]}"
    """
    done = run("bash", "-c", script)
    assert done.stdout.split() == ["run", "--unlabelled"], done.stderr


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_command_that_is_stopped_says_so_and_leaves_nothing_behind(tmp_path, number, code):
    bag = tmp_path / "bag"
    process = subprocess.Popen(
        [sys.executable, "-m", "haskd_training", "simulate", str(bag), "--set", "duration_s=20"],
        env=ENVIRONMENT, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
        # A shell's job in the background, as these tests may be, ignores Ctrl-C.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )  # fmt: skip
    try:
        deadline = time.monotonic() + 60
        while not any(tmp_path.iterdir()) and time.monotonic() < deadline:
            time.sleep(0.05)
        assert any(tmp_path.iterdir()), "it has not begun to write"
        process.send_signal(number)
        _, said = process.communicate(timeout=60)
        assert (process.returncode, said) == (code, "interrupted\n")
        assert list(tmp_path.iterdir()) == []
    finally:
        process.kill()
        process.wait()


def test_a_command_that_goes_on_says_so_when_the_disk_is_full_and_when_it_is_stopped(tmp_path):
    # What the command itself does is shown elsewhere: here it only ends.
    code = (
        "import errno, sys\n"
        "from haskd_training.commands import app\n"
        "def work():\n"
        "    raise {}\n"
        "app.app.command('run')(work)\n"
        "sys.argv = ['haskd', 'run']; app.main()"
    )
    full = run(
        sys.executable, "-c", code.format("OSError(errno.ENOSPC, 'disk full: 3 MB free', 'm')")
    )
    assert full.returncode == 2
    assert full.stderr == (
        "error: m: disk full: 3 MB free; free some space and run the same command again: it goes "
        "on where it was\n"
    )
    stopped = run(sys.executable, "-c", code.format("KeyboardInterrupt"))
    assert stopped.returncode == 130
    assert stopped.stderr == "interrupted; run the same command again: it goes on where it was\n"


def test_an_option_that_does_not_exist_exits_with_2():
    assert run(sys.executable, "-m", "haskd_training", "simulate", "--seed", "1").returncode == 2


def test_a_defect_exits_with_1_and_a_traceback():
    # A KeyError in a command stands for any exception that nobody foresaw.
    code = (
        "from haskd_training.commands import app\n"
        "app.app.command('defect')(lambda: {}['a key'])\n"
        "import sys; sys.argv = ['haskd', 'defect']; app.main()"
    )
    done = run(sys.executable, "-c", code)
    assert done.returncode == 1
    assert "KeyError" in done.stderr
