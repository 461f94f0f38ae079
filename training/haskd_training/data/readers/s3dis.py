"""S3DIS, Stanford Large-Scale 3D Indoor Spaces: rooms as coloured points, a class for each.

I. Armeni et al., 3D Semantic Parsing of Large-Scale Indoor Spaces, 2016. Version 1.2, aligned or
not.

ROOT/Area_N/ROOM/Annotations/CLASS_NUMBER.txt   the points of an object: x y z r g b on each line
"""

from __future__ import annotations

import io
import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import numpy as np

from haskd_ros.errors import InputError
from haskd_ros.text import quoted
from haskd_training.data.readers.indoor import scene_origin
from haskd_training.data.readers.interface import (
    DatasetReader,
    Drive,
    Frame,
    FramePoints,
    PublishedSplit,
    Rule,
    Shortfalls,
    names_digest,
)
from haskd_training.recordings.findings import Finding
from haskd_training.recordings.reading import reading

CLASSES = (
    "ceiling", "floor", "wall", "beam", "column", "window", "door", "table", "chair", "sofa",
    "bookcase", "board", "clutter",
)  # fmt: skip
OTHER = CLASSES.index("clutter")
"""Of objects whose class is none of these: stairs, in a room or two."""

_ROOMS = {
    1: {"WC": 1, "conferenceRoom": 2, "copyRoom": 1, "hallway": 8, "office": 31, "pantry": 1},
    2: {
        "WC": 2, "auditorium": 2, "conferenceRoom": 1, "hallway": 12, "office": 14, "storage": 9,
    },
    3: {"WC": 2, "conferenceRoom": 1, "hallway": 6, "lounge": 2, "office": 10, "storage": 2},
    4: {"WC": 4, "conferenceRoom": 3, "hallway": 14, "lobby": 2, "office": 22, "storage": 4},
    5: {
        "WC": 2, "conferenceRoom": 3, "hallway": 15, "lobby": 1, "office": 42, "pantry": 1,
        "storage": 4,
    },
    6: {
        "conferenceRoom": 1, "copyRoom": 1, "hallway": 6, "lounge": 1, "office": 37,
        "openspace": 1, "pantry": 1,
    },
}  # fmt: skip
"""How many rooms of each kind an area has; they are numbered from 1."""

_TESTED = 5
"""The area that models are compared on."""

_START_NS = 1_000_000_000
"""Stamp of every room."""

_OBJECT = re.compile(r"(.+)_\d+\.txt")
_COLUMNS = 6
_TAIL_BYTES = 400

_BROKEN = {
    "Area_5/hallway_6/Annotations/ceiling_1.txt": (b"185\x00187", b"185 187"),
    "Area_5/office_19/Annotations/ceiling_1.txt": (b"103.0\x100000", b"103.000000"),
}
"""What is wrong in the published files, in line 180389 of the aligned version and in line 323474 of
the other one, and what was meant."""

_EXPECTED = (
    "Area_N/ROOM/Annotations with a file CLASS_NUMBER.txt for each object, x y z r g b on each line"
)


def _names_of(area: int) -> tuple[str, ...]:
    return tuple(
        f"Area_{area}_{kind}_{number}"
        for kind, count in _ROOMS[area].items()
        for number in range(1, count + 1)
    )


_SPLITS = {
    "train": tuple(name for area in _ROOMS if area != _TESTED for name in _names_of(area)),
    "val": _names_of(_TESTED),
    **{f"area_{area}": _names_of(area) for area in _ROOMS},
}


def names(root: Path, split: str | None) -> Sequence[str]:
    """Of the rooms of a split, or of all that were published, and of others in the same layout."""
    if split is not None:
        return _SPLITS[split]
    published = [name for area in _ROOMS for name in _names_of(area)]
    there = [folder.parent for folder in sorted(root.glob("Area_[1-6]/*/Annotations"))]
    named = (f"{room.parent.name}_{room.name}" for room in there)
    return tuple(dict.fromkeys([*published, *named]))


def open_drives(root: Path, names: Sequence[str]) -> list[Drive]:
    """Rooms that are whole, as far as names and sizes of their files and their last lines tell.

    Raises:
        InputError: what is missing or cut off, all of it.
    """
    missing = Shortfalls()
    rooms = [_Room(name, _folder(root, name)) for name in names]
    absent = [room.name for room in rooms if not room.folder.is_dir()]
    missing.add_files(f"{len(absent)} of {len(rooms)} rooms are missing", absent)
    drives = [room.check(missing) for room in rooms if room.folder.is_dir()]
    missing.check(root, _EXPECTED)
    return drives


def _folder(root: Path, name: str) -> Path:
    """Of a room's objects: Area_1_office_2 -> ROOT/Area_1/office_2/Annotations."""
    area, number, room = name.split("_", 2)
    return root / f"{area}_{number}" / room / "Annotations"


