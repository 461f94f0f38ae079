"""The C++ node of examples/cpp_node labels clouds as the Python node does. What of it is free of
ROS is compiled here; the rest needs rclcpp."""

from __future__ import annotations

import ctypes
from ctypes import c_char_p, c_double, c_int, c_int64, c_size_t, c_uint32, c_void_p
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from coloured import packed, rgb_model

from haskd_ros import __version__
from haskd_ros.clouds.intensity import IntensityUnit
from haskd_ros.clouds.output_clouds import segmentation_points
from haskd_ros.clouds.point_layout import DATATYPES
from haskd_ros.native.compiler import compiler_command, run
from haskd_ros.native.runtime.build import HEADER
from haskd_ros.node.labelling import label_cloud
from haskd_ros.node.parameters.values import DEFAULTS
from haskd_ros.segmenter import Segmenter

REPOSITORY = Path(__file__).resolve().parents[4]
SOURCES = REPOSITORY / "examples" / "cpp_node" / "src"


@pytest.fixture(scope="module")
def shim(runtime_path, tmp_path_factory):
    folder = tmp_path_factory.mktemp("cpp_node")
    sources = [SOURCES / f"{name}.cpp" for name in ("cloud_fields", "intensity_unit")]
    sources += [SOURCES / "segmentation.cpp", REPOSITORY / "test" / "support" / "cpp_node_shim.cpp"]
    unit = folder / "all.cpp"
    unit.write_text("".join(f'#include "{source}"\n' for source in sources))
    flags = ["-std=c++17", "-O0", "-Wall", "-Wextra", "-Werror", "-shared", "-fPIC"]
    includes = [f"-I{HEADER.parent}", f"-I{SOURCES}"]
    library = folder / "shim.so"
    command = [*compiler_command(), *flags, *includes, str(unit), str(runtime_path)]
    run([[*command, "-o", str(library)]], folder)
    opened = ctypes.CDLL(str(library))
    opened.shim_open.argtypes = [c_char_p, c_double, c_char_p]
    opened.shim_open.restype = c_void_p
    opened.shim_close.argtypes = [c_void_p]
    opened.shim_close.restype = None
    opened.shim_label.argtypes = [
        *(c_void_p, c_char_p, c_uint32, c_uint32, c_uint32, c_uint32, c_int),
        *(c_void_p, c_size_t, c_void_p, c_char_p),
    ]
    opened.shim_label.restype = c_int64
    return opened


class Node:
    """The ROS-free part of the node with a model."""

    def __init__(self, shim, model, intensity_scale=0.0):
        self._shim, self._text = shim, ctypes.create_string_buffer(4096)
        self._opened = shim.shim_open(str(model).encode(), intensity_scale, self._text)
        self.said = self._text.value.decode()

    def label(self, cloud):
        """(bytes, what it told) of a cloud; raises ValueError where it is refused."""
        fields = "".join(f"{f.name} {f.offset} {f.datatype} {f.count}\n" for f in cloud.fields)
        result = np.zeros(cloud.height * cloud.width * 40 + 1, np.uint8)
        count = self._shim.shim_label(
            *(self._opened, fields.encode(), cloud.height, cloud.width, cloud.point_step),
            *(cloud.row_step, cloud.is_bigendian, cloud.data.ctypes.data, len(cloud.data)),
            *(result.ctypes.data, self._text),
        )
        text = self._text.value.decode()
        if count < 0:
            raise ValueError(text)
        return result[:count].tobytes(), text.splitlines()


def cloud_of(points, padding=0):
    """A message of structured points [height, width]."""
    height, width = points.shape
    rows = np.zeros((height, width * points.itemsize + padding), np.uint8)
    rows[:, : width * points.itemsize] = points.view(np.uint8).reshape(height, -1)
    return SimpleNamespace(
        height=height,
        width=width,
        fields=[
            SimpleNamespace(
                name=name, offset=points.dtype.fields[name][1],
                datatype=DATATYPES[points.dtype[name]], count=1,
            )
            for name in points.dtype.names
        ],
        is_bigendian=False,
        point_step=points.itemsize,
        row_step=rows.shape[1],
        data=rows.reshape(-1),
    )  # fmt: skip


def drawn(seed, dtype, height, intensity=None, full=1.0):
    """[height, 200] points in a yard's extent."""
    random = np.random.default_rng(seed)
    points = np.zeros((height, 200), dtype)
    for name, spread in zip("xyz", (15, 15, 2)):
        points[name] = random.normal(0, spread, points.shape).astype(points.dtype[name])
    if points.dtype["x"].kind == "f":
        points["x"][:, ::20] = np.nan
    if intensity:
        points[intensity] = (random.uniform(0, full, points.shape)).astype(points.dtype[intensity])
    return points


F4 = [("x", "<f4"), ("y", "<f4"), ("z", "<f4")]
F8 = [("x", "<f8"), ("y", "<f8"), ("z", "<f8")]
CLOUDS = {
    "floats to 255": (np.dtype([*F4, ("intensity", "<f4")]), 1, "intensity", 255),
    "floats to 1": (np.dtype([*F4, ("intensity", "<f4"), ("ring", "<u2")]), 1, "intensity", 1),
    "floats to 65535": (np.dtype([*F4, ("i", "<f4")]), 1, "i", 60000),
    "an organised cloud of reflectivity": (
        np.dtype([("t", "<u4"), *F4, ("reflectivity", "<u2")]), 8, "reflectivity", 255,
    ),
    "bytes in front": (np.dtype([("intensity", "u1"), *F4]), 4, "intensity", 90),
    "coordinates of a map": (np.dtype([*F8, ("intensity", "<f4")]), 1, "intensity", 0.8),
    "whole numbers": (
        np.dtype([("x", "<i4"), ("y", "<i2"), ("z", "i1"), ("i", "i1")]), 2, "i", 99,
    ),
    "no intensity": (np.dtype(F4), 1, None, 0),
    "an intensity of 0": (np.dtype([*F4, ("intensity", "<f4")]), 1, "intensity", 0),
}  # fmt: skip


