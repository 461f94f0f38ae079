"""Networks of installed packages: found by name, never in the place of a built-in one, and nothing
else is imported."""

from __future__ import annotations

import subprocess
import sys

import pytest
from network_packages import environment, fake_package

from haskd_ros import model_file
from haskd_ros.errors import InputError
from haskd_ros.models import build, of_size, packages

MODULE = """
import sys
from pydantic.dataclasses import dataclass
from torch import nn
from haskd_ros.models import Architecture
from haskd_ros.models.network import SegmentationNetwork

@dataclass
class Arguments:
    width: int

@dataclass
class Plain:
    pass

class Net(SegmentationNetwork):
    channels = ()
    def __init__(self, classes, width):
        super().__init__()
        self.classifier = nn.Linear(width, classes)
        self.register_buffer("hidden", self.classifier.bias.detach().clone(), persistent=False)

ARCHITECTURE = Architecture(Net, Arguments, sizes={"N": {"width": 4}})
TAKEN = Architecture(Net, Arguments, sizes={"S": {"width": 4}})
NO_NETWORK = Architecture(nn.Linear, Arguments)
NO_ARGUMENTS = Architecture(Net, dict)
"""


@pytest.fixture
def installed(tmp_path, monkeypatch):
    """Installs packages for this process: name, lines of entry points, source of the module."""

    def install(name: str, entry_points: str, module: str = MODULE) -> None:
        folder = fake_package(tmp_path / name, name, entry_points, module)
        monkeypatch.syspath_prepend(folder)
        monkeypatch.delitem(sys.modules, name, raising=False)
        packages._installed.cache_clear()

    yield install
    monkeypatch.undo()
    packages._installed.cache_clear()


def test_a_network_of_a_package_is_found_by_its_name_and_by_its_size(installed):
    installed("more_networks", "net = more_networks:ARCHITECTURE")
    assert of_size("N", voxel_size=0.2) == ("net", {"width": 4})
    assert build("net", classes=3, width=5).classifier.weight.shape == (3, 5)
    with pytest.raises(InputError, match="architecture net: width: input should be a valid int"):
        build("net", classes=3, width="wide")
    # What is built in is what it was
    assert of_size("S", voxel_size=0.2)[0] == "sparse_unet"


@pytest.mark.parametrize(
    ("points", "asked", "complaint"),
    [
        (
            "sparse_unet = others:ARCHITECTURE",
            "sparse_unet",
            "package 'others' adds a network 'sparse_unet', a name that one of haskd_ros itself",
        ),
        ("net = others:TAKEN", "net", "package 'others' adds a size 'S', a name that one of haskd"),
        ("net = others:NOTHING", "net", "'others:NOTHING' can't be imported: AttributeError"),
        ("net = not_there:X", "net", "'not_there:X' can't be imported: ModuleNotFoundError"),
        ("net = others:Plain", "net", "'others:Plain' is no haskd_ros.models.Architecture"),
        ("net = others:NO_NETWORK", "net", "a network that is no subclass of SegmentationNetwork"),
        ("net = others:NO_ARGUMENTS", "net", "has arguments that are no pydantic dataclass"),
    ],
)
def test_a_package_that_does_not_give_what_it_should_is_named(installed, points, asked, complaint):
    installed("others", points)
    with pytest.raises(InputError, match=complaint):
        build(asked, classes=3, width=4, voxel_size=0.2, channels=(4, 8))


def test_two_packages_of_one_name_are_both_named(installed):
    for name in ("one", "two"):
        installed(name, f"net = {name}:ARCHITECTURE")
    with pytest.raises(InputError, match=r"'(one|two)' and package '(one|two)' both add a net"):
        build("net", classes=3, width=4)


def test_two_packages_of_one_size_are_both_named(installed):
    for name in ("one", "two"):
        installed(name, f"net_{name} = {name}:ARCHITECTURE")
    assert build("net_one", classes=3, width=4).classifier.out_features == 3
    with pytest.raises(InputError, match="package 'one' and package 'two' both add a size 'N'"):
        of_size("N", voxel_size=0.2)


def test_an_unknown_size_is_told_with_those_there_are(installed):
    installed("more_networks", "net = more_networks:ARCHITECTURE")
    with pytest.raises(InputError, match="no network of size 'X'; there are S, M, L, P, R, N"):
        of_size("X", voxel_size=0.2)


def test_an_architecture_that_nobody_adds_says_where_it_has_to_come_from(tiny_metadata):
    with pytest.raises(InputError, match=r"unknown architecture 'net'; there are sparse_unet, .*"):
        build("net", classes=3)
    with pytest.raises(InputError, match=r"a package that is installed here .*haskd\.networks"):
        build("os:system", classes=3)


def test_a_tensor_that_no_file_holds_is_told(installed, tiny_metadata, tmp_path):
    installed("more_networks", "net = more_networks:ARCHITECTURE")
    changed = {**vars(tiny_metadata), "architecture": "net", "arguments": {"width": 4}}
    metadata = type(tiny_metadata)(**changed)
    model_file.save(tmp_path / "m", build("net", classes=3, width=4), metadata)
    with pytest.raises(InputError, match="a tensor hidden that is not among its weights"):
        model_file.load(tmp_path / "m")


def test_only_the_package_that_is_asked_for_is_imported(tmp_path, warm_python):
    """The names of a model file lead to entry points alone, and only to that of the same name."""
    wanted = fake_package(tmp_path / "a", "wanted", "net = wanted:ARCHITECTURE", MODULE)
    other = fake_package(tmp_path / "b", "other", "another = other:ARCHITECTURE", MODULE)
    (tmp_path / "c").mkdir()
    (tmp_path / "c" / "lurking.py").write_text("raise SystemExit('imported')")
    code = """
import sys
from haskd_ros.errors import InputError
from haskd_ros.models import build
for name in ("lurking", "lurking:X", "other", "other:ARCHITECTURE", "sparse_unet", ""):
    try:
        build(name, classes=3, voxel_size=0.2, channels=(4,))
    except InputError:
        pass
before = {"wanted", "other", "lurking"} & set(sys.modules)
build("net", classes=3, width=4)
print(before, {"wanted", "other", "lurking"} & set(sys.modules))
"""
    told = subprocess.run(
        [warm_python, "-c", code],
        env=environment(wanted, other, tmp_path / "c"),
        capture_output=True,
        text=True,
        check=True,
    )
    assert told.stdout.strip() == "set() {'wanted'}"
