"""Every recording of a cache has the intensity unit of its own."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from haskd_training.data.caches.cache import Cache
from haskd_training.data.preparing.prepare import PrepareConfig, prepare
from haskd_training.data.splits import SplitConfig, make_split
from haskd_training.learning.student import StudentConfig, make_network
from recorded_bags import POINT, SCENE, Scene, write_bag

WHOLE = np.dtype([(name, "u1" if name == "intensity" else POINT[name]) for name in POINT.names])
# Of SCENE: 51, 102, 255 and 0 of 255
SHARES = [0.2, 0.4, 1.0, 0.0]


def in_unit(dtype: np.dtype, factor: float) -> np.ndarray:
    points = SCENE.astype(dtype)
    points["intensity"] = np.round(SCENE["intensity"] * factor, 6)
    return points


def prepared(folder: Path, *scenes: Scene, **settings: object) -> Cache:
    bags = [write_bag(folder / str(number), scene) for number, scene in enumerate(scenes)]
    prepare(bags, "pandaset", folder / "cache", PrepareConfig(overlays=0, **settings))
    return Cache.open(folder / "cache")


def test_two_recordings_in_one_cache_keep_their_units(tmp_path):
    of_a_byte = Scene(2, 0, lambda _: in_unit(WHOLE, 1))
    to_one = Scene(2, 0, lambda _: in_unit(POINT, 1 / 255))
    cache = prepared(tmp_path, of_a_byte, to_one)
    assert [row.intensity_scale for row in cache.sweeps] == [255, 255, 1, 1]
    for number in range(4):
        assert cache.sweep(number).points[:, 3] == pytest.approx(SHARES, abs=1e-6)
    # As the sensor gave them
    assert cache.recorded_points(0)[0][:, 3].tolist() == [51, 102, 255, 0]
    assert cache.recorded_points(2)[0][:, 3] == pytest.approx(SHARES, abs=1e-6)
    # The unit that a model learns in
    assert cache.intensity_scale == 255


@pytest.mark.parametrize("dtype", [WHOLE, POINT])
def test_a_sensor_that_starts_dark_is_read_as_one_that_does_not(tmp_path, dtype):
    def dark_start(index: int) -> np.ndarray:
        points = in_unit(dtype, 1)
        if index < 12:
            points["intensity"] = 0
        return points

    cache = prepared(tmp_path, Scene(20, 0, dark_start))
    assert [row.intensity_scale for row in cache.sweeps] == 12 * [None] + 8 * [255]
    # The mean of the others: (0.2 + 0.4 + 1 + 0) / 4
    assert cache.sweep(0).points[:, 3] == pytest.approx([0.4] * 4)
    assert cache.sweep(19).points[:, 3] == pytest.approx(SHARES)


def test_a_configured_unit_holds_for_every_recording(tmp_path):
    scenes = [Scene(1, 0, lambda _, factor=factor: in_unit(POINT, factor)) for factor in (1, 2)]
    cache = prepared(tmp_path, *scenes, intensity_scale=510.0)
    assert cache.sweep(0).points[:, 3] == pytest.approx([0.1, 0.2, 0.5, 0])
    assert cache.sweep(1).points[:, 3] == pytest.approx(SHARES)


def test_statistics_leave_out_what_was_not_measured(tmp_path):
    def nan(index: int) -> np.ndarray:
        points = SCENE.copy()
        points["intensity"] = np.nan
        return points

    cache = prepared(tmp_path, Scene(1, 0, nan), Scene(1, 0, lambda _: SCENE))
    assert [row.intensity_scale for row in cache.sweeps] == [None, 255]
    assert len(cache.sweep(0).points) == 4
    # (0.2 + 0.4 + 1 + 0) / 4
    assert cache.statistics["intensity"]["mean"] == pytest.approx(0.4)
    assert cache.sweep(0).points[:, 3] == pytest.approx([0.4] * 4)
    assert cache.intensity_scale == 255


def test_single_values_that_are_no_numbers_keep_their_points(tmp_path):
    points = in_unit(POINT, 1)
    points["intensity"][1] = np.nan
    cache = prepared(tmp_path, Scene(1, 0, lambda _: points))
    # (0.2 + 1 + 0) / 3 where there is none
    assert cache.sweep(0).points[:, 3] == pytest.approx([0.2, 0.4, 1.0, 0.0])
    assert np.isnan(cache.recorded_points(0)[0][1, 3])


def test_training_takes_what_the_model_will_take_where_nothing_was_measured(tmp_path):
    dark = SCENE.copy()
    dark["intensity"] = 0
    half = in_unit(POINT, 0.5)
    caches = [
        prepared(
            tmp_path / name, *(Scene(3, 0, lambda _, points=points: points) for points in each)
        )
        for name, each in (("a", [dark, SCENE]), ("b", [dark, half]))
    ]
    # By itself each cache's own mean: 0.4, and of halves in the same unit 0.2
    assert [cache.sweep(0).points[0, 3] for cache in caches] == pytest.approx([0.4, 0.2])
    split = make_split(caches, SplitConfig(calibration=0, validation=0, test=0))
    _, metadata = make_network(split, StudentConfig(), None)
    assert metadata.intensity.mean == pytest.approx(0.4)
    assert [cache.sweep(0).points[0, 3] for cache in split.caches] == pytest.approx([0.4, 0.4])


def test_a_recording_without_any_intensity_is_said_to_have_none(tmp_path):
    dark = SCENE.copy()
    dark["intensity"] = 0
    bag = write_bag(tmp_path / "bag", Scene(4, 0, lambda _: dark))
    report = prepare([bag], "pandaset", tmp_path / "cache", PrepareConfig(overlays=0))
    (finding,) = [finding for finding in report.findings if "intensity" in finding.code]
    assert finding.is_warning
    assert finding.message == (
        "intensity is 0 throughout all clouds: they are read as if they had none"
    )
    cache = Cache.open(tmp_path / "cache")
    assert {row.intensity_scale for row in cache.sweeps} == {None}
