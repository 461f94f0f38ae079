"""The process that the node lives in: its start, its thread for ROS, its end."""
