"""A small sound file for every reader, what reads it, and ways to damage it."""

from __future__ import annotations

import io
import shutil
import struct
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import laspy
import lzf
import numpy as np
import pye57
from PIL import Image
from rosbags.typesys import Stores, get_typestore

from haskd_training.core.settings import load_settings
from haskd_training.data.preparing.examination.examine import examine
from haskd_training.data.preparing.inputs import PrepareConfig
from haskd_training.recordings.cloud_files.formats import read_clouds
from haskd_training.recordings.image_codec import decode_jpeg, example_of, image_size, jpeg_of
from haskd_training.recordings.label_files import read_label_file
from haskd_training.recordings.labels import cloud_times, load_label_map
from haskd_training.recordings.readers.bag import Unusable
from haskd_training.recordings.recording import RecordingConfig
from recorded_bags import Scene, write_bag

PCD = (
    "VERSION 0.7\nFIELDS x y z intensity\nSIZE 4 4 4 4\nTYPE F F F F\nCOUNT 1 1 1 1\n"
    "WIDTH 40\nHEIGHT 1\nPOINTS 40\nDATA {data}\n"
)
PLY = (
    "ply\nformat {data} 1.0\nelement vertex 40\nproperty float x\nproperty float y\n"
    "property float z\nproperty float intensity\nend_header\n"
)
LABEL_MAP = (
    "classes:\n- {name: road, color: [1, 2, 3], ids: [1, 40]}\n"
    "- {name: car, color: &c [4, 5, 6], ids: [10], movable: true}\n"
    "- {name: bus, color: *c, ids: [13]}\nignore: [0]\nfield: label\n"
)
SETTINGS = "tf_tolerance_s: 0.1\ncameras: {front: {image: /a, info: /b}}\noverlays: 3\n"
STORE = get_typestore(Stores.ROS2_HUMBLE)


@dataclass(frozen=True)
class Kind:
    """A kind of file.

    write: a sound one into a folder; the file that is damaged.
    read: that file; what it raises other than InputError or Unusable is a fault.
    """

    write: Callable[[Path], Path]
    read: Callable[[Path], Any]
    is_sound: bool = True
    """Whether it is to be damaged; else it harms as it is."""
    seal: Callable[[bytes], bytes] = bytes
    """Corrects the checksums of a damaged file, behind which most damage would stay unseen."""


def _sealed_e57(content: bytes) -> bytes:
    """Each 1,024 bytes end in their CRC-32C (ASTM E2807, 6.2)."""
    pages = [content[at : at + 1024] for at in range(0, len(content), 1024)]
    return b"".join(
        page[:1020] + struct.pack(">I", _crc32c(page[:1020])) if len(page) == 1024 else page
        for page in pages
    )


def _crc32c(octets: bytes) -> int:
    crc = 0xFFFFFFFF
    for octet in octets:
        crc = _CRC32C[(crc ^ octet) & 0xFF] ^ (crc >> 8)
    return crc ^ 0xFFFFFFFF


def _crc32c_of(octet: int) -> int:
    for _ in range(8):
        octet = (octet >> 1) ^ (0x82F63B78 if octet & 1 else 0)
    return octet


_CRC32C = [_crc32c_of(octet) for octet in range(256)]


def _sealed_png(content: bytes) -> bytes:
    """Each chunk ends in the CRC-32 of its type and data."""
    octets, at = bytearray(content), 8
    while at + 12 <= len(octets):
        (length,) = struct.unpack_from(">I", octets, at)
        end = at + 8 + length
        if end + 4 > len(octets):
            break
        octets[end : end + 4] = struct.pack(">I", zlib.crc32(octets[at + 4 : end]))
        at = end + 4
    return bytes(octets)


def _points() -> np.ndarray:
    """[40, 4] float32 x y z intensity."""
    numbers = np.random.default_rng(0)
    return np.c_[numbers.uniform(-20, 20, (40, 3)), numbers.uniform(0, 1, 40)].astype("<f4")


