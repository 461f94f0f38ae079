"""The RGB-D stream of a ScanNet scan, `.sens`, version 4: calibration, then frame after frame.

Little-endian: uint32 version, a name (uint64 length, characters), float32 [4, 4] intrinsics and
extrinsics of colour and of depth, int32 compression of colour and of depth, uint32 width and height
of colour and of depth, float32 depth unit, uint64 number of frames. Of a frame: float32 [4, 4] pose
(T_world_camera), uint64 times of colour and depth in us, uint64 bytes of both, and these bytes. An
IMU's readings follow.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np

from haskd_ros.errors import InputError
from haskd_training.data.readers.interface import EncodedImage
from haskd_training.recordings.reading import reading
from haskd_training.recordings.transform_tree import invert

_VERSION = 4
_COLOUR_FORMATS = {1: "png", 2: "jpeg"}
_LONGEST_NAME = 4096
_CALIBRATION = struct.Struct("<64f2i4IfQ")
_FRAME = struct.Struct("<16f4Q")
_NOT_RIGID = 1e-2
"""How far from 1 the lengths and products of a rotation's columns may be, which are float32."""


@dataclass(frozen=True)
class StreamHeader:
    """What stands before the frames.

    Attributes:
        K: [3, 3] of the colour camera, px; its images are `width` x `height` px.
        T_pose_colour: [4, 4], from the colour camera to the camera whose poses the stream has.
        format: of colour images, as a CompressedImage names it.
        frames: how many there are, with and without a pose.
        start: of the first, in bytes.
    """

    K: np.ndarray
    T_pose_colour: np.ndarray
    width: int
    height: int
    format: str
    frames: int
    start: int


@dataclass(frozen=True)
class StreamFrame:
    """A frame. number: among all; T_world_colour: [4, 4]; offset, size: of its image, in bytes."""

    number: int
    T_world_colour: np.ndarray
    offset: int
    size: int


def read_header(path: Path) -> StreamHeader:
    """
    Raises:
        InputError: no stream of version 4, or one without colour images that can be read.
    """
    with reading(path), path.open("rb") as file:
        return _header(path, file)


def read_frames(path: Path) -> Iterator[StreamFrame]:
    """The frames that have a pose, in their order. What is compressed is passed over.

    Raises:
        InputError: as of `read_header`, or the stream is cut off.
    """
    with reading(path), path.open("rb") as file:
        header = _header(path, file)
        end, offset = path.stat().st_size, header.start
        for number in range(header.frames):
            file.seek(offset)
            content = file.read(_FRAME.size)
            if len(content) < _FRAME.size:
                raise _cut_off(path, number, header)
            *matrix, _, _, colour, depth = _FRAME.unpack(content)
            image = offset + _FRAME.size
            offset = image + colour + depth
            if offset > end:
                raise _cut_off(path, number, header)
            pose = np.array(matrix).reshape(4, 4)
            if colour and is_rigid(pose):
                yield StreamFrame(number, pose @ header.T_pose_colour, image, colour)


def read_image(path: Path, header: StreamHeader, frame: StreamFrame) -> EncodedImage:
    """Read a frame's colour image, without decoding it; raises InputError."""
    with reading(path), path.open("rb") as file:
        file.seek(frame.offset)
        return EncodedImage(file.read(frame.size), header.format)


def is_rigid(transform: np.ndarray) -> bool:
    """Whether a transform [4, 4] turns and shifts, and nothing else; unknown poses are all -inf."""
    rotation = transform[:3, :3]
    return bool(
        np.isfinite(transform).all()
        and np.abs(rotation.T @ rotation - np.eye(3)).max() < _NOT_RIGID
        and np.array_equal(transform[3], [0, 0, 0, 1])
    )


def _header(path: Path, file: BinaryIO) -> StreamHeader:
    version, length = struct.unpack("<IQ", _read(path, file, 12))
    if version != _VERSION:
        raise InputError(f"{path} is a stream of version {version}; {_VERSION} is read")
    if length > _LONGEST_NAME:
        raise InputError(f"{path} is damaged: the sensor's name has {length} characters")
    _read(path, file, length)
    *matrices, colour, _, width, height, _, _, _, frames = _CALIBRATION.unpack(
        _read(path, file, _CALIBRATION.size)
    )
    if colour not in _COLOUR_FORMATS:
        raise InputError(
            f"{path} has colour images of compression {colour}; {_COLOUR_FORMATS} are read"
        )
    K, colour_extrinsics, _, depth_extrinsics = np.array(matrices).reshape(4, 4, 4)
    if not (is_rigid(colour_extrinsics) and is_rigid(depth_extrinsics)):
        raise InputError(f"{path}: the extrinsics are no rotation and translation")
    if not (np.isfinite(K).all() and K[0, 0] > 0 and K[1, 1] > 0):
        raise InputError(f"{path}: the colour camera's intrinsics are no focal length and centre")
    # Poses are the depth camera's; the extrinsics of both lead to one frame.
    T_pose_colour = invert(depth_extrinsics) @ colour_extrinsics
    return StreamHeader(
        K[:3, :3], T_pose_colour, width, height, _COLOUR_FORMATS[colour], frames, file.tell()
    )


def _read(path: Path, file: BinaryIO, size: int) -> bytes:
    content = file.read(size)
    if len(content) < size:
        raise InputError(f"{path} is cut off: it ends in the header")
    return content


def _cut_off(path: Path, number: int, header: StreamHeader) -> InputError:
    return InputError(f"{path} is cut off: it ends in frame {number} of {header.frames}")
