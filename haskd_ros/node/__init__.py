"""The node: all that runs under ROS 2, or for what does."""
