"""A procedural flat, walked through with an RGB-D camera: a bag, or a data set's files."""

from haskd_training.simulation.indoor.config import FlatConfig
from haskd_training.simulation.indoor.layouts import Layout, simulate_flats
from haskd_training.simulation.indoor.recording import simulate_flat

__all__ = ["FlatConfig", "Layout", "simulate_flat", "simulate_flats"]
