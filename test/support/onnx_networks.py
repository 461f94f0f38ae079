"""Small semantic networks in ONNX, of which every score can be worked out by hand."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

FREE = ("height", "width")


def conv_network(
    path: Path,
    weights: Any,
    *,
    size: Sequence[str | int] = FREE,
    block: int = 1,
    last: Sequence[str] = (),
    channels_last: bool = False,
    kind: int = TensorProto.FLOAT,
    metadata: Mapping[str, str] | None = None,
) -> Path:
    """A network whose scores are sums over each pixel's colours.

    Args:
        weights: [A, 3] or [A, 3, 1, 3] (of the pixel's left neighbour, itself, its right one).
        size: height and width of the input.
        block: side of the squares, px, over which scores are averaged: the output is smaller.
        last: operators behind the scores: "Softmax", "ArgMax".
        channels_last: input and output are.
        kind: type of the input.
    """
    kernel = np.asarray(weights, np.float32)
    kernel = kernel if kernel.ndim == 4 else kernel[:, :, None, None]
    shape = [1, *size, 3] if channels_last else [1, 3, *size]
    nodes, name = [], "image"

    def add(operator: str, *more: str, **attributes: Any) -> None:
        nonlocal name
        made = f"x{len(nodes)}"
        nodes.append(helper.make_node(operator, [name, *more], [made], **attributes))
        name = made

    if kind != TensorProto.FLOAT:
        add("Cast", to=TensorProto.FLOAT)
    if channels_last:
        add("Transpose", perm=[0, 3, 1, 2])
    side = kernel.shape[3] // 2
    add("Conv", "kernel", pads=[0, side, 0, side])
    if block > 1:
        add("AveragePool", kernel_shape=[block] * 2, strides=[block] * 2)
    for operator in last:
        if operator == "ArgMax":
            add(operator, axis=1, keepdims=0)
        else:
            add(operator, axis=1)
    if channels_last and "ArgMax" not in last:
        add("Transpose", perm=[0, 2, 3, 1])
    out_kind = TensorProto.INT64 if "ArgMax" in last else TensorProto.FLOAT
    graph = helper.make_graph(
        nodes,
        "network",
        [helper.make_tensor_value_info("image", kind, shape)],
        [helper.make_tensor_value_info(name, out_kind, None)],
        [numpy_helper.from_array(kernel, "kernel")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    helper.set_model_props(model, dict(metadata or {}))
    onnx.save(model, path)
    return path
