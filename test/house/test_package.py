"""What holds the package's files together."""

from __future__ import annotations

import fcntl
import json
import os
import runpy
import subprocess
import sys
import textwrap
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import pytest
import setuptools
import yaml

import haskd_ros
from haskd_ros import model_file
from haskd_ros.clouds.class_rules import ClassRules
from haskd_ros.node.dds import profiles, writer
from haskd_ros.node.dds.profiles import LARGE, PROFILE, SMALL, profile_environment
from haskd_ros.node.parameters import table
from haskd_ros.node.parameters.values import DEFAULTS, PARAMETERS
from haskd_ros.segmentation import DEFAULT_MODEL

REPOSITORY = Path(__file__).resolve().parents[2]


@pytest.fixture
def declared_parameters():
    pytest.importorskip("rclpy", reason="needs ROS 2 (pip install '.[ros-wheels]')")
    from haskd_ros.node.parameters import declared

    return declared


@pytest.fixture
def distribution(monkeypatch) -> dict:
    """What setup.py hands to setuptools."""
    given = {}
    monkeypatch.setattr(setuptools, "setup", given.update)
    monkeypatch.chdir(REPOSITORY)
    runpy.run_path("setup.py")
    return given


def test_the_parameter_file_is_the_table():
    path = REPOSITORY / "config" / "segment.yaml"
    assert path.read_text() == table.yaml_text(), (
        "run python -m haskd_ros.node.parameters.table > config/segment.yaml"
    )
    written = yaml.safe_load(path.read_text())["/**"]["ros__parameters"]
    for info in PARAMETERS:
        default = list(info.default) if isinstance(info.default, tuple) else info.default
        value = written.pop(info.name)
        assert (value, type(value)) == (default, type(default))
    assert not written


def test_the_page_of_the_parameters_is_the_table():
    page = (REPOSITORY / "docs" / "parameters.md").read_text()
    assert page == table.markdown_text(), (
        "run python -m haskd_ros.node.parameters.table --markdown > docs/parameters.md"
    )


def test_the_descriptors_are_the_table(declared_parameters):
    for info in PARAMETERS:
        message = declared_parameters.descriptor(info)
        assert (message.name, message.description) == (info.name, info.description)
        assert message.read_only == info.read_only
        bounds = [*message.floating_point_range, *message.integer_range]
        expected = [] if info.minimum is None else [(info.minimum, info.maximum)]
        assert [(bound.from_value, bound.to_value) for bound in bounds] == expected
        assert all(choice in message.additional_constraints for choice in info.choices)


def test_package_xml_is_one_that_ros_recognises(distribution):
    text = (REPOSITORY / "package.xml").read_text()
    assert len(text.splitlines()) > 10
    package = ElementTree.fromstring(text)
    assert package.get("format") == "3"
    assert package.findtext("name") == "haskd_ros" == distribution["name"]
    assert package.findtext("version") == haskd_ros.__version__ == distribution["version"]
    assert package.findtext("license") == "Apache-2.0"
    assert package.findtext("export/build_type") == "ament_python"


def test_both_halves_say_that_they_are_typed_and_package_what_they_need(distribution):
    for name, folder in (("haskd_ros", "haskd_ros"), ("haskd_training", "training/haskd_training")):
        patterns = distribution["package_data"][name]
        assert "py.typed" in patterns
        packaged = {path for pattern in patterns for path in (REPOSITORY / folder).glob(pattern)}
        there = {path for path in (REPOSITORY / folder).rglob("*") if path.is_file()}
        assert packaged == {path for path in there if path.suffix not in (".py", ".pyc")}


def test_every_file_that_is_to_be_installed_is_there(distribution):
    places = {folder: set(files) for folder, files in distribution["data_files"]}
    assert places["share/ament_index/resource_index/packages"] == {"resource/haskd_ros"}
    assert places["share/haskd_ros"] == {"package.xml"}
    for files in places.values():
        assert all((REPOSITORY / file).is_file() for file in files)
    assert os.access(REPOSITORY / "scripts" / "segment", os.X_OK)


def test_every_launch_file_and_configuration_is_installed(distribution):
    places = {folder: set(files) for folder, files in distribution["data_files"]}
    for folder in ("launch", "config", "config/recipes"):
        there = {
            f"{folder}/{path.name}" for path in (REPOSITORY / folder).iterdir() if path.is_file()
        }
        assert there <= places[f"share/haskd_ros/{folder}"]


