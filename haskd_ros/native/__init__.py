"""C++ kernels for a CPU, as functions of tensors and numbers, and when they are used.

They come compiled with an installed package (`prebuilt`); for a checkout they are compiled once a
machine, with g++ (or `CXX`), and kept in the user's cache. That is a step of its own,
`load_kernels`, taken where a model is loaded (`model_file.load`, `Segmenter`) and where a training
begins (`make_fabric`). Whoever makes a network by `models.build` and calls it without either calls
`load_kernels()` first:

    from haskd_ros.native import load_kernels

    load_kernels()

Until then, where they can't be had, and with `HASKD_NATIVE=0` in the environment, plain torch does
the same work, slower. `dispatch.usable` tells which it is and has no side effect.
"""

__all__ = ["load_kernels"]


def load_kernels() -> bool:
    """Load the compiled kernels: from then on this process uses them. Every later call, from
    whatever thread, returns what the first one did.

    Returns:
        whether there are any. Where there are none plain torch does the work, slower: the log says
        so once, with the reason.
    """
    # Now: where a package is built, which compiles them, there is no torch.
    from haskd_ros.native import library

    return library.load_kernels()