def expected_of(cloud, segmenter, unit):
    labelled = label_cloud(cloud, segmenter, DEFAULTS, unit=unit)
    result = labelled.result
    points = segmentation_points(
        labelled.coordinates, result.class_id, result.probability, result.entropy
    )
    return points, labelled.has_intensity


@pytest.mark.parametrize("name", CLOUDS)
def test_a_labelled_cloud_is_that_of_the_python_node(shim, tiny_model, name):
    dtype, height, intensity, full = CLOUDS[name]
    segmenter, unit = Segmenter.load(tiny_model, device="cpu"), IntensityUnit()
    node = Node(shim, tiny_model)
    assert node.said == "road, car, building"
    # Of several clouds: the unit of the intensity depends on those before.
    for seed, brightness in ((0, 0.5), (1, 1.0), (2, 0.001)):
        points = drawn(seed, dtype, height, intensity, full * brightness)
        cloud = cloud_of(points, padding=8 if height > 1 else 0)
        wanted, has_intensity = expected_of(cloud, segmenter, unit)
        found, told = node.label(cloud)
        assert found == wanted.tobytes()
        fields = [
            f"{each} {wanted.dtype.fields[each][1]} {DATATYPES[wanted.dtype[each]]} 1"
            for each in wanted.dtype.names
        ]
        assert told == [f"{wanted.itemsize} {int(has_intensity)}", *fields]


def test_a_fixed_unit_holds(shim, tiny_model):
    cloud = cloud_of(drawn(0, CLOUDS["floats to 255"][0], 1, "intensity", 255))
    wanted, _ = expected_of(cloud, Segmenter.load(tiny_model, device="cpu"), IntensityUnit(100.0))
    assert Node(shim, tiny_model, 100.0).label(cloud)[0] == wanted.tobytes()


@pytest.mark.parametrize("is_packed", [True, False])
def test_colours_are_read_in_place(shim, tmp_path, tiny_metadata, is_packed):
    model = rgb_model(tmp_path / "rgb.safetensors", tiny_metadata)
    names = [("rgb", "<f4")] if is_packed else [("r", "u1"), ("g", "u1"), ("b", "u1")]
    points = drawn(0, np.dtype([*F4, ("intensity", "<f4"), *names]), 1, "intensity", 255)
    colours = np.random.default_rng(0).integers(0, 256, (200, 3))
    if is_packed:
        points["rgb"] = packed(colours)
    else:
        for column, name in enumerate("rgb"):
            points[name] = colours[:, column]
    segmenter = Segmenter.load(model, device="cpu")
    wanted, _ = expected_of(cloud_of(points), segmenter, IntensityUnit())
    node = Node(shim, model)
    assert node.label(cloud_of(points))[0] == wanted.tobytes()
    plain = drawn(0, np.dtype(F4), 1)
    wanted, _ = expected_of(cloud_of(plain), segmenter, IntensityUnit())
    found, told = node.label(cloud_of(plain))
    assert found == wanted.tobytes()
    assert told[-1] == "no rgb"


def test_an_empty_cloud_comes_back_empty(shim, tiny_model):
    cloud = SimpleNamespace(
        height=1, width=0, fields=[], point_step=0, row_step=0, is_bigendian=False,
        data=np.zeros(1, np.uint8),
    )  # fmt: skip
    assert Node(shim, tiny_model).label(cloud)[0] == b""


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        (lambda c: c.fields.pop(2), "no field z; its fields are x, y, intensity"),
        (lambda c: c.fields.append(c.fields[0]), "field x stands twice"),
        (lambda c: setattr(c.fields[1], "datatype", 9), "field y has datatype 9; read are 1"),
        (lambda c: setattr(c.fields[1], "datatype", 0), "field y has datatype 0"),
        (lambda c: setattr(c.fields[3], "offset", 13), "field intensity ends behind the point of"),
        (lambda c: setattr(c.fields[0], "count", 2), "no field x"),
        (lambda c: setattr(c, "is_bigendian", True), "it is big-endian"),
        (lambda c: setattr(c, "point_step", 0), "point_step is 0, must be 1 to 65536"),
        (lambda c: setattr(c, "point_step", 1 << 31), "point_step is 2147483648"),
        (lambda c: setattr(c, "height", 3), "its points need 9600 bytes, the data has 6400"),
        (lambda c: setattr(c, "row_step", 15), "row_step is 15, but a row needs 3200 bytes"),
        (lambda c: c.fields.extend(c.fields * 100), "it has 404 fields, must be 256 at most"),
    ],
)
def test_a_cloud_that_cannot_be_read_is_refused_with_the_reason(
    shim, tiny_model, change, complaint
):
    cloud = cloud_of(drawn(0, np.dtype([*F4, ("intensity", "<f4")]), 2, "intensity"))
    change(cloud)
    with pytest.raises(ValueError, match=complaint):
        Node(shim, tiny_model).label(cloud)


def test_a_model_that_cannot_be_read_is_told(shim, tmp_path):
    assert "No such file" in Node(shim, tmp_path / "none").said


def test_its_package_has_the_version_of_this_one():
    assert f"<version>{__version__}</version>" in (SOURCES.parent / "package.xml").read_text()
