"""C++ kernels of the sparse engine: how they are built, and their functions for tensors."""
