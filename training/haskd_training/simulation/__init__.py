"""A procedural street world, driven through with a LiDAR and cameras, recorded as a bag."""

from haskd_training.simulation.config import SimulationConfig
from haskd_training.simulation.drive import simulate

__all__ = ["SimulationConfig", "simulate"]
