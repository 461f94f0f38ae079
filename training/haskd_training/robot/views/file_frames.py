"""`haskd view` of cloud files: each cloud as a model labels it, in the sensor frame."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

from haskd_ros.clouds.pointcloud import CloudError, valid_returns
from haskd_ros.errors import InputError
from haskd_training.recordings.cloud_files.folder import places_in
from haskd_training.recordings.cloud_files.formats import read_clouds
from haskd_training.recordings.cloud_files.sensor_frame import SensorFrame
from haskd_training.robot.offline.file_labeller import FileLabeller, files_of
from haskd_training.robot.views.view import Frames, LabelledFrame


def frames_of_files(path: Path, model: Path, frame: SensorFrame, device: str) -> Frames:
    """Clouds of a file or a folder as a model labels them.

    Raises:
        InputError: no model, or files that can't be read.
    """
    files = files_of(path)
    places = [place for file in files for place in places_in(file)]
    label = FileLabeller(model, files, name=path.name, frame=frame, device=device)

    def shown(number: int) -> LabelledFrame:
        place = places[number]
        try:
            labelled = label(read_clouds(place.file)[place.scan])
        except CloudError as error:
            raise InputError(f"{place.file}: {error}") from error
        valid = valid_returns(labelled.points)
        labelling = (model.name, labelled.result.class_id[valid])
        return LabelledFrame(place.name, labelled.points[valid], [labelling])

    with suppress(InputError):  # which is raised again where the cloud is shown
        shown(0)
    findings = [*label.findings, *label.later_findings]
    return Frames(label.segmenter.taxonomy, len(places), shown, findings)
