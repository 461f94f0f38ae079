"""The runtime without Python labels as `Segmenter` does, bit for bit."""

from __future__ import annotations

import hashlib
import math
import threading
from dataclasses import replace
from itertools import islice

import numpy as np
import psutil
import pytest
import torch
from coloured import rgb_model
from runtime_library import FIELD_TYPES, REFUSED, TOO_FEW_POINTS, Cloud, Field, Refused

from haskd_ros import __version__, model_file
from haskd_ros.clouds.point_layout import point_dtype
from haskd_ros.clouds.pointcloud import read_xyz_intensity
from haskd_ros.model_header import Intensity
from haskd_ros.models import build
from haskd_ros.segmentation import DEFAULT_MODEL
from haskd_ros.segmenter import Segmenter

POINTS = 4000


@pytest.fixture(scope="module")
def points():
    """[N, 4] in a street's extent, some of them without a place, an intensity, or beyond all that
    was seen in training."""
    drawn = np.random.default_rng(0).normal(0, (15, 15, 2, 80), (POINTS, 4)).astype(np.float32)
    drawn[::50, 0], drawn[1::50, 3], drawn[2::50, :3] = np.nan, np.inf, 0
    drawn[3::50] *= 1000
    drawn[4::200, 2] = -np.inf
    return drawn


def assert_same(found, expected):
    np.testing.assert_array_equal(found.class_id, expected.class_id)
    np.testing.assert_array_equal(found.probability, expected.probability)
    np.testing.assert_array_equal(found.entropy, expected.entropy)
    assert found.beyond_training == expected.beyond_training
    assert found.labelled == (expected.class_id != 255).sum()


def model_of(tmp_path, metadata, seed, **arguments):
    """A model file with drawn weights whose norms have learned something."""
    header = replace(metadata, arguments={"voxel_size": 0.4, **arguments}, temperature=1.7)
    torch.manual_seed(seed)
    network = build("sparse_unet", classes=len(header.taxonomy), **header.arguments)
    for name, value in network.state_dict().items():
        if name.endswith(("running_mean", "norm.bias")):
            value.normal_(0, 0.3)
        elif name.endswith(("running_var", "norm.weight")):
            value.uniform_(0.5, 2)
    model_file.save(tmp_path / "drawn.safetensors", network, header)
    return tmp_path / "drawn.safetensors"


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("threads", [1, 2])
def test_the_model_of_the_package_labels_alike(runtime, points, precision, threads):
    segmenter = Segmenter.load(DEFAULT_MODEL, device="cpu", precision=precision)
    with runtime.open(DEFAULT_MODEL, precision) as model:
        assert model.info.bf16 == (precision == "bf16")
        for count in (POINTS, 0, 1, POINTS, 333):
            assert_same(
                model.label_rows(points[:count], threads=threads), segmenter(points[:count])
            )


@pytest.mark.parametrize(
    "arguments",
    [
        {"channels": [5]},
        {"channels": [32, 33, 8], "blocks": [2, 1, 3], "decoder_blocks": [0, 2]},
        {"channels": [32, 32, 64, 48, 40], "decoder_blocks": [1, 1, 1, 1]},
    ],
    ids=["a single level", "odd widths", "five levels"],
)
def test_networks_of_every_shape_label_alike(runtime, points, tmp_path, tiny_metadata, arguments):
    path = model_of(tmp_path, tiny_metadata, 3, **arguments)
    segmenter = Segmenter.load(path, device="cpu")
    with runtime.open(path) as model:
        assert_same(model.label_rows(points), segmenter(points))


def test_ranges_units_and_clouds_without_intensity_are_taken_alike(runtime, points, tiny_model):
    segmenter = Segmenter.load(tiny_model, device="cpu")
    with runtime.open(tiny_model) as model:
        for options in (
            {"min_range": 5.0},
            {"max_range": 12.5},
            {"max_range": 1e6},
            {"intensity_scale": 1.0},
            {"min_range": 3.0, "max_range": 40.0, "intensity_scale": 65535.0},
        ):
            assert_same(model.label_rows(points, **options), segmenter(points, **options))
        place = np.ascontiguousarray(points[:, :3])
        assert_same(model.label_rows(place), segmenter(place))


def test_channels_take_part_and_their_means_stand_in(runtime, points, tmp_path, tiny_metadata):
    path = rgb_model(tmp_path / "rgb.safetensors", tiny_metadata)
    colours = np.random.default_rng(1).uniform(-9, 400, (POINTS, 3)).astype(np.float32)
    colours[::7] = np.nan
    segmenter = Segmenter.load(path, device="cpu")
    with runtime.open(path) as model:
        assert model.channels() == [("rgb", 3, 255.0, False)]
        coloured = model.label_rows(np.concatenate([points, colours], 1))
        assert_same(coloured, segmenter(points, channels={"rgb": colours}))
        assert_same(model.label_rows(points), segmenter(points))
        with pytest.raises(Refused, match="only some of the values of channel rgb"):
            model.label_rows(np.concatenate([points, colours[:, :2]], 1))


