"""What a model leaves open of a sweep: voxels with the entropy of their points."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from haskd_ros import model_file
from haskd_ros.model_header import ModelMetadata
from haskd_ros.models.network import SegmentationNetwork
from haskd_ros.sparse import group_by_key, pack, pool
from haskd_training.data.caches.cache import Cache
from haskd_training.data.stacked_sweeps import as_model_reads
from haskd_training.learning.inference import network_input, of_sweep


@dataclass(frozen=True)
class OpenVoxels:
    """The V voxels of a sweep that hold a point within the model's range.

    Attributes:
        centroids: [V, 3] float32, m in the sensor frame.
        entropy: [V] float32, 0..1: mean entropy of the points, as a share of log C.
        probability: [V, C] float32, mean probabilities of the classes.
        features: [V, D] float32, what the network's classifier reads, mean of the points.
    """

    centroids: NDArray[np.float32]
    entropy: NDArray[np.float32]
    probability: NDArray[np.float32]
    features: NDArray[np.float32]


class Observer:
    """A model that says what it leaves open; it runs on a GPU where there is one.

    Args:
        model: model file.
        voxel_size: m.

    Raises:
        ModelFileError: not a model.
    """

    metadata: ModelMetadata

    def __init__(self, model: Path, voxel_size: float) -> None:
        network, self.metadata = model_file.load(model)
        self._device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        self._network: SegmentationNetwork = network.to(self._device).eval()
        self._voxel_size = voxel_size

    @torch.inference_mode()
    def observe(self, cache: Cache, sweep: int) -> OpenVoxels:
        """What the model leaves open of a sweep, by its index in the cache.

        Raises:
            InputError: the cache is damaged.
        """
        # The model's own mean stands in for intensity that was not measured, as on a robot.
        recorded = as_model_reads(cache, self.metadata).sweep(sweep)
        points, within = network_input(recorded, self.metadata.max_range)
        every = torch.from_numpy(points)
        near = of_sweep(every, within)
        features = of_sweep(self._network.features(every.to(self._device)), within).float()
        logits = self._network.classifier(features)
        log_p = torch.log_softmax(logits / self.metadata.temperature, 1).cpu()
        probability = log_p.exp()
        entropy = -(probability * log_p).sum(1, keepdim=True) / math.log(log_p.shape[1])
        rows = torch.cat([near[:, :3], entropy, probability, features.cpu()], 1)
        _, grouping = group_by_key(pack((near[:, :3] / self._voxel_size).floor().int()))
        means = pool(rows, grouping).numpy()
        first = 4 + log_p.shape[1]
        return OpenVoxels(means[:, :3], means[:, 3], means[:, 4:first], means[:, first:])
