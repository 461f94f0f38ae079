"""The segmenter without torch is the one with torch, to the bit."""

from __future__ import annotations

import math
import os
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
from coloured import rgb_model
from kernel_checks import needs_kernels

from haskd_ros import model_content, model_file, runtime_segmenter
from haskd_ros.errors import InputError
from haskd_ros.model_content import ModelFileError
from haskd_ros.models import build
from haskd_ros.runtime_segmenter import RuntimeSegmenter, open_runtime
from haskd_ros.segmentation import DEFAULT_MODEL
from haskd_ros.segmenter import Segmenter

pytestmark = needs_kernels

POINTS = 3000


@pytest.fixture(scope="module")
def points() -> np.ndarray:
    drawn = np.random.default_rng(0).normal(0, (15, 15, 2, 80), (POINTS, 4)).astype(np.float32)
    drawn[::50, 0], drawn[1::50, 3], drawn[2::50, :3] = np.nan, np.inf, 0
    drawn[3::50] *= 1000
    return drawn


def opened(path, **options) -> RuntimeSegmenter:
    segmenter = open_runtime(model_content.read(path), path, **{"device": "cpu", **options})
    assert segmenter is not None
    return segmenter


def assert_same(found, expected) -> None:
    np.testing.assert_array_equal(found.class_id, expected.class_id)
    np.testing.assert_array_equal(found.probability, expected.probability)
    np.testing.assert_array_equal(found.entropy, expected.entropy)
    assert found.beyond_training == expected.beyond_training
    assert found.timings.keys() == expected.timings.keys()


@pytest.mark.parametrize("precision", ["auto", "fp32", "bf16"])
def test_the_model_of_the_package_labels_alike(points, precision):
    ours = opened(DEFAULT_MODEL, precision=precision, threads=2)
    theirs = Segmenter.load(DEFAULT_MODEL, device="cpu", precision=precision)
    assert ours.precision == theirs.precision
    assert ours.metadata == theirs.metadata
    for options in (
        {},
        {"min_range": 5.0, "max_range": 12.5},
        {"max_range": 0.0},
        {"max_range": math.inf, "intensity_scale": 1.0},
    ):
        assert_same(ours(points, **options), theirs(points, **options))
    with ours.on_one_thread():
        assert_same(ours(points), theirs(points))


LAYOUTS = {
    "without intensity": lambda points: points[:, :3],
    "a view of wider points": lambda points: np.pad(points, ((0, 0), (2, 5)))[:, 2:6],
    "backwards": lambda points: points[::-1],
    "columns apart": lambda points: np.asfortranarray(points),
    "one point over and over": lambda points: np.broadcast_to(points[10], (50, 4)),
    "64 bits": lambda points: points.astype(np.float64),
    "one point": lambda points: points[10:11],
    "none": lambda points: points[:0],
}


@pytest.mark.parametrize("layout", LAYOUTS.values(), ids=LAYOUTS)
def test_points_may_lie_in_memory_as_they_like(layout, points, tiny_model):
    given = layout(points)
    assert_same(opened(tiny_model)(given), Segmenter.load(tiny_model, device="cpu")(given))


def test_channels_take_part_and_their_means_stand_in(points, tmp_path, tiny_metadata):
    path = rgb_model(tmp_path / "rgb.safetensors", tiny_metadata)
    ours, theirs = opened(path), Segmenter.load(path, device="cpu")
    colours = np.random.default_rng(1).uniform(-9, 400, (POINTS, 3))
    colours[::7] = np.nan
    for values in (
        colours,
        colours.astype(np.float32),
        np.abs(np.nan_to_num(colours)).astype("u1"),
    ):
        for given in (points, points[:, :3]):
            channels = {"rgb": values}
            assert_same(ours(given, channels=channels), theirs(given, channels=channels))
            assert_same(ours(given), theirs(given))
    with pytest.raises(InputError, match=r"rgb of shape \(2, 3\), wanted \(3000, 3\)"):
        ours(points, channels={"rgb": colours[:2]})


def test_what_a_model_requires_is_asked_for(points, tmp_path, tiny_metadata):
    header = replace(tiny_metadata, intensity=replace(tiny_metadata.intensity, required=True))
    network = build(header.architecture, classes=3, **header.arguments)
    model_file.save(tmp_path / "model.safetensors", network, header)
    ours = opened(tmp_path / "model.safetensors")
    with pytest.raises(InputError, match="requires intensity"):
        ours(points[:, :3])
    with pytest.raises(InputError, match=r"points have shape \(3000, 2\)"):
        ours(points[:, :2])


def test_a_file_that_is_no_model_is_named(tmp_path, tiny_model):
    content = tiny_model.read_bytes()
    with pytest.raises(ModelFileError, match=r"^model some\.file: damaged"):
        open_runtime(content[:-1] + b"\0" * 9, "some.file", device="cpu")


@pytest.mark.parametrize(
    "options", [{"device": "cuda:0"}, {"device": "nonsense"}, {"precision": "fp16"}]
)
def test_what_it_can_not_do_it_leaves_to_torch(options, tiny_model):
    assert open_runtime(tiny_model.read_bytes(), "m", **{"device": "cpu", **options}) is None


def test_another_network_and_plain_torch_are_left_to_torch(tiny_metadata, tmp_path, monkeypatch):
    header = replace(tiny_metadata, architecture="range_view", arguments={"channels": (4, 8)})
    network = build(header.architecture, classes=3, **header.arguments)
    model_file.save(tmp_path / "range.safetensors", network, header)
    assert open_runtime((tmp_path / "range.safetensors").read_bytes(), "m", device="cpu") is None
    monkeypatch.setenv("HASKD_NATIVE", "0")
    assert open_runtime(DEFAULT_MODEL.read_bytes(), "m", device="cpu") is None


def test_threads_are_as_the_environment_says_or_one_a_core(monkeypatch, tiny_model):
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    assert runtime_segmenter._default_threads() == 3
    for nonsense in ("", "many", "-2"):
        monkeypatch.setenv("OMP_NUM_THREADS", nonsense)
        assert 1 <= runtime_segmenter._default_threads() <= len(os.sched_getaffinity(0))


WITHOUT_TORCH = """
import sys
sys.modules["torch"] = sys.modules["safetensors"] = None  # as if they were not installed
from pathlib import Path
import numpy as np
from haskd_ros.node.loaded_model import LabellingSetup, load_model
from haskd_ros.node.labelling import label_points
from haskd_ros.node.parameters.values import Parameters
from haskd_ros.errors import InputError
parameters = Parameters(model=sys.argv[1], filter_voxel_size=0.1)
setup = LabellingSetup(load_model(parameters), parameters)
setup.model.warm_up(1000)
points = np.random.default_rng(0).normal(0, 9, (500, 4)).astype(np.float32)
result = label_points(points, 255.0, setup.model.segmenter, parameters)
print(setup.model.segmenter.engine, len(result.class_id))
for changes in ({"memory.half_life": 0.5}, {"precision": "fp16"}, {"device": "cuda:0"}):
    try:
        load_model(parameters.changed(changes))
    except InputError as error:
        print("needs torch" in str(error))
"""


def test_a_node_needs_torch_for_what_libhaskd_can_not_do_and_for_nothing_else(tiny_model):
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT_TORCH, str(tiny_model)], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == ["libhaskd", "500", *["True"] * 3]
