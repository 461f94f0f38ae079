"""What there is in a flat: kinds of things, the 13 classes of S3DIS, the 40 of NYU Depth v2."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

CLASS_NAMES = (
    "ceiling", "floor", "wall", "beam", "column", "window", "door",
    "table", "chair", "sofa", "bookcase", "board", "clutter",
)  # fmt: skip
"""The classes of the simulated flat, those of S3DIS; a class id is the index in this tuple."""

NO_CLASS = 255
"""What a label image holds where the camera sees nothing."""


class Kind(NamedTuple):
    """A kind of thing: its class, and its id among NYU Depth v2's 40 classes, which ScanNet has."""

    name: str
    class_name: str
    nyu40: int


KINDS = (
    Kind("ceiling", "ceiling", 22), Kind("floor", "floor", 2), Kind("wall", "wall", 1),
    Kind("beam", "beam", 38), Kind("column", "column", 38), Kind("window", "window", 9),
    Kind("door", "door", 8), Kind("table", "table", 7), Kind("desk", "table", 14),
    Kind("chair", "chair", 5), Kind("sofa", "sofa", 6), Kind("bookcase", "bookcase", 10),
    Kind("books", "bookcase", 23), Kind("board", "board", 30), Kind("cabinet", "clutter", 3),
    Kind("bed", "clutter", 4), Kind("picture", "clutter", 11), Kind("counter", "clutter", 12),
    Kind("curtain", "clutter", 16), Kind("rug", "clutter", 20),
    Kind("refrigerator", "clutter", 24), Kind("television", "clutter", 25),
    Kind("box", "clutter", 29), Kind("toilet", "clutter", 33), Kind("sink", "clutter", 34),
    Kind("lamp", "clutter", 35), Kind("bathtub", "clutter", 36), Kind("bag", "clutter", 37),
    Kind("appliance", "clutter", 39), Kind("small thing", "clutter", 40),
)  # fmt: skip
"""A triangle's label is the index in this tuple."""

(
    CEILING, FLOOR, WALL, BEAM, COLUMN, WINDOW, DOOR, TABLE, DESK, CHAIR, SOFA, BOOKCASE, BOOKS,
    BOARD, CABINET, BED, PICTURE, COUNTER, CURTAIN, RUG, REFRIGERATOR, TELEVISION, BOX, TOILET,
    SINK, LAMP, BATHTUB, BAG, APPLIANCE, SMALL_THING,
) = range(len(KINDS))  # fmt: skip

CLASS_OF_KIND = np.array([CLASS_NAMES.index(kind.class_name) for kind in KINDS], np.uint8)
"""[kinds] uint8 class ids."""

NYU40_OF_KIND = np.array([kind.nyu40 for kind in KINDS], np.uint16)
"""[kinds] uint16."""