@dataclass
class _Room:
    """A room in its folder of objects.

    Attributes:
        objects: their files, sorted by name.
        counts: how many points each has, once they were read.
    """

    name: str
    folder: Path
    objects: list[Path] = field(default_factory=list)
    counts: list[int] = field(default_factory=list)

    def check(self, missing: Shortfalls) -> Drive:
        """The room as a drive, right where nothing was added to `missing`."""
        files = sorted(self.folder.glob("[!.]*.txt"))
        unknown = [file.name for file in files if not _OBJECT.fullmatch(file.name)]
        missing.add_files(f"{self.folder} has other files than CLASS_NUMBER.txt", unknown)
        if not files:
            missing.add(f"{self.folder} has no file of an object")
        self.objects = [file for file in files if file.name not in unknown]
        cut = [file.name for file in self.objects if not _is_row(_last_line(file))]
        missing.add_files(f"{self.folder}: cut off, or empty", cut)
        return Drive(
            name=self.name,
            labelled=True,
            frames=1,
            images=0,
            files=tuple(self.objects),
            iterate=self.frames,
            findings=tuple(self._findings()),
        )

    def _findings(self) -> Iterator[Finding]:
        for file in self.objects:
            wrong, meant = _BROKEN.get(_place(file), (b"", b""))
            if wrong and wrong in _content(file):
                yield Finding(
                    "number-broken",
                    str(file),
                    "repaired",
                    f"it has {quoted(wrong)}, as it was published; read as {meant.decode()}",
                )

    def frames(self) -> Iterator[Frame]:
        yield Frame(
            name=self.name,
            stamp_ns=_START_NS,
            T_world_lidar=None,
            images=(),
            points=self.read,
            raw_labels=partial(_labels, self),
        )

    def read(self) -> FramePoints:
        parts, colours, start = [], [], None
        for file in self.objects:
            table = _read_object(file)
            # What is near 0 is exact in float32; the table itself is four times as large.
            start = table[0, :3].copy() if start is None else start
            part = np.zeros((len(table), 4), np.float32)
            part[:, :3] = table[:, :3] - start
            parts.append(part)
            colours.append(table[:, 3:].astype(np.uint8))
        self.counts = [len(part) for part in parts]
        points = np.concatenate(parts)
        parts.clear()
        points[:, :3] -= scene_origin(points[:, :3]).astype(np.float32)
        return FramePoints(points, {"rgb": np.concatenate(colours)})


def _labels(room: _Room) -> np.ndarray:
    """[N] a class's index in `CLASSES`; reads the points where that was not done."""
    if not room.counts:
        room.read()
    found = [_OBJECT.fullmatch(file.name) for file in room.objects]
    classes = [match.group(1) if match else "" for match in found]
    ids = [CLASSES.index(name) if name in CLASSES else OTHER for name in classes]
    return np.repeat(np.array(ids, np.int64), room.counts)


def _place(file: Path) -> str:
    return "/".join(file.parts[-4:])


def _content(file: Path) -> bytes:
    with reading(file):
        return file.read_bytes()


def _last_line(file: Path) -> bytes:
    with reading(file), file.open("rb") as content:
        content.seek(max(0, content.seek(0, os.SEEK_END) - _TAIL_BYTES))
        lines = content.read().split(b"\n")
    return next((line for line in reversed(lines) if line.strip()), b"")


def _read_object(file: Path) -> np.ndarray:
    """[N, 6] float64 x y z in m, r g b from 0 to 255.

    Raises:
        InputError: a line that is no such numbers; it is named.
    """
    source: Path | io.StringIO = file
    wrong, meant = _BROKEN.get(_place(file), (b"", b""))
    if wrong:
        source = io.StringIO(_content(file).replace(wrong, meant).decode("latin-1"))
    try:
        with reading(file):
            table = np.loadtxt(source, np.float64, comments=None, ndmin=2, encoding="latin-1")
    except InputError as error:
        raise (_first_wrong_line(file) or error) from error
    if not _are_rows(table):
        raise _first_wrong_line(file) or InputError(f"{file} has no point")
    return table


def _are_rows(table: np.ndarray) -> bool:
    """Whether all of a table [N, columns] are x y z r g b."""
    if not len(table) or table.shape[1] != _COLUMNS or not np.isfinite(table).all():
        return False
    colours = table[:, 3:]
    return bool((colours >= 0).all() and (colours <= 255).all())


def _first_wrong_line(file: Path) -> InputError | None:
    """The error that names the first line that is no x y z r g b; None without one."""
    wrong, meant = _BROKEN.get(_place(file), (b"\n", b"\n"))
    with reading(file), file.open("rb") as lines:
        for number, line in enumerate(lines, start=1):
            if line.strip() and not _is_row(line.replace(wrong, meant)):
                return InputError(
                    f"{file}, line {number}: {quoted(line.decode('latin-1').strip())}; expected "
                    "are x y z and r g b, these from 0 to 255"
                )
    return None


def _is_row(line: bytes) -> bool:
    try:
        values = np.array([line.decode("latin-1").split()], np.float64)
    except ValueError:
        return False
    return _are_rows(values)


READER = DatasetReader(
    name="s3dis",
    title="S3DIS",
    splits={
        split: PublishedSplit(len(rooms), len(rooms), names_digest(rooms))
        for split, rooms in _SPLITS.items()
    },
    label_map=Path(__file__).with_name("s3dis.yaml"),
    intensity_scale=None,
    names=names,
    open_drives=open_drives,
    rule=Rule(
        split="val",
        text="mean IoU over the 13 classes, overall accuracy and mean accuracy of the classes, of "
        "all points; a point without a prediction is missed, and a class that is neither there nor "
        "predicted is left out",
        absent_iou=float("nan"),
    ),
)
