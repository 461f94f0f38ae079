"""LiDAR semantic segmentation for ROS 2: the half of HAS-KD that runs on a robot."""

__version__ = "0.1.0"
