"""A model meets recordings and the live node."""
