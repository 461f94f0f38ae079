"""Clouds and their labels, shown."""
