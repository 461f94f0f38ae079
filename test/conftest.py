"""What several test files share."""
# ruff: noqa: E402

from __future__ import annotations

import ctypes
import gc
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

# What the tests import stays. Looking through its millions of objects for garbage, again and again,
# takes half as long as the imports do: not before `pytest_collection_finish`.
gc.disable()

import pytest
import torch
from hypothesis import settings

# Not by pytest's own setting `pythonpath`, which that of Ubuntu 22.04 does not know.
sys.path.insert(0, str(Path(__file__).parent / "support"))

from kernel_checks import instruction_sets

from haskd_ros import model_file
from haskd_ros.model_header import Extent, InputRange, Intensity, ModelMetadata
from haskd_ros.models import SIZES, build
from haskd_ros.native import build as native
from haskd_ros.native import library, load_kernels
from haskd_ros.node.dds.profiles import profile_environment
from haskd_ros.taxonomy import ClassInfo, Taxonomy

if TYPE_CHECKING:  # needs ROS 2
    from robot import NodeProcess, Robot
    from warm_start import WarmStarts

REPOSITORY = Path(__file__).resolve().parents[1]

# How long an example takes is the machine's business: a busy one is no failure.
settings.register_profile("untimed", deadline=None)
settings.load_profile("untimed")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if "ros_environment" in getattr(item, "fixturenames", ()):
            item.add_marker("live")
    # Stable, so that else all is in its order: what begins last should be short, or one worker
    # ends minutes after the other.
    items.sort(key=lambda item: item.get_closest_marker("long") is None)


def pytest_collection_finish() -> None:
    gc.freeze()
    gc.enable()


@pytest.fixture(autouse=True)
def _no_handler_stays() -> Iterator[None]:
    """The command's handler of SIGTERM goes with the test that called it. A process that a later
    test forks would have it too, and not end by SIGTERM where that comes just before a wait."""
    before = signal.getsignal(signal.SIGTERM)
    yield
    signal.signal(signal.SIGTERM, before)


@pytest.fixture(scope="session")
def real_bags() -> Path:
    """The folder of the real recordings; they are too large to be in the repository."""
    folder = Path(os.environ.get("HASKD_REAL_BAGS", REPOSITORY.parent / "shared" / "data"))
    if not (folder / "pandaset_002_train").is_dir():
        pytest.skip(f"the real bags are not at {folder} (set HASKD_REAL_BAGS to their folder)")
    return folder


@pytest.fixture(scope="session", autouse=True)
def kernels() -> bool:
    """Every test runs as in a process that has loaded a model: with the compiled kernels."""
    return load_kernels()


