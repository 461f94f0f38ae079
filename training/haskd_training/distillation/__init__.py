"""The method: IHD from a teacher with images, ASD from snapshots."""
