"""A recording becomes a cache of samples, and a cache is split."""
