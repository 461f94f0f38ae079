"""Which backend computes the sparse convolutions."""

from __future__ import annotations

from torch import Tensor

from haskd_ros.errors import InputError
from haskd_ros.sparse import spconv_backend
from haskd_ros.sparse.geometry import Geometry
from haskd_ros.sparse.torch_backend import TorchGeometry

BACKENDS = ("auto", "torch", "spconv")


def make_geometry(keys: Tensor, backend: str = "auto") -> Geometry:
    """The geometry of a batch of voxels on a backend.

    Args:
        keys: [V] int64 sorted unique voxel keys.
        backend: `torch`, `spconv`, or `auto`: spconv on a CUDA device where it can be imported,
            else torch.

    Raises:
        InputError: an unknown backend, or spconv where it can't be imported.
    """
    if backend not in BACKENDS:
        raise InputError(f"unknown sparse backend {backend!r}; allowed are {', '.join(BACKENDS)}")
    if backend == "torch" or (backend == "auto" and keys.device.type != "cuda"):
        return TorchGeometry(keys)
    if spconv_backend.available():
        return spconv_backend.SpconvGeometry(keys)
    if backend == "spconv":
        raise InputError(
            "backend spconv can't be imported: "
            f"{spconv_backend.import_error()}; install spconv-cu120 (Python up to 3.11) or "
            "spconv-cu126, or use backend torch"
        )
    return TorchGeometry(keys)
