"""Which backend computes the sparse convolutions."""

from __future__ import annotations

import functools
import logging

import torch
from torch import Tensor, nn

from haskd_ros.errors import InputError
from haskd_ros.sparse import spconv_backend, triton_backend
from haskd_ros.sparse.geometry import Geometry
from haskd_ros.sparse.keys import pack
from haskd_ros.sparse.torch_backend import TorchGeometry

BACKENDS = ("auto", "torch", "spconv", "triton")

_ADVICE = {
    "spconv": "install spconv-cu120 (Python up to 3.11) or spconv-cu126",
    "triton": "install the one that fits torch",
}

log = logging.getLogger(__name__)


def make_geometry(keys: Tensor, backend: str = "auto") -> Geometry:
    """The geometry of a batch of voxels on a backend.

    Args:
        keys: [V] int64 sorted unique voxel keys.
        backend: `torch`, `spconv`, `triton`, or `auto`, as of `chosen_backend`.

    Raises:
        InputError: an unknown backend, or one that can't be imported.
    """
    if backend not in BACKENDS:
        raise InputError(f"unknown sparse backend {backend!r}; allowed are {', '.join(BACKENDS)}")
    if backend == "auto":
        backend = chosen_backend(keys.device)
    if backend == "torch":
        return TorchGeometry(keys)
    if error := import_error(backend):
        raise InputError(
            f"backend {backend} can't be imported: {error}; {_ADVICE[backend]}, or use backend "
            "torch"
        )
    return _geometry(backend, keys)


def import_error(backend: str) -> str:
    """Why `spconv` or `triton` can't be imported; empty where it can."""
    asked = {"spconv": spconv_backend.import_error, "triton": triton_backend.import_error}
    return asked[backend]()


def _geometry(backend: str, keys: Tensor) -> Geometry:
    if backend == "spconv":
        return spconv_backend.SpconvGeometry(keys)
    return triton_backend.TritonGeometry(keys) if backend == "triton" else TorchGeometry(keys)


def chosen_backend(device: torch.device) -> str:
    """What computes on a device unless a backend is asked for: on a CUDA device the first of
    spconv, triton and torch that can be imported and convolves a few voxels as torch does; else
    torch. Tried once a process; the log says what did not work."""
    if device.type != "cuda":
        return "torch"
    return _first_that_works(torch.device("cuda", device.index or 0))


@functools.cache
def _first_that_works(device: torch.device) -> str:
    for backend in ("spconv", "triton"):
        reason = import_error(backend) or fault(backend, device)
        if not reason:
            return backend
        log.info("%s is not used on %s: %s", backend, device, reason)
    return "torch"


class _Layer(nn.Module):
    """Weights that are drawn from no generator, which a training's seed decides on."""

    def __init__(self, width: int, kernel: int, device: torch.device) -> None:
        super().__init__()
        values = torch.arange(width * kernel**3 * width, device=device).float().sin()
        self.weight = nn.Parameter(values.view(width, kernel, kernel, kernel, width))


def fault(backend: str, device: torch.device) -> str:
    """What is wrong with a backend on a device: it is asked for the results and gradients of a
    convolution of each kind over a few voxels, in float32 and half precision, and they are compared
    with torch's. Empty where nothing is."""
    try:
        # A cube of 5 with holes.
        cube = torch.cartesian_prod(*3 * [torch.arange(5, device=device)])
        keys = pack(cube[cube.sum(1) % 4 > 0])
        with torch.inference_mode(False), torch.enable_grad():
            # One width, for which a compiler is waited for once.
            layers = [_Layer(16, kernel, device) for kernel in (3, 2, 2)]
            for dtype, tolerance in ((torch.float32, 1e-2), (torch.float16, 3e-2)):
                wanted = _results("torch", keys, layers, dtype)
                for found, right in zip(_results(backend, keys, layers, dtype), wanted):
                    difference = float((found - right).abs().max() / right.abs().max())
                    if not difference < tolerance:
                        return f"its results in {dtype} differ from torch's by {difference:.1e}"
    # Compilers and drivers that do not fit raise what they like.
    except Exception as error:
        return f"{type(error).__name__}: {error}"
    return ""


def _results(backend: str, keys: Tensor, layers: list[_Layer], dtype: torch.dtype) -> list[Tensor]:
    """Features and gradients, float32."""
    geometry = _geometry(backend, keys)
    inner, down, up = layers
    width = inner.weight.shape[-1]
    start = torch.arange(len(keys) * width, device=keys.device).float().cos()
    x = start.view(-1, width).to(dtype).requires_grad_()
    with torch.autocast(keys.device.type, torch.float16, enabled=dtype == torch.float16):
        y = geometry.submanifold(x, inner, 0)
        y = geometry.up(geometry.down(y, down, 0), up, 0)
    gradients = torch.autograd.grad(y.float().sum(), [x, *(layer.weight for layer in layers)])
    return [y.detach().float(), *(gradient.float() for gradient in gradients)]
