"""What is looked at in the caches and outputs of recordings with a fault, for `faults.py`."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
from fault_answers import Prepared, Segmented, Today, lines, prepared, segment
from rosbags.typesys import Stores, get_typestore

from haskd_ros.taxonomy import UNLABELLED
from haskd_training.core.progress import silent
from haskd_training.core.settings import load_settings
from haskd_training.data.projection import project
from haskd_training.experiments.run import RunConfig, run
from haskd_training.images.visibility import VisibilityConfig, image_qualities, views
from haskd_training.metrics.confusion import mean_iou
from haskd_training.recordings.bag_writing import bag_writer
from haskd_training.recordings.image_codec import NotAPicture, example_of
from haskd_training.recordings.readers.bag import POINT_CLOUD, open_bag

Wrong = Callable[[Prepared], str]
"""What is wrong with a cache; empty where nothing is."""

JPEG = 4.0
"""Of 255: how far the mean colour of a box may be off after JPEG."""

QUICK = [
    "student.loop.epochs=8", "student.loop.device=cpu", "student.loop.seed=0",
    "distillation.teacher=none",
]  # fmt: skip
"""Settings of the runs that are compared."""

NEAR = 0.05
"""By how much the mIoU of two such runs may differ."""


def pixel_of(camera: str, point: tuple, pixel: tuple, image: int = 0):
    """Where a point of the first sweep lies in an image of a camera."""

    def wrong(found: Prepared) -> str:
        cache = found.cache
        rows = [j for j, row in enumerate(cache.images) if row.camera == camera]
        if not rows:
            return f"no images of {camera}"
        j = rows[image]
        near = min(
            range(len(cache)),
            key=lambda i: abs(cache.sweeps[i].stamp_ns - cache.images[j].stamp_ns),
        )
        # At the image's own time the vehicle is 5 m/s x 20 ms = 0.1 m further.
        at = np.array([[point[0] + 0.1, *point[1:]]])
        u, v = project(at, cache.t_camera_lidar(j, near), cache.images[j].camera_model).pixels[0]
        if np.hypot(u - pixel[0], v - pixel[1]) < 0.5:
            return ""
        return f"{point} at pixel ({u:.0f}, {v:.0f})"

    return wrong


def focal_lengths(expected: dict[float, int]):
    def wrong(found: Prepared) -> str:
        values, counts = np.unique([row.K[0][0] for row in found.cache.images], return_counts=True)
        there = dict(zip(values.tolist(), counts.tolist()))
        return "" if there == expected else f"focal lengths {there}"

    return wrong


def rear_lidar(found: Prepared) -> str:
    """The rear LiDAR is at (-3, 0, 2) of base_link, which is at x = 0.5 m in the second sweep."""
    T = np.array(found.cache.sweeps[1].T_world_lidar)
    if np.allclose(T[:3, 3], (-2.5, 0, 2)) and np.allclose(T[:3, 0], (-1, 0, 0)):
        return ""
    return f"rear LiDAR at {T[:3, 3].round(2).tolist()}, facing {T[:3, 0].round(2).tolist()}"


def times_and_views(found: Prepared) -> str:
    """Each point is measured 0 to 0.099 s after the stamp, and so near its images in time: the six
    (`selection.images`) nearest to the stamp show 2,193 of a sweep's 2,928 points."""
    cache, sweep = found.cache, 20
    time = cache.sweep(sweep).time
    span = f"{float(time.min()):.3f} to {float(time.max()):.3f} s"
    points = cache.sweep(sweep).points
    shown = views(
        cache,
        sweep,
        points=points,
        images=cache.images_near(sweep, 0.5)[:6],
        movable=np.zeros(len(points), bool),
        config=VisibilityConfig(),
        image_quality=image_qualities(cache),
        times=time,
    )
    count = int(np.any([view.quality > 0 for view in shown], axis=0).sum())
    if (span, count) == ("0.000 to 0.099 s", 2193):
        return ""
    return f"times {span}, {count:,} of {len(points):,} points get a view"


def red_box(found: Prepared) -> str:
    """A red box of (220 30 30); noise has a mean of -0.5, and JPEG takes some of the colour of a
    mosaic."""
    colour = found.cache.image(0)[70:92, 64:86].reshape(-1, 3).astype(float).mean(0)
    return "" if np.abs(colour - (220, 30, 30)).max() < JPEG else f"box {colour.round().tolist()}"


def no_intensity(found: Prepared) -> str:
    scale = found.cache.sweeps[0].intensity_scale
    return "" if scale is None else f"intensity of scale {scale}"


def labelled_points(expected: int):
    def wrong(found: Prepared) -> str:
        points = sum(sum(row.class_counts) for row in found.cache.sweeps)
        return "" if points == expected else f"{points:,} labelled points"

    return wrong


def one_without_pose(found: Prepared) -> str:
    """The first cloud, of stamp 0."""
    lost = [number for number, row in enumerate(found.cache.sweeps) if row.T_world_lidar is None]
    near = [len(found.cache.images_near(number, 0.5)) for number in lost]
    return "" if near == [0] else f"{len(lost)} sweeps without a pose, with {near} images"


