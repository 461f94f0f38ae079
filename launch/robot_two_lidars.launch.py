"""Label the clouds of two LiDARs, front and rear, by a node of its own each.

ros2 launch haskd_ros robot_two_lidars.launch.py front_topic:=/front/points rear_topic:=/rear/points

All other arguments are those of segment.launch.py and hold for both nodes, but for RViz, which
shows the front one. One parameter file serves both: entries may be for one node by its name.
"""

from pathlib import Path

from launch import LaunchDescription
from launch.actions import DeclareLaunchArgument, GroupAction, IncludeLaunchDescription
from launch.launch_description_sources import PythonLaunchDescriptionSource
from launch.substitutions import LaunchConfiguration

SEGMENT = str(Path(__file__).with_name("segment.launch.py"))


def argument(name: str, default: str, description: str) -> DeclareLaunchArgument:
    return DeclareLaunchArgument(name, default_value=default, description=description)


ARGUMENTS = [
    argument("front_topic", "/lidar_front/points", "PointCloud2 topic of the front LiDAR."),
    argument("rear_topic", "/lidar_rear/points", "PointCloud2 topic of the rear LiDAR."),
    argument("front_name", "segment_front", "Name of the node for the front LiDAR."),
    argument("rear_name", "segment_rear", "Name of the node for the rear LiDAR."),
]


def node(side: str, **fixed: str) -> GroupAction:
    """The node of a LiDAR. The arguments of the group are its own; what somebody has given to this
    launch file reaches it all the same."""
    arguments = {
        "input_topic": LaunchConfiguration(f"{side}_topic"),
        "name": LaunchConfiguration(f"{side}_name"),
        # The clock of a replay is everybody's, and two would be two.
        "bag": "",
        **fixed,
    }
    source = PythonLaunchDescriptionSource(SEGMENT)
    return GroupAction([IncludeLaunchDescription(source, launch_arguments=arguments.items())])


def generate_launch_description() -> LaunchDescription:
    return LaunchDescription([*ARGUMENTS, node("front"), node("rear", rviz="false")])
