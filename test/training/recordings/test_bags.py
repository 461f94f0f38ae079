"""Reading recorded bags: formats, topics, images, damage."""

from __future__ import annotations

import io
import shutil
from pathlib import Path
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from PIL.ExifTags import Base
from rosbags.typesys import Stores, get_typestore

from haskd_ros.clouds.pointcloud import read_points
from haskd_ros.errors import InputError
from haskd_training.recordings.image_codec import decode_jpeg, jpeg_of
from haskd_training.recordings.readers.bag import (
    POINT_CLOUD,
    Unusable,
    choose_topic,
    open_bag,
    stamp_ns,
)
from recorded_bags import SCENE, Scene, picture, write_bag

KINDS = ("mcap", "sqlite3", "ros1")


@pytest.mark.parametrize("kind", KINDS)
def test_every_bag_format_gives_the_same_messages_in_time_order(tmp_path: Path, kind: str) -> None:
    path = write_bag(tmp_path, kind=kind)
    with open_bag(path) as bag:
        topics = ["/lidar/points", "/camera/front/image/compressed"]
        read = list(bag.messages(topics))
    # Clouds at 0, 100, 200, 300 ms, images 50 ms after each.
    stamps = [(stamp_ns(message) - 10**12) // 10**6 for _, message in read]
    assert stamps == [0, 50, 100, 150, 200, 250, 300, 350]
    assert [topic for topic, _ in read] == topics * 4
    assert np.array_equal(read_points(read[0][1]), SCENE)


@pytest.mark.parametrize("kind", KINDS)
def test_a_cloud_of_any_bag_can_be_sent_as_ros_2_sends_it(tmp_path: Path, kind: str) -> None:
    with open_bag(write_bag(tmp_path, kind=kind)) as bag:
        message, cdr = next(bag.messages_with_cdr("/lidar/points"))
    received = get_typestore(Stores.ROS2_HUMBLE).deserialize_cdr(cdr, POINT_CLOUD)
    assert received.header.frame_id == "lidar"
    assert stamp_ns(received) == stamp_ns(message) == 10**12
    assert np.array_equal(read_points(received), SCENE)


def test_a_storage_file_reads_like_its_folder(tmp_path: Path) -> None:
    for kind, suffix in (("mcap", ".mcap"), ("sqlite3", ".db3")):
        folder = write_bag(tmp_path / kind, kind=kind)
        (file,) = folder.glob(f"*{suffix}")
        with open_bag(folder) as one, open_bag(file) as other:
            assert one.topics == other.topics
            assert one.count(["/lidar/points"]) == other.count(["/lidar/points"]) == 4


def test_the_one_topic_of_a_type_needs_no_name(tmp_path: Path) -> None:
    with open_bag(write_bag(tmp_path)) as bag:
        assert choose_topic(bag, POINT_CLOUD, None, "points_topic") == "/lidar/points"


def test_a_topic_that_is_not_there_is_answered_with_those_that_are(tmp_path: Path) -> None:
    with (
        open_bag(write_bag(tmp_path)) as bag,
        pytest.raises(
            InputError, match=r"topic /points not in bag; PointCloud2 topics there: /lidar/points"
        ),
    ):
        choose_topic(bag, POINT_CLOUD, "/points", "points_topic")


def test_two_topics_of_a_type_must_be_chosen_from(tmp_path: Path) -> None:
    path = write_bag(tmp_path, Scene(points_topics=("/left/points", "/right/points")))
    with open_bag(path) as bag:
        with pytest.raises(InputError, match=r"/left/points, /right/points; name .*points_topic"):
            choose_topic(bag, POINT_CLOUD, None, "points_topic")
        assert choose_topic(bag, POINT_CLOUD, "/left/points", "points_topic") == "/left/points"


@pytest.mark.parametrize("outputs", ["/segment/output", "/lidar"])
@pytest.mark.parametrize("kind", KINDS)
def test_what_a_node_published_is_no_input(tmp_path: Path, kind: str, outputs: str) -> None:
    # The filtered cloud has the fields of the input: its name tells, beside labelled clouds alone.
    node = {
        f"{outputs}/segmentation": ["class_id", "probability", "entropy"],
        f"{outputs}/labelled": ["intensity", "class_id", "probability"],
        f"{outputs}/visualization": ["rgb"],
        f"{outputs}/filtered": ["intensity", "time", "label"],
    }
    path = write_outputs(tmp_path / "all", kind, {"/lidar/points": ["intensity"], **node})
    with open_bag(path) as bag:
        assert choose_topic(bag, POINT_CLOUD, None, "--topic") == "/lidar/points"
        chosen = f"{outputs}/visualization"
        assert choose_topic(bag, POINT_CLOUD, chosen, "--topic") == chosen
    # Another cloud of no node is still to be chosen from, and without labelled clouds all are.
    two = {"/lidar/points": ["intensity"], "/lidar/coloured": ["rgb", "intensity"], **node}
    with (
        open_bag(write_outputs(tmp_path / "two", kind, two)) as bag,
        pytest.raises(InputError, match=r"several .*: /lidar/coloured, /lidar/points; name"),
    ):
        choose_topic(bag, POINT_CLOUD, None, "--topic")
    plain = {"/lidar/points": ["intensity"], "/lidar/visualization": ["rgb"]}
    with (
        open_bag(write_outputs(tmp_path / "plain", kind, plain)) as bag,
        pytest.raises(InputError, match=r"several .*: /lidar/points, /lidar/visualization"),
    ):
        choose_topic(bag, POINT_CLOUD, None, "--topic")
    # A recording of the outputs alone: the labelled clouds are what there is.
    with open_bag(write_outputs(tmp_path / "alone", kind, node)) as bag:
        chosen = f"{outputs}/segmentation"
        assert choose_topic(bag, POINT_CLOUD, None, "--topic") == chosen


def write_outputs(folder: Path, kind: str, fields: dict[str, list[str]]) -> Path:
    """A bag of one cloud a topic, of x, y, z and the topic's other fields."""
    clouds = {
        topic: np.ones(2, [(name, "<f4") for name in [*"xyz", *names]])
        for topic, names in fields.items()
    }
    scene = Scene(clouds=1, images=0, points_topics=(), other_clouds=clouds)
    return write_bag(folder, scene, kind=kind)


def test_a_bag_without_clouds_is_answered_with_its_topics(tmp_path: Path) -> None:
    with (
        open_bag(write_bag(tmp_path, Scene(clouds=0))) as bag,
        pytest.raises(InputError, match=r"no PointCloud2 in bag; topics there: .*CompressedImage"),
    ):
        choose_topic(bag, POINT_CLOUD, None, "points_topic")


def read_all(path: Path) -> None:
    with open_bag(path) as bag:
        for _ in bag.messages(list(bag.topics)):
            pass


@pytest.mark.parametrize("share", [0.02, 0.3, 0.7, 0.99])
@pytest.mark.parametrize("kind", KINDS)
def test_a_bag_that_was_cut_off_says_so_and_how_to_save_it(
    tmp_path: Path, kind: str, share: float
) -> None:
    path = write_bag(tmp_path, Scene(clouds=40, images=0), kind=kind)
    file = path if path.is_file() else next(path.glob("*.[md][cb]*"))
    octets = file.read_bytes()
    file.write_bytes(octets[: int(share * len(octets))])
    with pytest.raises(InputError, match=r"cut off.*(reindex|recover)"):
        read_all(path)


def test_damage_in_the_middle_of_a_bag_is_found(tmp_path: Path) -> None:
    path = write_bag(tmp_path, Scene(clouds=40, images=0), kind="sqlite3")
    file = next(path.glob("*.db3"))
    octets = bytearray(file.read_bytes())
    half = len(octets) // 2
    octets[half - 4096 : half + 4096] = bytes(8192)
    file.write_bytes(octets)
    with pytest.raises(InputError, match="cut off or damaged"):
        read_all(path)


def test_a_recording_without_metadata_is_unfinished(tmp_path: Path) -> None:
    path = write_bag(tmp_path)
    (path / "metadata.yaml").unlink()
    with pytest.raises(InputError, match=r"metadata.yaml is missing.*ros2 bag reindex"):
        read_all(path)


def test_what_is_no_bag_is_told_apart(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="does not exist"):
        read_all(tmp_path / "nowhere")
    (tmp_path / "notes.txt").write_text("hello")
    with pytest.raises(InputError, match=r"not a bag; allowed are .*\.mcap, \.db3, \.bag"):
        read_all(tmp_path / "notes.txt")
    with pytest.raises(InputError, match=r"neither metadata.yaml nor"):
        read_all(tmp_path)
    shutil.move(write_bag(tmp_path / "ros1", kind="ros1"), tmp_path / "drive.bag")
    with pytest.raises(InputError, match=r"ROS 1 bags; name the .bag files"):
        read_all(tmp_path)


@pytest.mark.parametrize(
    "encoding", ["jpeg", "rgb8", "bgr8", "rgba8", "bgra8", "mono8", "bayer_rggb8"]
)
def test_every_encoding_gives_the_same_picture(tmp_path: Path, encoding: str) -> None:
    path = write_bag(tmp_path, Scene(clouds=0, images=1, encoding=encoding))
    with open_bag(path) as bag:
        topics = [topic for topic in bag.topics if "image" in topic]
        ((_, message),) = bag.messages(topics)
    jpeg = jpeg_of(message, quality=95)
    assert (jpeg.width, jpeg.height) == (100, 80)
    image = decode_jpeg(jpeg.data).astype(int)
    if encoding == "mono8":  # luma: 0.299 red, 0.114 blue
        expected = np.where(np.arange(100) < 50, 76, 29)[None, :, None]
    else:
        expected = picture().astype(int)
    # JPEG and the Bayer filter smear the edge between the halves.
    away_from_edge = np.r_[:42, 58:100]
    assert np.abs(image - expected)[2:-2, away_from_edge].max() <= 6


def test_a_jpeg_is_kept_bit_for_bit() -> None:
    data = cv2.imencode(".jpg", picture())[1].reshape(-1)
    jpeg = jpeg_of(SimpleNamespace(format="jpeg", data=data), quality=10)
    assert jpeg.data.tobytes() == data.tobytes()


@given(
    width=st.integers(1, 40),
    height=st.integers(1, 40),
    orientation=st.integers(1, 8),
    cut=st.none() | st.integers(0, 900),
)
def test_a_jpeg_s_size_is_that_of_its_decoded_picture(
    width: int, height: int, orientation: int, cut: int | None
) -> None:
    exif = Image.Exif()
    exif[Base.Orientation] = orientation
    file = io.BytesIO()
    pixels = np.random.default_rng(width).integers(0, 256, (height, width, 3), np.uint8)
    Image.fromarray(pixels).save(file, "JPEG", exif=exif)
    data = np.frombuffer(file.getvalue()[:cut], np.uint8)
    image = decode_jpeg(data)
    if image is None:
        with pytest.raises(Unusable):
            jpeg_of(SimpleNamespace(format="jpeg", data=data), quality=10)
    else:
        jpeg = jpeg_of(SimpleNamespace(format="jpeg", data=data), quality=10)
        assert (jpeg.height, jpeg.width) == image.shape[:2]
        if cut is None:
            # From the fifth on the picture lies on its side.
            assert image.shape[:2] == ((height, width) if orientation < 5 else (width, height))


def test_an_image_that_cannot_be_used_gives_a_reason() -> None:
    depth = SimpleNamespace(encoding="32FC1", height=1, width=1, step=4, data=bytes(4))
    with pytest.raises(Unusable, match="'32FC1' is not a colour or grey one"):
        jpeg_of(depth, 90)
    short = SimpleNamespace(encoding="rgb8", height=2, width=2, step=6, data=bytes(11))
    with pytest.raises(Unusable, match="shorter than its size"):
        jpeg_of(short, 90)
    with pytest.raises(Unusable, match="can't be decoded"):
        jpeg_of(SimpleNamespace(format="jpeg", data=np.zeros(9, np.uint8)), 90)
