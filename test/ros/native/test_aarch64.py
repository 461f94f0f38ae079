"""The kernels and libhaskd of an aarch64 package, under an emulator, compute what those of this
machine do."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
import torch
from kernel_checks import assert_equal_to_rounding, needs_kernels

from haskd_ros.native import (
    arguments,
    build,
    dispatch,
    kernels,
    place_table,
    prebuilt,
    voxel_kernels,
)
from haskd_ros.native.runtime.build import HEADER
from haskd_ros.segmentation import DEFAULT_MODEL
from haskd_ros.segmenter import Segmenter
from haskd_ros.sparse.keys import FIELD_BITS, X_STEP, Y_STEP

SOURCE = Path(__file__).resolve().parents[2] / "support" / "every_kernel.cpp"
LABEL_FILE = Path(__file__).resolve().parents[3] / "examples" / "label_file" / "label_file.c"
COMPILER, C_COMPILER = "aarch64-linux-gnu-g++", "aarch64-linux-gnu-gcc"
EMULATOR = "qemu-aarch64"
INPUTS, OUTPUTS, CLASSES = 13, 38, 11  # none a multiple of NEON's 4 lanes
COLUMNS = [(0, 1), (1, -1), (1, 0), (1, 1)]  # (dx, dy) of those after a voxel's, in their order


def test_every_kernel_is_called():
    calls = SOURCE.read_text().partition("int main")[2]
    assert {name for name in arguments.SIGNATURES if f"{name}(" not in calls} == set()


@pytest.fixture(scope="module")
def libraries(tmp_path_factory) -> tuple[Path, Path]:
    """The kernels and libhaskd of an aarch64 package."""
    for tool in (COMPILER, C_COMPILER, EMULATOR):
        if shutil.which(tool) is None:
            pytest.skip(f"no {tool} on this machine")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CXX", COMPILER)
        folder = tmp_path_factory.mktemp("aarch64")
        kernels_library, runtime = prebuilt.make(folder / "prebuilt", "linux-aarch64")
    return kernels_library, runtime


@pytest.fixture(scope="module")
def every_kernel(libraries) -> Path:
    """The program that calls the kernels."""
    program = libraries[0].parents[1] / "every_kernel"
    # -fopenmp: the library takes OpenMP's functions from whoever loads it, as from torch.
    flags = ("-std=c++17", "-Wall", "-fopenmp", f"-I{build.FOLDER}")
    subprocess.run([COMPILER, *flags, SOURCE, libraries[0], "-o", program], check=True)
    return program


def emulated(*words: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [EMULATOR, "-L", "/usr/aarch64-linux-gnu", *map(str, words)],
        check=True, capture_output=True, text=True,
    )  # fmt: skip


def computed_here(given: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """What the program writes, by name."""
    valid, mask, beyond = voxel_kernels.valid_points(
        given["points"].numpy(), factor=0.5, default_intensity=0.25, min_range=1.0, max_range=30.0,
        limits=given["limits"].numpy(),
    )  # fmt: skip
    valid, mask = torch.from_numpy(valid), torch.from_numpy(mask)
    keys, offset, largest = voxel_kernels.voxel_keys(valid, None, 0.5, FIELD_BITS)
    unique, order, starts, inverse = voxel_kernels.group_by_key(keys, FIELD_BITS)
    sources, targets, pair_counts = voxel_kernels.submanifold_pairs(unique, given["columns"])
    voxels = len(unique)
    generator = torch.Generator().manual_seed(2)

    def random(name: str, *shape: int) -> torch.Tensor:
        given[name] = torch.randn(shape, generator=generator)
        return given[name]

    given["parent"] = torch.randint(0, voxels, (voxels,), generator=generator)
    fine, coarse, octants = voxel_kernels.sort_by_octant(unique, given["parent"], FIELD_BITS)
    x, weight = random("x", voxels, INPUTS), random("weight", OUTPUTS, 3, 3, 3, INPUTS)
    bias, addend = random("bias", OUTPUTS), random("addend", voxels, OUTPUTS)
    gradient = random("gradient", voxels, OUTPUTS)
    pairs = {
        "sources": sources, "targets": targets, "identity_tap": 13,
        "tap_offsets": torch.tensor([0, *np.cumsum(pair_counts)]),
    }  # fmt: skip
    forward = {
        **pairs, "output_rows": voxels, "bias": bias, "addend": addend, "relu": True,
        "keep_packed": True,
    }  # fmt: skip
    y = kernels.convolve(x, weight, **forward)
    with dispatch.bf16():
        y_bf16 = kernels.convolve(x, weight, **forward)
    x_gradient = kernels.convolve(
        gradient, weight, output_rows=voxels, backward=True, mirrored=True, **pairs
    )
    mean, variance = kernels.moments(x)
    scale, shift = random("scale", INPUTS), random("shift", INPUTS)
    normed = kernels.affine(x, scale, shift, random("norm_addend", voxels, INPUTS), relu=True)
    of_x, of_weight, of_bias, of_addend = kernels.norm_backward(
        random("norm_gradient", voxels, INPUTS), x, normed, shift, scale, bias[:INPUTS],
        with_addend=True,
    )  # fmt: skip
    class_id, probability, entropy = kernels.softmax_statistics(random("scores", 500, CLASSES), 2.0)
    given["said"] = torch.rand((len(keys), CLASSES), generator=generator)
    given["moves"] = (torch.arange(CLASSES) == 1).byte()
    table = place_table.PlaceTable(given["moves"])
    remembered = {"half_life": 2.0, "weight": 0.5}
    table.remember(keys, given["said"], time_s=0.0, **remembered)
    table.forget(-1.0)
    table.shift(5)
    refined = table.remember(keys + 5, given["said"], time_s=1.0, **remembered)
    return {
        "refined": refined, "valid": valid, "mask": mask.byte(), "keys": keys,
        "beyond": torch.tensor([beyond]),
        "offset": offset, "largest": torch.tensor([largest]), "unique": unique, "order": order,
        "starts": starts, "inverse": inverse, "sources": sources, "targets": targets,
        "pair_counts": torch.tensor(pair_counts), "fine": fine, "coarse": coarse,
        "octants": octants, "pooled": kernels.pool(valid, order, starts), "y": y, "y_bf16": y_bf16,
        "x_gradient": x_gradient,
        "weight_gradient": kernels.weight_gradient(x, gradient, weight, **pairs),
        "mean": mean, "variance": variance, "normed": normed, "of_x": of_x,
        "of_weight": of_weight, "of_bias": of_bias, "of_addend": of_addend,
        "class_id": class_id, "probability": probability, "entropy": entropy,
    }  # fmt: skip


# On OpenMP's threads, as in a training, and on the kernels' own.
@needs_kernels
@pytest.mark.parametrize("threads", [1, 3, -3])
def test_every_kernel_computes_on_aarch64_what_it_computes_here(threads, every_kernel, tmp_path):
    points = 6 * torch.randn(3000, 4, generator=torch.Generator().manual_seed(1))
    points[::50, 1], points[1::50, 3], points[2::50] = torch.nan, torch.inf, 0.0
    given = {
        "points": points,
        "limits": torch.tensor([-5.0, 5.0, 0.0, 2.0]),
        "columns": torch.tensor([dx * X_STEP + dy * Y_STEP for dx, dy in COLUMNS]),
        "sizes": torch.tensor([FIELD_BITS, INPUTS, OUTPUTS, CLASSES]),
    }
    here = computed_here(given)
    for name, values in given.items():
        values.numpy().tofile(tmp_path / name)
    emulated(every_kernel, tmp_path, threads)
    for name, expected in here.items():
        kind = expected.numpy().dtype
        there = torch.from_numpy(np.fromfile(tmp_path / f"{name}.out", kind)).view(expected.shape)
        if expected.is_floating_point():
            assert_equal_to_rounding([there], [expected], terms=1.0)
        else:
            assert torch.equal(there, expected), name
    assert (tmp_path / "layouts.out").read_text() == arguments.layouts()
    assert np.fromfile(tmp_path / "bf16_is_faster.out", np.int32) == [0]


@needs_kernels
@pytest.mark.parametrize("threads", [1, 3])
def test_the_runtime_labels_on_aarch64_as_here(threads, libraries, tmp_path):
    program = libraries[1].parents[1] / "label_file"
    include = f"-I{HEADER.parent}"
    subprocess.run(
        [C_COMPILER, "-std=c99", include, LABEL_FILE, libraries[1], "-o", program], check=True
    )
    points = np.random.default_rng(0).normal(0, (20, 20, 1, 0.4), (2000, 4)).astype(np.float32)
    points.tofile(tmp_path / "cloud.bin")
    emulated(program, DEFAULT_MODEL, threads, tmp_path / "cloud.bin", tmp_path / "labels")
    here = Segmenter.load(DEFAULT_MODEL, device="cpu", precision="fp32")
    expected = here(points, intensity_scale=1.0).class_id
    labels = np.fromfile(tmp_path / "labels", np.uint8)
    # Other instructions round otherwise: where two classes are equally likely either may come.
    assert len(np.unique(expected)) > 3
    assert (labels != expected).sum() <= 2
