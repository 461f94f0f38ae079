"""ONNX networks that take one image."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import torch
from torch import Tensor

from haskd_ros.errors import InputError
from haskd_ros.text import listed, quoted, shown
from haskd_training.images.network_input import NetworkInput, NetworkInputConfig
from haskd_training.recordings.reading import reading, regular_file

_SILENT = 4

_SUM_TOLERANCE = 1e-2
"""Of probabilities in half precision."""


class OnnxNetwork:
    """A network in an ONNX file, whose one input is an image.

    Attributes:
        what: it is, for messages.
        input: how an image becomes it.
        outputs: as ONNX Runtime describes them: `name`, `shape`, `type`.

    Raises:
        InputError: the file can't be read, or is no network for one image.
    """

    def __init__(self, path: Path, config: NetworkInputConfig) -> None:
        self.what = f"image network {path}"
        regular_file(path)
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = torch.get_num_threads()
        options.use_deterministic_compute = True
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        options.log_severity_level = _SILENT  # what goes wrong is raised as well
        wanted = ("CUDAExecutionProvider", "CPUExecutionProvider")
        present = onnxruntime.get_available_providers()
        with reading(path):
            self._session: Any = onnxruntime.InferenceSession(
                str(path), options, [name for name in wanted if name in present]
            )
            inputs = self._session.get_inputs()
            metadata = self._session.get_modelmeta().custom_metadata_map
        self.outputs: list[Any] = self._session.get_outputs()
        if len(inputs) != 1:
            names = listed(one.name for one in inputs)
            raise InputError(f"{self.what} has the inputs {names}; wanted is one, the image")
        (one,) = inputs
        self.input = NetworkInput(self.what, one.name, one.type, list(one.shape), metadata, config)

    def run(self, image: np.ndarray, size: tuple[int, int], output: str) -> np.ndarray:
        """An output for an image.

        Args:
            image: [H, W, 3] uint8, RGB.
            size: height and width of the image within the input, at the upper left.
            output: its name.

        Raises:
            InputError: the network fails, or the output is no tensor.
        """
        height, width = self.input.whole_size(size)
        feed = self.input.feed(image, size)
        try:
            (found,) = self._session.run([output], feed)
        except Exception as error:  # of ONNX Runtime's own types, which it doesn't export
            first, _, _ = str(error).partition("\n")
            raise InputError(
                f"{self.what} fails at an image of {width} x {height} px ({shown(first, 200)}); "
                "does it need another size_multiple?"
            ) from error
        if not isinstance(found, np.ndarray):
            raise InputError(
                f"{self.what}: output {quoted(output)} is {type(found).__name__}; wanted is a "
                "tensor"
            )
        return found


def are_probabilities(scores: Tensor) -> bool:
    """Whether scores [1, A, h, w] are none below 0, and 1 in sum: those of a last layer without
    softmax don't come out so for every pixel of an image."""
    if bool((scores < 0).any()):
        return False
    return bool(((scores.sum(1) - 1).abs() < _SUM_TOLERANCE).all())
