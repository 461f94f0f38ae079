"""The stages of the method and their folders."""
