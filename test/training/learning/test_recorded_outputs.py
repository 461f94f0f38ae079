"""What networks say of sweeps, kept on disk."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from haskd_ros.errors import InputError
from haskd_training.data.cache import Cache
from haskd_training.data.splits import SplitConfig, make_split
from haskd_training.data.sweep_files import SweepFiles
from haskd_training.data.sweep_ref import SweepRef
from haskd_training.learning.inference import model_predictor
from haskd_training.learning.recorded_outputs import RecordedOutputs
from small_street import street_cache

CPU = torch.device("cpu")
PLACES = [SweepRef(0, 0), SweepRef(0, 1)]


@pytest.fixture(scope="module")
def split(tmp_path_factory):
    cache = Cache.open(street_cache(tmp_path_factory.mktemp("street"), sweeps=3))
    return make_split([cache], SplitConfig(calibration=0, validation=0, test=0))


def heights(place, points, near):
    return {"height": points[:, 2:3], "low": points[:, 2] < 0}


def test_values_come_back_by_point_and_are_0_beyond_the_range(split, tmp_path):
    outputs = RecordedOutputs(tmp_path / "said", split).record(heights, PLACES, 8.0, CPU)
    for place in PLACES:
        points = split.sweep(place).points
        near = np.linalg.norm(points[:, :3], axis=1) <= 8
        assert near.any() and not near.all()
        said = outputs.of(place)
        assert said["height"].dtype == np.float16
        np.testing.assert_allclose(said["height"][near, 0], points[near, 2], rtol=1e-3)
        np.testing.assert_array_equal(said["low"][near], points[near, 2] < 0)
        assert not said["height"][~near].any() and not said["low"][~near].any()


def test_no_sweep_is_looked_at_twice(split, tmp_path):
    looked_at, told = [], []

    def look(place, points, near):
        looked_at.append(place)
        return heights(place, points, near)

    outputs = RecordedOutputs(tmp_path, split)
    outputs.record(look, PLACES[:1], 100.0, CPU)
    outputs.record(look, PLACES, 100.0, CPU, progress=lambda *at: told.append(at))
    assert looked_at == PLACES
    assert told == [(1, 2), (2, 2)]


def test_what_was_said_holds_when_another_recording_joins(split, tmp_path):
    said = (
        RecordedOutputs(tmp_path / "said", split).record(heights, PLACES, 100.0, CPU).of(PLACES[1])
    )
    other = Cache.open(street_cache(tmp_path / "other", sweeps=2))
    (first,) = split.caches
    joined = make_split([other, first], SplitConfig(calibration=0, validation=0, test=0))
    outputs = RecordedOutputs(tmp_path / "said", joined)
    assert outputs.of(SweepRef(1, 1))["height"].tolist() == said["height"].tolist()
    with pytest.raises(InputError, match="missing"):
        outputs.of(SweepRef(0, 1))


def test_a_model_says_its_logits(split, tmp_path, tiny_model):
    look = model_predictor(tiny_model, CPU)
    said = RecordedOutputs(tmp_path, split).record(look, PLACES[:1], 100.0, CPU).of(PLACES[0])
    assert said["logits"].shape == (len(split.sweep(PLACES[0]).points), 3)
    assert np.isfinite(said["logits"]).all() and said["logits"].any()


def test_what_was_not_recorded_or_is_damaged_is_named(split, tmp_path):
    outputs = RecordedOutputs(tmp_path, split).record(heights, PLACES[:1], 100.0, CPU)
    with pytest.raises(InputError, match=r"-1\.safetensors is missing or damaged"):
        outputs.of(PLACES[1])
    files = SweepFiles(tmp_path, split.caches)
    with pytest.raises(InputError, match="missing or damaged"):
        files.read(PLACES[0], "depth")
    (path,) = tmp_path.iterdir()
    path.write_bytes(path.read_bytes()[:-10])
    with pytest.raises(InputError, match=r"-0\.safetensors is missing or damaged"):
        outputs.of(PLACES[0])
