"""A model file as the node holds it, and what a cloud is labelled with. No ROS."""

from __future__ import annotations

import hashlib
import os
import sys
import threading
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from haskd_ros import model_content
from haskd_ros.clouds.class_rules import ClassRules
from haskd_ros.errors import InputError
from haskd_ros.model_header import ModelMetadata
from haskd_ros.node.parameters.values import Parameters
from haskd_ros.runtime_segmenter import open_runtime
from haskd_ros.segmentation import DEFAULT_MODEL, PointSegmenter
from haskd_ros.taxonomy import Taxonomy

_BESIDE_NICE = 10
"""Of a thread that loads a model: on busy cores it takes a tenth of what the other one gets."""


@dataclass(frozen=True)
class LoadedModel:
    """A model in memory and the file that it is from.

    Attributes:
        segmenter: labels clouds.
        sha256: of the bytes that it was loaded from, hexadecimal.
        path: of the file.
    """

    segmenter: PointSegmenter
    sha256: str
    path: Path

    @property
    def digest(self) -> str:
        """First 12 digits of `sha256`."""
        return self.sha256[:12]

    @property
    def metadata(self) -> ModelMetadata:
        return self.segmenter.metadata

    @property
    def taxonomy(self) -> Taxonomy:
        return self.segmenter.taxonomy

    def can_follow(self, parameters: Parameters) -> bool:
        """Whether these parameters can be followed without the file being loaded once more."""
        return self.segmenter.refines or not parameters.remembers

    def warm_up(self, points: int) -> None:
        """Label a random cloud of so many points a sweep."""
        points *= self.metadata.sweeps
        cloud = np.random.default_rng(0).normal(0, (20, 20, 1, 1), (points, 4))
        channels = {
            each.name: np.tile(each.mean, (points, 1)) * each.scale
            for each in self.metadata.channels
        }
        self.segmenter(cloud.astype(np.float32), channels=channels)


def load_model(parameters: Parameters) -> LoadedModel:
    """The model that the parameters name, on the device that they name.

    Raises:
        ModelFileError: no such file, or not a whole model of this package.
        InputError: a device or precision that is not available, or torch is needed and missing.
    """
    path = model_path(parameters)
    # Read once: the digest is that of what was loaded, even while the file is being replaced.
    content = model_content.read(path)
    segmenter = _segmenter(content, path, parameters)
    return LoadedModel(segmenter, hashlib.sha256(content).hexdigest(), path)


def _segmenter(content: bytes, path: Path, parameters: Parameters) -> PointSegmenter:
    """Without torch where that is possible: it takes seconds to import and 200 MB, and a robot
    need not have it."""
    device, precision, threads = parameters.device, parameters.precision, parameters.threads
    if not parameters.remembers:
        segmenter = open_runtime(content, path, device=device, precision=precision, threads=threads)
        if segmenter is not None:
            return segmenter
    try:
        from haskd_ros import model_file
        from haskd_ros.segmenter import Segmenter
    except ModuleNotFoundError as missing:
        raise InputError(
            f"model {path}: this needs {missing.name}, which is not installed (pip install torch "
            "safetensors); a sparse U-Net on a CPU, in fp32 or bf16 and without memory.half_life, "
            "does without"
        ) from missing
    return Segmenter(*model_file.decode(content, path), device, precision, threads)


def load_beside(parameters: Parameters) -> LoadedModel:
    """A warm model, loaded while another one labels in another thread; raises as `load_model`. For
    a thread that does nothing else: from now on it makes way for all others."""
    with suppress(OSError):
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), _BESIDE_NICE)
    model = load_model(parameters)
    # As many threads as there are cores would make the clouds of the other thread wait for each of
    # them.
    with model.segmenter.on_one_thread():
        model.warm_up(parameters.warmup_points)
    return model


def free_gpu_memory() -> None:
    """Give back what torch keeps of a GPU's memory for later, if it was needed at all."""
    if (torch := sys.modules.get("torch")) is not None:
        torch.cuda.empty_cache()


def model_path(parameters: Parameters) -> Path:
    """The model file that the parameters name."""
    return Path(parameters.model).expanduser() if parameters.model else DEFAULT_MODEL


@dataclass(frozen=True)
class LabellingSetup:
    """What a cloud is labelled with: a model, and parameters that fit it. Replaced as a whole, so
    that no cloud is ever labelled with one model and the parameters or colours of another.

    Raises:
        InputError: the parameters name a class that the model doesn't have, or want labels with a
            memory from a segmenter that does not take one.
    """

    model: LoadedModel
    parameters: Parameters

    @property
    def needs_poses(self) -> bool:
        """Whether it has to be known where the sensor is."""
        return self.parameters.needs_poses or self.needs_moments

    @property
    def needs_moments(self) -> bool:
        """Whether it has to be known when and where each cloud was measured as a whole."""
        return self.parameters.remembers or self.model.metadata.sweeps > 1

    def __post_init__(self) -> None:
        if not self.model.can_follow(self.parameters):
            raise InputError(
                f"memory.half_life is {self.parameters.memory_half_life}: labels with a memory "
                "need the model loaded another way"
            )
        ClassRules.of(
            self.model.taxonomy,
            class_remap=self.parameters.class_remap,
            filter_classes=self.parameters.filter_classes,
            filter_exclude=self.parameters.filter_exclude,
        )
