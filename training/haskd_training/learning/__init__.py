"""Training of any network here, and inference with it."""
