"""A recording is looked at as a whole before anything is computed from it."""
