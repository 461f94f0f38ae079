"""Every recording of a cache has the intensity unit of its own."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from haskd_training.data.cache import Cache
from haskd_training.data.prepare import PrepareConfig, prepare
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
    assert {row.intensity_scale for row in cache.sweeps} == {255}
    assert cache.sweep(0).points[:, 3].tolist() == [0, 0, 0, 0]
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
    assert cache.sweep(0).points[:, 3].tolist() == [0, 0, 0, 0]
    # (0.2 + 0.4 + 1 + 0) / 4
    assert cache.statistics["intensity"]["mean"] == pytest.approx(0.4)
    assert cache.intensity_scale == 255
