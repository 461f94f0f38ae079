"""Confusion counts, scores computed from them, and confidence intervals."""
