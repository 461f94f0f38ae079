"""A model at work in torch: points in, labels out. No ROS in it."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from haskd_ros import model_file
from haskd_ros.channels import ChannelName, as_inputs
from haskd_ros.clouds.ranges import squared_range
from haskd_ros.errors import InputError
from haskd_ros.model_header import ChannelInput, ModelMetadata, channel_columns
from haskd_ros.models.blocks import fold_batch_norm
from haskd_ros.models.network import SegmentationNetwork
from haskd_ros.models.sparse_unet import SparseUNet
from haskd_ros.models.views import Views
from haskd_ros.native import dispatch, kernels, load_kernels, voxel_kernels
from haskd_ros.segmentation import (
    NO_CHANNELS,
    Refine,
    Segmentation,
    check_channel,
    check_points,
)
from haskd_ros.sparse import chosen_backend
from haskd_ros.taxonomy import UNLABELLED, Taxonomy

MOST_VIEWS = 64

PRECISIONS = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


class Segmenter:
    """A `segmentation.PointSegmenter` of any network, on a CPU or a GPU.

    Args:
        network: points [N, 4] -> logits [N, C]; taken over: batch norm is folded, weights move.
        metadata: of the model.
        device: `auto` (CUDA where there is one), `cpu` or `cuda:N`.
        precision: `auto`, `fp32`, `bf16` or `fp16`. `auto` is fp16 on CUDA; on a CPU bf16 for the
            convolutions of a sparse network where the CPU multiplies that faster, else fp32.
        threads: torch's CPU threads; 0 leaves torch's own choice.
        views: the mean of what the network says of so many copies of a cloud, see `views`; 1: of
            the cloud alone.

    Attributes:
        precision: which of them it is, not `auto`.

    Raises:
        InputError: a device or precision that is unknown or not there, or less than one view.
    """

    refines = True

    def __init__(
        self,
        network: SegmentationNetwork,
        metadata: ModelMetadata,
        device: str = "auto",
        precision: str = "auto",
        threads: int = 0,
        views: int = 1,
    ) -> None:
        if not 1 <= views <= MOST_VIEWS:
            raise InputError(f"{views} views of a cloud; wanted 1 to {MOST_VIEWS}")
        self.metadata = metadata
        self.views = Views(views, _normals(metadata))
        self.device = _device(device)
        if threads:
            torch.set_num_threads(threads)
        # Now, so that no cloud waits for a compiler; on a GPU too, whose points are prepared here.
        load_kernels()
        self.engine = _engine(self.device)
        sparse = isinstance(network, SparseUNet)
        self.precision = _precision(precision, self.device, sparse)
        self._compiled = self.device.type == "cpu" and sparse and dispatch.usable()
        self._network = fold_batch_norm(network).to(self.device)
        limits = metadata.input_limits
        self._network.limit_inputs(limits)
        self._limits = np.array([limits.height, limits.intensity], np.float32)
        self._channel_limits = np.array(limits.channels, np.float32).reshape(-1, 2).T

    @classmethod
    def load(
        cls,
        path: Path | str,
        device: str = "auto",
        precision: str = "auto",
        threads: int = 0,
        views: int = 1,
    ) -> Segmenter:
        """Read a model file; arguments as of the class.

        Raises:
            ModelFileError: not a whole model of this package.
            InputError: device or precision not to be had.
        """
        return cls(*model_file.load(path), device, precision, threads, views)

    @property
    def taxonomy(self) -> Taxonomy:
        return self.metadata.taxonomy

    @contextmanager
    def on_one_thread(self) -> Iterator[None]:
        threads = torch.get_num_threads()
        torch.set_num_threads(1)
        try:
            yield
        finally:
            torch.set_num_threads(threads)

    def __call__(
        self,
        points: np.ndarray,
        min_range: float = 0.0,
        max_range: float = math.inf,
        *,
        intensity_scale: float | None = None,
        channels: Mapping[ChannelName, np.ndarray | None] = NO_CHANNELS,
        refine: Refine | None = None,
    ) -> Segmentation:
        """As of `PointSegmenter`."""
        started = time.perf_counter()
        farthest = min(max_range, self.metadata.max_range)
        scale = self.metadata.intensity.scale if intensity_scale is None else intensity_scale
        valid, mask, beyond = self._valid_points(
            np.asarray(points, np.float32), min_range, farthest, scale
        )
        if self.metadata.channels:
            valid, beyond_channels = self._with_channels(valid, mask, channels)
            beyond += beyond_channels
        all_valid = len(valid) == len(mask)
        prepared = time.perf_counter()
        class_id, probability, entropy = self._infer(torch.from_numpy(valid), refine)
        inferred = time.perf_counter()
        if not all_valid:
            class_id = _scatter(class_id, mask, UNLABELLED)
            probability = _scatter(probability, mask, 0.0)
            entropy = _scatter(entropy, mask, math.log(len(self.taxonomy)))
        invalid = np.isnan(probability)
        if invalid.any():
            class_id[invalid], probability[invalid] = UNLABELLED, 0.0
            entropy[invalid] = math.log(len(self.taxonomy))
        finished = time.perf_counter()
        return Segmentation(
            class_id,
            probability,
            entropy,
            beyond,
            {
                "preprocess": 1e3 * (prepared - started),
                "inference": 1e3 * (inferred - prepared),
                "postprocess": 1e3 * (finished - inferred),
            },
        )

    def _valid_points(
        self, points: np.ndarray, min_range: float, max_range: float, intensity_scale: float
    ) -> tuple[np.ndarray, np.ndarray, int]:
        """Points that can be labelled [M, 4], intensity 0..1; which of [N, 3 or 4] they are
        [N] bool: x y z finite, within the range, and not in the sensor's own origin, where a sensor
        reports what did not come back; and how many of them are beyond what the training saw.
        Where the intensity is no number the training's mean stands in, as it did in training."""
        check_points(points, self.metadata)
        rule = self.metadata.intensity
        if dispatch.usable() and (points.strides[1] == points.itemsize or not len(points)):
            return voxel_kernels.valid_points(
                points,
                factor=1 / intensity_scale,
                default_intensity=rule.mean,
                min_range=min_range,
                max_range=max_range,
                limits=self._limits,
            )
        mean = np.float32(rule.mean)
        # Bytes that are no numbers are no reason to warn.
        with np.errstate(invalid="ignore", over="ignore"):
            squared = squared_range(points)
            # A NaN or an infinity shows in the square.
            mask = (squared > 0) & np.isfinite(squared)
            mask &= (squared >= min_range * min_range) & (squared <= max_range * max_range)
            intensity = (
                points[mask, 3] * np.float32(1 / intensity_scale)
                if points.shape[1] == 4
                else np.full(mask.sum(), mean)
            )
        valid = np.empty((len(intensity), 4), np.float32)
        valid[:, :3] = points[mask, :3]
        valid[:, 3] = np.where(np.isfinite(intensity), intensity, mean)
        lowest, highest = self._limits.T
        own = np.stack([valid[:, 2], intensity], 1)
        beyond = int(np.count_nonzero(~((own >= lowest) & (own <= highest)).all(1)))
        return valid, mask, beyond

    def _with_channels(
        self, valid: np.ndarray, mask: np.ndarray, channels: Mapping[ChannelName, np.ndarray | None]
    ) -> tuple[np.ndarray, int]:
        """Valid points [M, 4 + E] with the model's channels, and how many of them have a value of
        one that is no number, for which the mean stands in, or beyond what the training saw."""
        wanted = self.metadata.channels
        inputs = np.concatenate(
            [_inputs_of(each, channels.get(each.name), mask) for each in wanted], axis=1
        )
        mean = np.array([value for each in wanted for value in each.mean])
        numbers = np.isfinite(inputs)
        lowest, highest = self._channel_limits
        within = numbers & (inputs >= lowest) & (inputs <= highest)
        columns = [valid, np.where(numbers, inputs, mean.astype(np.float32))]
        return np.concatenate(columns, axis=1), int(np.count_nonzero(~within.all(1)))

    @torch.inference_mode()
    def _infer(
        self, points: Tensor, refine: Refine | None
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        with self._in_precision():
            logits = self._logits(points.to(self.device))
        temperature = self.metadata.temperature
        if refine is not None:
            with dispatch.own_threads() if dispatch.usable() else nullcontext():
                probabilities = refine(points, _softmax(logits / temperature).cpu())
                # Its softmax at temperature 1 is them, as a distribution; 0 times the logarithm
                # of 0 would be no number.
                smallest = torch.finfo(torch.float32).tiny
                logits, temperature = probabilities.clamp_min(smallest).log_(), 1.0
        class_id, probability, entropy = classify_logits(logits, temperature)
        return class_id.cpu().numpy(), probability.cpu().numpy(), entropy.cpu().numpy()

    def _logits(self, points: Tensor) -> Tensor:
        """[N, C] of the network; of several views those whose softmax, at the model's temperature,
        is the mean of theirs."""
        if len(self.views) == 1:
            logits: Tensor = self._network(points).float()
            return logits
        temperature = self.metadata.temperature
        clouds = self.views.of(points)
        total = sum(_softmax(self._network(cloud).float() / temperature) for cloud in clouds)
        assert isinstance(total, Tensor)
        mean = total / len(clouds)
        return mean.clamp_min(torch.finfo(torch.float32).tiny).log() * temperature

    def _in_precision(self) -> AbstractContextManager[None]:
        """Within it the network computes in its precision."""
        if self.precision == "fp32":
            return nullcontext()
        if self.precision == "bf16" and self._compiled:
            return dispatch.bf16()
        return torch.autocast(self.device.type, PRECISIONS[self.precision])


def _normals(metadata: ModelMetadata) -> list[int]:
    """The first column of the network's inputs that hold normals, where it reads them."""
    columns = channel_columns(metadata.channels)
    return [own.start for channel, own in columns if channel.name == "normal"]


def _inputs_of(channel: ChannelInput, values: np.ndarray | None, mask: np.ndarray) -> np.ndarray:
    """[M, D] of a channel's values [N, D] where `mask` [N] is true; the means where there are no
    values. Raises as `Segmenter`."""
    check_channel(channel, values, len(mask))
    if values is None:
        return np.tile(np.array(channel.mean, np.float32), (int(mask.sum()), 1))
    return as_inputs(values[mask], channel.scale)


def classify_logits(logits: Tensor, temperature: float) -> tuple[Tensor, Tensor, Tensor]:
    """Class, probability and entropy of softmax(logits / temperature).

    Args:
        logits: [N, C].
        temperature: above 0.

    Returns:
        Highest class [N] uint8, its probability [N] and the entropy in nats [N]; both are NaN
        where a score is NaN or infinitely high.
    """
    if dispatch.usable(logits) and logits.shape[1] <= 256:
        with dispatch.own_threads():
            return kernels.softmax_statistics(logits.contiguous(), temperature)
    log_p = torch.log_softmax(logits / temperature, 1)
    p = log_p.exp()
    probability, class_id = p.max(1)
    return class_id.to(torch.uint8), probability, p.mul_(log_p).sum(1).neg_()


def _softmax(scores: Tensor) -> Tensor:
    """[N, C] of [N, C], a sixth of the time that torch's own takes on a CPU over so few classes."""
    exponentials = (scores - scores.amax(1, keepdim=True)).exp_()
    return exponentials.div_(exponentials.sum(1, keepdim=True))


def _engine(device: torch.device) -> str:
    """What computes the sparse convolutions, in words."""
    if device.type == "cpu":
        return "compiled kernels" if dispatch.usable() else "plain torch"
    names = {"spconv": "spconv", "triton": "a Triton kernel", "torch": "plain torch"}
    return names[chosen_backend(device)]


def _scatter(values: np.ndarray, where: np.ndarray, otherwise: float) -> np.ndarray:
    result = np.full(len(where), otherwise, values.dtype)
    result[where] = values
    return result


def _device(name: str) -> torch.device:
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError:
        device = None
    if device is None or device.type not in ("cpu", "cuda"):
        raise InputError(f"device {name!r} is not known; allowed are auto, cpu, cuda:N")
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise InputError(
            f"device {name} is not there; torch sees {torch.cuda.device_count()} CUDA devices"
        )
    return device


def _precision(name: str, device: torch.device, sparse: bool) -> str:
    if name == "auto":
        if device.type == "cuda":
            return "fp16"
        return "bf16" if sparse and dispatch.bf16_is_faster() else "fp32"
    if name not in PRECISIONS:
        allowed = ", ".join(PRECISIONS)
        raise InputError(f"precision {name!r} is not known; allowed are auto, {allowed}")
    return name
