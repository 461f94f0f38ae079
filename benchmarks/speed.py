"""Ways to label a cloud, side by side in one run: `python benchmarks/speed.py CACHE`.

For each cloud and voxel size the candidates take turns, so that a drift of the machine hits all
alike. All compute points -> scores of every point, batch norm folded:
- S, M, L: our network, by size, with what computes it: `compiled` kernels, in float32 and, where
  that pays, with products of bfloat16; plain `torch`; `spconv` (on a CPU its Native algorithm) and
  `spconv-triton` where they can be imported;
- S, M, L products: its matrix products alone, on rows that lie ready: the limit of this design;
- R: the range-view network, with torch and, on a CPU, with ONNX Runtime.

On a CPU then also where the time goes: the stages of S with compiled kernels, from the points of a
message to labels. On a GPU in half precision, by CUDA's own events.

`--sizes S M L R`: those networks beside each other alone, as `Segmenter` runs them.

Prints Markdown: median and quartiles in ms, and of the ratios to the first candidate in each turn.
Timings, not a test.
"""

from __future__ import annotations

# Before numpy, whose threads it keeps from spinning.
import haskd_ros  # noqa: F401

# isort: split

import argparse
import contextlib
import copy
import importlib
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType

import numpy as np
import onnxruntime
import torch
from torch import nn

from gpu.range_view import save_untrained
from haskd_ros import model_file
from haskd_ros.clouds.memory import keep_freed_memory
from haskd_ros.models import build, of_size
from haskd_ros.models.blocks import fold_batch_norm
from haskd_ros.models.sparse_unet import SparseUNet, VoxelizedBatch, voxelise
from haskd_ros.native import dispatch, load_kernels
from haskd_ros.segmentation import DEFAULT_MODEL
from haskd_ros.segmenter import Segmenter, classify_logits
from haskd_ros.sparse import (
    Linear,
    SubmanifoldConv,
    TorchGeometry,
    group_by_key,
    pool,
    spconv_backend,
    voxel_keys,
)
from haskd_ros.sparse.kernel_map import KernelMap
from haskd_training.core.machine import machine
from haskd_training.data.caches.cache import Cache
from haskd_training.robot.onnx_export import export_onnx

CASES = {
    "cpu": ((30_000, 0.2, "S"), (None, 0.2, "S"), (None, 0.1, "S"), (None, 0.1, "M")),
    "cuda": tuple((n, 0.1, size) for n in (30_000, 123_000) for size in ("S", "M", "L")),
}
"""(points of the cloud, None for all of a sweep; voxel size in m; size of the network)"""

Run = Callable[[], object]


