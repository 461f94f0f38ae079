"""A node of its own process, given clouds and timed."""
