"""Whatever comes in is labelled or counted as rejected, and never costs more than it weighs."""

from __future__ import annotations

import tracemalloc
from collections import Counter
from types import SimpleNamespace

import numpy as np
import pytest
from hostile_clouds import hostile_cloud
from hypothesis import given, settings
from hypothesis import strategies as st

from haskd_ros.clouds.pointcloud import (
    INTENSITY_FIELDS,
    CloudError,
    append_columns,
    read_points,
    read_xyz_intensity,
    select_points,
)
from haskd_ros.errors import InputError
from haskd_ros.node.labelling import label_cloud
from haskd_ros.node.parameters.values import DEFAULTS
from haskd_ros.segmenter import Segmenter

REASONS = {
    "bad point_step", "unknown datatype", "field of count 0", "field past point_step",
    "field stands twice", "row_step too small", "data too short", "no field x", "no field y",
    "no field z",
}  # fmt: skip


def outcome(cloud, segmenter) -> str:
    """What becomes of a cloud: labelled, or the reason why not."""
    try:
        found = label_cloud(cloud, segmenter, DEFAULTS)
    except CloudError as error:
        assert error.reason
        return error.reason
    except InputError:
        return "refused"
    count = cloud.width * cloud.height
    assert len(found.points) == len(found.result.class_id) == count
    assert select_points(cloud, found.filter_mask()).width <= count
    labelled_cloud = append_columns(cloud, {"class_id": found.result.class_id}, SimpleNamespace)
    assert len(labelled_cloud.data) >= len(found.points)
    labelled = found.result.class_id != 255
    assert np.isfinite(found.points[labelled, :3]).all()
    assert (found.result.probability[labelled] > 0).all()
    return "labelled"


def test_thousands_of_hostile_clouds_meet_every_check(tiny_model):
    segmenter = Segmenter.load(tiny_model, device="cpu")
    random = np.random.default_rng(0)
    outcomes = Counter(outcome(hostile_cloud(random), segmenter) for _ in range(3000))
    assert outcomes["labelled"] > 300
    # Reasons are counted: there are these, whatever the messages say
    assert set(outcomes) >= REASONS
    assert set(outcomes) <= REASONS | {"labelled"} | {
        f"no field {name}" for name in INTENSITY_FIELDS
    }


@given(st.integers(0, 2**63 - 1))
@settings(max_examples=300)
def test_reading_a_cloud_allocates_no_more_than_its_points_need(seed):
    cloud = hostile_cloud(np.random.default_rng(seed))
    tracemalloc.start()
    try:
        points, _ = read_xyz_intensity(cloud)
    except CloudError:
        points = np.empty((0, 4), np.float32)
    finally:
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
    # Four float32 for each point that the data really holds, the padded rows joined, and Python's
    # own objects
    assert len(points) <= max(len(cloud.data), cloud.width * cloud.height * (len(points) == 0))
    assert peak <= 16 * len(points) + 2 * len(cloud.data) + 300_000


@pytest.mark.parametrize("huge", [2**31 - 1, 2**31, 2**32 - 1])
def test_sizes_whose_product_overflows_are_too_much_data(huge):
    cloud = hostile_cloud(np.random.default_rng(1))
    cloud.fields = cloud.fields[:0]
    cloud.height = cloud.width = huge
    cloud.point_step, cloud.row_step = 16, 2**32 - 1
    with pytest.raises(CloudError) as error:
        read_points(cloud)
    assert error.value.reason in ("row_step too small", "data too short")