def test_nav2_gets_parameters_that_the_node_has_of_the_model_that_ships():
    path = REPOSITORY / "config" / "nav2_obstacles.yaml"
    given = yaml.safe_load(path.read_text())["/**"]["ros__parameters"]
    values = {
        name: tuple(value) if isinstance(value, list) else value for name, value in given.items()
    }
    assert set(values) <= {info.name for info in PARAMETERS}
    _, metadata = model_file.load(DEFAULT_MODEL)
    parameters = DEFAULTS.changed(values)
    rules = ClassRules.of(
        metadata.taxonomy,
        class_remap=(),
        filter_classes=parameters.filter_classes,
        filter_exclude=parameters.filter_exclude,
    )
    left_out = {n for i, n in enumerate(metadata.taxonomy.names) if not rules.in_filtered[i]}
    assert left_out == {"road", "road_marking", "sidewalk"}


def test_the_costmap_marks_what_is_no_ground_and_clears_with_the_raw_cloud():
    path = REPOSITORY / "config" / "nav2_costmap.yaml"
    layers = yaml.safe_load(path.read_text())["local_costmap"]["local_costmap"]["ros__parameters"]
    assert all("plugin" in layers[name] for name in layers["plugins"])
    voxels = layers["voxel_layer"]
    sources = {name: voxels[name] for name in voxels["observation_sources"].split()}
    assert {source["data_type"] for source in sources.values()} == {"PointCloud2"}
    # Nav2's own default of a source is 0: no point is lower
    assert all(source["max_obstacle_height"] > 0 for source in sources.values())
    assert {name for name, source in sources.items() if source["marking"]} == {"obstacles"}
    assert {name for name, source in sources.items() if source["clearing"]} == {"lidar"}
    launch = (REPOSITORY / "launch" / "nav2_obstacles.launch.py").read_text()
    assert f'"filtered_topic", "{sources["obstacles"]["topic"]}"' in launch
    launch = (REPOSITORY / "launch" / "segment.launch.py").read_text()
    assert f'"input_topic", "{sources["lidar"]["topic"]}"' in launch


def test_the_command_line_is_installed(distribution):
    scripts = distribution["entry_points"]["console_scripts"]
    assert scripts == ["haskd = haskd_training.__main__:main"]


def test_both_halves_are_packaged_with_their_subpackages(distribution):
    for name, folder in (("haskd_ros", "haskd_ros"), ("haskd_training", "training/haskd_training")):
        folders = {path.parent for path in (REPOSITORY / folder).rglob("*.py")}
        expected = {
            ".".join((name, *path.relative_to(REPOSITORY / folder).parts)) for path in folders
        }
        assert {p for p in distribution["packages"] if p.split(".")[0] == name} == expected


@pytest.mark.parametrize(
    ("given", "expected"),
    [({}, "1000"), ({"GOMP_SPINCOUNT": "7"}, "7"), ({"OMP_WAIT_POLICY": "ACTIVE"}, "None")],
)
def test_idle_threads_soon_sleep_unless_the_user_has_decided(given, expected):
    environment = {**os.environ, **given, "PYTHONPATH": str(REPOSITORY)}
    for name in {"GOMP_SPINCOUNT", "OMP_WAIT_POLICY"} - given.keys():
        environment.pop(name, None)
    code = (
        "import sys, haskd_ros, os; print(os.environ.get('GOMP_SPINCOUNT'));"
        "assert 'torch' not in sys.modules"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == expected


@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="counts threads as Linux does")
@pytest.mark.parametrize("package", ["haskd_ros", "haskd_training"])
def test_numpy_has_no_threads_that_spin_while_the_network_computes(package):
    code = f"""
        import os
        import {package}
        import numpy
        numpy.ones((200_000, 3)) @ numpy.eye(3)
        print(len(os.listdir("/proc/self/task")), "OPENBLAS_NUM_THREADS" in os.environ)
    """
    known = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    known = {k: v for k, v in known.items() if k not in ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS")}
    said = subprocess.check_output([sys.executable, "-c", textwrap.dedent(code)], env=known)
    assert said.split() == [b"1", b"False"]


def test_the_dds_profile_is_applied_unless_the_user_has_one(monkeypatch):
    old, new = "FASTRTPS_DEFAULT_PROFILES_FILE", "FASTDDS_DEFAULT_PROFILES_FILE"
    skip = "SKIP_DEFAULT_XML_FILE"
    for name in (old, new, skip):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("ROS_DISTRO", "jazzy")
    assert profile_environment() == {old: str(PROFILE), skip: "1"}
    monkeypatch.setenv("ROS_DISTRO", "kilted")
    assert profile_environment() == {new: str(PROFILE), skip: "1"}
    monkeypatch.setenv(old, "mine.xml")
    assert profile_environment() == {skip: "1"}
    monkeypatch.setenv(skip, "0")
    assert profile_environment() == {}


def test_the_dds_profile_has_room_for_large_clouds():
    space = {"dds": "http://www.eprosima.com"}

    def number(path: Path, name: str) -> int:
        return int(ElementTree.parse(path).getroot().findtext(f".//dds:{name}", namespaces=space))

    cloud = 2_000_000 * 46  # bytes; Fast DDS sends it in pieces of 65,500
    assert number(LARGE, "segment_size") > 2 * cloud
    assert number(LARGE, "port_queue_capacity") > 2 * cloud / 65_500
    # Two processes share a container's 64 MiB
    assert number(SMALL, "segment_size") == 32 * 1024**2
    assert PROFILE in (LARGE, SMALL)


def test_a_dds_profile_has_room_for_six_clouds_of_the_given_size(tmp_path, capsys):
    path = tmp_path / "two_million.xml"
    arguments = ["--points", "2000000", "--point-step", "46", "--out", str(path)]
    assert writer.main(arguments) == 0
    # 6 clouds of 92 MB are 552,000,000 bytes, 526.4 MiB
    assert profiles.segment_bytes(path) == 527 * 1024**2
    # a cloud is 1404.6 pieces of 65,500 bytes; twice 6 * 1405
    assert "<port_queue_capacity>16860<" in path.read_text()
    # 1072 bytes for each 1024, as the files in /dev/shm are large: 578,502,656
    assert "takes 578.5 MB of /dev/shm, a driver and the node 1157.0 MB" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--points", "0"], "--points 0: must be > 0"),
        (["--points", "9", "--point-step", "0"], "--point-step 0: must be 1 to 65536"),
        # 3912 MiB are 4,102,029,312 bytes, / 6 / 46
        (["--points", "20000000", "--point-step", "46"], "must be 14862425 at most"),
    ],
)
def test_a_dds_profile_that_can_not_be_is_refused(tmp_path, capsys, arguments, told):
    path = tmp_path / "none.xml"
    assert writer.main([*arguments, "--out", str(path)]) == 2
    assert told in capsys.readouterr().err
    assert not path.exists()


