"""What a finished model is worth."""
