"""The sparse engine on a CPU, side by side in one run: `python benchmarks/engine.py CACHE`.

For each cloud, voxel size and network, in turn, so that a drift of the machine hits all alike:
- products: the network's matrix products alone, on rows that lie ready: the limit of this design;
- torch: plain torch, kernel maps and forward pass of the U-Net over voxels;
- compiled: the same with the compiled kernels, where they can be built;
- spconv: the same on spconv (its Native algorithm on a CPU), where it can be imported.

Prints median and quartiles in ms and the ratio of torch to compiled. Timings, not a test.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from rich.console import Console
from rich.table import Table

from haskd_ros.models import SparseUNet, build, fold_batch_norm, of_size
from haskd_ros.models.sparse_unet import Voxels, voxelise
from haskd_ros.sparse import TorchGeometry, make_geometry, spconv_backend
from haskd_ros.sparse.kernel_map import KernelMap
from haskd_ros.sparse.native import build as native
from haskd_ros.sparse.native.kernels import plain_torch
from haskd_training.cache import Cache

CASES = ((30_000, 0.2), (None, 0.2), (None, 0.1))
"""(points drawn from the sweep, None for all of them; voxel size in m)"""


class ProductsAlone(TorchGeometry):
    """Runs a layer's matrix products on memory that is already there, and nothing else."""

    def __init__(self, keys: torch.Tensor) -> None:
        super().__init__(keys)
        for level in range(4):
            self._map(level)

    def _multiply(self, x: torch.Tensor, layer: torch.nn.Module, pairs: KernelMap) -> torch.Tensor:
        outputs, inputs = layer.weight.shape[0], layer.weight.shape[-1]
        kernel = layer.weight.reshape(outputs, -1, inputs).permute(1, 2, 0)
        sizes = [*pairs.sizes, pairs.outputs if pairs.identity_centre else 0]
        rows = self._ready(max(sizes), inputs)
        results = self._ready(max(sizes), outputs)
        for size, weight in zip(sizes, [*kernel, kernel[len(kernel) // 2]]):
            if size:
                torch.mm(rows[:size], weight, out=results[:size])
        return self._ready(pairs.outputs, outputs)

    def _ready(self, rows: int, columns: int) -> torch.Tensor:
        cache = self.__dict__.setdefault("_memory", {})
        if (rows, columns) not in cache:
            cache[rows, columns] = torch.rand(rows, columns)
        return cache[rows, columns]

    def submanifold(self, x: torch.Tensor, layer: torch.nn.Module, level: int) -> torch.Tensor:
        return self._multiply(x, layer, self._map(level))

    def down(self, x: torch.Tensor, layer: torch.nn.Module, level: int) -> torch.Tensor:
        return self._multiply(x, layer, self._steps[level][0])

    def up(self, x: torch.Tensor, layer: torch.nn.Module, level: int) -> torch.Tensor:
        return self._multiply(x, layer, self._steps[level][1])


def contenders(network: SparseUNet, points: torch.Tensor) -> dict[str, Callable[[], object]]:
    voxels = voxelise(points, None, network.voxel_size, "torch")
    keys = voxels.geometry.keys(0)
    x = torch.rand(len(keys), network.channels[0])
    ready = ProductsAlone(keys)

    def run(backend: str) -> torch.Tensor:
        geometry = make_geometry(keys, backend)
        return network.unet(x, Voxels(geometry, voxels.grouping, voxels.offset))

    result = {
        "products": lambda: multiply_all(network, ready),
        "torch": plain_torch()(lambda: run("torch")),
    }
    if native.library() is not None:
        result["compiled"] = lambda: run("torch")
    if spconv_backend.available():
        result["spconv"] = lambda: run("spconv")
    return result


def multiply_all(network: SparseUNet, ready: ProductsAlone) -> None:
    """Every convolution once, without norms, activations or concatenations between them."""
    for level, block in enumerate(network.encoder):
        for layer in (block.first.layer, block.second.layer):
            ready.submanifold(None, layer, level)
    ready.submanifold(None, network.stem.layer, 0)
    for level, (down, up, decode) in enumerate(zip(network.down, network.up, network.decoder)):
        ready.down(None, down.layer, level)
        ready.up(None, up.layer, level)
        ready.submanifold(None, decode.layer, level)


def measure(functions: dict[str, Callable[[], object]], repeats: int) -> dict[str, np.ndarray]:
    """[repeats] ms each, the functions taking turns."""
    times = {name: np.zeros(repeats) for name in functions}
    with torch.inference_mode():
        for run in range(-2, repeats):
            for name, function in functions.items():
                start = time.perf_counter()
                function()
                if run >= 0:
                    times[name][run] = 1e3 * (time.perf_counter() - start)
    return times


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("cache", type=Path, help="folder made by `haskd prepare`")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=20)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    torch.manual_seed(0)
    sweep = torch.from_numpy(Cache.open(arguments.cache).sweep(0).points)
    console = Console()
    table = Table(
        title=f"ms: median (quartiles) over {arguments.repeats}, {arguments.threads} threads"
    )
    names = ("products", "torch", "compiled", "spconv")
    for column in ("points", "voxel", "voxels", "net", *names, "torch/compiled"):
        table.add_column(column, justify="right")
    for count, voxel_size in CASES:
        points = sweep if count is None else sweep[torch.randperm(len(sweep))[:count]]
        for size in ("S", "M"):
            architecture, chosen = of_size(size, voxel_size)
            network = build(architecture, classes=11, **chosen)
            times = measure(contenders(fold_batch_norm(network), points), arguments.repeats)
            cells = [
                "{1:.0f} ({0:.0f}-{2:.0f})".format(*np.percentile(times[name], [25, 50, 75]))
                if name in times
                else "-"
                for name in names
            ]
            ratio = (
                f"{np.median(times['torch'] / times['compiled']):.2f}"
                if "compiled" in times
                else "-"
            )
            voxels = len(voxelise(points, None, voxel_size, "torch").geometry.keys(0))
            table.add_row(f"{len(points):,}", f"{voxel_size} m", f"{voxels:,}", size, *cells, ratio)
    console.print(table)


if __name__ == "__main__":
    main()
