"""Counts, what follows from them, and how sure it is."""
