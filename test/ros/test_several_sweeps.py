"""A model that takes several sweeps, on clouds with and without those before them."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from several_sweeps import AGE, several_sweep_model

from haskd_ros import model_file
from haskd_ros.clouds.point_times import SECOND_NS
from haskd_ros.clouds.sweeps import Moment, PlacedSweep
from haskd_ros.errors import InputError
from haskd_ros.model_header import ModelMetadata
from haskd_ros.node.labelling import label_points, without_own_body
from haskd_ros.node.loaded_model import load_model
from haskd_ros.node.parameters.values import DEFAULTS
from haskd_ros.segmenter import Segmenter

COUNT = 2000


@pytest.fixture(scope="module")
def model(tiny_metadata, tmp_path_factory):
    return several_sweep_model(tmp_path_factory.mktemp("two") / "two.safetensors", tiny_metadata)


@pytest.fixture(scope="module")
def segmenter(model):
    return Segmenter.load(model, device="cpu", precision="fp32")


def drawn(seed: int) -> np.ndarray:
    generator = np.random.default_rng(seed)
    return generator.uniform((-20, -20, -2, 0), (20, 20, 2, 255), (COUNT, 4)).astype(np.float32)


def moment(earlier: np.ndarray, x: float = 0.5) -> Moment:
    """Of a cloud 0.1 s and x m behind another one."""
    pose = np.eye(4)
    pose[0, 3] = x
    before = PlacedSweep(9 * SECOND_NS // 10, np.eye(4), earlier, 255.0)
    return Moment(SECOND_NS, pose, [before])


def test_only_the_newest_points_are_labelled_by_what_the_others_show_too(segmenter):
    newest, earlier = drawn(0), drawn(1)
    alone = label_points(newest, 255.0, segmenter, DEFAULTS)
    both = label_points(newest, 255.0, segmenter, DEFAULTS, moment=moment(earlier))
    assert len(both.class_id) == len(both.probability) == len(both.entropy) == COUNT
    assert (both.probability != alone.probability).mean() > 0.5
    # The same by hand: 0.5 m nearer, 0.1 s older.
    moved = earlier - np.float32([0.5, 0, 0, 0])
    age = np.repeat(np.float32([[0], [0.1]]), COUNT, axis=0)
    rows = np.concatenate([newest, moved])
    expected = segmenter(rows, intensity_scale=255.0, channels={"sweep_age": age})
    np.testing.assert_array_equal(both.probability, expected.probability[:COUNT])


def test_libhaskd_labels_a_stack_to_the_same_bit_and_refuses_a_cloud_without_ages(model, segmenter):
    found = load_model(replace(DEFAULTS, model=str(model), precision="fp32")).segmenter
    if found.engine != "libhaskd":
        pytest.skip("needs libhaskd")
    newest, below = drawn(0), moment(drawn(1))
    said, expected = (
        label_points(newest, 255.0, each, DEFAULTS, moment=below) for each in (found, segmenter)
    )
    np.testing.assert_array_equal(said.probability, expected.probability)
    for each in (found, segmenter):
        with pytest.raises(InputError, match=r"requires sweep_age.*made where sweeps are stacked"):
            each(newest)


def test_the_robots_own_body_is_left_out_of_a_sweep_in_its_own_frame():
    body, wall = (0.5, 0, 0, 1), (1.5, 0, 0, 1)
    sweep = PlacedSweep(
        0, np.eye(4), np.float32([body, wall, (0, 0, 0, 1), (np.nan, 1, 1, 1)]), 1.0,
        {"echo": np.uint8([[1], [2], [3], [4]])},
    )  # fmt: skip
    kept = without_own_body(sweep, replace(DEFAULTS, range_min=1.0))
    assert kept.points.tolist() == [list(wall)] and kept.channels["echo"].tolist() == [[2]]
    box = replace(DEFAULTS, crop_min=(-1.0, -1.0, -1.0), crop_max=(1.0, 1.0, 1.0))
    assert without_own_body(sweep, box).points.tolist() == [list(body)]


def test_a_memory_gets_the_newest_points_alone(segmenter):
    sizes = []

    def refine(points: torch.Tensor, probabilities: torch.Tensor) -> torch.Tensor:
        sizes.append((len(points), len(probabilities)))
        certain = torch.zeros_like(probabilities)
        certain[:, 2] = 1
        return certain

    said = label_points(
        drawn(0), 255.0, segmenter, DEFAULTS, moment=moment(drawn(1)), refine=refine
    )
    assert sizes == [(COUNT, COUNT)] and (said.class_id == 2).all()


def test_a_header_of_several_sweeps_has_their_age_and_one_of_a_single_sweep_says_nothing(
    tiny_metadata, model
):
    _, metadata = model_file.load(model)
    assert metadata.sweeps == 2 and metadata.to_document()["sweeps"] == 2
    assert "sweeps" not in tiny_metadata.to_document()
    assert ModelMetadata.from_document(metadata.to_document()) == metadata
    arguments = {**tiny_metadata.arguments, "extra_inputs": 1}
    optional = replace(AGE, required=False)
    for changes in (
        {"sweeps": 2},
        {"arguments": arguments, "channels": (AGE,)},
        {"arguments": arguments, "channels": (optional,), "sweeps": 2},
    ):
        with pytest.raises(ValueError, match="sweep_age, required, belongs to 2 or more"):
            replace(tiny_metadata, **changes)
    with pytest.raises(ValueError, match="less than or equal to 16"):
        replace(metadata, sweeps=17)
