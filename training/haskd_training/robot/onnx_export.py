"""`haskd export`: a range-view model as an ONNX file, for robots without torch.

The file holds the whole network, projection and way back to the points included: points in, scores
out. Voxels' hash tables have no counterpart in ONNX, so a sparse network can't go there.
"""

from __future__ import annotations

import logging
import math
import warnings
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import torch
from torch import Tensor, nn

from haskd_ros import model_file
from haskd_ros.errors import InputError
from haskd_ros.files import write_atomically
from haskd_ros.model_content import HEADER_KEY
from haskd_ros.models.blocks import fold_batch_norm
from haskd_ros.models.panorama import Panorama, project, relative_depth
from haskd_ros.models.range_view import RangeViewUNet

# Pages of notes on their own optimisations.
for chatty in ("onnx_ir", "onnxscript", "torch.onnx"):
    logging.getLogger(chatty).setLevel(logging.ERROR)

OPSET = 18
TOLERANCE = 1e-3
"""Largest difference from torch's scores, in units of their largest magnitude."""


@dataclass(frozen=True)
class OnnxExport:
    """An exported network.

    Attributes:
        path: the ONNX file.
        points: compared with torch.
        difference: largest of a score, in units of the largest score's magnitude.
    """

    path: Path
    points: int
    difference: float


class _AsGraph(nn.Module):
    """The same network in operations that ONNX has: sums into pixels by index instead of by sorted
    groups.

    Means are sums divided by counts: ONNX's scatter has no mean, and what torch writes for one is
    wrong. The sums are a scatter_add, not an index_add, which would become a ScatterND: there the
    threads of ONNX Runtime race for a pixel with several points (microsoft/onnxruntime#18048).
    """

    def __init__(self, network: RangeViewUNet) -> None:
        super().__init__()
        self.network = network

    def forward(self, points: Tensor) -> Tensor:
        """points [N, 4 + E] -> logits [N, C], one cloud."""
        network = self.network
        panorama = Panorama(1, network.rows, network.columns)
        pixel, offset = project(points, network.rows, network.columns, network.elevation)
        number = pixel[:, 0] * network.columns + pixel[:, 1]

        def summed(values: Tensor) -> Tensor:
            empty = values.new_zeros(len(panorama), values.shape[1])
            return empty.scatter_add(0, number[:, None].expand_as(values), values)

        def sum_to_level(level: int, values: Tensor) -> Tensor:
            return panorama.sum_blocks(summed(values), level)

        count = summed(torch.ones_like(points[:, :1])).clamp(min=1)
        depth = relative_depth(points, number, panorama, len(network.channels), sum_to_level)
        point_features = network.encode(points, offset, depth)
        x = network.unet(summed(point_features) / count, panorama)
        hidden = network.pixel_head(x)[number] + network.point_head(point_features)
        logits: Tensor = network.classifier(torch.relu(hidden))
        return logits


def export_onnx(model: Path, out: Path) -> OnnxExport:
    """Write a model as ONNX and check it against torch with ONNX Runtime.

    Input `points` [N, 4 + E] float32, finite and within the model's range: x y z in m in the sensor
    frame, intensity 0..1, the model's channels. Output `logits` [N, C] float32, point order kept.
    The model file's JSON header (classes, intensity scale, range, temperature, provenance) is the
    file's metadata entry `haskd_ros`.

    Args:
        model: model file of a range-view network.
        out: the file to write; it stays as it was unless the check succeeds.

    Raises:
        InputError: no model file, a network of another architecture, or a place that can't be
            written.
        RuntimeError: ONNX Runtime computes other scores than torch.
    """
    network, metadata = model_file.load(model)
    if not isinstance(network, RangeViewUNet):
        raise InputError(
            f"model {model} is a {metadata.architecture}, which has no ONNX form; "
            "wanted a range_view"
        )
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"{out} can't be written: {error.strerror}") from error
    network = fold_batch_norm(network)
    points = probe(network)
    with warnings.catch_warnings():
        # Of what torch's exporter itself still uses.
        warnings.simplefilter("ignore", FutureWarning)
        program = torch.onnx.export(
            _AsGraph(network).eval(),
            (points,),
            dynamo=True,
            opset_version=OPSET,
            input_names=["points"],
            output_names=["logits"],
            dynamic_shapes={"points": {0: torch.export.Dim("N")}},
            verbose=False,
        )
    if program is None:
        raise TypeError("torch.onnx.export returned no program")
    document = program.model_proto
    # The exporter notes the exporting machine's source lines at every node.
    for node in document.graph.node:
        node.ClearField("metadata_props")
    onnx.helper.set_model_props(document, {HEADER_KEY: metadata.to_json()})
    onnx.checker.check_model(document, full_check=True)
    octets = document.SerializeToString()
    # Another number of points than the graph was traced with.
    points = points[: len(points) // 2]
    difference = _difference(octets, network, points)
    if not difference <= TOLERANCE:
        raise RuntimeError(f"{model} as ONNX differs from torch by {difference:.2g} of its scores")
    write_atomically(out, octets)
    return OnnxExport(out, len(points), difference)


@torch.inference_mode()
def _difference(octets: bytes, network: RangeViewUNet, points: Tensor) -> float:
    session = onnxruntime.InferenceSession(octets, providers=["CPUExecutionProvider"])
    (found,) = session.run(["logits"], {"points": points.numpy()})
    wanted = network(points).numpy()
    return float(np.abs(found - wanted).max() / np.abs(wanted).max())


def probe(network: RangeViewUNet, count: int = 20_000) -> Tensor:
    """[count, 4 + E] points in random pixels, 1 to 100 m away, several in some pixels.

    They keep a tenth of a pixel from its edges: on an edge the last bit of an arctangent decides,
    and there two runtimes may differ without either being wrong.
    """
    generator = np.random.default_rng(0)
    low, high = (math.radians(angle) for angle in network.elevation)

    def places(size: int) -> np.ndarray:
        """0..1 along `size` pixels."""
        inside = generator.uniform(0.1, 0.9, count)
        return (generator.integers(size, size=count) + inside) / size

    azimuth = (0.5 - places(network.columns)) * 2 * math.pi
    up = high - places(network.rows) * (high - low)
    distance = np.exp(generator.uniform(0, math.log(100), count))
    flat = distance * np.cos(up)
    points = np.stack(
        [
            flat * np.cos(azimuth),
            flat * np.sin(azimuth),
            distance * np.sin(up),
            *generator.uniform(0, 1, (1 + network.extra_inputs, count)),
        ],
        1,
    )
    return torch.from_numpy(points.astype(np.float32))
