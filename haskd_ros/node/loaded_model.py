"""A model file as the node holds it, and what a cloud is labelled with. No ROS."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from haskd_ros import model_file
from haskd_ros.clouds.class_rules import ClassRules
from haskd_ros.clouds.memory import give_back_freed_memory
from haskd_ros.model_header import ModelMetadata
from haskd_ros.node.parameters.values import Parameters
from haskd_ros.segmenter import DEFAULT_MODEL, Segmenter
from haskd_ros.taxonomy import Taxonomy


@dataclass(frozen=True)
class LoadedModel:
    """A model in memory and the file that it is from.

    Attributes:
        segmenter: labels clouds.
        sha256: of the bytes that it was loaded from, hexadecimal.
        path: of the file.
    """

    segmenter: Segmenter
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

    def warm_up(self, points: int) -> None:
        """Label a random cloud of so many points."""
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
        InputError: a device or precision that is not available.
    """
    path = model_path(parameters)
    # Read once: the digest is that of what was loaded, even while the file is being replaced.
    content = model_file.read(path)
    network, metadata = model_file.decode(content, path)
    segmenter = Segmenter(
        network, metadata, parameters.device, parameters.precision, parameters.threads
    )
    return LoadedModel(segmenter, hashlib.sha256(content).hexdigest(), path)


def load_beside(parameters: Parameters) -> LoadedModel:
    """A warm model, loaded while another one labels in another thread; raises as `load_model`."""
    model = load_model(parameters)
    # This thread's alone, as is the number of threads that `load_model` sets: as many threads as
    # there are cores would make the clouds of the other thread wait for each of them.
    torch.set_num_threads(1)
    model.warm_up(parameters.warmup_points)
    give_back_freed_memory()  # two models were at work at once
    return model


def model_path(parameters: Parameters) -> Path:
    """The model file that the parameters name."""
    return Path(parameters.model).expanduser() if parameters.model else DEFAULT_MODEL


@dataclass(frozen=True)
class LabellingSetup:
    """What a cloud is labelled with: a model, and parameters that fit it. Replaced as a whole, so
    that no cloud is ever labelled with one model and the parameters or colours of another.

    Raises:
        InputError: the parameters name a class that the model doesn't have.
    """

    model: LoadedModel
    parameters: Parameters

    def __post_init__(self) -> None:
        ClassRules.of(
            self.model.taxonomy,
            class_remap=self.parameters.class_remap,
            filter_classes=self.parameters.filter_classes,
            filter_exclude=self.parameters.filter_exclude,
        )