def _cloud(name: str) -> Kind:
    def write(folder: Path) -> Path:
        path, rows = folder / name, _points()
        text = "\n".join(" ".join(map(str, row)) for row in rows.tolist()).encode() + b"\n"
        if name == "compressed.pcd":
            content = b"".join(rows[:, k].tobytes() for k in range(4)) + bytes(0)
            packed = lzf.compress(content) or b"".join(
                b"\x1f" + content[at : at + 32] for at in range(0, len(content), 32)
            )
            head = PCD.format(data="binary_compressed").encode()
            path.write_bytes(head + struct.pack("<II", len(packed), len(content)) + packed)
        elif path.suffix in (".pcd", ".ply"):
            head = PCD if path.suffix == ".pcd" else PLY
            ascii_ = name.startswith("ascii")
            data = "ascii" if ascii_ else "binary" if head is PCD else "binary_big_endian"
            body = text if ascii_ else rows.astype("<f4" if head is PCD else ">f4").tobytes()
            path.write_bytes(head.format(data=data).encode() + body)
        elif path.suffix in (".las", ".laz"):
            las = laspy.LasData(laspy.LasHeader(point_format=6, version="1.4"))
            las.x, las.y, las.z = rows[:, :3].T.astype("f8")
            las.add_extra_dim(laspy.ExtraBytesParams("theirs", "f4"))
            las.write(str(path))
        elif path.suffix == ".e57":
            columns = dict(zip(("cartesianX", "cartesianY", "cartesianZ"), rows.T[:3]))
            with pye57.E57(str(path), "w") as file:
                file.write_scan_raw(columns)
        elif path.suffix == ".npz":
            np.savez_compressed(path, points=rows)
        elif path.suffix == ".npy":
            np.save(path, rows)
        else:
            rows.tofile(path)
        return path

    return Kind(write, read_clouds, seal=_sealed_e57 if name.endswith(".e57") else bytes)


def _label_file(suffix: str) -> Kind:
    def write(folder: Path) -> Path:
        path, ids = folder / f"000000{suffix}", np.arange(40, dtype="<u4")
        if suffix == ".npz":
            np.savez_compressed(path, data=ids)
        elif suffix == ".npy":
            np.save(path, ids)
        else:
            ids.astype("u1" if suffix == ".bin" else "<u4").tofile(path)
        return path

    return Kind(write, read_label_file)


def examined(path: Path) -> None:
    """As `haskd inspect` and `prepare` do."""
    examine(path, "drive", RecordingConfig())


def _bag(storage: str, name: str, compressed: bool = False) -> Kind:
    """The storage file of a small recording, or its metadata.yaml."""

    def write(folder: Path) -> Path:
        path = write_bag(folder, Scene(clouds=2, images=2), storage)
        if storage == "ros1":
            return path
        if compressed:
            _compress_chunks(path)
        return path / name

    def read(path: Path) -> None:
        examined(path if storage == "ros1" else path.parent)

    return Kind(write, read)


def _compress_chunks(bag: Path) -> None:
    """Write the messages again as ROS 2's recorder does: MCAP with chunks in Zstandard."""
    from rosbags.rosbag2 import Reader

    from haskd_training.recordings.bag_writing import bag_writer

    whole = bag.with_name("whole")
    bag.rename(whole)
    with Reader(whole) as reader, bag_writer(bag) as writer:
        out = {
            c.id: writer.add_connection(c.topic, c.msgtype, typestore=STORE)
            for c in reader.connections
        }
        for connection, time_ns, data in reader.messages():
            writer.write(out[connection.id], time_ns, data)
    shutil.rmtree(whole)


def _kitti(name: str) -> Kind:
    """A file beside KITTI's clouds."""

    def write(folder: Path) -> Path:
        for inner in ("velodyne", "labels", "image_2"):
            (folder / inner).mkdir(parents=True)
        for stem in ("000000", "000001"):
            _points().tofile(folder / "velodyne" / f"{stem}.bin")
            np.arange(40, dtype="<u4").tofile(folder / "labels" / f"{stem}.label")
            pixels = np.full((37, 122, 3), 99, np.uint8)
            cv2.imwrite(str(folder / "image_2" / f"{stem}.png"), pixels)
        (folder / "times.txt").write_text("0.0\n1e-1\n")
        (folder / "poses.txt").write_text("1 0 0 0 0 1 0 0 0 0 1 0\n1 0 0 1 0 1 0 0 0 0 1 0\n")
        (folder / "calib.txt").write_text(
            "P2: 70 0 61 0 0 70 18 0 0 0 1 0\nTr: 0 -1 0 0 0 0 -1 0 1 0 0 0\n"
        )
        return folder / name

    def read(path: Path) -> None:
        root = next(folder for folder in path.parents if (folder / "velodyne").is_dir())
        examined(root)
        cloud_times(root, "/points")

    return Kind(write, read)


def image_message(data: bytes) -> Any:
    types = STORE.types
    stamp = types["builtin_interfaces/msg/Time"](0, 0)
    header = types["std_msgs/msg/Header"](stamp, "camera")
    return types["sensor_msgs/msg/CompressedImage"](
        header, "bgr8; jpeg compressed bgr8", np.frombuffer(data, np.uint8)
    )


def decoded(path: Path) -> None:
    """An image as `prepare` reads it."""
    message = image_message(path.read_bytes())
    image_size(message)
    example_of(message)
    jpeg = jpeg_of(message, 92)
    decode_jpeg(jpeg.data)


