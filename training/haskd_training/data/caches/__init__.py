"""A cache of samples: what lies in its folder, written and read."""
