"""Writes a Fast DDS profile for clouds of a size, and says what it takes of this machine:

ros2 run haskd_ros dds_profile --points 2000000 --point-step 46
python -m haskd_ros.node.dds.writer --points 2000000 --point-step 46 --out FILE
"""

from __future__ import annotations

import argparse
import fcntl
import sys
import xml.etree.ElementTree as ElementTree
from collections.abc import Sequence
from pathlib import Path

from haskd_ros.clouds.point_layout import MAX_POINT_STEP
from haskd_ros.errors import InputError
from haskd_ros.files import write_atomically
from haskd_ros.node.dds.profiles import (
    CLOUDS,
    LARGE,
    NAMESPACE,
    bytes_taken,
    megabytes,
    profile_variable,
    shared_memory,
)

PIECE = 65_500
"""Bytes of the pieces in which Fast DDS sends what is larger."""

_LEAST_SEGMENT = 32 << 20
_LARGEST_TAKEN = (1 << 32) - 1
"""Bytes of a segment and what Fast DDS adds, which it counts in 32 bits."""


def segment_size(points: int, point_step: int) -> int:
    """Bytes of a segment for clouds of so many points, whole MiB.

    Raises:
        InputError: more than Fast DDS can count.
    """
    size = max(_LEAST_SEGMENT, -(-CLOUDS * points * point_step >> 20) << 20)
    if bytes_taken(size) > _LARGEST_TAKEN:
        most = (_LARGEST_TAKEN * 1024 // 1072 >> 20 << 20) // CLOUDS // point_step
        raise InputError(
            f"--points {points}: {CLOUDS} clouds of {points} points of {point_step} bytes are more "
            f"than the 4 GiB of a segment, must be {most} at most"
        )
    return size


def queue_capacity(points: int, point_step: int) -> int:
    """Pieces of clouds that the receiver's queue has to hold, never fewer than in `LARGE`."""
    pieces = -(-points * point_step // PIECE)
    return max(16_384, 2 * CLOUDS * pieces)


def profile_text(points: int, point_step: int) -> str:
    """The profile as XML: `LARGE` with other numbers."""
    ElementTree.register_namespace("", NAMESPACE)
    root = ElementTree.parse(LARGE).getroot()
    numbers = {
        "segment_size": segment_size(points, point_step),
        "port_queue_capacity": queue_capacity(points, point_step),
    }
    for name, number in numbers.items():
        element = root.find(f".//{{{NAMESPACE}}}{name}")
        assert element is not None, f"{LARGE} has no {name}"
        element.text = str(number)
    comment = (
        f"<!-- For clouds of {points} points of {point_step} bytes, {CLOUDS} of them at once, for "
        "the LiDAR\n     driver and the node. Each process takes "
        f"{megabytes(bytes_taken(numbers['segment_size']))} of /dev/shm at once. -->"
    )
    xml = ElementTree.tostring(root, encoding="unicode")
    return f'<?xml version="1.0" encoding="UTF-8"?>\n{comment}\n{xml}\n'


def left_over_bytes(folder: Path) -> int:
    """Bytes of the segments in shared memory whose processes are gone: nobody locks them."""
    total = 0
    for lock in folder.glob("fastdds_*_el"):
        segment = lock.with_name(lock.name.removesuffix("_el"))
        try:
            with lock.open("rb") as file:
                fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
                total += segment.stat().st_blocks * 512
        except OSError:  # locked, somebody else's, or gone meanwhile
            continue
    return total


def report(points: int, point_step: int, path: Path) -> str:
    """What was written, what it takes, whether this machine has it, and how to use it."""
    segment = segment_size(points, point_step)
    taken, memory = bytes_taken(segment), shared_memory()
    verdict = "enough" if memory.free >= 2 * taken else "TOO LITTLE"
    lines = [
        f"{path}: for clouds of {points} points of {point_step} bytes "
        f"({megabytes(points * point_step)}), a segment of {megabytes(segment)} and a queue of "
        f"{queue_capacity(points, point_step)} pieces",
        f"each process that is started with it takes {megabytes(taken)} of /dev/shm, a driver and "
        f"the node {megabytes(2 * taken)}; {megabytes(memory.free)} of "
        f"{megabytes(memory.total)} are free: {verdict}",
    ]
    if memory.free < 2 * taken:
        size = -(-(2 * taken + memory.total - memory.free) >> 20)
        lines.append(
            f"give it more: docker run --shm-size={size}m or --ipc=host; on the machine itself "
            f"mount -o remount,size={size}m /dev/shm"
        )
    if gone := left_over_bytes(Path("/dev/shm")):
        lines.append(
            f"{megabytes(gone)} are left over from processes that were killed: fastdds shm clean"
        )
    lines.append(f"start the driver and the node with {profile_variable()}={path.absolute()}")
    return "\n".join(lines) + "\n"


def main(arguments: Sequence[str] | None = None) -> int:
    """Exit code: 0, or 2 where an argument is not allowed or the file can't be written."""
    parser = argparse.ArgumentParser(
        prog="dds_profile", description="Write a Fast DDS profile for clouds of a size."
    )
    parser.add_argument(
        "--points", type=int, required=True, help="of a cloud: its height times its width"
    )
    parser.add_argument(
        "--point-step",
        type=int,
        default=48,
        help="bytes of a point (default: 48); `ros2 topic echo --once --field point_step TOPIC`",
    )
    parser.add_argument("--out", type=Path, help="file (default: fastdds_POINTS.xml here)")
    given = parser.parse_args(arguments)
    path = given.out or Path(f"fastdds_{given.points}.xml")
    try:
        if given.points < 1:
            raise InputError(f"--points {given.points}: must be > 0")
        if not 1 <= given.point_step <= MAX_POINT_STEP:
            raise InputError(f"--point-step {given.point_step}: must be 1 to {MAX_POINT_STEP}")
        write_atomically(path, profile_text(given.points, given.point_step).encode())
    except (InputError, OSError) as error:
        sys.stderr.write(f"dds_profile: {error}\n")
        return 2
    sys.stdout.write(report(given.points, given.point_step, path))
    return 0


if __name__ == "__main__":
    sys.exit(main())