LAYOUTS = {
    "side by side in a wider point": ["f4", "f4", "f4", "f4"],
    "bytes of intensity": ["f4", "f4", "f4", "u1"],
    "16 bits": ["i2", "i2", "i2", "u2"],
    "32 bits": ["i4", "i4", "f4", "i4"],
    "64 bits": ["f8", "f8", "f8", "f8"],
    "signed bytes": ["i1", "i1", "i1", "i1"],
    "unsigned places": ["u4", "u1", "u2", "u4"],
}


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("height", [1, 8])
def test_a_cloud_of_any_layout_is_read_in_place(runtime, tiny_model, layout, height):
    types = LAYOUTS[layout]
    drawn = np.random.default_rng(2).uniform(0, 100, (height, 100, 4))
    # At odd addresses, with a byte in front and rows that are padded.
    point = np.dtype(
        {
            "names": ["x", "y", "z", "intensity"],
            "formats": types,
            "offsets": np.cumsum([1, *(np.dtype(each).itemsize for each in types[:-1])]).tolist(),
            "itemsize": 40,
        }
    )
    memory = np.zeros(height * (100 * 40 + 24), np.uint8)
    rows = np.ndarray((height, 100), point, memory, strides=(100 * 40 + 24, 40))
    for column, name in enumerate(point.names):
        rows[name] = drawn[..., column].astype(types[column])
    cloud = Cloud(memory.ctypes.data, memory.nbytes, height, 100, 40, 100 * 40 + 24)
    for name, kind in zip(point.names, types):
        setattr(cloud, name, Field(point.fields[name][1], FIELD_TYPES[kind]))
    flat = np.stack([rows[name].astype(np.float32) for name in point.names], -1).reshape(-1, 4)
    with runtime.open(tiny_model) as model:
        assert_same(model.label(cloud), Segmenter.load(tiny_model, device="cpu")(flat))


def one_point(**changes):
    """A cloud of one point of 16 bytes, and what it points to."""
    memory = np.array([[1, 2, 3, 4]], np.float32)
    fields = {name: Field(4 * i, 7) for i, name in enumerate(("x", "y", "z", "intensity"))}
    content = {"data": memory.ctypes.data, "bytes": 16, "height": 1, "width": 1, "point_step": 16}
    return Cloud(**{**content, **fields, **changes}), memory


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"bytes": 15}, "data of 15 bytes is too short"),
        ({"width": 2}, "too short"),
        ({"width": 1 << 60}, "more than 2147483647 points"),
        ({"height": 1 << 40, "width": 1 << 40}, "more than 2147483647 points"),
        ({"height": 2, "row_step": 15}, "row_step is 15, but a row needs 16"),
        ({"height": 2, "row_step": 2**64 - 1}, "too short"),
        ({"point_step": 0}, "point_step is 0, must be 1 to 65536"),
        ({"point_step": 1 << 40}, "point_step is 1099511627776, must be"),
        ({"z": Field(13, 7)}, "field z ends at byte 17, point_step is only 16"),
        ({"y": Field(2**32 - 1, 8)}, "field y ends at byte 4294967303"),
        ({"x": Field()}, "no field x"),
        ({"intensity": Field(0, 9)}, "field intensity is of type 9, must be 1 .INT8. to 8"),
        ({"data": None}, "no data"),
    ],
)
def test_a_cloud_that_contradicts_itself_is_refused(runtime, tiny_model, changes, complaint):
    cloud, _memory = one_point(**changes)
    with (
        runtime.open(tiny_model) as model,
        pytest.raises(Refused, match=complaint) as refused,
    ):
        model.label(cloud)
    assert refused.value.status == REFUSED


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        ({"threads": -1}, "-1 threads; wanted 0 to 1024"),
        ({"threads": 100_000}, "100000 threads"),
        ({"min_range": math.nan}, "a range from nan to 0 m"),
        ({"max_range": -1.0}, "a range from 0 to -1 m"),
        ({"intensity_scale": math.inf}, "intensity_scale is inf"),
    ],
)
def test_options_that_make_no_sense_are_refused(runtime, tiny_model, options, complaint):
    with runtime.open(tiny_model) as model, pytest.raises(Refused, match=complaint):
        model.label(one_point()[0], **options)


