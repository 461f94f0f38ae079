"""Labelled sweeps and images in the form of Rerun, for its viewer or an .rrd file.

RECORDING/lidar                            pose of the sensor
RECORDING/lidar/labels                     points in the colours of their labels
RECORDING/lidar/NAME/class                 points in the colours of their classes, by a model
RECORDING/lidar/NAME/disagreement          points by whether the model agrees with the labels
RECORDING/lidar/NAME/entropy               points by the entropy of the model's classes
RECORDING/cameras/CAMERA                   pose of the camera
RECORDING/cameras/CAMERA/image             calibration and image
RECORDING/cameras/CAMERA/image/NAME        the points that it sees, in the colours of their classes

Timelines: `stamp`, of each header; `cloud`, the number of the sweep.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import rerun
from matplotlib import colormaps
from rerun import RecordingStream

from haskd_ros.errors import InputError
from haskd_ros.files import written_atomically
from haskd_ros.taxonomy import UNLABELLED, UNLABELLED_COLOR, Taxonomy
from haskd_training.data.caches.rows import ImageRow, SweepRow, t_camera_lidar
from haskd_training.data.projection import project
from haskd_training.recordings.transform_tree import invert
from haskd_training.robot.views.over_time.layout import LABELS, STAMP, layout
from haskd_training.robot.views.over_time.sweeps import Labels

SUFFIX = ".rrd"
CLOUD = "cloud"

AGREES, DISAGREES = 0, 1
_AGREEMENT = (
    (AGREES, "as labelled", (96, 108, 118)),
    (DISAGREES, "not as labelled", (255, 48, 92)),
    (UNLABELLED, "no label", (48, 54, 60)),
)

_Path = list[object]
"""Parts of an entity's path, which rerun escapes."""

_CENTRE = np.array([[0, 0, 0.5], [0, 0, 0.5], [0, 0, 0]])
"""px from the origin of CameraInfo, the centre of the first pixel, to that of rerun, its corner."""

_APPLICATION = "haskd view"
_POINT_RADIUS, _PIXEL_RADIUS = 1.2, 1.5
"""In points of the screen, whatever the distance."""


@contextmanager
def open_stream(save: Path | None) -> Iterator[RecordingStream]:
    """What is logged goes into a file, which is whole or not there, or to a viewer that is opened.

    Args:
        save: file to write; None: a viewer.

    Raises:
        InputError: the file has another ending, or its folder is not there.
    """
    if save is not None and save.suffix != SUFFIX:
        raise InputError(f"--save {save}: the file's name must end in {SUFFIX}")
    if save is not None and not save.parent.is_dir():
        raise InputError(f"{save} can't be written: there is no folder {save.parent}")
    stream = rerun.RecordingStream(_APPLICATION)
    # The recording's own times alone.
    rerun.set_log_time_enabled(False, recording=stream)
    if save is None:
        stream.spawn()
        yield stream
        stream.flush()
        return
    with written_atomically(save) as path:
        stream.save(path)
        try:
            yield stream
        finally:
            stream.disconnect()


