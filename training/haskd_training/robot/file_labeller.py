"""What labels a cloud of a file: read, turned into the sensor frame, labelled as the node would."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from haskd_ros.clouds.intensity import IntensityUnit
from haskd_ros.clouds.pointcloud import INTENSITY_FIELDS, CloudError, valid_returns
from haskd_ros.errors import InputError
from haskd_ros.node.labelling import LabelledCloud, label_cloud
from haskd_ros.node.parameters import DEFAULTS, Parameters
from haskd_ros.segmenter import Segmenter
from haskd_training.recordings.cloud_files.cloud import structured
from haskd_training.recordings.cloud_files.formats import (
    cloud_files,
    is_cloud_file,
    is_cloud_folder,
    read_clouds,
)
from haskd_training.recordings.cloud_files.sensor_frame import SensorFrame
from haskd_training.recordings.readers.cloud_folder import cloud_message

_SAMPLED_FILES = 10
"""Files of a folder that are read for the unit of intensity, evenly spread."""


def files_of(path: Path) -> list[Path]:
    """A cloud file, or those of a folder in natural order.

    Raises:
        InputError: neither.
    """
    if not path.is_dir():
        return [path]
    files = cloud_files(path)
    if not files:
        raise InputError(f"{path}: no cloud file in it")
    return files


def is_clouds(path: Path) -> bool:
    """Whether a path is that of a cloud file or a folder of them, not of a bag."""
    return is_cloud_folder(path) if path.is_dir() else is_cloud_file(path)


@dataclass(frozen=True)
class FileLabeller:
    """A model that labels clouds of files.

    Attributes:
        parameters: of the node; a crop box is in the sensor frame.
        unit: of the intensity.
    """

    segmenter: Segmenter
    frame: SensorFrame
    parameters: Parameters
    unit: IntensityUnit

    @classmethod
    def of(
        cls,
        model: Path,
        files: Sequence[Path],
        *,
        frame: SensorFrame,
        device: str = "auto",
        parameters: Parameters = DEFAULTS,
    ) -> FileLabeller:
        """Load a model, and find the unit of the intensity in these files.

        Raises:
            InputError: no model, files that can't be read, or a crop box in another frame.
        """
        if parameters.crop_frame:
            raise InputError(
                f"crop.frame={parameters.crop_frame}: a file knows no other frame; its box is in "
                "the sensor frame"
            )
        unit = IntensityUnit()
        chosen = np.unique(np.linspace(0, len(files) - 1, _SAMPLED_FILES).round().astype(int))
        for index in chosen.tolist():
            for points in read_clouds(files[index]):
                unit.add(_intensity(points))
        return cls(Segmenter.load(model, device=device), frame, parameters, unit)

    def label(self, points: np.ndarray) -> LabelledCloud:
        """Label a cloud; the labelled points are in the sensor frame.

        Args:
            points: [N] structured, from `read_clouds`.

        Raises:
            CloudError: a cloud without points, or with too few of them.
            InputError: a cloud without intensity for a model that requires it.
        """
        if not len(points):
            raise CloudError("cloud of zero points", "cloud: there is no point in it")
        xyz = self.frame.in_sensor_frame(points)
        columns = dict(zip("xyz", xyz.T))
        intensity = _intensity(points)
        if intensity is not None and np.isfinite(intensity).any():
            full = self.segmenter.metadata.intensity.scale
            columns["intensity"] = (intensity * (full / self.unit.full_scale)).astype(np.float32)
        message = cloud_message(structured(columns))
        return label_cloud(message, self.segmenter, self.parameters)


def is_beyond_range(points: np.ndarray, range_m: float) -> bool:
    """Whether all returns of a cloud [N, >= 3] in m are further away than a range."""
    returns = points[valid_returns(points), :3]
    squared = np.einsum("ij,ij->i", returns, returns)
    return bool(len(returns) and (squared > range_m**2).all())


def _intensity(points: np.ndarray) -> np.ndarray | None:
    names = points.dtype.names or ()
    name = next((name for name in INTENSITY_FIELDS if name in names), None)
    if name is None:
        return None
    values = np.ascontiguousarray(points[name])
    # Of kinds that no PointCloud2 has
    return values.astype(np.float64) if values.itemsize == 8 else values
