"""The Triton kernel, by Triton's interpreter, against plain torch in float64."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest
import torch
from scattered import scattered_voxels

from haskd_ros.models.sparse_unet import SparseUNet
from haskd_ros.native import dispatch
from haskd_ros.sparse import InverseConv, StridedConv, SubmanifoldConv, make_geometry
from haskd_ros.sparse.backends import fault
from haskd_ros.sparse.epilogue import Epilogue

pytestmark = pytest.mark.skipif(torch.cuda.is_available(), reason="the interpreter is for CPUs")


@pytest.fixture(scope="module", autouse=True)
def interpreter():
    with pytest.MonkeyPatch.context() as patch:
        # Read when triton's own functions and the kernel are defined.
        patch.setenv("TRITON_INTERPRET", "1")
        pytest.importorskip(
            "triton", reason="no triton: torch's CUDA builds bring it, or pip install triton (1 GB)"
        )
        import haskd_ros.sparse.triton_kernel  # noqa: F401

        yield


def results(backend: str, dtype: torch.dtype, gradients: bool) -> list[torch.Tensor]:
    """Of one convolution of each kind, the first over two tensors, none as wide as a block."""
    torch.manual_seed(0)
    _, keys = scattered_voxels(3, 0.25)
    inner, down, coarse, up = (
        SubmanifoldConv(7, 20),
        StridedConv(20, 33),
        SubmanifoldConv(33, 48),
        InverseConv(48, 5),
    )
    weights = [weight for layer in (inner, down, coarse, up) for weight in layer.parameters()]
    x, tail, addend = (torch.randn(len(keys), width) for width in (3, 4, 20))
    if backend == "torch":
        dtype = torch.float64
        for weight in weights:
            weight.data = weight.data.double()
    x, tail, addend = (t.to(dtype).requires_grad_(gradients) for t in (x, tail, addend))
    geometry = make_geometry(keys, backend)
    with torch.set_grad_enabled(gradients):
        y = inner((x, tail), geometry, 0, Epilogue(addend=addend, relu=True))
        y = up(coarse(down(y, geometry, 0), geometry, 1), geometry, 0)
        if not gradients:
            return [y]
        return [y, *torch.autograd.grad(y.square().sum(), [x, tail, addend, *weights])]


@pytest.mark.parametrize("gradients", [False, True])
def test_the_kernel_gives_the_features_and_gradients_of_plain_torch(gradients):
    found = results("triton", torch.float32, gradients)
    for one, other in zip(found, results("torch", torch.float64, gradients)):
        # float32 sums against exact ones
        bound = 1e-5 * float(other.detach().abs().max())
        torch.testing.assert_close(one.double(), other, rtol=0, atol=bound)


def test_half_precision_adds_up_in_float32():
    (found,) = results("triton", torch.float16, False)
    (wanted,) = results("torch", torch.float64, False)
    assert found.dtype == torch.float16
    # Rounded to 2^-11 once a layer, of which there are four.
    bound = 4 * 2**-11 * float(wanted.abs().max())
    torch.testing.assert_close(found.double(), wanted, rtol=0, atol=bound)

    # One voxel, one tap: 2048 + 1 is 2048 in half precision, so that adding up in it would give
    # 2048 for 2048 and 16 ones.
    layer = SubmanifoldConv(17, 1, bias=False)
    layer.weight.data.fill_(1.0)
    x = torch.ones(1, 17, dtype=torch.float16)
    x[0, 0] = 2048
    with torch.no_grad():
        sum_ = layer(x, make_geometry(torch.tensor([1 << 53]), "triton"), 0)
    assert sum_.item() == 2064


def test_a_network_labels_a_cloud_as_with_plain_torch():
    torch.manual_seed(0)
    points = torch.rand(150, 4) * torch.tensor([3.0, 3.0, 1.0, 1.0])
    network = SparseUNet(5, 0.5, (8, 16)).eval()
    with torch.inference_mode(), dispatch.plain_torch():
        wanted = network(points)
        network.backend = "triton"
        found = network(points)
    torch.testing.assert_close(found, wanted, rtol=0, atol=1e-4 * float(wanted.abs().max()))
    assert torch.equal(found.argmax(1), wanted.argmax(1))


def test_a_backend_is_tried_before_it_is_used(monkeypatch):
    from haskd_ros.sparse import triton_kernel

    assert fault("triton", torch.device("cpu")) == ""
    right = triton_kernel.convolve

    def unmirrored(*arguments, mirrored=False, **rest):
        return right(*arguments, **rest)

    monkeypatch.setattr(triton_kernel, "convolve", unmirrored)
    assert "float32 differ from torch's" in fault("triton", torch.device("cpu"))


def test_features_that_do_not_fit_are_refused():
    _, keys = scattered_voxels(0)
    geometry, layer = make_geometry(keys, "triton"), SubmanifoldConv(3, 5)
    with pytest.raises(ValueError, match=rf"features are \(2, 3\), not \({len(keys)}, 3\)"):
        layer(torch.zeros(2, 3), geometry, 0)
    with pytest.raises(ValueError, match=r"features are torch\.float64"):
        layer(torch.zeros(len(keys), 3, dtype=torch.float64), geometry, 0)


COMPILE = """
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource, compile

from haskd_ros.sparse.triton_kernel import _kernel

types = {"x": "*fp16", "weight": "*fp32", "sources": "*i32", "order": "*i32"}
types |= {"bias": "*fp32", "addend": "*fp16", "result": "*fp16"}
fixed = {"HAS_BIAS": True, "HAS_ADDEND": True, "RELU": True}
fixed |= {"ROWS": 64, "INPUTS": 32, "OUTPUTS": 64}
names = _kernel.arg_names
signature = {n: "constexpr" if n in fixed else types.get(n, "i32") for n in names}
source = ASTSource(_kernel, signature, {(names.index(n),): value for n, value in fixed.items()})
for chip in 87, 90:
    print(compile(source, target=GPUTarget("cuda", chip, 32)).asm["ptx"])
"""


def test_the_kernel_compiles_to_tensor_core_instructions_of_orin_and_of_hopper(tmp_path):
    # Triton brings the assembler; no GPU is needed to compile.
    environment = os.environ | {"TRITON_CACHE_DIR": str(tmp_path)}
    del environment["TRITON_INTERPRET"]
    command = [sys.executable, "-c", COMPILE]
    ptx = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    assert ".target sm_87" in ptx.stdout and "mma.sync" in ptx.stdout
    assert ".target sm_90a" in ptx.stdout and "wgmma" in ptx.stdout
