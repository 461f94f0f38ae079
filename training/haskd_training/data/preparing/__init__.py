"""A recording or a data set is looked at and becomes a cache."""
