"""From recorded camera and LiDAR bags to a segmentation network: the workstation half of HAS-KD."""

# Before anything loads numpy or torch: it says how their threads wait.
import haskd_ros  # noqa: F401
