"""Outputs of networks on recorded sweeps, stored on disk."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from haskd_ros.errors import InputError
from haskd_training.data.caches.cache import Cache
from haskd_training.data.splits import SplitConfig, make_split
from haskd_training.data.sweep_files import SweepFiles
from haskd_training.data.sweep_ref import SweepRef
from haskd_training.learning.inference import model_predictor
from haskd_training.learning.recorded_outputs import RecordedOutputs
from small_street import street_cache

CPU = torch.device("cpu")
REFS = [SweepRef(0, 0), SweepRef(0, 1)]


@pytest.fixture(scope="module")
def split(tmp_path_factory):
    cache = Cache.open(street_cache(tmp_path_factory.mktemp("street"), sweeps=3))
    return make_split([cache], SplitConfig(calibration=0, validation=0, test=0))


def heights(ref, points, near):
    return {"height": points[:, 2:3], "low": points[:, 2] < 0}


def test_values_come_back_by_point_and_are_0_beyond_the_range(split, tmp_path):
    outputs = RecordedOutputs(tmp_path / "outputs", split).record(
        heights, REFS, max_range=8.0, device=CPU
    )
    for ref in REFS:
        points = split.sweep(ref).points
        near = np.linalg.norm(points[:, :3], axis=1) <= 8
        assert near.any() and not near.all()
        stored = outputs.of(ref)
        assert stored["height"].dtype == np.float16
        np.testing.assert_allclose(stored["height"][near, 0], points[near, 2], rtol=1e-3)
        np.testing.assert_array_equal(stored["low"][near], points[near, 2] < 0)
        assert not stored["height"][~near].any() and not stored["low"][~near].any()


def test_no_sweep_is_predicted_twice(split, tmp_path):
    predicted, reported = [], []

    def predictor(ref, points, near):
        predicted.append(ref)
        return heights(ref, points, near)

    outputs = RecordedOutputs(tmp_path, split)
    outputs.record(predictor, REFS[:1], max_range=100.0, device=CPU)
    outputs.record(
        predictor, REFS, max_range=100.0, device=CPU, progress=lambda *at: reported.append(at)
    )
    assert predicted == REFS
    assert reported == [(1, 1, "")]


def test_outputs_stay_valid_when_another_recording_is_added(split, tmp_path):
    stored = (
        RecordedOutputs(tmp_path / "outputs", split)
        .record(heights, REFS, max_range=100.0, device=CPU)
        .of(REFS[1])
    )
    other = Cache.open(street_cache(tmp_path / "other", sweeps=2))
    (first,) = split.caches
    joined = make_split([other, first], SplitConfig(calibration=0, validation=0, test=0))
    outputs = RecordedOutputs(tmp_path / "outputs", joined)
    assert outputs.of(SweepRef(1, 1))["height"].tolist() == stored["height"].tolist()
    with pytest.raises(InputError, match="missing"):
        outputs.of(SweepRef(0, 1))


def test_a_model_gives_its_logits(split, tmp_path, tiny_model):
    predictor = model_predictor(tiny_model, CPU)
    stored = (
        RecordedOutputs(tmp_path, split)
        .record(predictor, REFS[:1], max_range=100.0, device=CPU)
        .of(REFS[0])
    )
    assert stored["logits"].shape == (len(split.sweep(REFS[0]).points), 3)
    assert np.isfinite(stored["logits"]).all() and stored["logits"].any()


def test_what_was_not_recorded_or_is_damaged_is_named(split, tmp_path):
    outputs = RecordedOutputs(tmp_path, split).record(
        heights, REFS[:1], max_range=100.0, device=CPU
    )
    with pytest.raises(InputError, match=r"-1\.safetensors is missing or damaged"):
        outputs.of(REFS[1])
    files = SweepFiles(tmp_path, split.caches)
    with pytest.raises(InputError, match="missing or damaged"):
        files.read(REFS[0], "depth")
    (path,) = tmp_path.iterdir()
    path.write_bytes(path.read_bytes()[:-10])
    with pytest.raises(InputError, match=r"-0\.safetensors is missing or damaged"):
        outputs.of(REFS[0])
