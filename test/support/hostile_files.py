"""Files that are made to harm: bombs, lies, pipes and loops, and what reads each."""

from __future__ import annotations

import os
import sqlite3
import struct
import sys
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import cv2
import lz4.frame
import numpy as np
from damaged_files import KINDS, LABEL_MAP, STORE, Kind, decoded, examined
from PIL import Image

from recorded_bags import Scene, write_bag

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

from haskd_training.core.settings import load_settings
from haskd_training.data.preparing.inputs import PrepareConfig
from haskd_training.recordings.image_codec import example_of, image_size, jpeg_of
from haskd_training.recordings.label_files import read_label_file
from haskd_training.recordings.labels import FolderLabels, load_label_map
from haskd_training.robot.offline.segment_bag import parse

BOMB = 5 << 30
"""Bytes that a few stand for: more than the process that reads them may have."""

ALIASES = "za: &za [x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"z{name}: &z{name} [{', '.join([f'*z{before}'] * 9)}]\n"
    for before, name in zip("abcdefgh", "bcdefghi")
)
DEEP = "[" * 20_000


def _case(write: Callable[[Path], Path], read: Callable[[Path], Any]) -> Kind:
    return Kind(write, read, is_sound=False)


def _text(name: str, content: str, read: Callable[[Path], Any]) -> Kind:
    def write(folder: Path) -> Path:
        (folder / name).write_text(content)
        return folder / name

    return _case(write, read)


def _changed(kind: str, change: Callable[[bytes], bytes]) -> Kind:
    """A sound file of a kind, changed."""

    def write(folder: Path) -> Path:
        path = KINDS[kind].write(folder)
        path.write_bytes(KINDS[kind].seal(change(path.read_bytes())))
        return path

    return _case(write, KINDS[kind].read)


def _odd(kind: str, name: str, read: Callable[[Path], Any]) -> Kind:
    """Something that is no file under a file's name."""

    def write(folder: Path) -> Path:
        path = folder / name
        match kind:
            case "pipe":
                os.mkfifo(path)
            case "loop":
                path.symlink_to(path.name)
            case "device":
                path.symlink_to("/dev/zero")
            case _:
                path.mkdir()
        return path

    return _case(write, read)


def _settings(path: Path) -> None:
    load_settings(PrepareConfig, path)


def _labels_of(path: Path) -> None:
    """The folder of a label file, as `prepare` reads it."""
    clouds = [SimpleNamespace(stamp_ns=k, recorded_ns=k, name="") for k in (10**9, 2 * 10**9)]
    label_map = load_label_map("semantickitti")
    labels = FolderLabels(label_map, path.parent, "drive", lambda: clouds)
    labels.findings()
    labels.of(SimpleNamespace(width=4, height=1), 0, 10**9)


def _beside_labels(kind: str) -> Kind:
    odd = _odd(kind, "000000.label", _labels_of)

    def write(folder: Path) -> Path:
        np.full(4, 10, "<u4").tofile(folder / "000001.label")
        return odd.write(folder)

    return _case(write, _labels_of)


def _in_cloud_folder(kind: str, name: str) -> Kind:
    def write(folder: Path) -> Path:
        KINDS["kitti times.txt"].write(folder)
        return _odd(kind, name, examined).write(folder)

    return _case(write, lambda path: examined(path.parents[1]))


def _png(width: int, height: int) -> bytes:
    content = bytearray(cv2.imencode(".png", np.zeros((2, 2, 3), np.uint8))[1].tobytes())
    content[16:24] = struct.pack(">II", width, height)
    return KINDS["image a.png"].seal(bytes(content))


def _jpeg(width: int, height: int) -> bytes:
    content = bytearray(cv2.imencode(".jpg", np.zeros((8, 8, 3), np.uint8))[1].tobytes())
    at = content.index(b"\xff\xc0")
    content[at + 5 : at + 9] = struct.pack(">HH", height, width)
    return bytes(content)


