"""What comes of recordings with a fault: `python benchmarks/faults.py DIR`.

DIR holds a folder for each input, as the script that makes them leaves it. Prints today's answer
beside the right one, which is worked out by hand and stands below, and one word for both:

- right: as it should be, and said.
- wrong: not as it should be, and something is said about it.
- silent: not as it should be, and nothing is said.
- lost: the values are right, but data was left out or changed without a word.

Exit code 1 where any is not right.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from fault_answers import (
    BOX,
    Answer,
    Today,
    as_in_control,
    both,
    focal_lengths,
    labelled_points,
    no_intensity,
    of_cache,
    only_first_pass,
    pixel_of,
    plans,
    precise,
    rear_lidar,
    red_box,
    refused,
    run_stops,
    segmented,
    times,
)
from rich.console import Console
from rich.table import Table

from haskd_ros.errors import InputError

ADVISED = "labels_as_advised.yaml"
OF_12 = 12 * 2928
ANSWERS = {
    "sound": Answer("12 sweeps and images, 72.9 % seen", of_cache(12, 12)),
    # Silently wrong.
    "clock-restart": Answer(
        "cut where stamps go back: 20 sweeps of the first pass",
        of_cache(20, 20, further=only_first_pass), ("stamps-go-back",),
    ),
    "dark-start": Answer("intensity of 255 as in control_bag", as_in_control),
    "two-lidars-one-topic": Answer(
        "rear LiDAR at (-2.5, 0, 2) facing back",
        of_cache(20, 20, None, further=rear_lidar), ("frames-change",),
    ),
    "stereo-right": Answer(
        "(8, 2, -1) at pixel (54, 72) of the right camera",
        of_cache(12, 24, further=pixel_of("right", (8, 2, -1), (54, 72))), ("stereo-right",),
    ),
    "calibration-changes": Answer(
        "150 px for 10 images, then 300 px",
        of_cache(20, 20, None, further=focal_lengths({150.0: 10, 300.0: 10})),
        ("calibration-changes",),
    ),
    "depth-as-png": Answer(
        "depth left out with the reason; alone, the run stops for it",
        both(of_cache(20, 20), run_stops("depth", bag="depth_only_bag")), ("camera-left-out",),
    ),
    "bayer-as-jpeg": Answer("box (220 30 30)", of_cache(12, 12, further=red_box)),
    # Silently lost.
    "wal-left-behind": Answer(
        "6 of 12 sweeps, said", of_cache(6, 6, bag="copied"), ("messages-missing",)
    ),
    "nan-intensity": Answer(
        "12 sweeps as without intensity; 12 clouds labelled",
        both(of_cache(12, 12, further=no_intensity), segmented(12)), ("intensity-nan",),
    ),
    "utm-cloud": Answer(
        "y as recorded; every point is out of range, said", precise, ("points-far-away",)
    ),
    "padding-fields": Answer("12 sweeps, 12 labelled", both(of_cache(12, 12), segmented(12))),
    "slash-frame": Answer(
        "as many points labelled as without the slash",
        both(of_cache(12, 12), segmented(assignments=BOX, like="sound")),
    ),
    # Hidden by `run`.
    "livox-nanoseconds": Answer(
        "times 0 to 0.099 s in both bags",
        both(of_cache(40, 40, further=times),
             of_cache(40, 40, bag="bag_in_seconds", further=times)),
    ),
    "info-without-frame": Answer(
        "the image's frame", both(of_cache(12, 12), plans(images=12)),
        ("camera-info-without-frame",),
    ),
    "static-on-both": Answer("/tf_static wins", of_cache(12, 12), ("tf-static-on-both",)),
    "sparse-map-to-odom": Answer(
        "60 images by odom", both(of_cache(60, 60), plans(images=60)), ("fixed-frame",)
    ),
    "sensor-clock": Answer("stops: clouds and images are years apart", run_stops("years")),
    "body-frame-camera": Answer("stops: sees 0.0 %, optical frame?", run_stops("optical")),
    "binned": Answer(
        "K of 150 px", of_cache(12, 12, further=focal_lengths({150.0: 12})),
        ("camera-info-fitted",),
    ),
    "first-info-is-zero": Answer("12 images", of_cache(12, 12), ("camera-info-unusable",)),
    # Advice in a circle, wrong cause, unclear.
    "label-minus-one": Answer(
        "ignore: [0, -1] works: 12 x 2,509 labelled points",
        of_cache(12, 12, labels=ADVISED, further=labelled_points(12 * (2928 - 419))),
    ),
    "label-instance-bits": Answer(
        "instances are cut off, with and without the advice",
        both(of_cache(12, 12, further=labelled_points(OF_12)),
             of_cache(12, 12, labels=ADVISED, further=labelled_points(OF_12))),
    ),
    "labels-in-the-first-half": Answer("14 of the 20 labelled sweeps train", plans(train=14)),
    "ros1-in-mcap": Answer("ROS 1 in MCAP: convert", refused("ROS 1", "convert", bag="ros1.mcap")),
    "renamed-file": Answer("the one file there is read", of_cache(3, 3), ("file-renamed",)),
    "folder-named-bag": Answer("read", of_cache(3, 3, bag="drive.bag")),
    "every-cloud-twice": Answer("21 sweeps", of_cache(21, 21), ("clouds-repeated",)),
    "label-files-in-sim-time": Answer(
        "12 sweeps labelled", of_cache(12, 12, further=labelled_points(OF_12))
    ),
    "thermal-mono16": Answer("stops: 16 bits are not read", run_stops("mono16")),
    "tf-loop": Answer("the loop is named", of_cache(12, None, None), ("tf-loop",)),
    # Handled well before.
    "first-stamp-zero": Answer("20 sweeps, one without images", of_cache(20, 20, None),
                               ("stamp-zero",)),
    "no-definitions": Answer("12 sweeps", of_cache(12, 12, bag="bare.mcap")),
    "compressed-bags": Answer(
        "12 sweeps of each", both(of_cache(12, 12, bag="file"), of_cache(12, 12, bag="message"))
    ),
    "foxy-compressed": Answer("12 sweeps", of_cache(12, 12, bag="file")),
    "three-images-one-info": Answer(
        "names the images and the setting", refused("image_mono", "image_rect", "cameras")
    ),
    "class-missing-at-the-end": Answer("40 sweeps", of_cache(40, 40, None)),
    "one-class": Answer("40 sweeps", of_cache(40, 40)),
    "one-sweep": Answer("1 sweep", of_cache(1, 1)),
    "label-files-without-lost-returns": Answer(
        "labels of the points that have returns",
        of_cache(12, 12, None, further=labelled_points(12 * (2928 - 326))),
    ),
}  # fmt: skip


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
        today = Today(f"refused: {error}", False, {str(error)})
    unsaid = [code for code in answer.must_say if code not in today.said]
    if today.is_right:
        verdict = "lost" if unsaid else "right"
    else:
        verdict = "wrong" if today.said else "silent"
    return Compared(name, answer.right, today.answer, verdict)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("folder", type=Path, metavar="DIR")
    parser.add_argument("names", nargs="*", help="of inputs; default: all")
    parser.add_argument("--json", type=Path, help="file to write")
    given = parser.parse_args()
    found = []
    for name in given.names or [name for name in ANSWERS if (given.folder / name).is_dir()]:
        found.append(compare(name, ANSWERS[name], given.folder / name))
    table = Table("input", "right", "today", "", show_lines=True)
    for one in found:
        style = "green" if one.verdict == "right" else "red"
        table.add_row(one.name, one.right, one.today, one.verdict, style=style)
    Console().print(table)
    missing = sorted(ANSWERS.keys() - {one.name for one in found})
    counts = Counter(one.verdict for one in found)
    Console().print(", ".join(f"{count} {verdict}" for verdict, count in counts.items()))
    if missing and not given.names:
        Console().print(f"not there: {', '.join(missing)}")
    if given.json is not None:
        given.json.write_text(json.dumps([vars(one) for one in found], indent=1))
    return int(counts["right"] < len(found))


if __name__ == "__main__":
    sys.exit(main())
