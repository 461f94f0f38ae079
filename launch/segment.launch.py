"""Start the segmentation node, on request with a bag that is replayed and with RViz.

ros2 launch haskd_ros segment.launch.py input_topic:=/lidar/points rviz:=true
"""

import shlex
import sys

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

from haskd_ros.node.dds import profile_environment

# Not -m, with which Python would import from the working directory first, whoever wrote there.
ONCE = [
    sys.executable,
    "-c",
    "import sys; sys.path[:] = filter(None, sys.path); "
    "from haskd_ros.node.once import main; main()",
]
SHARE = FindPackageShare("haskd_ros")
TRUTH = ("true", "false")


def argument(name: str, default, description: str, choices=None) -> DeclareLaunchArgument:
    return DeclareLaunchArgument(
        name, default_value=default, description=description, choices=choices
    )


ARGUMENTS = [
    argument("input_topic", "/lidar/points", "PointCloud2 topic with the clouds to label."),
    argument("model", "", "Model file. Empty: as in the parameter file."),
    argument(
        "device",
        "",
        "Where the network runs: auto, cpu or cuda:N. Empty: as in the parameter file.",
    ),
    argument(
        "params_file",
        PathJoinSubstitution([SHARE, "config", "segment.yaml"]),
        "Parameter file of the node; an argument given here beats it.",
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
        "Take time from /clock. Empty: true with a bag, false without.",
        ("", *TRUTH),
    ),
    argument("namespace", "", "Namespace of the node."),
    argument(
        "log_level",
        "info",
        "Least severe messages that are shown.",
        ("debug", "info", "warn", "error", "fatal"),
    ),
    argument(
        "autostart",
        "",
        "Configure and activate the node. Empty: as in the parameter file.",
        ("", *TRUTH),
    ),
]


def replay_when_active(node: str, bag: str, rate: str, loop: bool) -> ExecuteProcess:
    """Replay a bag once the node is active: a short one would be over before the model is loaded.
    Even then discovery takes a moment, which does not matter where the bag is looped."""
    play = ["ros2", "bag", "play", bag, "--clock", "--rate", rate]
    play += ["--loop"] if loop else ["--delay", "2"]
    return ExecuteProcess(cmd=[*ONCE, "active", node, *play], name="replay", output="screen")


def actions(context: LaunchContext) -> list:
    """What to start, once the values of the arguments are known."""
    args = {item.name: LaunchConfiguration(item.name).perform(context) for item in ARGUMENTS}
    sim_time = args["use_sim_time"] == "true" or bool(args["bag"] and not args["use_sim_time"])
    overrides = {"use_sim_time": sim_time}
    overrides |= {name: args[name] for name in ("model", "device") if args[name]}
    if args["autostart"]:
        overrides["autostart"] = args["autostart"] == "true"

    segment = LifecycleNode(
        package="haskd_ros",
        executable="segment",
        name="segment",
        namespace=args["namespace"],
        parameters=[args["params_file"], overrides],
        remappings=[("~/input/points", args["input_topic"])],
        arguments=["--ros-args", "--log-level", args["log_level"]],
        output="screen",
    )
    started = [segment]
    prefix = f"/{args['namespace'].strip('/')}" if args["namespace"] else ""
    if args["rviz"] == "true":
        topics = [f"/segment/output/{name}" for name in ("visualization", "segmentation", "legend")]
        clouds = args["input_topic"]
        if not clouds.startswith("/"):
            clouds = f"{prefix}/{clouds}"
        started.append(
            Node(
                package="rviz2",
                executable="rviz2",
                exec_name="rviz2",
                prefix=shlex.join([*ONCE, "cloud", clouds]),
                arguments=[
                    *("-d", PathJoinSubstitution([SHARE, "config", "segment.rviz"])),
                    *("--fixed-frame", "{frame}"),
                ],
                remappings=[(topic, prefix + topic) for topic in topics],
                parameters=[{"use_sim_time": sim_time}],
                output="screen",
            )
        )
    if args["bag"]:
        loop = (args["bag_loop"] or args["rviz"]) == "true"
        started.append(replay_when_active(f"{prefix}/segment", args["bag"], args["bag_rate"], loop))
    return started


def generate_launch_description() -> LaunchDescription:
    profile = [SetEnvironmentVariable(*item) for item in profile_environment().items()]
    return LaunchDescription([*ARGUMENTS, *profile, OpaqueFunction(function=actions)])
