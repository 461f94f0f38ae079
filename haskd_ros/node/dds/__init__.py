"""Fast DDS: the profiles that large clouds need."""
