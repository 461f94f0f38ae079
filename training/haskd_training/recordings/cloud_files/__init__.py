"""Single clouds in files: PCD, PLY, LAS/LAZ, E57, NumPy, raw float32; and folders of them."""
