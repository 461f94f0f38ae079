"""Clouds as the drivers of common sensors send them: every point keeps its place, and what did not
come back is not labelled."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from sensor_clouds import SENSORS

from haskd_ros import model_file
from haskd_ros.clouds.pointcloud import CloudError, select_points
from haskd_ros.model_header import Intensity
from haskd_ros.node.labelling import label_cloud
from haskd_ros.node.parameters.values import DEFAULTS, Parameters
from haskd_ros.segmenter import Segmenter

COUNT = 6144  # 128 x 48, so that all organised clouds come out even


@pytest.fixture(scope="module")
def segmenter(tiny_model):
    return Segmenter.load(tiny_model, device="cpu")


@pytest.fixture(scope="module")
def points():
    random = np.random.default_rng(3)
    found = random.uniform(-20, 20, (COUNT, 4))
    found[:, 3] = random.integers(0, 256, COUNT) / 255
    return found.astype(np.float32)


@pytest.fixture(scope="module")
def lost():
    """A fifth of the returns."""
    return np.random.default_rng(4).random(COUNT) < 0.2


@pytest.mark.parametrize("name", SENSORS)
def test_every_point_has_the_label_of_its_place(name, points, lost, tiny_model, segmenter):
    sensor = SENSORS[name]
    network, metadata = model_file.load(tiny_model)
    segmenter = Segmenter(
        network,
        replace(metadata, intensity=Intensity(scale=sensor.scale, mean=0.1)),
        device="cpu",
    )
    cloud, rows = sensor.cloud(points, lost)
    found = label_cloud(cloud, segmenter, DEFAULTS)
    assert len(found.points) == cloud.width * cloud.height == len(rows)
    # What came back, labelled as a plain array of float32
    came = points[~lost] * np.array([1, 1, 1, sensor.scale], np.float32)
    expected = segmenter(came if sensor.strength else came[:, :3])
    class_id = np.full(len(points), 255, np.uint8)
    class_id[~lost] = expected.class_id
    assert found.has_intensity == (sensor.strength is not None)
    assert found.result.class_id.tolist() == class_id[rows].tolist()
    # An ordered cloud shows the lost returns in their places
    assert (found.result.class_id == 255).sum() == (0 if sensor.lost is None else lost.sum())


@pytest.mark.parametrize("name", SENSORS)
def test_the_filtered_cloud_is_the_drivers_own(name, points, lost, segmenter):
    cloud, _ = SENSORS[name].cloud(points, lost)
    found = label_cloud(cloud, segmenter, DEFAULTS)
    kept = found.filter_mask()
    chosen = select_points(cloud, kept)
    assert (chosen.width, chosen.point_step) == (kept.sum(), cloud.point_step)
    # Padding included, rows joined
    step = cloud.point_step
    rows = cloud.data.reshape(cloud.height, -1)[:, : cloud.width * step]
    assert chosen.data.tobytes() == rows.reshape(-1, step)[kept].tobytes()


def test_too_few_valid_points_are_told_from_many_lost_ones(points, lost, segmenter):
    cloud, _ = SENSORS["ouster"].cloud(points, lost)
    valid = int((~lost).sum())
    assert len(label_cloud(cloud, segmenter, Parameters(min_points=valid)).points) == COUNT
    with pytest.raises(CloudError, match=f"{valid} valid points of {COUNT}, min_points is"):
        label_cloud(cloud, segmenter, Parameters(min_points=valid + 1))