class RerunLog:
    """Logs sweeps and images.

    Args:
        stream: that takes them.
        cameras: names of each recording's cameras.
        taxonomies: the classes of each labelling by its name, `LABELS` among them where there are
            labels. Those of a model with the same class names as the labels are compared.
    """

    def __init__(
        self,
        stream: RecordingStream,
        cameras: Mapping[str, Sequence[str]],
        taxonomies: Mapping[str, Taxonomy],
    ) -> None:
        self._stream = stream
        self._taxonomies = dict(taxonomies)
        self._entropy_colors = _entropy_colors()
        truth = taxonomies.get(LABELS)
        self._compared = {
            name
            for name, taxonomy in taxonomies.items()
            if name != LABELS and truth is not None and taxonomy.names == truth.names
        }
        for recording, names in cameras.items():
            self._describe(recording, names)
        stream.send_blueprint(layout(cameras, self._taxonomies, self._compared))

    def sweep(
        self,
        number: int,
        row: SweepRow,
        points: np.ndarray,
        labellings: Mapping[str, Labels],
        truth: np.ndarray | None,
    ) -> None:
        """
        Args:
            number: of the sweep.
            points: [N, >= 3] x y z in m in the sensor frame.
            labellings: of the N points by name.
            truth: [N] uint8 class ids, None without labels.
        """
        lidar: _Path = [row.recording, "lidar"]
        self._set_time(row.stamp_ns)
        self._stream.set_time(CLOUD, sequence=number)
        self._stream.log(lidar, _transform(_lidar_pose(row)))
        xyz = points[:, :3]
        radius = rerun.Radius.ui_points(_POINT_RADIUS)
        if truth is not None:
            self._stream.log([*lidar, LABELS], rerun.Points3D(xyz, class_ids=truth, radii=radius))
        for name, labels in labellings.items():
            path = [*lidar, name]
            self._stream.log(
                [*path, "class"], rerun.Points3D(xyz, class_ids=labels.class_id, radii=radius)
            )
            if truth is not None and name in self._compared:
                agreement = (labels.class_id != truth).astype(np.uint8)
                agreement[truth == UNLABELLED] = UNLABELLED
                self._stream.log(
                    [*path, "disagreement"],
                    rerun.Points3D(xyz, class_ids=agreement, radii=radius),
                )
            if labels.entropy is None:
                continue
            share = labels.entropy / math.log(len(self._taxonomies[name]))
            colors = self._entropy_colors[np.rint(255 * np.clip(share, 0, 1)).astype(np.uint8)]
            colors[labels.class_id == UNLABELLED] = UNLABELLED_COLOR
            self._stream.log([*path, "entropy"], rerun.Points3D(xyz, colors=colors, radii=radius))

    def image(
        self,
        row: ImageRow,
        jpeg: np.ndarray,
        sweep: SweepRow,
        points: np.ndarray,
        labellings: Mapping[str, np.ndarray],
    ) -> None:
        """An image with the points of a sweep that it sees; what lies behind something else is not
        left out.

        Args:
            jpeg: [n] uint8, the file's bytes.
            sweep: the sweep's row.
            points: [N, >= 3] of the sweep, m in the sensor frame.
            labellings: [N] uint8 class ids by name.
        """
        camera: _Path = [row.recording, "cameras", row.camera]
        self._set_time(row.stamp_ns)
        self._stream.log(camera, _transform(_camera_pose(row, sweep)))
        image = [*camera, "image"]
        self._stream.log(
            image,
            rerun.Pinhole(
                image_from_camera=np.array(row.K) + _CENTRE,
                width=row.width,
                height=row.height,
                camera_xyz=rerun.ViewCoordinates.RDF,
                image_plane_distance=1.0,
            ),
            rerun.EncodedImage(contents=jpeg.tobytes(), media_type="image/jpeg"),
        )
        projection = project(points, t_camera_lidar(row, sweep), row.camera_model)
        inside = np.flatnonzero(projection.inside)
        far_to_near = inside[np.argsort(-projection.depth[inside])]
        for name, class_ids in labellings.items():
            self._stream.log(
                [*image, name],
                rerun.Points2D(
                    projection.pixels[far_to_near] + _CENTRE[:2, 2],
                    class_ids=class_ids[far_to_near],
                    radii=rerun.Radius.ui_points(_PIXEL_RADIUS),
                ),
            )

    def _set_time(self, stamp_ns: int) -> None:
        self._stream.reset_time()
        self._stream.set_time(STAMP, timestamp=np.datetime64(stamp_ns, "ns"))

    def _describe(self, recording: str, cameras: Sequence[str]) -> None:
        """What holds at all times: axes, class names and colours."""
        self._log_static([recording], rerun.ViewCoordinates.RIGHT_HAND_Z_UP)
        for name, taxonomy in self._taxonomies.items():
            classes = self._classes(taxonomy)
            self._log_static([recording, "lidar", name], classes)
            for camera in cameras:
                self._log_static([recording, "cameras", camera, "image", name], classes)
        agreement = rerun.AnnotationContext(list(_AGREEMENT))
        for name in self._compared:
            self._log_static([recording, "lidar", name, "disagreement"], agreement)

    def _log_static(self, path: _Path, archetype: Any) -> None:
        self._stream.log(path, archetype, static=True)

    def _classes(self, taxonomy: Taxonomy) -> Any:
        rows = [(number, info.name, info.color) for number, info in enumerate(taxonomy.classes)]
        rows.append((UNLABELLED, "not labelled", UNLABELLED_COLOR))
        return rerun.AnnotationContext(rows)


def _lidar_pose(sweep: SweepRow) -> np.ndarray:
    """In the world; where a pose in it is missing, the world is the frame that images are placed
    against."""
    pose = sweep.T_world_lidar or sweep.T_lidar_frame
    return np.eye(4) if pose is None else np.array(pose)


def _camera_pose(image: ImageRow, sweep: SweepRow) -> np.ndarray:
    """In the same world."""
    if image.T_world_camera is None or sweep.T_world_lidar is None:
        return invert(np.array(image.T_camera_lidar))
    return np.array(image.T_world_camera)


def _transform(T_parent_child: np.ndarray) -> Any:
    return rerun.Transform3D(translation=T_parent_child[:3, 3], mat3x3=T_parent_child[:3, :3])


def _entropy_colors() -> np.ndarray:
    """[256, 3] uint8 RGB by entropy, 0 to that of equal probabilities."""
    colors: np.ndarray = colormaps["viridis"](np.arange(256), bytes=True)[:, :3]
    return colors
