"""Sparse convolution as one Triton kernel: gather rows, multiply, add up, write each row once.

A program computes a block of output rows: under each tap it gathers the input rows that they meet
and multiplies them with the tap's weights, and adds the products up in float32. Rows are written by
one program each, without atomics, so that a result is the same to the bit in every run. Taps under
which none of a block's rows meets a voxel are left out; `Neighbours.order` brings rows with the
same taps together.

Importing this imports triton, which torch's CUDA builds bring with them. With TRITON_INTERPRET=1
before that, Triton's interpreter runs it on a CPU, which is how it is tested. **It has not run on a
GPU yet**: sizes of blocks and warps are a first guess.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

from haskd_ros.sparse.epilogue import NO_EPILOGUE, Epilogue
from haskd_ros.sparse.neighbours import Neighbours

DTYPES = (torch.float32, torch.float16, torch.bfloat16)

_ROWS = 64
_WARPS = 4
# tl.dot takes no fewer.
_FEWEST = 16


# A cloud has its own number of rows: a kernel for each would be compiled between two clouds.
@triton.jit(do_not_specialize=["rows"])  # type: ignore[untyped-decorator]
def _kernel(  # type: ignore[no-untyped-def]
    x,
    weight,
    sources,
    order,
    bias,
    addend,
    result,
    rows,
    inputs,
    outputs,
    taps,
    first_tap,
    tap_stride,
    output_stride,
    input_stride,
    HAS_BIAS: tl.constexpr,
    HAS_ADDEND: tl.constexpr,
    RELU: tl.constexpr,
    ROWS: tl.constexpr,
    INPUTS: tl.constexpr,
    OUTPUTS: tl.constexpr,
):
    number = tl.program_id(0) * ROWS + tl.arange(0, ROWS)
    there = number < rows
    row = tl.load(order + number, mask=there, other=0)
    channel = tl.program_id(1) * OUTPUTS + tl.arange(0, OUTPUTS)
    wanted = channel < outputs
    total = tl.zeros((ROWS, OUTPUTS), dtype=tl.float32)
    for tap in range(taps):
        source = tl.load(sources + tap * rows + row, mask=there, other=-1)
        met = source >= 0
        if tl.max(source, 0) >= 0:
            of_tap = weight + first_tap + tap * tap_stride
            begin = x + source.to(tl.int64) * inputs
            for first in range(0, inputs, INPUTS):
                column = first + tl.arange(0, INPUTS)
                read = column < inputs
                gathered = tl.load(
                    begin[:, None] + column[None, :], mask=met[:, None] & read[None, :], other=0.0
                )
                factor = tl.load(
                    of_tap + channel[None, :] * output_stride + column[:, None] * input_stride,
                    mask=wanted[None, :] & read[:, None],
                    other=0.0,
                )
                total = tl.dot(gathered, factor.to(gathered.dtype), total, input_precision="ieee")
    if HAS_BIAS:
        total += tl.load(bias + channel, mask=wanted, other=0.0).to(tl.float32)[None, :]
    place = row.to(tl.int64)[:, None] * outputs + channel[None, :]
    inside = there[:, None] & wanted[None, :]
    if HAS_ADDEND:
        total += tl.load(addend + place, mask=inside, other=0.0).to(tl.float32)
    if RELU:
        total = tl.maximum(total, 0.0)
    tl.store(result + place, total.to(result.dtype.element_ty), mask=inside)


def convolve(
    x: Tensor,
    weight: Tensor,
    neighbours: Neighbours,
    epilogue: Epilogue = NO_EPILOGUE,
    *,
    backward: bool = False,
    mirrored: bool = False,
) -> Tensor:
    """Sparse convolution over a table of neighbours, with an epilogue; not differentiable.

    Args:
        x: [U, I] contiguous, of one of `DTYPES`.
        weight: [O, K, I] contiguous, of any of them; rounded to x's where it is read.
        neighbours: K taps of V output rows.
        epilogue: without a grouping.
        backward: multiply with the transposed weights: x is [U, O] then, the result [V, I].
        mirrored: tap k takes the weights of tap K - 1 - k.

    Returns:
        [V, O] in x's dtype; the products are added up in float32.
    """
    outputs, taps, inputs = weight.shape
    output_stride, tap_stride, input_stride = weight.stride()
    if backward:
        inputs, outputs = outputs, inputs
        input_stride, output_stride = output_stride, input_stride
    rows = len(neighbours.order)
    result = x.new_empty(rows, outputs)
    if rows == 0:
        return result
    columns = _width(outputs, 64)
    # A pointer that is not read where there is no such tensor.
    bias, addend = (x if t is None else t for t in (epilogue.bias, epilogue.addend))
    _kernel[triton.cdiv(rows, _ROWS), triton.cdiv(outputs, columns)](
        x,
        weight,
        neighbours.sources,
        neighbours.order,
        bias,
        addend,
        result,
        rows,
        inputs,
        outputs,
        taps,
        (taps - 1) * tap_stride if mirrored else 0,
        -tap_stride if mirrored else tap_stride,
        output_stride,
        input_stride,
        HAS_BIAS=epilogue.bias is not None,
        HAS_ADDEND=epilogue.addend is not None,
        RELU=epilogue.relu,
        ROWS=_ROWS,
        INPUTS=_width(inputs, 32),
        OUTPUTS=columns,
        num_warps=_WARPS,
    )
    return result


def _width(channels: int, most: int) -> int:
    """How many channels a program takes at a time: a power of 2, as Triton wants it, that wastes
    few."""
    width: int = min(most, max(_FEWEST, triton.next_power_of_2(channels)))
    while width > _FEWEST and channels % width and channels % (width // 2) == 0:
        width //= 2
    return width
