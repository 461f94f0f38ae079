"""Readers of public data sets, one small file each: their layout, split, classes and counts."""
