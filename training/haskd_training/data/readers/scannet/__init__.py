"""ScanNet: meshes, their labels and image streams."""
