"""Whole jobs, from bags or caches to results."""