def _image(name: str) -> Kind:
    def write(folder: Path) -> Path:
        pixels = np.random.default_rng(0).integers(0, 255, (24, 40, 3), np.uint8)
        flags = [cv2.IMWRITE_JPEG_PROGRESSIVE, 1] if name == "progressive.jpg" else []
        if name == "exif.jpg":
            exif = Image.Exif()
            exif[274] = 6
            stream = io.BytesIO()
            Image.fromarray(pixels).save(stream, "JPEG", exif=exif)
            content = stream.getvalue()
        else:
            content = cv2.imencode(Path(name).suffix, pixels, flags)[1].tobytes()
        (folder / name).write_bytes(content)
        return folder / name

    return Kind(write, decoded, seal=_sealed_png if name.endswith(".png") else bytes)


def _text(name: str, content: str, read: Callable[[Path], Any]) -> Kind:
    def write(folder: Path) -> Path:
        (folder / name).write_text(content)
        return folder / name

    return Kind(write, read)


KINDS: dict[str, Kind] = {
    **{name: _cloud(name) for name in ("binary.pcd", "ascii.pcd", "compressed.pcd", "binary.ply",
       "ascii.ply", "a.las", "a.laz", "a.e57", "a.npy", "a.npz", "a.bin")},
    **{f"labels {suffix}": _label_file(suffix) for suffix in (".label", ".bin", ".npy", ".npz")},
    "bag sqlite": _bag("sqlite3", "drive.db3"),
    "bag mcap": _bag("mcap", "drive.mcap"),
    "bag mcap zstd": _bag("mcap", "drive.mcap", compressed=True),
    "bag ros1": _bag("ros1", ""),
    "metadata.yaml": _bag("mcap", "metadata.yaml"),
    **{f"kitti {name}": _kitti(name) for name in ("times.txt", "poses.txt", "calib.txt",
       "velodyne/000001.bin", "labels/000001.label", "image_2/000000.png")},
    **{f"image {name}": _image(name) for name in ("a.jpg", "progressive.jpg", "exif.jpg", "a.png",
       "a.webp", "a.tiff", "a.bmp", "a.ppm")},
    "label map": _text("map.yaml", LABEL_MAP, load_label_map),
    "settings": _text("settings.yaml", SETTINGS, lambda path: load_settings(PrepareConfig, path)),
}  # fmt: skip
"""By name."""

ALLOWED = (Unusable,)
"""Beside InputError: a message that is left out and counted."""

_NUMBERS = (0, 1, 2, 0x7F, 0x80, 0xFF, 0xFFFF, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF, 2**63 - 1)
_WORDS = (b"9" * 5000, b"-1", b".inf", b".nan", b"1e999", b"[" * 20_000, b"{", b"&a [*a]", b"*a",
          b"!!timestamp x", b"\x1b[31m", b"[/]", b"\xff\xfe", b"\0", b"null", b"2020-13-45", b"'",
          b"99999999999", b"1:2:3", b"%", b"\n", b"- ", b": ", b"<<: ")  # fmt: skip


def damaged(content: bytes, numbers: np.random.Generator) -> bytes:
    """The content with one to four changes: bits, bytes, lengths, words, pieces that are cut out,
    doubled, exchanged or moved."""
    octets = bytearray(content)
    for _ in range(int(numbers.integers(1, 5))):
        if not octets:
            break
        # Headers lie at the begin, indices at the end.
        span = (len(octets), min(len(octets), 400), min(len(octets), 400))
        which = int(numbers.integers(0, 3))
        at = int(numbers.integers(0, span[which]))
        at = len(octets) - 1 - at if which == 2 else at
        other = int(numbers.integers(0, len(octets)))
        length = int(numbers.integers(1, 65))
        match int(numbers.integers(0, 9)):
            case 0:
                octets[at] ^= 1 << int(numbers.integers(0, 8))
            case 1:
                octets[at] = int(numbers.integers(0, 256))
            case 2:
                del octets[at:]
            case 3:
                form = ("<B", "<H", "<I", "<Q", ">I")[int(numbers.integers(0, 5))]
                size = struct.calcsize(form)
                number = _NUMBERS[int(numbers.integers(0, len(_NUMBERS)))] % 256**size
                octets[at : at + size] = struct.pack(form, number)
            case 4:
                octets[at:at] = _WORDS[int(numbers.integers(0, len(_WORDS)))]
            case 5:
                word = _WORDS[int(numbers.integers(0, len(_WORDS)))]
                octets[at : at + len(word[:8])] = word
            case 6:
                octets[at : at + length] = octets[other : other + length]
            case 7:
                octets[at:at] = octets[other : other + length]
            case _:
                del octets[at : at + length]
    return bytes(octets)
