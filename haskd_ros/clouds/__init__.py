"""What a PointCloud2 becomes on its way to the network and back. No ROS."""
