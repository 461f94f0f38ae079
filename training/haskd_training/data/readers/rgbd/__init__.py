"""Recordings of an RGB-D camera, fused to coloured clouds."""
