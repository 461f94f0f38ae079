"""Which images, which of their pixels, which features."""
