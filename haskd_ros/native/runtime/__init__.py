"""The runtime without Python, `libhaskd`: its C++ sources, and how they are compiled here.

A C++ project builds it with CMake; docs/cpp.md tells how.
"""