def _many_scans() -> bytes:
    pixels = np.zeros((6000, 6000), np.uint8)
    content = cv2.imencode(".jpg", pixels, [cv2.IMWRITE_JPEG_PROGRESSIVE, 1])[1].tobytes()
    last = content.rindex(b"\xff\xda")
    return content[:-2] + content[last:-2] * 5000 + b"\xff\xd9"


def _picture(content: Callable[[], bytes]) -> Kind:
    def write(folder: Path) -> Path:
        (folder / "image").write_bytes(content())
        return folder / "image"

    return _case(write, decoded)


def _saved(mode: str, ending: str, **how: Any) -> Kind:
    def write(folder: Path) -> Path:
        Image.new(mode, (16, 16)).save(folder / f"image.{ending}", **how)
        return folder / f"image.{ending}"

    return _case(write, decoded)


def _raw(encoding: str, width: int, height: int, step: int, octets: int) -> Kind:
    """An Image message; the file is none of its."""

    def read(_: Path) -> None:
        stamp = STORE.types["builtin_interfaces/msg/Time"](0, 0)
        header = STORE.types["std_msgs/msg/Header"](stamp, "camera")
        message = STORE.types["sensor_msgs/msg/Image"](
            header, height, width, encoding, 0, step, np.zeros(octets, np.uint8)
        )
        image_size(message)
        example_of(message)
        jpeg_of(message, 90)

    return _text("nothing", "", read)


def _record(kind: int, content: bytes) -> bytes:
    return struct.pack("<BQ", kind, len(content)) + content


def _zeros(size: int) -> bytes:
    """A Zstandard frame of so many zeros."""
    compressor = zstd.ZstdCompressor()
    piece = bytes(1 << 24)
    return b"".join(compressor.compress(piece) for _ in range(size >> 24)) + compressor.flush()


def _mcap(compression: str, said: int) -> Kind:
    """An MCAP without an index, whose one chunk stands for `BOMB` bytes.

    said: bytes that its chunk says to hold.
    """

    def write(folder: Path) -> Path:
        if compression == "zstd":
            packed = _zeros(BOMB)
        else:
            with lz4.frame.LZ4FrameCompressor() as one:
                pieces = [one.begin(), *(one.compress(bytes(1 << 24)) for _ in range(BOMB >> 24))]
                packed = b"".join([*pieces, one.flush()])
        name = struct.pack("<I", len(compression)) + compression.encode()
        chunk = struct.pack("<QQQI", 0, 1, said, 0) + name + struct.pack("<Q", len(packed)) + packed
        head = struct.pack("<I", 4) + b"ros2" + struct.pack("<I", 0)
        magic = b"\x89MCAP0\r\n"
        footer = _record(0x02, struct.pack("<QQI", 0, 0, 0))
        (folder / "a.mcap").write_bytes(
            magic + _record(0x01, head) + _record(0x06, chunk) + footer + magic
        )
        return folder / "a.mcap"

    return _case(write, examined)


def _computed_rows(folder: Path) -> Path:
    path = write_bag(folder, Scene(clouds=1, images=0), "sqlite3") / "drive.db3"
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("alter table messages rename to before")
        connection.execute(
            "create table messages (id integer primary key, topic_id integer, timestamp integer, "
            "data blob generated always as (zeroblob(900000000 + id)) virtual)"
        )
        connection.execute("insert into messages select id, topic_id, timestamp from before")
        connection.commit()
    return path


def _metadata(before: bytes, after: bytes) -> Kind:
    return _changed("metadata.yaml", lambda content: content.replace(before, after, 1))


def _patched(at: int, form: str, number: int) -> Callable[[bytes], bytes]:
    """Another number at a place; from the end where that is negative."""

    def change(content: bytes) -> bytes:
        octets = bytearray(content)
        start = at % len(octets)
        octets[start : start + struct.calcsize(form)] = struct.pack(form, number)
        return bytes(octets)

    return change


def _huge_npy(folder: Path) -> Path:
    np.save(folder / "a.npy", np.zeros((4, 4), "<f4"))
    content = (folder / "a.npy").read_bytes().replace(b"(4, 4), }     ", b"(9999999999, 4), }"[:14])
    (folder / "a.npy").write_bytes(content)
    return folder / "a.npy"


