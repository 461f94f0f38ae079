"""What a network costs at the least on a GPU: `python -m gpu.roofline --help`, in `benchmarks/`.

Counts, on a CPU, the operations and the bytes of every layer over the kernel maps of a real or
simulated cloud, and divides them by what NVIDIA's data sheets promise. **An estimate, not a
measurement**: a bound from below, which leaves out what finds voxels and neighbours, the start of
each kernel, and that no kernel reaches a data sheet.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from gpu.clouds import clouds
from gpu.part import Case
from haskd_ros.models import build, of_size
from haskd_ros.models.blocks import fold_batch_norm
from haskd_ros.models.sparse_unet import SparseUNet
from haskd_ros.native import dispatch
from haskd_ros.sparse import SparseConvolution, StridedConv, SubmanifoldConv, TorchGeometry
from haskd_ros.sparse.neighbours import NONE, downsampling_neighbours, submanifold_neighbours

BLOCK_ROWS = 64
"""Of `haskd_ros.sparse.triton_kernel`, which a CPU without triton can't import."""

HALF, FLOAT = 2, 4
"""Bytes of a feature, and of a weight or an index."""


@dataclass(frozen=True)
class Chip:
    """What a data sheet promises.

    Attributes:
        fp16: floating point operations a second, by tensor cores without sparsity.
        bandwidth: bytes of memory a second.
    """

    fp16: float
    bandwidth: float


CHIPS = {
    # Jetson AGX Orin Series Technical Brief (NVIDIA, v1.2): 170 sparse INT8 TOPS of the GPU's
    # tensor cores, of which dense fp16 is a quarter; 204.8 GB/s.
    "Jetson AGX Orin 64 GB": Chip(42.5e12, 204.8e9),
    # H100 and H200 Tensor Core GPU data sheets (NVIDIA), SXM: 1,979 TFLOPS of fp16 with sparsity,
    # of which dense is half; 3.35 and 4.8 TB/s.
    "H100 SXM": Chip(989e12, 3.35e12),
    "H200 SXM": Chip(989e12, 4.8e12),
}


@dataclass(frozen=True)
class Cost:
    """Of a layer, for one cloud, features in half precision.

    Attributes:
        flops: of the pairs that there are, a product and a sum each.
        computed: of the blocks of rows that the Triton kernel goes through.
        least: bytes if everything is read and written once.
        gathered: bytes if nothing that is read again is still in a cache.
    """

    layer: str
    flops: int
    computed: int
    least: int
    gathered: int


def costs(network: SparseUNet, points: Tensor) -> list[Cost]:
    """Of each layer in the order of its work.

    Args:
        network: folded; its backend becomes torch.
        points: [N, 4] as the network reads them.
    """
    found: list[Cost] = []
    network.backend = "torch"
    names = {module: name for name, module in network.named_modules()}

    def count(module: nn.Module, given: tuple[Any, ...], named: dict[str, Any], y: Tensor) -> None:
        parts = given[0] if isinstance(given[0], tuple) else given[:1]
        epilogue = named.get("epilogue") or (given[1] if len(given) == 2 else None)
        addend = None if epilogue is None else epilogue.addend
        read = sum(part.numel() for part in parts)
        added = 0 if addend is None else y.numel()
        weight: Tensor = module.weight
        pair = 2 * weight.shape[0] * weight.shape[-1]
        rows, taps = len(y), weight[0, ..., 0].numel()
        if isinstance(module, SparseConvolution):
            pairs, blocks = _pairs(module, *given[1:3])
            table = FLOAT * (taps + 1) * rows
        else:
            pairs, blocks, table = rows, -(-rows // BLOCK_ROWS), 0
        fixed = HALF * (y.numel() + added) + FLOAT * weight.numel() + table
        found.append(
            Cost(
                names[module].removesuffix(".layer"),
                flops=pair * pairs,
                computed=pair * blocks * BLOCK_ROWS,
                least=fixed + HALF * read,
                gathered=fixed + HALF * pairs * weight.shape[-1],
            )
        )

    layers = [m for m in network.modules() if isinstance(m, (SparseConvolution, nn.Linear))]
    hooks = [layer.register_forward_hook(count, with_kwargs=True) for layer in layers]
    try:
        with torch.no_grad(), dispatch.plain_torch():
            network(points)
    finally:
        for hook in hooks:
            hook.remove()
    return found


def _pairs(layer: SparseConvolution, geometry: TorchGeometry, level: int) -> tuple[int, int]:
    """Pairs of rows that a convolution joins, and the blocks of rows times the taps under which one
    of them meets a voxel."""
    keys = geometry.keys(level)
    if isinstance(layer, SubmanifoldConv):
        neighbours = submanifold_neighbours(keys)
    else:
        _, down, up = downsampling_neighbours(keys)
        neighbours = down if isinstance(layer, StridedConv) else up
    met = neighbours.sources[:, neighbours.order.long()] != NONE
    blocks = sum(int(block.any(1).sum()) for block in met.split(BLOCK_ROWS, 1))
    return int(met.sum()), blocks


def bound_ms(found: Sequence[Cost], chip: Chip, *, as_computed: bool) -> float:
    """The sum over layers of what takes longer, the operations or the bytes.

    Args:
        as_computed: blocks and gathers of the Triton kernel, instead of the least.
    """
    seconds = 0.0
    for cost in found:
        flops = cost.computed if as_computed else cost.flops
        octets = cost.gathered if as_computed else cost.least
        seconds += max(flops / chip.fp16, octets / chip.bandwidth)
    return 1e3 * seconds


def table(found: Sequence[Cost]) -> Iterator[str]:
    """Markdown, layer by layer and in all."""
    yield "| layer | MFLOP | as computed | MB at the least | gathered |"
    yield "| --- | --- | --- | --- | --- |"
    figures = ("flops", "computed", "least", "gathered")
    total = Cost("all", *(sum(getattr(cost, name) for cost in found) for name in figures))
    for cost in (*found, total):
        numbers = (cost.flops, cost.computed, cost.least, cost.gathered)
        yield f"| {cost.layer} | {' | '.join(f'{number / 1e6:.1f}' for number in numbers)} |"


def main() -> None:
    parser = argparse.ArgumentParser(description="Operations and bytes of a network, and a bound.")
    parser.add_argument("--bag", type=Path, help="whose first cloud is taken; default: a street")
    parser.add_argument("--topic")
    parser.add_argument("--points", type=int, default=123_000)
    parser.add_argument("--size", default="S")
    parser.add_argument("--voxel-size", type=float, default=0.1, help="m")
    given = parser.parse_args()
    bag = None if given.bag is None else str(given.bag)
    cloud = clouds(Case("cpu", bag, given.topic), given.points, 1)[0]
    cloud[:, 3] /= np.float32(255)
    architecture, arguments = of_size(given.size, given.voxel_size)
    network = fold_batch_norm(build(architecture, classes=11, **arguments))
    found = costs(network, torch.from_numpy(cloud))
    lines = [*table(found), "", "| ms at the least | ideal | as the Triton kernel computes |"]
    lines.append("| --- | --- | --- |")
    for name, chip in CHIPS.items():
        bounds = (bound_ms(found, chip, as_computed=computed) for computed in (False, True))
        lines.append(f"| {name} | {' | '.join(f'{ms:.2f}' for ms in bounds)} |")
    print("\n".join(lines))


if __name__ == "__main__":
    main()
