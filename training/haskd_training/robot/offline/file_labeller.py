"""What labels clouds of files: read, turned into the sensor frame, labelled as the node would."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from haskd_ros.clouds.channels import channel_fields
from haskd_ros.clouds.intensity import IntensityUnit
from haskd_ros.clouds.pointcloud import INTENSITY_FIELDS, CloudError
from haskd_ros.errors import InputError
from haskd_ros.node.labelling import LabelledCloud, label_cloud
from haskd_ros.node.parameters.values import DEFAULTS, Parameters
from haskd_ros.segmenter import Segmenter
from haskd_training.recordings.cloud_files.cloud import structured
from haskd_training.recordings.cloud_files.formats import (
    cloud_files,
    is_cloud_file,
    is_cloud_folder,
    read_clouds,
)
from haskd_training.recordings.cloud_files.sensor_frame import SensorFrame
from haskd_training.recordings.cloud_sample import (
    intensity_findings,
    intensity_unit,
    measured_points,
    sensor_findings,
)
from haskd_training.recordings.findings import Finding
from haskd_training.recordings.readers.cloud_folder import cloud_message
from haskd_training.robot.offline.missing_channels import MissingChannels

_SAMPLED_FILES = 10
"""Files of a folder that are looked at before the first one is labelled, evenly spread."""


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


class FileLabeller:
    """A model that labels the clouds of files. The unit of their intensity is the same for all.

    Args:
        model: model file.
        files: whose clouds are to be labelled; some are read here.
        name: what the findings call them.
        frame: where the sensor is in the files' coordinates.
        device, views: as of `Segmenter`.
        parameters: of the node; a crop box is in the sensor frame.

    Attributes:
        findings: what there is to say of the clouds before they are labelled: the intensity, and
            where the sensor is unlike that of the model's training.

    Raises:
        InputError: no model, files that can't be read, or a crop box in another frame.
    """

    def __init__(
        self,
        model: Path,
        files: Sequence[Path],
        *,
        name: str,
        frame: SensorFrame,
        device: str = "auto",
        parameters: Parameters = DEFAULTS,
        views: int = 1,
    ) -> None:
        if parameters.crop_frame:
            raise InputError(
                f"crop.frame={parameters.crop_frame}: a file knows no other frame; its box is in "
                "the sensor frame"
            )
        if parameters.needs_poses:
            raise InputError(
                "motion.compensation or memory.half_life: a file knows no poses of the sensor"
            )
        self._name, self._frame, self._parameters = name, frame, parameters
        self.segmenter = Segmenter.load(model, device=device, views=views)
        sample = list(self._sample(files))
        unit = intensity_unit(sample, parameters.intensity_scale)
        self.findings = intensity_findings(unit, name)
        measured = measured_points(sample, unit.full_scale)
        self.findings += sensor_findings(measured, self.segmenter.metadata, name)
        if (sweeps := self.segmenter.metadata.sweeps) > 1:
            told = f"the model takes {sweeps} sweeps; files know no poses: each is labelled alone"
            self.findings.append(Finding("labelled-by-fewer-sweeps", name, "doubtful", told))
        self._unit = IntensityUnit(unit.full_scale)
        self._missing_channels = MissingChannels()
        self._beyond_range = ""
        self._beyond = 0

    def __call__(self, points: np.ndarray) -> LabelledCloud:
        """Label a cloud; the labelled points are in the sensor frame.

        Args:
            points: [N] structured, from `read_clouds`.

        Raises:
            CloudError: a cloud without points, or with too few of them.
            InputError: a cloud without intensity for a model that requires it.
        """
        if not len(points):
            raise CloudError("cloud of zero points", "there is no point in it")
        labelled = label_cloud(
            self._message(points), self.segmenter, self._parameters, unit=self._unit
        )
        self._missing_channels.note(labelled)
        if labelled.is_beyond_range:
            self._beyond += 1
            self._beyond_range = labelled.beyond_range_message
        return labelled

    @property
    def later_findings(self) -> list[Finding]:
        """What has shown only when the clouds were labelled."""
        findings = self._missing_channels.findings(self._name)
        if not self._beyond:
            return findings
        remedy = (
            f"{self._beyond_range} --origin X,Y,Z says where the sensor was; where nobody knows, "
            "--origin center --sensor-height 1.8. Coordinates are taken to be in m"
        )
        message = f"{self._beyond} clouds without a label"
        beyond = Finding("all-beyond-range", self._name, "doubtful", message, remedy)
        return [*findings, beyond]

    def _sample(self, files: Sequence[Path]) -> Iterator[Any]:
        chosen = np.unique(np.linspace(0, len(files) - 1, _SAMPLED_FILES).round().astype(int))
        for index in chosen.tolist():
            for points in read_clouds(files[index]):
                if len(points):
                    yield self._message(points)

    def _message(self, points: np.ndarray) -> Any:
        """The coordinates in the sensor frame, the intensity and what channels the model reads, as
        a PointCloud2."""
        columns = dict(zip("xyz", self._frame.in_sensor_frame(points).T))
        names = points.dtype.names or ()
        intensity = next((name for name in INTENSITY_FIELDS if name in names), None)
        if intensity is not None:
            columns[intensity] = points[intensity]
        for channel in self.segmenter.metadata.channels:
            fields = channel_fields(channel.name, names)
            columns |= {name: points[name] for name in fields}
        return cloud_message(structured(columns))