def _named(name: str) -> Kind:
    def write(folder: Path) -> Path:
        np.zeros((4, 4), "<f4").tofile(folder / name)
        return folder / name

    return _case(write, lambda path: examined(path.parent))


def _parameter(text: str) -> Kind:
    return _text("nothing", "", lambda _: parse([text]))


_MAPS = {
    "aliases": ALIASES + LABEL_MAP,
    "deep": f"classes: {DEEP}",
    "itself": "classes: &a [*a]",
    "digits": LABEL_MAP.replace("[10]", f"[{'9' * 5000}]"),
    "infinite id": LABEL_MAP.replace("[10]", "[.inf]"),
    "no id": LABEL_MAP.replace("[10]", "[.nan]"),
    "id of text": LABEL_MAP.replace("[10]", "[[1]]"),
    "ids of text": LABEL_MAP.replace("ids: [10]", "ids: {a: b}"),
    "infinite colour": LABEL_MAP.replace("[1, 2, 3]", "[.inf, 2, 3]"),
    "field a list": LABEL_MAP.replace("field: label", "field: [1]"),
    "folder a number": LABEL_MAP.replace("field: label", "folder: 5"),
    "classes a number": "classes: 5",
    "a date": LABEL_MAP.replace("[10]", "[2020-13-45]"),
    "a tag": LABEL_MAP.replace("[10]", "!!timestamp x"),
}

