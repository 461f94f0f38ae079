"""What comes of recordings with a fault: `python benchmarks/faults.py DIR`.

DIR holds a folder for each input, as the script that makes them leaves it. Prints today's answer
beside the right one, which is worked out by hand and stands below, and one word for both:

- right: as it should be, and said by the right finding with its numbers; where nothing is wrong,
  without a warning.
- wrong: not as it should be, and something of what has to be said is said.
- silent: not as it should be, and nothing of it is said.
- lost: the values are right, but data was left out or changed without a word.
- alarm: the values are right, and a warning is given where nothing is wrong.

`--runs` trains as well, which takes minutes; `--tests` runs the tests on the node that stand for
what no recording shows.

Exit code 1 where any is not right.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from fault_answers import (
    NOTHING,
    Answer,
    Today,
    both,
    of_cache,
    plans,
    refused,
    run_stops,
    segmented,
)
from fault_checks import (
    as_in_control,
    as_without_intensity,
    depth_by_its_bits,
    focal_lengths,
    in_utm,
    labelled_points,
    no_intensity,
    one_without_pose,
    only_first_pass,
    pixel_of,
    rear_lidar,
    red_box,
    scores_as_in_control,
    times_and_views,
)
from rich.console import Console
from rich.table import Table

from haskd_ros.errors import InputError

VERDICTS = ("right", "wrong", "silent", "lost", "alarm")

ADVISED = "labels_as_advised.yaml"
OF_12 = 12 * 2928
BOX = ["crop.frame=lidar", "crop.min=[0, -5, -3]", "crop.max=[9, 5, 3]"]
IN_BOX = 29 * 41 + 16 * 15
"""Ground every 0.25 m, x from 2 to 9 m, y from -5 to 5 m; all of the box; nothing of the wall."""

ANSWERS = {
    "sound": Answer("12 sweeps and images, 72.9 % seen", of_cache(12, 12), NOTHING),
    # Silently wrong.
    "clock-restart": Answer(
        "cut where stamps go back, from 1.9 to 0 s: 20 sweeps of the first pass",
        of_cache(20, 20, further=only_first_pass),
        (("left out stamps-go-back", "1.9 s", "message 20", "20 of 40 clouds"),),
    ),
    "dark-start": Answer(
        "12 of 40 clouds without intensity, the others as in control_bag", as_in_control,
        (("intensity-zero", "as if they had none"),),
    ),
    "two-lidars-one-topic": Answer(
        "rear LiDAR at (-2.5, 0, 2) facing back", of_cache(20, 20, None, further=rear_lidar),
        (("frames-change", "lidar (10)", "lidar_rear (10)"),),
    ),
    "stereo-right": Answer(
        "(8, 2, -1) at pixel (54, 72) of the right camera",
        of_cache(12, 24, further=pixel_of("right", (8, 2, -1), (54, 72))),
        (("stereo-right", "/right/camera_info", "0.3 m"),),
    ),
    "calibration-changes": Answer(
        "150 px for 10 images, then 300 px",
        of_cache(20, 20, None, further=focal_lengths({150.0: 10, 300.0: 10})),
        (("calibration-changes", "once", "150 -> 300 px"),),
    ),
    "depth-as-png": Answer(
        "depth left out, by its format and by its 16 bits; alone, the run stops for it",
        both(
            of_cache(20, 20), depth_by_its_bits,
            run_stops("/deep/image_rect_raw", "/depth/image_rect_raw/compressed", "depth",
                      bag="depth_only_bag"),
        ),
        (("left out camera-left-out: /deep/image_rect_raw:", "20 images", "depth"),
         ("left out camera-left-out: /depth/image_rect_raw/compressed:", "20 images", "depth")),
    ),
    "bayer-as-jpeg": Answer(
        "box (220 30 30)", of_cache(12, 12, further=red_box),
        (("repaired image-colours", "bayer_rggb8"),),
    ),
    # Silently lost.
    "wal-left-behind": Answer(
        "6 of 12 sweeps, said", of_cache(6, 6, bag="copied"),
        (("left out messages-missing", "/points 6 of 12", "bag.db3-wal"),),
    ),
    "nan-intensity": Answer(
        "labels as without intensity, said once",
        both(of_cache(12, 12, further=no_intensity), as_without_intensity),
        (("doubtful intensity-nan", "all clouds"),),
    ),
    "utm-cloud": Answer(
        "y as recorded, 5411926.25; 12 clouds beyond the range, said",
        both(of_cache(12, 0, None), in_utm),
        (("doubtful points-far-away", "sensor's frame?"),
         ("doubtful all-beyond-range", "12 clouds", "every point is beyond the range of 120 m",
          "sensor's frame?")),
    ),
    "padding-fields": Answer(
        "12 sweeps, 12 labelled", both(of_cache(12, 12), segmented(12, 2928)), NOTHING
    ),
    "slash-frame": Answer(
        f"{IN_BOX:,} points of each cloud labelled",
        both(of_cache(12, 12), segmented(12, IN_BOX, BOX)), NOTHING,
    ),
    # Hidden by `run`.
    "livox-nanoseconds": Answer(
        "times 0 to 0.099 s and 2,193 points with a view in both bags",
        both(of_cache(40, 40, further=times_and_views),
             of_cache(40, 40, bag="bag_in_seconds", further=times_and_views)), NOTHING,
    ),
    "info-without-frame": Answer(
        "the image's frame", both(of_cache(12, 12), plans(images=12)),
        (("repaired camera-info-without-frame", "frame of the image"),),
    ),
    "static-on-both": Answer(
        "/tf_static wins", both(of_cache(12, 12), plans(images=12)),
        (("repaired tf-static-on-both", "cam_optical", "/tf_static is used"),),
    ),
    "sparse-map-to-odom": Answer(
        "60 images by odom", both(of_cache(60, 60), plans(images=60)),
        (("repaired fixed-frame", "odom at 100 %", "odom is the fixed frame"),),
    ),
    "sensor-clock": Answer(
        "clouds are 53.9 years before the images; a run stops for it",
        both(of_cache(40, None, None), run_stops("53.9 years")),
        (("doubtful clocks-apart", "53.9 years before", "/cam/image_raw/compressed"),),
    ),
    "body-frame-camera": Answer(
        "0.0 % seen, is it an optical frame?; a run stops for it",
        both(of_cache(40, 40, 0.0), run_stops("0.0 %", "optical")),
        (("doubtful camera-sees-nothing", "0.0 %", "camera_link an optical frame", "72.9%"),),
    ),
    "binned": Answer(
        "K of 150 px", of_cache(12, 12, further=focal_lengths({150.0: 12})),
        (("repaired camera-info-fitted", "200 x 120 px", "binned 2 x 2", "12 of 12"),),
    ),
    "first-info-is-zero": Answer(
        "12 images with K of 150 px", of_cache(12, 12, further=focal_lengths({150.0: 12})),
        (("repaired camera-info-unusable", "1 CameraInfo"),),
    ),
    # Advice in a circle, wrong cause, unclear.
    "label-minus-one": Answer(
        "advises ignore for 419 points; with it 12 x 2,509 labelled points",
        both(refused("-1 (419 points)", "'ignore'", "labels.yaml"),
             of_cache(12, 12, labels=ADVISED, further=labelled_points(12 * (2928 - 419)))),
        NOTHING,
    ),
    "label-instance-bits": Answer(
        "instances are cut off, with and without the advice",
        both(of_cache(12, 12, further=labelled_points(OF_12)),
             of_cache(12, 12, labels=ADVISED, further=labelled_points(OF_12))),
        (("repaired labels-with-instances", "327683, which is 3"),),
    ),
    "labels-in-the-first-half": Answer(
        "14 of the 20 labelled sweeps train", plans(train=14),
        (("labels-in-part", "20 of 40", "last cloud 19"),),
    ),
    "ros1-in-mcap": Answer(
        "ROS 1 in MCAP: convert", refused("ROS 1", "MCAP", "rosbags-convert", bag="ros1.mcap"),
        NOTHING,
    ),
    "renamed-file": Answer(
        "the one file there is read", of_cache(3, 3),
        (("repaired file-renamed", "bag.mcap", "monday_morning.mcap", "ros2 bag reindex"),),
    ),
    "folder-named-bag": Answer("read", of_cache(3, 3, bag="drive.bag"), NOTHING),
    "every-cloud-twice": Answer(
        "21 sweeps", of_cache(21, 21), (("repaired clouds-repeated", "21 of 42"),)
    ),
    "label-files-in-sim-time": Answer(
        "12 sweeps labelled", of_cache(12, 12, further=labelled_points(OF_12)),
        (("label-files", "12 files", "stamp in ns", "12 clouds"),),
    ),
    "thermal-mono16": Answer(
        "left out: 16 bits are not read; a run stops for it",
        both(of_cache(12, 0, None), run_stops("mono16", "8 bits")),
        (("left out camera-left-out", "12 images", "mono16"),),
    ),
    "tf-loop": Answer(
        "the loop is named", of_cache(12, None, None),
        (("doubtful tf-loop", "lidar -> base_link -> lidar"),),
    ),
    # Handled well before.
    "first-stamp-zero": Answer(
        "20 sweeps, the first without pose and images",
        of_cache(20, 20, None, further=one_without_pose),
        (("doubtful stamp-zero", "1 of 20"), ("clouds-without-pose", "19 of 20")),
    ),
    "no-definitions": Answer("12 sweeps", of_cache(12, 12, bag="bare.mcap"), NOTHING),
    "compressed-bags": Answer(
        "12 sweeps of each", both(of_cache(12, 12, bag="file"), of_cache(12, 12, bag="message")),
        NOTHING,
    ),
    "foxy-compressed": Answer("12 sweeps", of_cache(12, 12, bag="file"), NOTHING),
    "three-images-one-info": Answer(
        "names the images and the setting",
        refused("/cam/image_mono", "/cam/image_rect", "/cam/camera_info", "cameras"), NOTHING,
    ),
    "class-missing-at-the-end": Answer(
        "40 sweeps, 28 to train", both(of_cache(40, 40, None), plans(train=28)), NOTHING
    ),
    "one-class": Answer(
        "40 sweeps, 28 to train", both(of_cache(40, 40), plans(train=28)), NOTHING
    ),
    "one-sweep": Answer(
        "1 sweep; a run stops: at least 3 are needed",
        both(of_cache(1, 1), run_stops("1 labelled sweep", "at least 3")), NOTHING,
    ),
    "label-files-without-lost-returns": Answer(
        "labels of the points that have returns",
        of_cache(12, 12, None, further=labelled_points(12 * (2928 - 326))),
        (("repaired labels-of-returns", "12 label files"),),
    ),
}  # fmt: skip

RUNS = {
    "dark-start": Answer(
        "mIoU on bright_bag near that with control_bag", scores_as_in_control,
        (("intensity-zero", "as if they had none"),),
    ),
}  # fmt: skip
"""What is trained for; minutes."""

NODE = "test/ros/node"
TESTS = {
    "sim-time-without-clock": (
        "diagnostics are never OK without a clock",
        f"{NODE}/test_node_faults.py::test_without_a_time_on_the_clock_nothing_is_ok",
    ),
    "slash-frame, node": (
        "its box follows frames with a slash",
        f"{NODE}/test_transforms.py::test_the_box_follows_a_fixed_transform",
    ),
    "utm-cloud, node": (
        "a warning, and counted",
        f"{NODE}/test_node_faults.py::test_a_cloud_in_map_coordinates_is_a_warning_and_counted",
    ),
    "nan-intensity, node": (
        "as without the field, said once",
        f"{NODE}/test_node_faults.py::test_intensity_that_is_nan_throughout_is_none_and_said_once",
    ),
    "2 million points a cloud": (
        "none is lost with the shipped profile",
        f"{NODE}/test_node_stress.py::test_with_the_profile_no_cloud_of_two_million_points_is_lost",
    ),
}
"""What is tried on the running node: the right answer, and the test that shows it."""


@dataclass(frozen=True)
class Compared:
    """An input's answer today, beside the right one."""

    name: str
    right: str
    today: str
    verdict: str


