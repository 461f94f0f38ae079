"""Clouds that lie, cost or are absurd: hostile headers against a decoder of its own, messages that
are to be refused before they cost anything, and returns that no sensor means."""

from __future__ import annotations

import contextlib
import itertools
import math
import struct
import sys
import time
import tracemalloc
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from attacks.outcome import Attack, Outcome

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "test" / "support"))

from hostile_clouds import SIZES, hostile_cloud, with_fields

from haskd_ros.clouds.pointcloud import read_xyz_intensity
from haskd_ros.errors import InputError
from haskd_ros.node.labelling import label_cloud
from haskd_ros.node.parameters.values import DEFAULTS
from haskd_ros.segmentation import DEFAULT_MODEL
from haskd_ros.segmenter import Segmenter
from small_street import street

LIMIT_MS = 2.0
"""What a message below 1 MB may cost that is refused, or of which only the header is large."""

ABSURD = (-1e30, -1e6, -100.0, 350.0, 500.0, 1e4, 1e6, 1e30, 3e38, math.inf, -math.inf, math.nan)

RELABELLED = 1e-3
"""Share of the other points whose label may change: in bfloat16 the last bit decides some."""

_CODES = {1: "b", 2: "B", 3: "h", 4: "H", 5: "i", 6: "I", 7: "f", 8: "d"}


def layouts(scratch: Path, seconds: float) -> Outcome:
    """Random headers over random bytes: refused, or read as a loop over the bytes reads them, and
    labelled; nothing else may happen, and no memory be taken beyond the message's."""
    outcome = Outcome()
    segmenter = Segmenter.load(DEFAULT_MODEL, device="cpu")
    read = 0
    end = time.monotonic() + seconds
    for seed in itertools.count():
        if time.monotonic() > end:
            break
        cloud = hostile_cloud(np.random.default_rng(seed))
        outcome.tried += 1
        try:
            points, name = read_xyz_intensity(cloud)
            label_cloud(cloud, segmenter, DEFAULTS)
        except InputError:
            continue
        except Exception as error:
            outcome.faults.append(f"hostile cloud {seed}: {error!r}")
            continue
        read += 1
        wanted = np.array(list(decoded(cloud, name)), np.float32).reshape(-1, 4)
        if points.tobytes() != wanted.tobytes() and not np.array_equal(points, wanted, True):
            outcome.faults.append(f"hostile cloud {seed} is decoded wrongly")
    outcome.remark = f"{read} were read"
    return outcome


def decoded(cloud: Any, intensity: str | None) -> Iterator[list[float]]:
    """x, y, z and intensity of each point, one after another by their bytes."""
    if not cloud.width * cloud.height:
        return
    columns = ["x", "y", "z"] + ([] if intensity is None else [intensity])
    fields = [next(f for f in cloud.fields if (f.name, f.count) == (c, 1)) for c in columns]
    order = ">" if cloud.is_bigendian else "<"
    for row, column in itertools.product(range(cloud.height), range(cloud.width)):
        start = row * cloud.row_step + column * cloud.point_step
        values = []
        for field in fields:
            at = start + field.offset
            octets = bytes(cloud.data[at : at + SIZES[field.datatype]])
            (value,) = struct.unpack(order + _CODES[field.datatype], octets)
            # Out of float32's range is infinite.
            values.append(math.copysign(math.inf, value) if abs(value) > 3.5e38 else value)
        yield values + [0.0] * (4 - len(values))


def costs(scratch: Path, seconds: float) -> Outcome:
    """Messages below 1 MB whose header is made to be expensive: time of this process, the least of
    five, and the peak of memory beyond the message."""
    outcome = Outcome()
    worst = 0.0
    for name, cloud in expensive().items():
        outcome.tried += 1
        milliseconds = min(timed(cloud) for _ in range(5))
        worst = max(worst, milliseconds)
        if milliseconds > LIMIT_MS:
            outcome.faults.append(f"{name}: {milliseconds:.1f} ms")
        tracemalloc.start()
        timed(cloud)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        points = cloud.width * cloud.height
        if peak > 2 * len(cloud.data) + 16 * min(points, len(cloud.data)) + 500_000:
            outcome.faults.append(f"{name}: {peak / 1e6:.1f} MB")
    outcome.remark = f"the worst took {worst:.2f} ms"
    return outcome


def timed(cloud: Any) -> float:
    """ms that reading it takes, or refusing to."""
    started = time.process_time()
    with contextlib.suppress(InputError):
        read_xyz_intensity(cloud)
    return 1e3 * (time.process_time() - started)


def expensive() -> dict[str, Any]:
    """Messages by what is wrong with them."""
    xyz = [("x", 0, 7, 1), ("y", 4, 7, 1), ("z", 8, 7, 1)]
    many = [("a", 0, 2, 65536)]
    found = {
        f"{count} overlapping fields of count 65536": with_fields([*xyz, *many * count], 65536)
        for count in (1, 60, 250)
    }
    found |= {
        f"{count} overlapping fields of count 65536, no z": with_fields(
            [*xyz[:2], *many * count], 65536
        )
        for count in (1, 60, 250)
    }
    for count in (256, 257, 5_000, 40_000):
        named = [(f"f{number}", 0, 2, 1) for number in range(count)]
        found[f"{count} fields"] = with_fields([*xyz, *named], 16)
        found[f"{count} fields, no x"] = with_fields(named, 16)
    for length in (1_000, 900_000):
        found[f"a name of {length} characters"] = with_fields([*xyz, ("n" * length, 0, 9, 1)], 16)
        found[f"a name of {length} characters, no x"] = with_fields(
            [("\x1b" * length, 0, 7, 1)], 16
        )
    for count in (2**31 - 1, 2**32 - 1):
        found[f"a field of count {count}"] = with_fields([*xyz, ("n", 0, 2, count)], 16)
        found[f"a field of count {count}, at the end"] = with_fields([("x", 0, 8, count)], 65536)
    short = with_fields(xyz, 12)
    short.width, short.data = 83_333, np.zeros(83_333 * 12 - 1, np.uint8)
    return found | {"one byte too few": short}


def absurd(scratch: Path, seconds: float) -> Outcome:
    """One return of a street with an absurd intensity or height: it keeps a label of its own, and
    the others theirs."""
    outcome = Outcome()
    segmenter = Segmenter.load(DEFAULT_MODEL, device="cpu")
    rows = street(0, 20_000)
    cloud = np.stack([rows[name] for name in ("x", "y", "z", "intensity")], 1).astype(np.float32)
    before = segmenter(cloud)
    worst = 0
    for (channel, name), value, at in itertools.product(
        ((2, "height"), (3, "intensity")), ABSURD, (5, 25_000, 45_000)
    ):
        changed = cloud.copy()
        changed[at, channel] = value
        after = segmenter(changed)
        outcome.tried += 1
        others = after.class_id != before.class_id
        others[at] = False
        worst = max(worst, int(others.sum()))
        if others.sum() > RELABELLED * len(cloud):
            outcome.faults.append(
                f"{name} {value:g} at point {at} changes {others.sum()} other labels"
            )
        if channel == 3 and after.class_id[at] == 255:
            outcome.faults.append(f"{name} {value:g} costs point {at} its label")
    outcome.remark = f"at most {worst} of {len(cloud):,} other labels changed"
    return outcome


ATTACKS: dict[str, Attack] = {"layouts": layouts, "costs": costs, "absurd returns": absurd}
