"""One file a format of recordings."""