def only_first_pass(found: Prepared) -> str:
    far = sum(abs(row.T_world_lidar[1][3]) > 1 for row in found.cache.sweeps if row.T_world_lidar)
    rows = found.cache.sweeps
    last = max(row.stamp_ns for row in rows) - min(row.stamp_ns for row in rows)
    return "" if not far and last == 1_900_000_000 else "sweeps of the second pass"


def as_in_control(folder: Path) -> Today:
    """Intensity of a drive whose sensor was dark at first: none in those clouds, and otherwise as
    without that. The control and the drive for a test, of which nothing is wrong, are silent."""
    with (
        prepared(folder / "bag") as dark,
        prepared(folder / "control_bag") as bright,
        prepared(folder / "bright_bag") as other,
    ):
        last = (dark.cache.sweep(39).points[:, 3], bright.cache.sweep(39).points[:, 3])
        without = [row.intensity_scale is None for row in dark.cache.sweeps]
        said = [line for found in (bright, other) for line in found.said]
        top = float(last[0].max())
        is_right = np.array_equal(*last) and top > 0.9 and not said
        return Today(
            f"{sum(without)} of {len(without)} clouds without intensity, the others up to "
            f"{top:.2f} of a full return; {len(said)} findings in the control",
            bool(is_right) and without == [True] * 12 + [False] * 28,
            dark.said,
        )


def scores_as_in_control(folder: Path) -> Today:
    """mIoU on the drive for a test, of the dark drive's model and the control's."""
    scores = []
    said: list[str] = []
    for name in ("bag", "control_bag"):
        with tempfile.TemporaryDirectory() as scratch:
            result = run(
                [folder / name],
                Path(scratch),
                str(folder / "labels.yaml"),
                load_settings(RunConfig, None, QUICK),
                silent,
                test=[folder / "bright_bag"],
                say=lambda finding: said.extend(lines([finding])),
            )
            assert result is not None, "one process"
            scores.append(mean_iou(result.baseline.counts))
    return Today(
        f"{scores[0]:.1%} mIoU on bright_bag, control {scores[1]:.1%}",
        abs(scores[0] - scores[1]) < NEAR,
        said,
    )


def depth_by_its_bits(folder: Path) -> Today:
    """A depth picture whose format says `png` alone is told by what the file holds."""
    with open_bag(folder / "bag") as bag:
        image = next(iter(bag.messages(["/depth/image_rect_raw/compressed"])))[1]
    try:
        example_of(replace(image, format="png"))
    except NotAPicture as reason:
        return Today(f"as png: {reason}", "16 bits" in str(reason))
    return Today("as png: a picture", False)


def in_utm(folder: Path) -> Today:
    """Clouds in UTM coordinates, segmented: the first point of each has y = 5,411,932.25 - 6 m, and
    every point is beyond the range."""
    found = segment(folder / "bag")
    y = {(str(each.dtype), float(each[0])) for each in found.y}
    is_right = y == {("float64", 5411926.25)} and found.result.beyond_range == 12
    return Today(
        f"y comes out as {', '.join(f'{kind} {value!r}' for kind, value in sorted(y))}; "
        f"{found.result.beyond_range} clouds beyond the range, {found.result.labelled} labelled",
        is_right and found.result.labelled == 0,
        found.said,
    )


def as_without_intensity(folder: Path) -> Today:
    """Labels of clouds whose intensity is NaN: those of the same clouds without the field."""
    found = segment(folder / "bag")
    with tempfile.TemporaryDirectory() as scratch:
        without = segment(_without_field(folder / "bag", Path(scratch) / "bare", "intensity"))
    same = sum(map(np.array_equal, found.labels, without.labels))
    told = sum("intensity-nan" in line for line in found.said)
    return Today(
        f"{same} of {found.result.labelled} clouds labelled as without intensity; said "
        f"{told} times",
        same == found.result.labelled == 12 and told == 1 and _has_labels(found),
        found.said,
    )


def _has_labels(found: Segmented) -> bool:
    return all((labels != UNLABELLED).all() for labels in found.labels)


def _without_field(bag: Path, out: Path, name: str) -> Path:
    """A copy of a bag whose clouds don't name one of their fields."""
    types = get_typestore(Stores.ROS2_HUMBLE)
    with open_bag(bag) as recording, bag_writer(out) as writer:
        added = {
            topic: writer.add_connection(topic, kind, typestore=types)
            for topic, kind in recording.topics.items()
        }
        for connection, time_ns, raw, decode in recording.recorded():
            if connection.msgtype == POINT_CLOUD:
                cloud = decode()
                kept = [field for field in cloud.fields if field.name != name]
                raw = types.serialize_cdr(replace(cloud, fields=kept), POINT_CLOUD)
            writer.write(added[connection.topic], time_ns, raw)
    return out