CASES: dict[str, Kind] = {
    **{f"label map, {name}": _text("m.yaml", text, load_label_map) for name, text in _MAPS.items()},
    **{f"settings, {name}": _text("s.yaml", text, _settings) for name, text in (
        ("aliases", ALIASES), ("deep", f"cameras: {DEEP}"), ("digits", f"overlays: {'9' * 5000}"),
        ("infinite", "overlays: .inf"), ("bytes", "\x00"), ("a list", "[1]"))},
    **{f"settings, a {kind}": _odd(kind, "s.yaml", _settings)
       for kind in ("pipe", "loop", "device", "folder")},
    **{f"label map, a {kind}": _odd(kind, "m.yaml", load_label_map)
       for kind in ("pipe", "loop", "device", "folder")},
    **{f"label file, a {kind}": _odd(kind, "0.label", read_label_file)
       for kind in ("pipe", "loop", "folder")},
    **{f"label folder with a {kind}": _beside_labels(kind) for kind in ("pipe", "loop", "folder")},
    **{f"bag, a {kind}": _odd(kind, "bag", examined) for kind in ("pipe", "loop", "device")},
    **{f"cloud folder with a {kind}": _in_cloud_folder(kind, "velodyne/000002.bin")
       for kind in ("pipe", "loop", "device", "folder")},
    "cloud folder with a pipe for an image": _in_cloud_folder("pipe", "image_2/000002.png"),
    "image, PNG of 30,000 x 30,000": _picture(lambda: _png(30_000, 30_000)),
    "image, PNG of 2^31 x 2^31": _picture(lambda: _png(2**31 - 1, 2**31 - 1)),
    "image, PNG of 0 x 0": _picture(lambda: _png(0, 0)),
    "image, PNG cut off": _picture(lambda: _png(2, 2)[:-20]),
    "image, PNG with a chunk of 2 GB": _picture(lambda: _patched(33, ">I", 2**31 - 1)(_png(2, 2))),
    "image, JPEG of 65,000 x 65,000": _picture(lambda: _jpeg(65_000, 65_000)),
    "image, JPEG of 0 x 8": _picture(lambda: _jpeg(0, 8)),
    "image, JPEG cut off": _picture(lambda: _jpeg(8, 8)[:-9]),
    "image, JPEG of 5,000 scans": _picture(_many_scans),
    "image, text": _picture(lambda: b"no picture"),
    "image, EXIF of nothing": _picture(
        lambda: b"\xff\xd8\xff\xe1\x00\x10Exif\0\0MM\xff\xff\xff\xff" + _jpeg(8, 8)[2:]),
    "image, 1 x 1": _picture(lambda: _png(1, 1)),
    "image, 16 bits": _saved("I;16", "png"),
    "image, palette": _saved("P", "png"),
    "image, CMYK": _saved("CMYK", "jpg"),
    "image, animated": _saved("RGB", "png", save_all=True, append_images=[Image.new("RGB", (16, 16),
                              "red")] * 3),
    "image, GIF": _saved("P", "gif"),
    "image, one bit": _saved("1", "tiff"),
    "raw image, short": _raw("rgb8", 10, 10, 30, 100),
    "raw image, step below width": _raw("rgb8", 10, 10, 10, 300),
    "raw image, no size": _raw("rgb8", 0, 0, 0, 1),
    "raw image, overflow": _raw("rgb8", 2**31, 2**31, 2**32 - 1, 100),
    "raw image, no rows": _raw("mono8", 70_000, 1, 70_000, 70_000),
    "raw image, Bayer of a pixel": _raw("bayer_rggb8", 1, 1, 1, 1),
    "raw image, half a pair": _raw("yuv422", 3, 3, 6, 18),
    "raw image, long encoding": _raw("\x1b" * 10_000, 3, 3, 6, 18),
    "MCAP, zstd of 5 GiB": _mcap("zstd", BOMB),
    "MCAP, zstd of 5 GiB, said to be small": _mcap("zstd", 1000),
    "MCAP, lz4 of 5 GiB": _mcap("lz4", BOMB),
    "MCAP, lz4 of 5 GiB, said to be small": _mcap("lz4", 1000),
    "bag, rows that are computed": _case(_computed_rows, lambda path: examined(path.parent)),
    "metadata.yaml, aliases": _metadata(b"rosbag2", ALIASES.encode() + b"rosbag2"),
    "metadata.yaml, deep": _metadata(b"custom_data:", f"deep: {DEEP}\n  custom_data:".encode()),
    "metadata.yaml, a count of text": _metadata(b"message_count: 2", b"message_count: x"),
    "metadata.yaml, digits": _metadata(b"message_count: 2", b"message_count: " + b"9" * 5000),
    "metadata.yaml, a topic of numbers": _metadata(b"name: /", b"name: 5 #"),
    "LAS, 4 billion records": _changed("a.las", _patched(100, "<I", 2**32 - 1)),
    "LAZ, 4 billion records": _changed("a.laz", _patched(100, "<I", 2**32 - 1)),
    "LAS, 2^60 points": _changed("a.las", _patched(247, "<Q", 2**60)),
    "LAZ, 2^40 points": _changed("a.laz", _patched(247, "<Q", 2**40)),
    "PCD, 4 GB of 100 bytes": _changed("compressed.pcd", lambda content: content.replace(
        b"WIDTH 40", b"WIDTH 268435455").replace(b"POINTS 40", b"POINTS 268435455")),
    "PCD, 10^18 points": _changed("binary.pcd", lambda content: content.replace(
        b"WIDTH 40", b"WIDTH " + b"9" * 18).replace(b"POINTS 40", b"POINTS " + b"9" * 18)),
    "PCD, a field of 10^12": _changed("binary.pcd", lambda content: content.replace(
        b"COUNT 1 1 1 1", b"COUNT 1 1 1 999999999999")),
    "PLY, 10^18 vertices": _changed("binary.ply", lambda content: content.replace(
        b"vertex 40", b"vertex " + b"9" * 18)),
    "E57, 2^40 points": _changed("a.e57", lambda content: content.replace(
        b'recordCount="40"', b'recordCount="1099511627776"')),
    "npy, 10^10 points": _case(_huge_npy, KINDS["a.npy"].read),
    "cloud named by a stamp of 10^19": _named("9999999999999999999.bin"),
    "parameter, crop.frame=[": _parameter("crop.frame=["),
    "parameter, digits": _parameter(f"range.max={'9' * 5000}"),
    "parameter, deep": _parameter(f"range.max={DEEP}"),
    "parameter, infinite list": _parameter("crop.min=[.inf, x, {}]"),
}  # fmt: skip
"""By name."""
