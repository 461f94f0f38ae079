"""A bag of an RGB-D camera: colour and depth images, CameraInfo, TF or Odometry."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from haskd_ros.errors import InputError
from haskd_training.data.readers.interface import EncodedImage
from haskd_training.data.readers.rgbd.bag_pass import BagPass
from haskd_training.data.readers.rgbd.bag_places import Places
from haskd_training.data.readers.rgbd.bag_topics import RgbdTopics, rgbd_topics
from haskd_training.data.readers.rgbd.config import RgbdConfig
from haskd_training.data.readers.rgbd.frames import (
    Picture,
    RgbdFrame,
    RgbdRecording,
    depth_findings,
    every,
    nearest,
    up_finding,
)
from haskd_training.recordings.camera_model import CameraModel
from haskd_training.recordings.camera_track import RecordedCamera
from haskd_training.recordings.findings import Finding
from haskd_training.recordings.image_codec import jpeg_of, rgb_of
from haskd_training.recordings.number_images import depth_of, ids_of
from haskd_training.recordings.readers.bag import bag_files, open_bag, stamp_ns
from haskd_training.recordings.recording import check_fixed_frame

_MOST_HELD = 400
"""Messages that wait for another one with a stamp of the same time."""


def open_rgbd_bag(path: Path, name: str, config: RgbdConfig) -> RgbdRecording:
    """
    Raises:
        InputError: no bag, a damaged one, topics, calibrations or transforms that are missing, or
            not a single frame that can be used.
    """
    with open_bag(path) as bag:
        topics = rgbd_topics(bag, config)
        seen = BagPass(bag, topics, config)
        color = seen.camera(topics.color, topics.color_info)
        depth = seen.camera(topics.depth, topics.depth_info or topics.color_info)
        findings = [*bag.findings, *seen.add_odometry(depth.frame)]
    findings += [*seen.findings(), *color.findings(), *depth.findings()]
    findings += _calibration_findings(topics, color, depth)
    label_images = None if topics.labels is None else seen.images[topics.labels]
    if label_images is not None and label_images.size != color.size:
        raise InputError(
            f"{path}: images of {topics.labels} are of {_shown(label_images.size)} px, those of "
            f"{topics.color} of {_shown(color.size)} px: labels are of the colour image's pixels"
        )
    check_fixed_frame(path, seen.tree, config.fixed_frame)
    place = Places(path, seen.tree, color, depth, config)
    findings += place.findings

    stamps, color_stamps = (seen.images[topic].stamps_ns for topic in (topics.depth, topics.color))
    total = len(stamps)
    pairs = nearest(stamps, color_stamps, config.max_offset_s)
    T_world_depth, no_depth_pose = place.poses(depth, stamps, seen.images[topics.depth].frames)
    T_world_body, no_body_pose = place.bodies(stamps)
    T_world_color, no_color_pose = place.poses(
        color, color_stamps, seen.images[topics.color].frames
    )
    reasons: Counter[str] = Counter()
    usable = []
    for number, pair in enumerate(pairs.tolist()):
        reason = (
            f"no colour image within {config.max_offset_s:g} s (max_offset_s)"
            if pair < 0
            else no_depth_pose[number] or no_body_pose[number] or no_color_pose[pair]
        )
        if reason:
            reasons[reason] += 1
        else:
            usable.append(number)
    if reasons:
        findings.append(_left_out(topics.depth, reasons, total))
    if not usable:
        raise InputError(f"{path}: no depth image can be used: {findings[-1].message}")
    used = np.array(usable)[every(stamps[usable], config.frame_gap_s)]
    offsets = np.abs(color_stamps[pairs[used]] - stamps[used])
    if (offset := float(np.median(offsets)) / 1e9) > 0.005:
        message = (
            f"colour images are {1e3 * offset:.0f} ms from the depth images in the median; each is "
            "placed by its own stamp"
        )
        findings.append(Finding("color-offset", topics.color, "noted", message))
    findings += depth_findings(topics.depth, seen.samples, (config.min_depth, config.max_depth))
    findings += up_finding(topics.color, T_world_color[pairs[used]])

    label_of: dict[int, int] = {}
    if label_images is not None:
        found = nearest(color_stamps, label_images.stamps_ns, config.max_offset_s)
        label_of = {
            int(color_stamps[k]): int(label_images.stamps_ns[found[k]])
            for k in pairs[used].tolist()
            if found[k] >= 0
        }
        findings.append(_label_finding(label_images.topic, len(label_of), len(set(pairs[used]))))
    frames = [
        _FrameRow(
            int(stamps[number]),
            int(color_stamps[pairs[number]]),
            label_of.get(int(color_stamps[pairs[number]])),
            T_world_depth[number],
            T_world_color[pairs[number]],
            T_world_body[number],
            place.model(depth, int(stamps[number]), seen.images[topics.depth].frames),
            place.model(color, int(color_stamps[pairs[number]]), seen.images[topics.color].frames),
        )
        for number in used.tolist()
    ]
    ahead, above = place.axes
    return RgbdRecording(
        name=name,
        stamps_ns=stamps[used],
        is_posed=place.is_posed,
        ahead=ahead,
        above=above,
        labelled=bool(label_of),
        frames=partial(_frames, path, topics, frames, seen.stop_ns, config),
        files=tuple(bag_files(path)),
        findings=tuple(findings),
    )


@dataclass(frozen=True)
class _FrameRow:
    """A used frame, without its images."""

    stamp_ns: int
    color_ns: int
    labels_ns: int | None
    T_world_depth: np.ndarray
    T_world_color: np.ndarray
    T_world_body: np.ndarray
    depth_model: CameraModel
    color_model: CameraModel


def _frames(
    path: Path,
    topics: RgbdTopics,
    rows: Sequence[_FrameRow],
    stop_ns: int | None,
    config: RgbdConfig,
) -> Iterator[RgbdFrame]:
    """The frames with their images, as these are read: none is held longer than until the others of
    its time have come."""
    uses: Counter[tuple[str, int]] = Counter(key for row in rows for key in _keys(row, topics))
    held: dict[tuple[str, int], Any] = {}
    waiting = iter(rows)
    row = next(waiting, None)
    with open_bag(path) as bag:
        for topic, message in bag.messages(list(topics.images), stop_ns):
            key = topic, stamp_ns(message)
            if not uses[key]:
                continue
            held.setdefault(key, message)
            if len(held) > _MOST_HELD:
                raise InputError(
                    f"{path}: colour and depth images of one time lie more than {_MOST_HELD} "
                    "messages apart; record them with one clock, side by side"
                )
            while row is not None and all(one in held for one in _keys(row, topics)):
                yield _frame(row, topics, held, config)
                for one in _keys(row, topics):
                    uses[one] -= 1
                    if not uses[one]:
                        del held[one]
                row = next(waiting, None)


def _keys(row: _FrameRow, topics: RgbdTopics) -> list[tuple[str, int]]:
    keys = [(topics.depth, row.stamp_ns), (topics.color, row.color_ns)]
    if row.labels_ns is not None and topics.labels is not None:
        keys.append((topics.labels, row.labels_ns))
    return keys


def _frame(
    row: _FrameRow, topics: RgbdTopics, held: dict[tuple[str, int], Any], config: RgbdConfig
) -> RgbdFrame:
    most = config.max_pixels
    image = held[topics.color, row.color_ns]
    ids = None
    if row.labels_ns is not None and topics.labels is not None:
        ids = partial(ids_of, held[topics.labels, row.labels_ns], most)
    picture = Picture(
        stamp_ns=row.color_ns,
        model=row.color_model,
        T_world_camera=row.T_world_color,
        rgb=partial(rgb_of, image, most),
        encoded=partial(_jpeg, image, config),
        ids=ids,
    )
    depth = partial(depth_of, held[topics.depth, row.stamp_ns], config.depth_units_per_m, most)
    return RgbdFrame(
        row.stamp_ns, row.depth_model, row.T_world_depth, row.T_world_body, depth, picture
    )


def _jpeg(message: Any, config: RgbdConfig) -> EncodedImage:
    return EncodedImage(
        jpeg_of(message, config.jpeg_quality, config.max_pixels).data.tobytes(), "jpeg"
    )


def _calibration_findings(
    topics: RgbdTopics, color: RecordedCamera, depth: RecordedCamera
) -> Iterator[Finding]:
    if topics.depth_info is None:
        yield Finding(
            "depth-without-info",
            topics.depth,
            "noted",
            f"no CameraInfo of its own; it is in the colour camera's frame, whose is used "
            f"({topics.color_info})",
        )
    for camera in (color, depth):
        assert camera.size is not None, "a camera with images"
        if note := camera.track.first.fitted(*camera.size)[1]:
            yield Finding("image-size", camera.topic, "repaired", note)


def _left_out(topic: str, reasons: Counter[str], total: int) -> Finding:
    listed = ", ".join(f"{count} x {reason}" for reason, count in reasons.most_common())
    return Finding(
        "frames-left-out",
        topic,
        "left out",
        f"{sum(reasons.values())} of {total} depth images are left out: {listed}",
    )


def _label_finding(topic: str, labelled: int, used: int) -> Finding:
    message = (
        f"class ids of {labelled} of {used} used colour images label the points; without --labels "
        "they are those of S3DIS, 0 to 12"
    )
    return Finding("label-images", topic, "noted", message)


def _shown(size: tuple[int, int] | None) -> str:
    return "no size" if size is None else f"{size[0]} x {size[1]}"
