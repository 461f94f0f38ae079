"""Which points the filtered cloud keeps."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from haskd_ros.node.labelling import LabelledCloud
from haskd_ros.node.parameters.values import DEFAULTS, Parameters
from haskd_ros.segmentation import Segmentation

# (x in m, class, probability); y and z are 0. Class 0 is left out, class 1 kept.
POINTS = [
    (1.0, 0, 0.9),
    (2.0, 1, 0.9),
    (3.0, 0, 0.4),
    (4.0, 1, 0.4),
    (5.0, 255, 0.0),
    (30.0, 255, 0.0),
    (math.nan, 255, 0.0),
    (math.inf, 255, 0.0),
    (0.0, 255, 0.0),  # in the sensor's origin
]


def labelled_cloud(rows, parameters: Parameters, inside: np.ndarray | None = None) -> LabelledCloud:
    points = np.zeros((len(rows), 4), np.float32)
    points[:, 0] = [x for x, _, _ in rows]
    result = Segmentation(
        np.array([class_id for _, class_id, _ in rows], np.uint8),
        np.array([probability for _, _, probability in rows], np.float32),
        np.zeros(len(rows), np.float32),
    )
    in_filtered = np.zeros(256, bool)
    in_filtered[1] = True
    return LabelledCloud(
        points=points,
        coordinates=points[:, :3],
        intensity_scale=None,
        missing_channels=(),
        max_range=120.0,
        is_beyond_range=False,
        result=result,
        parameters=parameters,
        in_filtered=in_filtered,
        inside=inside,
        decoding_ms=0.0,
    )


@pytest.mark.parametrize(
    ("changes", "kept"),
    [
        ({}, [1, 3, 4, 5]),
        ({"filter_unlabelled": "drop"}, [1, 3]),
        # 2 and 3 count as unlabelled
        ({"filter_min_probability": 0.5}, [1, 2, 3, 4, 5]),
        ({"filter_min_probability": 0.5, "filter_unlabelled": "drop"}, [1]),
        ({"range_max": 20.0}, [1, 3, 4]),
        ({"range_min": 5.5}, [1, 3, 5]),
    ],
)
def test_what_was_measured_and_has_no_label_is_kept_unless_it_is_to_be_dropped(changes, kept):
    found = labelled_cloud(POINTS, replace(DEFAULTS, **changes))
    assert np.flatnonzero(found.filter_mask()).tolist() == kept


def test_of_a_voxel_one_point_is_kept_whatever_its_class():
    # Of those without voxels, 1 3 4 5, one is at x = 2 m, alone in the voxel up to 4 m, and one at
    # 30 m; of two in the voxel from 4 to 6 m the one at 5 m, without a label, is in the middle
    found = labelled_cloud(POINTS, replace(DEFAULTS, filter_voxel_size=2.0))
    assert np.flatnonzero(found.filter_mask()).tolist() == [1, 4, 5]


def test_what_is_outside_of_the_crop_box_is_not_unknown():
    inside = np.ones(len(POINTS), bool)
    inside[4] = False
    found = labelled_cloud(POINTS, DEFAULTS, inside)
    assert np.flatnonzero(found.filter_mask()).tolist() == [1, 3, 5]


rows = st.tuples(st.floats(width=32), st.sampled_from([0, 1, 255]), st.floats(0, 1, width=32)).map(
    lambda row: row if row[1] != 255 else (row[0], 255, 0.0)
)


@given(st.lists(rows, max_size=20), st.floats(0, 1))
def test_keeping_adds_measured_points_without_a_sure_label_and_no_others(cloud, least):
    parameters = replace(DEFAULTS, filter_min_probability=least)
    kept = labelled_cloud(cloud, parameters).filter_mask()
    dropped = labelled_cloud(cloud, replace(parameters, filter_unlabelled="drop")).filter_mask()
    for (x, class_id, probability), is_kept, is_sure in zip(cloud, kept, dropped):
        is_known = class_id != 255 and np.float32(probability) >= least
        assert is_sure == (is_known and class_id == 1)
        assert is_kept == (is_sure or (not is_known and math.isfinite(x) and x != 0))
