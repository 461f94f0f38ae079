"""From recorded camera and LiDAR bags to a segmentation network: the workstation half of HAS-KD."""