class ProductsAlone(TorchGeometry):
    """Runs a layer's matrix products on memory that is already there, and nothing else."""

    def __init__(self, keys: torch.Tensor, levels: int) -> None:
        super().__init__(keys)
        self._memory: dict[tuple[int, int], torch.Tensor] = {}
        for level in range(levels):
            self._map(level)

    def _multiply(
        self, x: object, layer: nn.Module, kernel_map: KernelMap, *_: object
    ) -> torch.Tensor:
        outputs, inputs = layer.weight.shape[0], layer.weight.shape[-1]
        kernel = layer.weight.reshape(outputs, -1, inputs).permute(1, 2, 0)
        sizes = [*kernel_map.sizes, kernel_map.output_rows if kernel_map.identity_centre else 0]
        rows = self.ready(max(sizes), inputs, kernel)
        results = self.ready(max(sizes), outputs, kernel)
        for size, weight in zip(sizes, [*kernel, kernel[len(kernel) // 2]]):
            if size:
                torch.mm(rows[:size], weight, out=results[:size])
        return self.ready(kernel_map.output_rows, outputs, kernel)

    def ready(self, rows: int, columns: int, like: torch.Tensor) -> torch.Tensor:
        if (rows, columns) not in self._memory:
            self._memory[rows, columns] = torch.rand(
                rows, columns, dtype=like.dtype, device=like.device
            )
        return self._memory[rows, columns]

    def submanifold(self, x: object, layer: nn.Module, level: int, *_: object) -> torch.Tensor:
        return self._multiply(x, layer, self._map(level))

    def down(self, x: object, layer: nn.Module, level: int, *_: object) -> torch.Tensor:
        return self._multiply(x, layer, self._steps[level][0])

    def up(self, x: object, layer: nn.Module, level: int, *_: object) -> torch.Tensor:
        return self._multiply(x, layer, self._steps[level][1])


def products(network: SparseUNet, points: torch.Tensor) -> Run:
    """Every matrix product of the network once, and nothing between them."""
    geometry = voxelise(points, None, network.voxel_size, "torch").geometry
    if network.classifier.weight.is_cuda:
        network = network.half()
    ready = ProductsAlone(geometry.keys(0), len(network.channels))
    voxels = len(geometry.keys(0))
    linear = [
        (layer, voxels if layer is network.voxel_head else len(points))
        for layer in network.modules()
        if isinstance(layer, (Linear, nn.Linear))
    ]

    def run() -> None:
        for layer, rows in linear:
            x = ready.ready(rows, layer.in_features, layer.weight)
            y = ready.ready(rows, layer.out_features, layer.weight)
            torch.mm(x, layer.weight.t(), out=y)
        for level, block in [*enumerate(network.encoder), *enumerate(network.refine)]:
            for layer in block.modules():
                if isinstance(layer, SubmanifoldConv):
                    ready.submanifold(None, layer, level)
        ready.submanifold(None, network.stem.layer, 0)
        for level, (down, up, decode) in enumerate(zip(network.down, network.up, network.decoder)):
            ready.down(None, down.layer, level)
            ready.up(None, up.layer, level)
            ready.submanifold(None, decode.layer, level)

    return run


@contextlib.contextmanager
def spconv_is(module: ModuleType) -> Iterator[None]:
    """Within it our backend runs on this module, whatever `spconv` is."""
    before = spconv_backend._load
    spconv_backend._load = lambda: (module, "")
    try:
        yield
    finally:
        spconv_backend._load = before


def spconvs() -> dict[str, ModuleType]:
    """spconv and what mirrors it, where they can be imported; the reason why not goes to stderr."""
    found = {}
    for name in ("spconv", "spconv_triton"):
        try:
            found[name.replace("_", "-")] = importlib.import_module(f"{name}.pytorch")
        # CUDA libraries that do not fit the driver raise what they like.
        except Exception as error:
            print(f"no {name}: {type(error).__name__}: {error}", file=sys.stderr)
    return found


def network_of(size: str, voxel_size: float) -> nn.Module:
    torch.manual_seed(0)
    architecture, chosen = of_size(size, voxel_size)
    return fold_batch_norm(build(architecture, classes=11, **chosen))


def candidates(
    size: str, voxel_size: float, points: torch.Tensor, modules: dict[str, ModuleType]
) -> dict[str, Run]:
    """By name; each has a network of its own, of the same weights."""
    device = points.device
    network = network_of(size, voxel_size).to(device)

    def on(backend: str) -> Run:
        mine = copy.deepcopy(network)
        mine.backend = backend
        return lambda: mine(points)

    result = {}
    if device.type == "cpu" and load_kernels():
        result[f"{size} compiled"] = on("torch")
        if dispatch.bf16_is_faster():
            result[f"{size} compiled, bf16"] = dispatch.bf16()(on("torch"))
    result[f"{size} torch"] = dispatch.plain_torch()(on("torch"))
    for name, module in modules.items():
        run = on("spconv")
        result[f"{size} {name}"] = spconv_is(module)(run)
    result[f"{size} products"] = products(copy.deepcopy(network), points)
    if size == "S":
        view = network_of("R", voxel_size).to(device)
        result["R torch"] = lambda: view(points)
        if device.type == "cpu":
            result["R ONNX Runtime"] = range_view_on_onnx(points)
    return result


def beside_each_other(sizes: list[str], voxel_size: float, points: torch.Tensor) -> dict[str, Run]:
    """Networks of several sizes, each as `Segmenter` runs it."""
    _, metadata = model_file.load(DEFAULT_MODEL)
    device = points.device.type
    runs = {}
    for size in sizes:
        segmenter = Segmenter(network_of(size, voxel_size), metadata, device)
        network = segmenter._network
        millions = sum(weight.numel() for weight in network.parameters()) / 1e6
        name = f"{size}, {millions:.1f} million parameters, {segmenter.precision}"
        runs[name] = in_precision(segmenter, points)
    return runs


def in_precision(segmenter: Segmenter, points: torch.Tensor) -> Run:
    def run() -> None:
        with segmenter._in_precision():
            segmenter._network(points)

    return run


def range_view_on_onnx(points: torch.Tensor) -> Run:
    folder = Path("speed-onnx")
    folder.mkdir(exist_ok=True)
    model, out = folder / "R.safetensors", folder / "R.onnx"
    save_untrained(model)
    export_onnx(model, out)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    session = onnxruntime.InferenceSession(out, options, providers=["CPUExecutionProvider"])
    given = points.numpy()
    return lambda: session.run(["logits"], {"points": given})


def stages(voxel_size: float, points: torch.Tensor) -> dict[str, Run]:
    """What the node does between message and labels with S, step by step."""
    network = network_of("S", voxel_size)
    _, metadata = model_file.load(DEFAULT_MODEL)
    segmenter = Segmenter(network, metadata, "cpu")
    raw = points.numpy().copy()
    raw[:, 3] *= metadata.intensity.scale
    keys, offset = voxel_keys(points, None, voxel_size)
    unique, grouping = group_by_key(keys)
    geometry = TorchGeometry(unique)
    voxels = VoxelizedBatch(geometry, grouping, offset)

    def maps(geometry: TorchGeometry) -> None:
        for level in range(len(network.channels)):
            geometry._map(level)

    maps(geometry)

    encoded = network._encode(points, offset)
    pooled = pool(encoded, grouping)
    logits = torch.rand(len(points), 11)
    steps = {
        "choose points": lambda: segmenter._valid_points(raw, 0.0, 120.0),
        "voxels": lambda: group_by_key(voxel_keys(points, None, voxel_size)[0]),
        "kernel maps": lambda: maps(TorchGeometry(unique)),
        "point-wise encoder": lambda: network._encode(points, offset),
        "mean a voxel": lambda: pool(encoded, grouping),
        "U-Net": lambda: network.unet(pooled, voxels),
        "softmax, class, entropy": lambda: classify_logits(logits, 1.0),
    }

    def as_in_the_network(step: Run) -> Run:
        def run() -> None:
            with dispatch.own_threads(), segmenter._in_precision():
                step()

        return run

    alone = {name: as_in_the_network(step) for name, step in steps.items()}
    return {f"all, the head included, {segmenter.precision}": lambda: segmenter(raw)} | alone


def measure(runs: dict[str, Run], repeats: int, on_gpu: bool) -> dict[str, np.ndarray]:
    """[repeats] ms each, the runs taking turns."""
    times = {name: np.zeros(repeats) for name in runs}
    half = torch.autocast("cuda", torch.float16) if on_gpu else contextlib.nullcontext()
    with torch.inference_mode(), half:
        for turn in range(-3, repeats):
            for name, run in runs.items():
                # Threads of the run before may still spin, and would cost this one a core.
                time.sleep(0.03)
                took = milliseconds_on_gpu(run) if on_gpu else milliseconds(run)
                if turn >= 0:
                    times[name][turn] = took
    return times


def milliseconds(run: Run) -> float:
    start = time.perf_counter()
    run()
    return 1e3 * (time.perf_counter() - start)


def milliseconds_on_gpu(run: Run) -> float:
    start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    torch.cuda.synchronize()
    start.record()
    run()
    end.record()
    torch.cuda.synchronize()
    return start.elapsed_time(end)


def cloud(sweep: torch.Tensor, count: int | None) -> torch.Tensor:
    """A sweep, some of its points, or more: the others stand again, a few cm off."""
    if count is None:
        return sweep
    generator = torch.Generator().manual_seed(0)
    chosen = torch.randperm(len(sweep), generator=generator)[:count].sort().values
    more = sweep[: max(0, count - len(sweep))] + 0.03
    return torch.cat([sweep[chosen], more])


def show(title: str, times: dict[str, np.ndarray]) -> None:
    first = next(iter(times.values()))
    print(f"\n{title}\n\n| | ms: median (quartiles) | ratio (quartiles) |\n| --- | --- | --- |")
    for name, values in times.items():
        low, middle, high = np.percentile(values, [25, 50, 75])
        least, ratio, most = np.percentile(values / first, [25, 50, 75])
        ms, ratios = f"{middle:.2f} ({low:.2f}-{high:.2f})", f"{ratio:.2f} ({least:.2f}-{most:.2f})"
        print(f"| {name} | {ms} | {ratios} |", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("cache", type=Path, help="folder made by `haskd prepare`")
    parser.add_argument("--device", choices=CASES, default="cpu")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=20)
    parser.add_argument("--sizes", nargs="+", help="networks to time beside each other, alone")
    parser.add_argument("--voxel-size", type=float, default=0.1, help="m, with --sizes")
    arguments = parser.parse_args()
    keep_freed_memory()
    torch.set_num_threads(arguments.threads)
    sweep = torch.from_numpy(Cache.open(arguments.cache).sweep(0).points)
    on_gpu = arguments.device == "cuda"
    if on_gpu and not torch.cuda.is_available():
        parser.error("torch sees no CUDA device")
    modules = spconvs()
    if not on_gpu:
        # Triton has no CPU.
        modules.pop("spconv-triton", None)
    print(f"{machine()}; {arguments.repeats} turns")
    if arguments.sizes:
        voxel_size, points = arguments.voxel_size, sweep.to(arguments.device)
        runs = beside_each_other(arguments.sizes, voxel_size, points)
        title = f"{len(points):,} points, voxels of {voxel_size} m"
        show(title, measure(runs, arguments.repeats, on_gpu))
        return
    for count, voxel_size, size in CASES[arguments.device]:
        points = cloud(sweep, count)
        voxels = len(voxelise(points, None, voxel_size, "torch").geometry.keys(0))
        runs = candidates(size, voxel_size, points.to(arguments.device), modules)
        title = f"{len(points):,} points, {voxels:,} voxels of {voxel_size} m"
        show(title, measure(runs, arguments.repeats, on_gpu))
    for count, voxel_size, _ in () if on_gpu else CASES["cpu"][:3]:
        points = cloud(sweep, count)
        times = measure(stages(voxel_size, points), arguments.repeats, on_gpu)
        show(f"S, {len(points):,} points, {voxel_size} m: stages", times)


if __name__ == "__main__":
    main()