def compare(name: str, answer: Answer, folder: Path) -> Compared:
    try:
        today = answer.today(folder)
    except InputError as error:
        today = Today(f"refused: {error}", False, [str(error)])
    return Compared(name, answer.right, *_judged(answer, today))


def _judged(answer: Answer, today: Today) -> tuple[str, str]:
    """Today's answer, and what it is."""
    unsaid = answer.unsaid(today)
    if not today.is_right:
        said = len(unsaid) < len(answer.must_say) if answer.must_say else bool(today.said)
        return today.answer, "wrong" if said else "silent"
    if unsaid:
        return f"{today.answer}; not said: {'; '.join(map(', '.join, unsaid))}", "lost"
    if answer.must_say == NOTHING and today.warnings:
        return f"{today.answer}; {'; '.join(today.warnings)}", "alarm"
    return today.answer, "right"


def tested(name: str) -> Compared:
    right, test = TESTS[name]
    root = Path(__file__).resolve().parent.parent
    done = subprocess.run([sys.executable, "-m", "pytest", "-q", test], cwd=root, check=False)
    passed = done.returncode == 0
    return Compared(name, right, f"{test} {'passes' if passed else 'fails'}",
                    "right" if passed else "wrong")  # fmt: skip


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("folder", type=Path, metavar="DIR")
    parser.add_argument("names", nargs="*", help="of inputs; default: all")
    parser.add_argument("--json", type=Path, help="file to write")
    parser.add_argument("--runs", action="store_true", help="train, where that is the answer")
    parser.add_argument("--tests", action="store_true", help="run the tests on the node")
    given = parser.parse_args()
    there = given.names or [name for name in ANSWERS if (given.folder / name).is_dir()]
    found = [compare(name, ANSWERS[name], given.folder / name) for name in there]
    if given.runs:
        found += [compare(name, answer, given.folder / name) for name, answer in RUNS.items()]
    if given.tests:
        found += map(tested, TESTS)
    table = Table("input", "right", "today", "", show_lines=True)
    for one in found:
        style = "green" if one.verdict == "right" else "red"
        table.add_row(one.name, one.right, one.today, one.verdict, style=style)
    if not given.tests and not given.names:
        for name, (right, test) in TESTS.items():
            table.add_row(name, right, f"not run: {test} (--tests)", "", style="dim")
    Console().print(table)
    counts = Counter(one.verdict for one in found)
    Console().print(", ".join(f"{counts[verdict]} {verdict}" for verdict in VERDICTS))
    missing = sorted(ANSWERS.keys() - {one.name for one in found})
    if missing and not given.names:
        Console().print(f"not there: {', '.join(missing)}")
    if given.json is not None:
        given.json.write_text(json.dumps([vars(one) for one in found], indent=1))
    return int(counts["right"] < len(found))


if __name__ == "__main__":
    sys.exit(main())