@pytest.fixture(scope="session", params=instruction_sets().items(), ids=lambda item: item[0])
def instruction_set(
    kernels: bool, request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> ctypes.CDLL:
    """The compiled kernels for each instruction set that this CPU has."""
    if not kernels:
        pytest.skip("no compiled kernels on this machine")
    _, flags = request.param
    folder = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        folder = folder.parent  # all workers share what one of them has compiled
    folder = folder / "kernels"
    return library.open_library(native.build((*flags, "-O1"), folder))


@pytest.fixture(scope="session")
def drive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The bag of a small simulated drive, see `small_run`."""
    # A robot has not what the training half depends on.
    pytest.importorskip("open3d", reason="simulates a drive (pip install '.[training]')")
    from small_run import small_drive

    return small_drive(tmp_path_factory.mktemp("small_run"))


@pytest.fixture(scope="session")
def another_drive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The bag of half a second through another town: 5 sweeps."""
    pytest.importorskip("open3d", reason="simulates a drive (pip install '.[training]')")
    from small_run import small_drive

    return small_drive(tmp_path_factory.mktemp("another"), seed=2, duration_s=0.5)


@pytest.fixture(scope="session")
def drive_cache(drive: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """It prepared."""
    from haskd_training.data.preparing.inputs import PrepareConfig
    from haskd_training.data.preparing.prepare import prepare

    cache = tmp_path_factory.mktemp("small_run_cache") / "drive"
    prepare([drive], "simulation", cache, PrepareConfig(overlays=0))
    return cache


@pytest.fixture(scope="module")
def two_levels() -> Iterator[None]:
    """The student has two levels instead of four: for what is about how stages follow each other,
    not about how well a network learns. It takes half the time."""
    from small_run import TWO_LEVELS

    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(SIZES, "S", TWO_LEVELS)
        yield


@pytest.fixture(scope="session")
def tiny_metadata() -> ModelMetadata:
    """Three classes, 0.5 m voxels."""
    return ModelMetadata(
        architecture="sparse_unet",
        arguments={"voxel_size": 0.5, "channels": [4, 8]},
        taxonomy=Taxonomy(
            (
                ClassInfo("road", (128, 64, 128)),
                ClassInfo("car", (0, 0, 142), movable=True),
                ClassInfo("building", (70, 70, 70)),
            )
        ),
        intensity=Intensity(scale=255.0, mean=0.1),
        max_range=100.0,
        input_range=InputRange(Extent(-50.0, 50.0), Extent(0.0, 1.0)),
    )


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory: pytest.TempPathFactory, tiny_metadata: ModelMetadata) -> Path:
    """A model file with random weights: wrong about everything, but alike on every machine, and not
    all of one mind: scattered points get each of the classes."""
    torch.manual_seed(21)
    network = build(
        tiny_metadata.architecture,
        classes=len(tiny_metadata.taxonomy),
        **tiny_metadata.arguments,
    )
    with torch.no_grad():
        network.classifier.weight.mul_(20)
        network.classifier.bias.zero_()
    path = tmp_path_factory.mktemp("model") / "tiny.safetensors"
    model_file.save(path, network, tiny_metadata)
    return path


@pytest.fixture
def haskd(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Calls the command's entry point: arguments -> exit code, stdout, stderr."""
    from haskd_training.commands.app import main  # a robot has not what it depends on

    def call(*arguments: object) -> subprocess.CompletedProcess[str]:
        monkeypatch.setattr(sys, "argv", ["haskd", *map(str, arguments)])
        with pytest.raises(SystemExit) as exit_:
            main()
        printed = capsys.readouterr()
        code = exit_.value.code or 0
        return subprocess.CompletedProcess(arguments, code, printed.out, printed.err)

    return call


@pytest.fixture(scope="session")
def warm_python(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Called as `python`, it finds torch imported, see there."""
    from warm_python import WarmPython

    warm = WarmPython(tmp_path_factory.mktemp("warm_python"))
    yield str(warm.executable)
    warm.close()


# The node; only for files that have asked for rclpy.


@pytest.fixture(scope="module")
def ros_environment(tmp_path_factory) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ROS_AUTOMATIC_DISCOVERY_RANGE", "LOCALHOST")
        patch.setenv("ROS_LOG_DIR", str(tmp_path_factory.mktemp("ros_log")))
        patch.setenv("OMP_NUM_THREADS", "2")
        for name, value in profile_environment().items():
            patch.setenv(name, value)
        yield


@pytest.fixture(scope="session")
def warm_starts(tmp_path_factory) -> Iterator[WarmStarts]:
    from robot import python_path
    from warm_start import WarmStarts

    with pytest.MonkeyPatch.context() as patch:
        # What OpenMP reads when torch is imported, and what is imported.
        patch.setenv("OMP_NUM_THREADS", "2")
        patch.setenv("PYTHONPATH", python_path())
        starts = WarmStarts(tmp_path_factory.mktemp("exit_codes"))
    yield starts
    starts.close()


@pytest.fixture(scope="module")
def robot(ros_environment) -> Iterator[Robot]:
    from robot import DOMAIN, Robot

    robot = Robot(DOMAIN)
    yield robot
    robot.close()


@pytest.fixture
def second_robot(ros_environment) -> Iterator[Robot]:
    """For a node of `start`."""
    from robot import DOMAIN, Robot

    robot = Robot(DOMAIN + 1)
    yield robot
    robot.close()


@pytest.fixture
def start(ros_environment, tmp_path, warm_starts) -> Iterator[Callable[..., NodeProcess]]:
    yield from _starts(tmp_path, warm_starts)


@pytest.fixture
def start_cold(ros_environment, tmp_path) -> Iterator[Callable[..., NodeProcess]]:
    """For what is about the start itself: in a fresh interpreter, as a user's."""
    yield from _starts(tmp_path, None)


def _starts(folder: Path, warm: WarmStarts | None) -> Iterator[Callable[..., NodeProcess]]:
    from robot import DOMAIN, NodeProcess

    started = []

    def start(*parameters: str, namespace: str = "") -> NodeProcess:
        started.append(NodeProcess(folder, DOMAIN + 1, *parameters, namespace=namespace, warm=warm))
        return started[-1]

    yield start
    for node in started:
        node.close()


@pytest.fixture(scope="module")
def segment(ros_environment, tiny_model, tmp_path_factory, warm_starts) -> Iterator[NodeProcess]:
    """One node for all tests of a file that leave it as it was."""
    from robot import steady_node

    folder = tmp_path_factory.mktemp("node")
    parameters = f"model:={tiny_model}", "warmup_points:=1000"
    with steady_node(folder, *parameters, warm=warm_starts) as node:
        yield node
