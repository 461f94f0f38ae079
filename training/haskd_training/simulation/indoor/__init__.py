"""A procedural flat, walked through with an RGB-D camera."""

from haskd_training.simulation.indoor.config import FlatConfig
from haskd_training.simulation.indoor.recording import simulate_flat

__all__ = ["FlatConfig", "simulate_flat"]
