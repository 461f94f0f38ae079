"""What `haskd segment` and `haskd view` do with cloud files, and with labels as files."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from haskd_ros.errors import InputError
from haskd_training.commands.findings import say
from haskd_training.core.progress import console, step

if TYPE_CHECKING:
    from haskd_ros.node.parameters.values import Parameters
    from haskd_training.data.preparing.examination.examination import Examination
    from haskd_training.recordings.cloud_files.sensor_frame import SensorFrame
    from haskd_training.recordings.findings import Finding
    from haskd_training.robot.offline.segment_files import SegmentedFiles
    from haskd_training.robot.views.view import Frames


def is_clouds(path: Path) -> bool:
    """Whether a path is that of a cloud file, or of a folder of them."""
    from haskd_training.robot.offline.file_labeller import is_clouds

    return is_clouds(path)


def sensor_frame(
    path: Path, sensor_height: float, up: str, forward: str, origin: str | None
) -> SensorFrame:
    """Where the sensor is in the files' coordinates, by the options.

    Raises:
        InputError: an option that is not allowed, or one for what is no cloud file.
    """
    from haskd_training.recordings.cloud_files.sensor_frame import SensorFrame, parse_origin

    frame = SensorFrame(up, forward, sensor_height, parse_origin(origin))
    if frame != SensorFrame() and not is_clouds(path):
        raise InputError(
            f"{path} is no cloud file: --sensor-height, --up, --forward and --origin are of cloud "
            "files; a bag's clouds are in the sensor frame"
        )
    return frame


def segment(
    model: Path,
    path: Path,
    out: Path,
    *,
    export: str | None,
    labels: str | None,
    only: Path | None,
    topic: str | None,
    frame: SensorFrame,
    device: str,
    parameters: Parameters,
    views: int,
    votes: float,
    strict: bool,
    examination: Examination | None,
) -> None:
    """Write cloud files again with labels, or labels as files.

    Args:
        examination: of the clouds of a bag; what it found was said.

    Raises:
        InputError: options that don't go together, or anything wrong with model or clouds.
    """
    from haskd_training.robot.offline.export_labels import LABEL_MAP, export_labels
    from haskd_training.robot.offline.segment_files import segment_files

    if export not in (None, "labels"):
        raise InputError(f"--export {export} is not known; allowed is labels")
    if labels is not None and export is None:
        raise InputError("--labels names the ids of label files: add --export labels")
    if only is not None and export is None:
        raise InputError("--only chooses the sweeps to export: add --export labels")
    if votes and is_clouds(path):
        raise InputError(f"--votes: {path} knows no poses of the sensor; a recording with TF does")
    if topic is not None and is_clouds(path):
        raise InputError(f"{path} is no bag: it has no topic {topic}")
    with step(f"labelling {path.name}") as progress:
        if export is None:
            found = segment_files(
                model, path, out, frame=frame, device=device, parameters=parameters, views=views,
                strict=strict, progress=progress,
            )  # fmt: skip
        else:
            found = export_labels(
                model, path, out, labels=labels, only=only, topic=topic, frame=frame,
                device=device, parameters=parameters, views=views, votes=votes, strict=strict,
                progress=progress, examination=examination,
            )  # fmt: skip
    _tell(found, examination)
    if export is None:
        console.print(f"{'folder' if path.is_dir() else 'file'}: {out}")
    else:
        console.print(f"label map: {out / LABEL_MAP}")


def frames(path: Path, model: Path, frame: SensorFrame, device: str, strict: bool) -> Frames:
    """The clouds of files as a model labels them.

    Raises:
        InputError: no model, files that can't be read, or something in them that `strict` refuses.
    """
    from haskd_training.recordings.findings import refuse
    from haskd_training.robot.views.file_frames import frames_of_files

    found = frames_of_files(path, model, frame, device)
    refuse(found.findings, strict)
    return found


def say_new(findings: Sequence[Finding], examination: Examination | None) -> None:
    """Say what an examination did not find."""
    said = () if examination is None else examination.findings
    for finding in findings:
        if finding not in said:
            say(finding)


def _tell(found: SegmentedFiles, examination: Examination | None) -> None:
    console.print(f"{found.labelled} clouds labelled in {found.seconds:.1f} s")
    say_new(found.findings, examination)
    for reason, count in found.rejected.items():
        console.print(f"{count} clouds not labelled: {reason}", style="yellow")
