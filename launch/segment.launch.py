"""Start the segmentation node, on request with a bag that is replayed and with RViz.

ros2 launch haskd_ros segment.launch.py input_topic:=/lidar/points rviz:=true

The node gets only what somebody has given: an argument, a parameter file, or what the launch file
that includes this one sets for all its nodes. What is wrong is said before anything is started: a
process that launch has only just begun to start would outlive the launch.
"""

import shlex
import sys
from pathlib import Path

from launch import LaunchContext, LaunchDescription
from launch.actions import (
    DeclareLaunchArgument,
    ExecuteProcess,
    OpaqueFunction,
    SetEnvironmentVariable,
)
from launch.substitutions import LaunchConfiguration, PathJoinSubstitution
from launch_ros.actions import LifecycleNode, Node
from launch_ros.substitutions import FindPackageShare
from launch_ros.utilities import make_namespace_absolute, prefix_namespace

from haskd_ros.errors import InputError
from haskd_ros.node.dds.profiles import profile_environment

# Not -m, with which Python would import from the working directory first, whoever wrote there.
ONCE = [
    sys.executable,
    "-c",
    "import sys; sys.path[:] = filter(None, sys.path); "
    "from haskd_ros.node.once import main; main()",
]
SHARE = FindPackageShare("haskd_ros")
TRUTH = ("true", "True", "TRUE", "false", "False", "FALSE")
LEVELS = ("debug", "info", "warn", "error", "fatal")
OUTPUTS = {
    f"{name}_topic": f"output/{name}"
    for name in ("segmentation", "labelled", "visualization", "filtered")
}
"""Argument -> the node's output that it gives another topic."""


def argument(name: str, default, description: str, choices=None) -> DeclareLaunchArgument:
    return DeclareLaunchArgument(
        name, default_value=default, description=description, choices=choices
    )


ARGUMENTS = [
    argument("input_topic", "/lidar/points", "PointCloud2 topic with the clouds to label."),
    argument("segmentation_topic", "", "Topic of the labelled clouds. Empty: as the node has it."),
    argument("labelled_topic", "", "Topic of the inputs with labels. Empty: as the node has it."),
    argument("visualization_topic", "", "Topic of the coloured clouds. Empty: as the node has it."),
    argument("filtered_topic", "", "Topic of the filtered clouds. Empty: as the node has it."),
    argument("model", "", "Model file. Empty: as in the parameter file."),
    argument(
        "device",
        "",
        "Where the network runs: auto, cpu or cuda:N. Empty: as in the parameter file.",
    ),
    argument(
        "params_file",
        "",
        "Parameter file of the node; an argument given here beats it. Empty: none.",
    ),
    argument("rviz", "false", "Open RViz on the coloured cloud, once one has come.", TRUTH),
    argument("bag", "", "Bag to replay; its clock is the time of all nodes. Empty: none."),
    argument("bag_rate", "1.0", "Speed of the replay; 1.0 is real time."),
    argument(
        "bag_loop",
        "",
        "Replay the bag again and again. Empty: true with RViz, which opens on its first cloud.",
        ("", *TRUTH),
    ),
    argument(
        "use_sim_time",
        "",
        "Take time from /clock. Empty: true with a bag, else as in the parameter file.",
        ("", *TRUTH),
    ),
    argument("name", "segment", "Name of the node."),
    argument("namespace", "", "Namespace of the node, in that of an including launch file."),
    argument(
        "log_level",
        "",
        "Least severe messages that are shown. Empty: info.",
        ("", *LEVELS, *map(str.upper, LEVELS)),
    ),
    argument(
        "autostart",
        "",
        "Configure and activate the node. Empty: as in the parameter file.",
        ("", *TRUTH),
    ),
    argument("respawn", "false", "Start the node again whenever its process ends.", TRUTH),
    argument("respawn_delay", "2.0", "Seconds until then."),
]


def is_true(text: str) -> bool:
    return text.lower() == "true"


