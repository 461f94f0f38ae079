"""Samples: prepared from recordings and data sets, kept in caches, split, projected, corrupted."""
