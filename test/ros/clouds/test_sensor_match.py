"""Is it the sensor that the model was trained on?"""

from dataclasses import replace

import numpy as np
import pytest

from haskd_ros.clouds.sensor_match import mismatches
from haskd_ros.model_header import Extent, Percentiles, SensorStatistics

SENSOR = SensorStatistics(
    points_per_sweep=Percentiles(900.0, 1000.0, 1100.0),
    range_m=Percentiles(3.0, 10.0, 40.0),
    elevation_deg=Extent(-25.0, 15.0),
    intensity=Percentiles(0.0, 0.1, 0.4, mean=0.15),
)


@pytest.fixture
def metadata(tiny_metadata):
    """Intensity 255 stands for a full return."""
    return replace(tiny_metadata, sensor=SENSOR)


def cloud(count=1000, distance=10.0, low=-25.0, high=15.0, brightest=0.42 * 255):
    """Points at one distance, evenly spread over elevation and intensity."""
    share = np.linspace(0, 1, count)
    elevation = np.radians(low + (high - low) * share)
    points = np.stack(
        [distance * np.cos(elevation), 0 * share, distance * np.sin(elevation), brightest * share],
        axis=1,
    )
    return points.astype(np.float32)


def test_the_same_sensor_is_not_complained_of(metadata):
    assert mismatches(cloud(), 255.0, metadata) == []
    # Nor is another street: half the points, twice as far, darker
    assert mismatches(cloud(500, 20.0, -20, 12, 0.1 * 255), 255.0, metadata) == []


@pytest.mark.parametrize(
    ("changes", "quantity", "said"),
    [
        ({"count": 250}, "points per sweep", "250, trained on 900 to 1,100"),
        ({"count": 4000}, "points per sweep", "4,000, trained on 900 to 1,100"),
        ({"distance": 1.0}, "range", "1.0 m (median), trained on 10.0 m"),
        ({"low": -2.0, "high": 2.0}, "elevation span", "-2 to 2 degrees, trained on -25 to 15"),
        ({"brightest": 1.0}, "intensity scale", "up to 0.95 (95th percentile), trained on up to "
         "102, where 255 stands for a full return"),
        ({"brightest": 65535}, "intensity scale", "up to 6.23e+04"),
    ],
)  # fmt: skip
def test_another_sensor_is_named_by_the_quantity(metadata, changes, quantity, said):
    (found,) = mismatches(cloud(**changes), 255.0, metadata)
    assert found.quantity == quantity
    assert said in found.message


def test_intensities_in_another_unit_are_compared_as_shares_of_a_full_return(metadata):
    assert mismatches(cloud(brightest=0.42), 1.0, metadata) == []
    assert mismatches(cloud(brightest=0.42 * 65535), 65535.0, metadata) == []
    (found,) = mismatches(cloud(brightest=0.01), 1.0, metadata)
    # 95 % of 0.01; 40 % of 1
    assert "up to 0.0095 (95th percentile), trained on up to 0.4, where 1 stands" in found.message


def test_points_that_did_not_come_back_do_not_count(metadata):
    points = np.concatenate([cloud(), np.full((1000, 4), np.nan, np.float32)])
    assert mismatches(points, 255.0, metadata) == []


def test_what_is_not_known_is_not_judged(metadata, tiny_metadata):
    assert mismatches(cloud(250, 1.0, -2, 2, 1.0), 255.0, tiny_metadata) == []
    assert mismatches(cloud(brightest=0.0), None, metadata) == []
    # Too few points to say more than that they are few
    (found,) = mismatches(cloud(50, 1.0, -2, 2), 255.0, metadata)
    assert found.quantity == "points per sweep"
