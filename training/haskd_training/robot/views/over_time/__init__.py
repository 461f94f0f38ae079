"""Recordings and the running node over time, in the form of Rerun."""
