"""The rooms of the house: who may import whom, by the imports as they stand in the files."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[2]
PACKAGES = {
    "haskd_ros": REPOSITORY / "haskd_ros",
    "haskd_training": REPOSITORY / "training" / "haskd_training",
}

# From the ground up: a file imports its own room or a lower row. Rooms in one row stand side by
# side and don't know each other.
ROWS = {
    "haskd_ros": (
        ("errors", "text"),
        ("file_lock",),
        ("files",),
        ("documents", "json_text", "validation"),
        ("channels", "taxonomy"),
        ("native",),
        ("sparse",),
        ("models", "score_memory"),
        ("model_header", "sealed_file"),
        ("model_content", "sealed_tensors"),
        ("model_file",),
        ("clouds",),
        ("segmentation",),
        ("runtime_segmenter", "segmenter"),
        ("node",),
        ("__main__",),
    ),
    "haskd_training": (
        ("core",),
        ("recordings",),
        ("data",),
        ("simulation", "metrics"),
        ("learning",),
        ("images", "evaluation"),
        ("image_labels",),
        ("distillation", "suggestions"),
        ("pipeline",),
        ("reports",),
        ("robot",),
        ("experiments",),
        ("commands",),
        ("__main__",),
    ),
}

# The files that may import ROS.
ROS = ("rclpy", "rcl_interfaces", "sensor_msgs", "std_msgs", "std_srvs", "builtin_interfaces",
       "diagnostic_msgs", "visualization_msgs", "vision_msgs", "lifecycle_msgs", "geometry_msgs",
       "nav_msgs", "tf2_ros", "tf2_msgs", "launch", "launch_ros")  # fmt: skip
ROS_FILES = ("haskd_ros/node/", "haskd_ros/__main__.py", "haskd_training/robot/live/node_client.py",
             "haskd_training/robot/views/over_time/live_clouds.py")  # fmt: skip


def imports_of(path: Path) -> Iterator[str]:
    """Full names of the modules, or of things in them, that a file imports, wherever in it."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path} imports relatively"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def modules(package: str) -> dict[str, Path]:
    """The package's files by their full name."""
    folder = PACKAGES[package]
    found = {}
    for path in folder.rglob("*.py"):
        parts = path.relative_to(folder).with_suffix("").parts
        found[".".join((package, *parts)).removesuffix(".__init__")] = path
    return found


def room_of(module: str) -> str:
    """Room of a module: the first folder, or the file where it lies outside of the rooms."""
    _, _, inside = module.partition(".")
    return inside.split(".")[0]


def imported_modules(package: str) -> dict[str, set[str]]:
    """Modules of the same package that each module imports."""
    files = modules(package)
    result = {}
    for module, path in files.items():
        names = [name for name in imports_of(path) if name.split(".")[0] == package]
        # `from a.b import c`: c is a module, or something in the module a.b.
        found = {name if name in files else name.rpartition(".")[0] for name in names}
        result[module] = found - {module}
    return result


@pytest.mark.parametrize("package", ROWS)
def test_imports_lead_from_a_room_to_a_lower_one(package):
    row_of = {room: row for row, rooms in enumerate(ROWS[package]) for room in rooms}
    wrong = [
        f"{module} imports {other}"
        for module, others in imported_modules(package).items()
        for other in others
        if room_of(module) and room_of(other) and room_of(module) != room_of(other)
        if row_of[room_of(other)] >= row_of[room_of(module)]
    ]
    assert wrong == []


@pytest.mark.parametrize("package", ROWS)
def test_every_room_has_a_row_and_says_what_it_is_for(package):
    rooms = {room_of(module) for module in modules(package)} - {""}
    assert rooms == {room for rooms in ROWS[package] for room in rooms}
    for path in PACKAGES[package].rglob("__init__.py"):
        assert ast.get_docstring(ast.parse(path.read_text())), f"{path} does not say what it holds"


def test_caches_know_nothing_of_how_they_are_made_nor_samples_of_that():
    data = "haskd_training.data."
    makers = (data + "preparing", data + "readers")
    for module, others in imported_modules("haskd_training").items():
        if module.startswith(data + "caches"):
            assert not [o for o in others if o.startswith(data) and "caches" not in o], module
        elif module.startswith(data) and not module.startswith(makers):
            assert not [o for o in others if o.startswith(makers)], module


@pytest.mark.parametrize("package", ROWS)
def test_no_file_imports_itself_through_others(package):
    imported = imported_modules(package)
    done: set[str] = set()

    def visit(module: str, way: tuple[str, ...]) -> None:
        assert module not in way, " -> ".join((*way, module))
        if module not in done:
            for other in imported.get(module, ()):
                visit(other, (*way, module))
            done.add(module)

    for module in imported:
        visit(module, ())


def test_the_half_that_runs_on_a_robot_never_imports_the_training_half():
    for path in modules("haskd_ros").values():
        assert not [name for name in imports_of(path) if name.startswith("haskd_training")], path


@pytest.mark.parametrize("package", PACKAGES)
def test_ros_is_imported_by_the_node_and_its_client_alone(package):
    for path in modules(package).values():
        found = [name for name in imports_of(path) if name.split(".")[0] in ROS]
        where = f"{package}/{path.relative_to(PACKAGES[package]).as_posix()}"
        assert not found or where.startswith(ROS_FILES), f"{where} imports {found}"


def test_the_tests_stand_in_the_same_rooms():
    for folder, package in (("ros", "haskd_ros"), ("training", "haskd_training")):
        rooms = {room_of(module) for module in modules(package)}
        tested = {path.name for path in (REPOSITORY / "test" / folder).iterdir() if path.is_dir()}
        assert tested - {"__pycache__"} <= rooms
