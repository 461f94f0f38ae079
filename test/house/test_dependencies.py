"""package.xml names all that the robot's half imports and starts, by keys that rosdep knows."""

from __future__ import annotations

import ast
import sys
import xml.etree.ElementTree as ElementTree
from collections.abc import Iterator
from pathlib import Path

import yaml

REPOSITORY = Path(__file__).resolve().parents[2]

KEYS = {
    "numpy": "python3-numpy",
    "tf2_ros": "tf2_ros_py",
    "yaml": "python3-yaml",
}
"""The rosdep key of a module that has another name than its key."""

WITHOUT_KEY = {"pydantic", "safetensors", "spconv", "torch", "triton"}
"""Modules that no rosdep key installs, or not in a version that is known to work:
docs/installation.md says how to get them, and who needs them."""

STARTED = {
    '["ros2", "bag", "play"': ("launch/segment.launch.py", "ros2bag"),
    "ros2 launch": ("launch/segment.launch.py", "ros2launch"),
}
"""What is started: as the source has it -> the file, the key."""

COMPILES = {'"g++"': ("haskd_ros/native/compiler.py", "g++-static")}
"""The same for what a build starts."""

READS_BAGS = "rosbag2_storage_mcap"
"""The plug-in by which `ros2 bag play` reads what most sensors record today."""

ON_REQUEST = {"nav2_lifecycle_manager"}
"""Started where it is installed: a robot without Nav2 has no use for it, and the launch file says
what is missing."""


def sources() -> Iterator[tuple[Path, ast.Module]]:
    """What runs on a robot."""
    for path in (
        *(REPOSITORY / "haskd_ros").rglob("*.py"),
        *(REPOSITORY / "launch").glob("*.py"),
        *(REPOSITORY / "scripts" / name for name in ("dds_profile", "segment")),
    ):
        yield path, ast.parse(path.read_text(encoding="utf-8"))


def imported(tree: ast.Module) -> Iterator[str]:
    """Top-level names of the modules that a file imports, `import_module("...")` included."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name.partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.module is not None
            yield node.module.partition(".")[0]
        elif isinstance(node, ast.Call) and "import_module" in ast.unparse(node.func):
            name = ast.literal_eval(node.args[0])
            yield name.partition(".")[0]


def launched(tree: ast.Module) -> Iterator[str]:
    """Packages whose executables a launch file starts."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            for keyword in node.keywords:
                if keyword.arg == "package":
                    yield ast.literal_eval(keyword.value)


def dependencies(kind: str) -> list[str]:
    package = ElementTree.parse(REPOSITORY / "package.xml")
    return [str(element.text) for element in package.findall(kind)]


def test_package_xml_names_what_is_imported_and_started_and_nothing_else():
    needed = {READS_BAGS} | {key for _, key in STARTED.values()}
    for _, tree in sources():
        foreign = set(imported(tree)) - sys.stdlib_module_names - WITHOUT_KEY
        needed |= {KEYS.get(module, module) for module in foreign} | set(launched(tree))
    declared = dependencies("exec_depend")
    assert sorted(declared) == sorted(needed - {"haskd_ros", *ON_REQUEST})
    assert dependencies("build_depend") == [key for _, key in COMPILES.values()]


def test_what_is_started_stands_in_the_sources():
    for text, (file, _) in (STARTED | COMPILES).items():
        assert text in (REPOSITORY / file).read_text(), f"{file} no longer starts {text}"


def test_rosdep_knows_every_key():
    known = yaml.safe_load((REPOSITORY / "test/house/rosdep_keys.yaml").read_text())
    kinds = ("build_depend", "exec_depend", "test_depend")
    used = {key for kind in kinds for key in dependencies(kind)}
    # A key that is new here: look it up in the list of that address, then add it.
    assert used == {*known["system"], *known["ros"]}
