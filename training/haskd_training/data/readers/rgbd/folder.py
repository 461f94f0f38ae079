"""What both kinds of folders of RGB-D images share."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import numpy as np

from haskd_ros.errors import InputError
from haskd_training.data.readers.interface import EncodedImage
from haskd_training.data.readers.rgbd.config import RgbdConfig
from haskd_training.data.readers.rgbd.frames import (
    OPTICAL,
    Picture,
    RgbdFrame,
    RgbdRecording,
    depth_findings,
    every,
    turn,
    up_finding,
)
from haskd_training.recordings.camera_model import CameraModel
from haskd_training.recordings.findings import Finding
from haskd_training.recordings.image_codec import rgb_of
from haskd_training.recordings.image_header import header_of
from haskd_training.recordings.number_images import decoded_png
from haskd_training.recordings.readers.bag import Unusable, spread_numbers
from haskd_training.recordings.reading import reading

_LOOKED_AT = 10
"""Depth images whose values are looked at."""


@dataclass(frozen=True)
class FileFrame:
    """A depth file with its colour file.

    Attributes:
        T_world_depth, T_world_color: [4, 4], optical, at the time of each.
    """

    stamp_ns: int
    color_ns: int
    depth: Path
    color: Path
    T_world_depth: np.ndarray
    T_world_color: np.ndarray


def folder_recording(
    root: Path,
    name: str,
    frames: Sequence[FileFrame],
    *,
    model: CameraModel,
    units_per_m: float,
    texts: Sequence[Path],
    findings: Sequence[Finding],
    config: RgbdConfig,
) -> RgbdRecording:
    """A recording of files: depth is of the colour image's pixels.

    Args:
        frames: all that have a pose, by time.
        texts: further files that it is read from.
        findings: until now.

    Raises:
        InputError: no frame, or a file that can't be read.
    """
    stamps = np.array([frame.stamp_ns for frame in frames], np.int64)
    used = [frames[number] for number in every(stamps, config.frame_gap_s)]
    poses = turn(config.up) @ np.array([frame.T_world_depth for frame in used])
    looked_at = [used[number] for number in sorted(spread_numbers(len(used), _LOOKED_AT))]
    samples = [read_depth(frame.depth, model, units_per_m)[::2, ::2] for frame in looked_at]
    masks = root / config.label_folder
    of_frame = {frame.color: masks / f"{frame.color.stem}.png" for frame in used}
    labels = {color: mask for color, mask in of_frame.items() if mask.is_file()}
    said = [
        *findings,
        *depth_findings(name, samples, (config.min_depth, config.max_depth)),
        *up_finding(name, poses),
    ]
    if masks.is_dir():
        message = (
            f"class ids of {len(labels)} of {len(of_frame)} used images, in {masks.name}, label "
            "the points; without --labels they are those of S3DIS, 0 to 12"
        )
        outcome: Finding = Finding("label-images", name, "noted", message)
        if len(labels) < len(of_frame):
            lacking = next(mask.name for color, mask in of_frame.items() if color not in labels)
            outcome = Finding("label-images", name, "doubtful", f"{message}; {lacking} is missing")
        said.append(outcome)
    return RgbdRecording(
        name=name,
        stamps_ns=np.array([frame.stamp_ns for frame in used], np.int64),
        is_posed=True,
        ahead=OPTICAL[0],
        above=OPTICAL[1],
        labelled=bool(labels),
        frames=partial(_frames, used, labels, model, units_per_m, turn(config.up)),
        files=(
            *texts,
            *dict.fromkeys(file for frame in used for file in (frame.depth, frame.color)),
            *labels.values(),
        ),
        findings=tuple(said),
    )


def _frames(
    frames: Sequence[FileFrame],
    labels: dict[Path, Path],
    model: CameraModel,
    units_per_m: float,
    upright: np.ndarray,
) -> Iterator[RgbdFrame]:
    for frame in frames:
        mask = labels.get(frame.color)
        picture = Picture(
            stamp_ns=frame.color_ns,
            model=model,
            T_world_camera=upright @ frame.T_world_color,
            rgb=partial(_rgb, frame.color),
            encoded=partial(_encoded, frame.color),
            ids=None if mask is None else partial(_ids, mask, model),
        )
        pose = upright @ frame.T_world_depth
        depth = partial(read_depth, frame.depth, model, units_per_m)
        yield RgbdFrame(frame.stamp_ns, model, pose, pose, depth, picture)


def read_depth(file: Path, model: CameraModel, units_per_m: float) -> np.ndarray:
    """Depth [H, W] float32 in m, 0 where there is none, of a PNG of 16 bits.

    Raises:
        InputError: it is none, or of another size than the colour camera's.
    """
    values = _numbers(file, model)
    if values.dtype != np.uint16:
        raise InputError(f"{file} has 8 bits a pixel; depth of 16 bits is expected")
    return np.asarray(values / np.float32(units_per_m))


def _ids(file: Path, model: CameraModel) -> np.ndarray:
    return _numbers(file, model)


def _numbers(file: Path, model: CameraModel) -> np.ndarray:
    values = _of_file(file, decoded_png)
    if values.shape != (model.height, model.width):
        raise InputError(
            f"{file} is of {values.shape[1]} x {values.shape[0]} px, the colour camera of "
            f"{model.width} x {model.height} px"
        )
    return values


def _rgb(file: Path) -> np.ndarray:
    return rgb_of(_encoded(file))


def _encoded(file: Path) -> EncodedImage:
    with reading(file):
        kind = file.suffix.lower().removeprefix(".").replace("jpg", "jpeg")
        return EncodedImage(file.read_bytes(), kind)


def _of_file(file: Path, work: Callable[[bytes], np.ndarray]) -> np.ndarray:
    with reading(file):
        octets = file.read_bytes()
    try:
        return work(octets)
    except Unusable as reason:
        raise InputError(f"{file}: {reason}") from reason


def image_file_size(file: Path) -> tuple[int, int]:
    """Width and height in px.

    Raises:
        InputError: it is no image.
    """
    with reading(file):
        header = header_of(file.read_bytes())
    if header is None:
        raise InputError(f"{file} is no image that can be read")
    return header.width, header.height


def intrinsics_model(
    numbers: Sequence[float], distortion: Sequence[float], size: tuple[int, int]
) -> CameraModel:
    """Of fx, fy, cx, cy and the coefficients of plumb_bob or, of more than five, of
    rational_polynomial.

    Raises:
        InputError: fx or fy is 0; a negative one is of images that are upside down.
    """
    fx, fy, cx, cy = numbers
    if not fx or not fy:
        raise InputError(f"intrinsics: fx is {fx:g} px, fy {fy:g} px, must not be 0")
    name = "rational_polynomial" if len(distortion) > 5 else "plumb_bob"
    D = np.zeros(8 if len(distortion) > 5 else 5)
    D[: len(distortion)] = distortion
    K = np.array([[fx, 0, cx], [0, fy, cy], [0, 0, 1.0]])
    return CameraModel(K, name, D, *size)


def numbers_of(file: Path, columns: int) -> np.ndarray:
    """[n, columns] of a text file: numbers with blanks between them; lines that begin with # don't
    count.

    Raises:
        InputError: another count of numbers in a line, or one that is none.
    """
    rows = []
    for number, words in lines_of(file):
        try:
            row = [float(word) for word in words]
        except ValueError as error:
            raise InputError(f"{file}, line {number}: not a number ({error})") from error
        if len(row) != columns or not np.isfinite(row).all():
            raise InputError(
                f"{file}, line {number}: {columns} finite numbers expected, found {len(row)}"
            )
        rows.append(row)
    return np.array(rows).reshape(-1, columns)


def lines_of(file: Path) -> Iterator[tuple[int, list[str]]]:
    """Number and words of each line that holds some; commas separate as blanks do."""
    with reading(file):
        text = file.read_text(encoding="utf-8", errors="replace")
    for number, line in enumerate(text.splitlines(), 1):
        words = line.replace(",", " ").split()
        if words and not words[0].startswith("#"):
            yield number, words


def stamped_pose(stamp_ns: int, position: Sequence[float], quaternion: Sequence[float]) -> object:
    """A transform from the world to the camera, for a `TransformTree`.

    Args:
        position: [3] in m. quaternion: [4] x y z w.
    """
    xyz, rotation = (
        SimpleNamespace(**dict(zip("xyzw", values))) for values in (position, quaternion)
    )
    stamp = SimpleNamespace(sec=stamp_ns // 10**9, nanosec=stamp_ns % 10**9)
    return SimpleNamespace(
        header=SimpleNamespace(frame_id=WORLD, stamp=stamp),
        child_frame_id=CAMERA,
        transform=SimpleNamespace(translation=xyz, rotation=rotation),
    )


WORLD, CAMERA = "world", "camera"


def left_out(name: str, reasons: Counter[str], total: int) -> list[Finding]:
    """That depth images are left out; nothing where none is."""
    if not reasons:
        return []
    listed = ", ".join(f"{count} x {reason}" for reason, count in reasons.most_common())
    message = f"{sum(reasons.values())} of {total} depth images are left out: {listed}"
    return [Finding("frames-left-out", name, "left out", message)]
