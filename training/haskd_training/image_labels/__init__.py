"""What image networks say, pixel by pixel, and what of it goes for the points."""