def test_a_cloud_of_too_few_points_has_a_status_of_its_own(runtime, tiny_model):
    # Two of four are returns: one is in the origin, one has no height.
    points = np.float32([[1, 0, 0, 9], [0, 0, 0, 9], [0, 1, np.nan, 9], [2, 0, 0, 9]])
    with runtime.open(tiny_model) as model:
        assert model.label_rows(points, min_points=2).labelled == 2
        with pytest.raises(Refused, match="2 valid points of 4, min_points is 3") as refused:
            model.label_rows(points, min_points=3)
    assert refused.value.status == TOO_FEW_POINTS


def test_a_model_that_requires_intensity_refuses_clouds_without(
    runtime, points, tmp_path, tiny_metadata
):
    strict = replace(tiny_metadata, intensity=Intensity(255.0, 0.1, required=True))
    with runtime.open(model_of(tmp_path, strict, 1, channels=[4])) as model:
        assert model.info.intensity_required
        with pytest.raises(Refused, match="requires intensity and the cloud has none"):
            model.label_rows(np.ascontiguousarray(points[:, :3]))


def test_a_model_tells_what_it_is(runtime, tiny_model):
    digest = hashlib.sha256(tiny_model.read_bytes()).hexdigest()
    with runtime.open(tiny_model) as model:
        info = model.info
        assert info.sha256.decode() == digest
        assert (info.classes, info.channels, info.channel_values) == (3, 0, 0)
        assert (info.voxel_size, info.max_range, info.intensity_scale) == (0.5, 100.0, 255.0)
        assert model.classes() == [
            ("road", (128, 64, 128), False),
            ("car", (0, 0, 142), True),
            ("building", (70, 70, 70), False),
        ]
        assert model.channels() == []
    assert runtime.version == __version__


def test_what_is_not_there_is_refused(runtime):
    library = runtime.library
    assert library.haskd_class(None, 0, None) == library.haskd_channel(None, 0, None) == REFUSED
    assert library.haskd_label(None, None, None, None, None, None, 0) == REFUSED
    assert library.haskd_open(None, 0, None, None, 0) is None
    library.haskd_describe(None, None)
    library.haskd_close(None)


def test_handles_in_several_threads_do_not_disturb_each_other(runtime, points, tiny_model):
    with runtime.open(tiny_model) as one, runtime.open(tiny_model) as other:
        expected = [one.label_rows(points[:count]) for count in (POINTS, 1000)]
        wrong = []

        def label(model, count, wanted):
            for _ in range(10):
                found = model.label_rows(points[:count], threads=2)
                wrong.append(not np.array_equal(found.probability, wanted.probability))

        # Two share a handle, which lets one after the other.
        threads = [
            threading.Thread(target=label, args=(model, count, wanted))
            for model, (count, wanted) in zip(
                (one, other, one), ((POINTS, expected[0]), (1000, expected[1]), (1000, expected[1]))
            )
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert wrong == [False] * 30


def test_memory_does_not_grow_with_the_number_of_clouds(runtime, points, tiny_model):
    with runtime.open(tiny_model) as model:
        for _ in range(5):
            model.label_rows(points)
        before = psutil.Process().memory_info().rss
        for count in range(POINTS - 60, POINTS):
            model.label_rows(points[:count])
        grown = psutil.Process().memory_info().rss - before
    assert grown < 16 << 20  # of 60 clouds, whose numbers take some MB each


@pytest.mark.parametrize("name", ["pandaset_002_val", "semantickitti_04"])
def test_sweeps_of_real_recordings_are_labelled_alike(runtime, real_bags, name):
    pytest.importorskip("rosbags", reason="reads bags with rosbags (pip install '.[training]')")
    from haskd_training.recordings.readers.bag import POINT_CLOUD, open_bag

    if not (real_bags / name).is_dir():
        pytest.skip(f"{name} is not at {real_bags}")
    segmenter = Segmenter.load(DEFAULT_MODEL, device="cpu", precision="fp32")
    with open_bag(real_bags / name) as bag, runtime.open(DEFAULT_MODEL, "fp32") as model:
        for _, message in islice(bag.messages(bag.topics_of(POINT_CLOUD)), 2):
            points, _ = read_xyz_intensity(message)
            dtype = point_dtype(message, ["x", "y", "z", "intensity"])
            fields = [
                Field(dtype.fields[name][1], FIELD_TYPES[dtype[name].str[1:]])
                for name in ("x", "y", "z", "intensity")
            ]
            data = np.ascontiguousarray(message.data)
            cloud = Cloud(
                *(data.ctypes.data, data.nbytes, message.height, message.width),
                *(message.point_step, message.row_step, *fields),
            )
            assert_same(model.label(cloud), segmenter(points))