def seconds(name: str, text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 <= value < float("inf"):
        raise InputError(f"{name} is {text!r}, must be a number of seconds")
    return value


def check_installed(package: str, argument: str, context: LaunchContext) -> None:
    """
    Raises:
        InputError: the package that an argument needs is not installed.
    """
    try:
        FindPackageShare(package).perform(context)
    except LookupError:
        raise InputError(
            f"{argument} needs the package {package}, which is not installed"
        ) from None


def check_paths(args: dict[str, str]) -> None:
    """
    Raises:
        InputError: an argument names a file that is not there.
    """
    file, bag = args["params_file"], args["bag"]
    if file and not Path(file).is_file():
        raise InputError(f"params_file is {file!r}, must be a file that exists")
    if bag and not Path(bag).exists():
        raise InputError(f"bag is {bag!r}, must be a file or folder that exists")


def overrides(args: dict[str, str]) -> dict[str, object]:
    """Parameters of the node that arguments give."""
    given: dict[str, object] = {name: args[name] for name in ("model", "device") if args[name]}
    given |= {name: is_true(args[name]) for name in ("autostart", "use_sim_time") if args[name]}
    if args["bag"]:
        given.setdefault("use_sim_time", True)
    return given


class Topics:
    """Full names of the node's topics, for the processes that go with it.

    Args:
        node: full name of the node.
        rules: remappings as the node gets them; the first that fits counts.
    """

    def __init__(self, node: str, rules: list[tuple[str, str]]) -> None:
        self._node, self._rules = node, rules

    def __getitem__(self, name: str) -> str:
        topic = next(
            (to for origin, to in self._rules if origin in (f"~/{name}", f"{self._node}/{name}")),
            f"{self._node}/{name}",
        )
        namespace, _, _ = self._node.rpartition("/")
        if topic.startswith("~/"):
            return self._node + topic[1:]
        return topic if topic.startswith("/") else f"{namespace}/{topic}"


def global_remappings(context: LaunchContext) -> list[tuple[str, str]]:
    """Those of an including launch file, which launch puts before the node's own."""
    return [tuple(rule) for rule in context.launch_configurations.get("ros_remaps", None) or ()]


def replay_when_active(node: str, bag: str, rate: str, loop: bool) -> ExecuteProcess:
    """Replay a bag once the node is active: a short one would be over before the model is loaded.
    Even then discovery takes a moment, which does not matter where the bag is looped."""
    play = ["ros2", "bag", "play", bag, "--clock", "--rate", rate]
    play += ["--loop"] if loop else ["--delay", "2"]
    return ExecuteProcess(cmd=[*ONCE, "active", node, *play], name="replay", output="screen")


def rviz(topics: Topics, parameters: dict[str, object]) -> Node:
    """RViz on the node's topics, once a cloud has come."""
    shown = [f"output/{name}" for name in ("visualization", "segmentation", "legend")]
    return Node(
        package="rviz2",
        executable="rviz2",
        exec_name="rviz2",
        prefix=shlex.join([*ONCE, "cloud", topics["input/points"]]),
        arguments=[
            *("-d", PathJoinSubstitution([SHARE, "config", "segment.rviz"])),
            *("--fixed-frame", "{frame}"),
        ],
        remappings=[(f"/segment/{name}", topics[name]) for name in shown],
        parameters=[parameters] if parameters else None,
        output="screen",
    )


def actions(context: LaunchContext) -> list:
    """What to start, once the values of the arguments are known."""
    args = {item.name: LaunchConfiguration(item.name).perform(context) for item in ARGUMENTS}
    check_paths(args)
    if args["bag"]:
        check_installed("ros2bag", "bag", context)
    if is_true(args["rviz"]):
        check_installed("rviz2", "rviz:=true", context)

    remappings = [("~/input/points", args["input_topic"])]
    remappings += [(f"~/{output}", args[name]) for name, output in OUTPUTS.items() if args[name]]
    given = overrides(args)
    level = ["--ros-args", "--log-level", args["log_level"]] if args["log_level"] else []
    started: list = [
        LifecycleNode(
            package="haskd_ros",
            executable="segment",
            name=args["name"],
            namespace=args["namespace"],
            parameters=[item for item in (args["params_file"], given) if item],
            remappings=remappings,
            arguments=level,
            output="screen",
            respawn=is_true(args["respawn"]),
            respawn_delay=seconds("respawn_delay", args["respawn_delay"]),
        )
    ]
    outer = context.launch_configurations.get("ros_namespace", None)
    namespace = make_namespace_absolute(prefix_namespace(outer, args["namespace"] or None)) or "/"
    node = f"{namespace.rstrip('/')}/{args['name']}"
    if is_true(args["rviz"]):
        topics = Topics(node, [*global_remappings(context), *remappings])
        sim_time = {name: given[name] for name in ("use_sim_time",) if name in given}
        started.append(rviz(topics, sim_time))
    if args["bag"]:
        loop = is_true(args["bag_loop"] or args["rviz"])
        started.append(replay_when_active(node, args["bag"], args["bag_rate"], loop))
    return started


def generate_launch_description() -> LaunchDescription:
    profile = [SetEnvironmentVariable(*item) for item in profile_environment().items()]
    return LaunchDescription([*ARGUMENTS, *profile, OpaqueFunction(function=actions)])