def test_the_advice_on_lost_clouds_names_the_numbers(monkeypatch):
    monkeypatch.setenv("FASTDDS_DEFAULT_PROFILES_FILE", str(LARGE))
    command = "ros2 run haskd_ros dds_profile --points"
    advice = profiles.lost_clouds_advice("rmw_fastrtps_cpp", 2_000_000, 46)
    assert "had 92.0 MB" in advice
    assert "a segment of 268.4 MB, which should be 552.0 MB" in advice
    assert f"`{command} 2000000 --point-step 46`" in advice
    # 6 clouds of 16 MB fit: it is the sender that has another profile
    advice = profiles.lost_clouds_advice("rmw_fastrtps_cpp", 1_000_000, 16)
    assert f"start the sender with {profiles.profile_variable()}={LARGE}" in advice
    assert "for clouds of up to 44.7 MB" in advice
    # Which would not read it
    assert "FASTDDS" not in profiles.lost_clouds_advice("rmw_cyclonedds_cpp", 1_000_000, 16)


def test_segments_of_dead_processes_are_found(tmp_path):
    for name in ("dead", "living"):
        (tmp_path / f"fastdds_{name}").write_bytes(bytes(1 << 20))
        (tmp_path / f"fastdds_{name}_el").touch()
    with (tmp_path / "fastdds_living_el").open() as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        assert writer.left_over_bytes(tmp_path) == 1 << 20


def test_rviz_shows_the_coloured_cloud_and_offers_the_entropy():
    config = yaml.safe_load((REPOSITORY / "config" / "segment.rviz").read_text())
    displays = {display["Name"]: display for display in config["Visualization Manager"]["Displays"]}
    classes, entropy = displays["Classes"], displays["Entropy"]
    assert classes["Topic"]["Value"] == "/segment/output/visualization"
    assert (classes["Color Transformer"], classes["Enabled"]) == ("RGB8", True)
    assert (entropy["Channel Name"], entropy["Enabled"]) == ("entropy", False)
    for display in (classes, entropy):
        assert display["Topic"]["Reliability Policy"] == "Best Effort"


def test_the_foxglove_layout_shows_the_same_topics_and_names_its_panels():
    layout = json.loads((REPOSITORY / "config" / "segment.foxglove.json").read_text())
    panels = layout["configById"]

    def ids(part) -> set[str]:
        return {part} if isinstance(part, str) else ids(part["first"]) | ids(part["second"])

    assert ids(layout["layout"]) == set(panels)
    (scene,) = (panel for name, panel in panels.items() if name.startswith("3D!"))
    config = yaml.safe_load((REPOSITORY / "config" / "segment.rviz").read_text())
    displays = config["Visualization Manager"]["Displays"]
    shown = {
        display["Topic"]["Value"]: display["Enabled"] for display in displays if "Topic" in display
    }
    assert {topic: settings["visible"] for topic, settings in scene["topics"].items()} == shown
    (plot,) = (panel for name, panel in panels.items() if name.startswith("Plot!"))
    plotted = {path["value"] for path in plot["paths"]}
    assert plotted == {
        f"/segment/debug/{stage}_ms.data" for stage in ("latency", "total", "inference")
    }
