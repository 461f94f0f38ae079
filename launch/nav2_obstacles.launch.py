"""Obstacles for Nav2's costmaps: the clouds without ground, thinned, on /obstacles.

ros2 launch haskd_ros nav2_obstacles.launch.py input_topic:=/lidar/points

What goes into Nav2's own parameters is in config/nav2_costmap.yaml. All other arguments are those
of segment.launch.py.
"""

from pathlib import Path

from launch import LaunchContext, LaunchDescription
from launch.actions import (
    DeclareLaunchArgument,
    GroupAction,
    IncludeLaunchDescription,
    OpaqueFunction,
    SetLaunchConfiguration,
)
from launch.conditions import IfCondition
from launch.launch_description_sources import PythonLaunchDescriptionSource
from launch.substitutions import LaunchConfiguration
from launch_ros.actions import Node
from launch_ros.substitutions import FindPackageShare

from haskd_ros.errors import InputError

SEGMENT = str(Path(__file__).with_name("segment.launch.py"))
PARAMETERS = str(Path(__file__).parents[1] / "config" / "nav2_obstacles.yaml")
MANAGER = "nav2_lifecycle_manager"
TRUTH = ("true", "True", "TRUE", "false", "False", "FALSE")


def argument(name: str, default: str, description: str, choices=None) -> DeclareLaunchArgument:
    return DeclareLaunchArgument(
        name, default_value=default, description=description, choices=choices
    )


ARGUMENTS = [
    argument("filtered_topic", "/obstacles", "Topic of the clouds for the costmaps."),
    argument(
        "params_file",
        PARAMETERS,
        "Parameter file of the node; an argument given here beats it.",
    ),
    argument(
        "lifecycle_manager",
        "false",
        "Start a life cycle manager of Nav2 that leads the node, instead of autostart.",
        TRUTH,
    ),
    argument("name", "segment", "Name of the node."),
    argument("namespace", "", "Namespace of the node, in that of an including launch file."),
]


def check_manager(context: LaunchContext) -> None:
    """Before anything is started.

    Raises:
        InputError: the manager is not installed.
    """
    try:
        FindPackageShare(MANAGER).perform(context)
    except LookupError:
        raise InputError(
            f"lifecycle_manager:=true needs the package {MANAGER}, which is not installed"
        ) from None


def generate_launch_description() -> LaunchDescription:
    wanted = IfCondition(LaunchConfiguration("lifecycle_manager"))
    manager = Node(
        package="nav2_lifecycle_manager",
        executable="lifecycle_manager",
        name=["lifecycle_manager_", LaunchConfiguration("name")],
        namespace=LaunchConfiguration("namespace"),
        parameters=[
            {
                # A list of one text, which a list of substitutions alone is not.
                "node_names": [[LaunchConfiguration("name")]],
                "autostart": True,
                "bond_timeout": 0.0,
            }
        ],
        output="screen",
        condition=wanted,
    )
    return LaunchDescription(
        [
            *ARGUMENTS,
            OpaqueFunction(function=check_manager, condition=wanted),
            # A group, for Nav2's own launch files have an autostart, too.
            GroupAction(
                [
                    SetLaunchConfiguration("autostart", "false", condition=wanted),
                    IncludeLaunchDescription(PythonLaunchDescriptionSource(SEGMENT)),
                ]
            ),
            manager,
        ]
    )
