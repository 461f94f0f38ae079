"""Flats in the layout of ScanNet v2: a folder for each scene, and the lists of its split.

scans/sceneNNNN_00/sceneNNNN_00_vh_clean_2.ply         the scene: x y z red green blue alpha
scans/sceneNNNN_00/sceneNNNN_00_vh_clean_2.labels.ply  the same, label: ids of NYU's 40 classes
scans/sceneNNNN_00/sceneNNNN_00.sens                   the RGB-D stream with poses, version 4
scans/sceneNNNN_00/sceneNNNN_00.txt                    sizes, intrinsics, axisAlignment
scannetv2_train.txt, scannetv2_val.txt                 names of scenes

A scene has a frame of its own, as a real scan has: turned about z and moved against the flat, which
axisAlignment undoes. There are points, no faces.
"""

from __future__ import annotations

import zlib
from pathlib import Path
from types import TracebackType

import numpy as np

from haskd_training.simulation.indoor.config import FlatConfig
from haskd_training.simulation.indoor.fusion import FusedCloud
from haskd_training.simulation.indoor.kinds import NYU40_OF_KIND
from haskd_training.simulation.indoor.rgbd_camera import RgbdFrame
from haskd_training.simulation.messages import jpeg_of

_VERSION, _JPEG, _ZLIB_USHORT = 4, 2, 1
_SENSOR = b"haskd simulated flat"
_FASTEST = 1
"""Of zlib: the depths' noise compresses little in any case."""

_VERTEX = [("x", "<f4"), ("y", "<f4"), ("z", "<f4"),
           ("red", "u1"), ("green", "u1"), ("blue", "u1"), ("alpha", "u1")]  # fmt: skip


class SensWriter:
    """Writes the RGB-D stream of a scene; a context manager."""

    def __init__(self, path: Path, K: np.ndarray, config: FlatConfig) -> None:
        self._file = path.open("wb")
        matrix = np.eye(4, dtype="<f4")
        matrix[:3, :3] = K
        unit = np.eye(4, dtype="<f4")
        size = (config.image_width, config.image_height)
        self._file.write(
            b"".join(
                [
                    np.array(_VERSION, "<u4").tobytes(),
                    np.array(len(_SENSOR), "<u8").tobytes(),
                    _SENSOR,
                    # Of colour, then of depth: intrinsics, and the pose in the device.
                    *(part.tobytes() for part in (matrix, unit, matrix, unit)),
                    np.array([_JPEG, _ZLIB_USHORT], "<i4").tobytes(),
                    np.array([*size, *size], "<u4").tobytes(),
                    # Units of depth in a metre.
                    np.array(1000.0, "<f4").tobytes(),
                    np.array(config.frames, "<u8").tobytes(),
                ]
            )
        )

    def __enter__(self) -> SensWriter:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if error is None:
            # No readings of an inertial sensor follow.
            self._file.write(np.array(0, "<u8").tobytes())
        self._file.close()

    def frame(self, time_ns: int, T_scene_optical: np.ndarray, frame: RgbdFrame) -> None:
        """One frame, with the pose of its camera in the scene."""
        color = jpeg_of(frame.color).tobytes()
        depth = zlib.compress(frame.depth.astype("<u2").tobytes(), _FASTEST)
        microseconds = time_ns // 1000
        header = np.array([microseconds, microseconds, len(color), len(depth)], "<u8")
        pose = T_scene_optical.astype("<f4").tobytes()
        self._file.write(b"".join([pose, header.tobytes(), color, depth]))


def scene_frame(rng: np.random.Generator) -> np.ndarray:
    """[4, 4] T_scene_map: a turn about z and a shift, as of a scan that began somewhere."""
    angle = rng.uniform(-np.pi, np.pi)
    frame = np.eye(4)
    frame[:2, :2] = [[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]
    frame[:3, 3] = *rng.uniform(0.0, 6.0, 2), rng.uniform(-0.1, 0.1)
    return frame


def write_scene(
    folder: Path, cloud: FusedCloud, kinds: np.ndarray, T_scene_map: np.ndarray, K: np.ndarray,
    config: FlatConfig,
) -> None:  # fmt: skip
    """All of a scene but its stream. kinds: [N] uint8, of the cloud's points."""
    name = folder.name
    points = cloud.xyz @ T_scene_map[:3, :3].T + T_scene_map[:3, 3]
    vertices = np.zeros(len(points), _VERTEX)
    for axis, column in zip("xyz", points.T):
        vertices[axis] = column
    for channel, column in zip(("red", "green", "blue"), cloud.color.T):
        vertices[channel] = column
    vertices["alpha"] = 255
    _write_ply(folder / f"{name}_vh_clean_2.ply", vertices)
    labelled = np.zeros(len(points), [*_VERTEX, ("label", "<u2")])
    for field, _ in _VERTEX:
        labelled[field] = vertices[field]
    labelled["label"] = NYU40_OF_KIND[kinds]
    _write_ply(folder / f"{name}_vh_clean_2.labels.ply", labelled)
    (folder / f"{name}.txt").write_text(_about(np.linalg.inv(T_scene_map), K, config))


def _write_ply(path: Path, vertices: np.ndarray) -> None:
    types = {"f4": "float", "u1": "uchar", "u2": "ushort"}
    assert vertices.dtype.fields is not None
    lines = ["ply", "format binary_little_endian 1.0", f"element vertex {len(vertices)}"]
    lines += [
        f"property {types[kind.str[1:]]} {name}"
        for name, (kind, *_) in vertices.dtype.fields.items()
    ]
    lines += ["element face 0", "property list uchar int vertex_indices", "end_header", ""]
    path.write_bytes("\n".join(lines).encode() + vertices.tobytes())


def _about(alignment: np.ndarray, K: np.ndarray, config: FlatConfig) -> str:
    values = {
        "axisAlignment": " ".join(f"{value:.6f}" for value in alignment.reshape(-1)),
        "colorHeight": config.image_height,
        "colorWidth": config.image_width,
        "depthHeight": config.image_height,
        "depthWidth": config.image_width,
    }
    for camera in ("color", "depth"):
        for name, value in (("fx", K[0, 0]), ("fy", K[1, 1]), ("mx", K[0, 2]), ("my", K[1, 2])):
            values[f"{name}_{camera}"] = f"{value:.6f}"
    values |= {"numColorFrames": config.frames, "numDepthFrames": config.frames}
    values |= {"numIMUmeasurements": 0, "sceneType": "Apartment"}
    return "".join(f"{name} = {value}\n" for name, value in values.items())


def write_lists(root: Path, train: list[str], val: list[str]) -> None:
    """Which scenes are for what."""
    for part, names in (("train", train), ("val", val)):
        text = "".join(f"{name}\n" for name in names)
        (root / f"scannetv2_{part}.txt").write_text(text)
