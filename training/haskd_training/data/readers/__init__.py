"""Readers of public data sets, a file or folder each: their layout, split, classes and counts."""
