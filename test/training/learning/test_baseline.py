"""Training the student: it learns, it resumes bit for bit, it refuses what it can't use."""

from __future__ import annotations

import json
import multiprocessing
import os
import signal
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from haskd_ros import model_file
from haskd_ros.errors import InputError
from haskd_ros.model_content import ModelFileError
from haskd_training.core.settings import load_settings
from haskd_training.data.caches.cache import Cache
from haskd_training.data.splits import SplitConfig, make_split
from haskd_training.experiments.evaluate import evaluate_model
from haskd_training.learning.baseline import TrainingResult, snapshot_path, snapshot_steps
from haskd_training.learning.baseline import baseline as train
from haskd_training.learning.batches import EpochSampler
from haskd_training.learning.student import StudentConfig
from small_street import street_cache

pytestmark = pytest.mark.usefixtures("two_levels")


def settings(*assignments: str) -> StudentConfig:
    few = (
        "voxel_size=0.5", "split.calibration=0", "split.validation=0", "split.test=0",
        "loop.epochs=12", "loop.learning_rate=0.02", "loop.batch_size=2", "loop.device=cpu",
    )  # fmt: skip
    return load_settings(StudentConfig, None, [*few, *assignments])


def baseline(caches, out, config, attribution=None) -> TrainingResult:
    split = make_split([Cache.open(path) for path in caches], config.split)
    return train(split, out, config, attribution=attribution)


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    return street_cache(tmp_path_factory.mktemp("street"))


@pytest.fixture(scope="module")
def trained(cache, tmp_path_factory):
    out = tmp_path_factory.mktemp("baseline") / "run"
    return baseline([cache], out, settings("split.validation=0.2"), "Test Street, CC0")


def test_the_student_learns_a_simple_street(trained, cache, tmp_path):
    evaluation = evaluate_model(trained.model, cache, tmp_path / "report")
    scores = evaluation.to_json()
    # Three classes that geometry alone tells apart
    assert scores["miou"] > 0.9
    assert scores["iou"]["vegetation"] is None
    written = {entry.name for entry in (tmp_path / "report").iterdir()}
    assert written == {"evaluation.json", "confusion.png", "iou_by_range.png"}
    saved = json.loads((tmp_path / "report/evaluation.json").read_text())
    assert saved["miou"] == pytest.approx(scores["miou"])


def test_the_model_file_says_where_it_comes_from(trained):
    _, metadata = model_file.load(trained.model)
    assert metadata.provenance.attribution == "Test Street, CC0"
    assert metadata.provenance.recordings == ("drive",)
    assert metadata.intensity.scale == 255.0
    assert metadata.arguments["voxel_size"] == 0.5
    assert metadata.sensor.points_per_sweep.median == 1800


def test_a_finished_run_is_not_repeated_and_another_one_is_kept_out(trained, cache):
    run = trained.model.parent
    before = trained.model.stat().st_mtime_ns
    again = baseline([cache], run, settings("split.validation=0.2"), "Test Street, CC0")
    assert again == trained
    assert trained.model.stat().st_mtime_ns == before
    with pytest.raises(InputError, match="other inputs or settings"):
        baseline([cache], run, settings("split.validation=0.2", "loop.seed=1"))


def test_another_seed_gives_another_model_and_the_same_seed_the_same(cache, tmp_path):
    first, second, third = (
        load_file(baseline([cache], tmp_path / name, settings("loop.epochs=2", seed)).model)
        for name, seed in (
            ("one", "loop.seed=0"),
            ("same", "loop.seed=0"),
            ("other", "loop.seed=1"),
        )
    )
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert not all(torch.equal(first[name], third[name]) for name in first)


@pytest.fixture
def one_thread():
    """A fork has none of its parent's threads, and would wait for them."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.mark.usefixtures("one_thread")
def test_a_run_that_is_killed_goes_on_bit_for_bit(cache, tmp_path):
    # 8 sweeps to learn from, 2 a step: 4 steps an epoch, 12 in all; a checkpoint after every step
    config = settings("split.validation=0.2", "loop.epochs=3", "loop.save_every=1")
    whole = baseline([cache], tmp_path / "whole", config)

    def die(step: int, *_: object) -> None:
        # In the middle of the second epoch, before the step is saved
        if step == 7:
            os.kill(os.getpid(), signal.SIGKILL)

    split = make_split([Cache.open(cache)], config.split)
    process = multiprocessing.get_context("fork").Process(
        target=train, args=(split, tmp_path / "cut", config), kwargs={"progress": die}
    )
    process.start()
    process.join()
    assert process.exitcode == -signal.SIGKILL
    assert (tmp_path / "cut/checkpoint.safetensors").exists()
    assert not (tmp_path / "cut/result.json").exists()
    resumed = baseline([cache], tmp_path / "cut", config)
    first, second = load_file(whole.model), load_file(resumed.model)
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert resumed.best_epoch == whole.best_epoch


def test_the_split_is_made_of_blocks_in_time(cache):
    config = SplitConfig(calibration=0.1, validation=0.2, test=0.3, distil_held_out=False)
    split = make_split([Cache.open(cache)], config)
    assert [ref.sweep for ref in split.train] == [0, 1, 2, 3]
    assert [ref.sweep for ref in split.calibration] == [4]
    assert [ref.sweep for ref in split.validation] == [5, 6]
    assert [ref.sweep for ref in split.test] == [7, 8, 9]
    assert split.unlabelled == []


def test_a_cache_can_serve_one_purpose_as_a_whole(cache):
    opened = Cache.open(cache)
    first, second, third = (
        replace(opened, sweeps=[replace(row, recording=name) for row in opened.sweeps])
        for name in ("first", "second", "third")
    )
    nothing = SplitConfig(calibration=0, validation=0, test=0)
    split = make_split([first], nothing, test=[second], unlabelled=[third])
    assert [(ref.cache, ref.sweep) for ref in split.test] == [(1, i) for i in range(10)]
    assert [(ref.cache, ref.sweep) for ref in split.unlabelled] == [(2, i) for i in range(10)]
    assert len(split.train) == 10 and len(split.train_and_unlabelled) == 20
    assert split.labelled().unlabelled == [] and len(split.labelled().caches) == 2


def test_a_recording_that_serves_two_purposes_is_refused(cache):
    opened = Cache.open(cache)
    with pytest.raises(InputError, match="drive is both train and test data"):
        make_split([opened], SplitConfig(), test=[opened])
    with pytest.raises(InputError, match="drive is both train and unlabelled data"):
        make_split([opened], SplitConfig(), unlabelled=[opened])


def test_held_back_sweeps_are_explained_but_never_those_of_the_test(cache):
    config = SplitConfig(calibration=0.1, validation=0.2, test=0.3)
    split = make_split([Cache.open(cache)], config)
    assert [ref.sweep for ref in split.unlabelled] == [4, 5, 6]


def test_snapshots_are_spread_over_the_last_half_and_the_last_is_the_end():
    # 40 steps, 5 snapshots over the last 20: every 4 steps; of 8 cycles of 5 steps the last three
    assert snapshot_steps(40, StudentConfig()) == [24, 28, 32, 36, 40]
    # Of a single step all are the end.
    assert snapshot_steps(1, StudentConfig()) == [1, 1, 1, 1, 1]
    cyclic = ["loop.schedule=cyclic", "loop.cycles=8", "snapshots=3"]
    assert snapshot_steps(40, load_settings(StudentConfig, None, cyclic)) == [30, 35, 40]
    with pytest.raises(InputError, match=r"snapshots \(5\) may not exceed loop.cycles \(3\)"):
        load_settings(StudentConfig, None, ["loop.schedule=cyclic", "loop.cycles=3"])


def test_a_run_leaves_snapshots_behind_and_the_last_is_its_last_epoch(cache, tmp_path):
    run = baseline([cache], tmp_path / "run", settings("loop.epochs=2", "loop.ema_decay=0.9"))
    snapshots = [load_file(snapshot_path(tmp_path / "run", k)) for k in range(5)]
    # Nothing is held back for validation: the kept epoch is the last
    last = load_file(run.model)
    assert all(torch.equal(snapshots[-1][name], last[name]) for name in last)
    assert not all(torch.equal(snapshots[0][name], last[name]) for name in last)
    averaged, _ = model_file.load(tmp_path / "run/average.safetensors")
    mean = averaged.state_dict()["classifier.weight"]
    assert not torch.equal(mean, last["classifier.weight"])
    assert torch.nn.functional.mse_loss(mean, last["classifier.weight"]) < 1e-2


def test_every_process_gets_its_own_sweeps_and_as_many_batches():
    def epoch(number):
        samplers = [EpochSampler(11, 2, seed=3, rank=rank, processes=2) for rank in (0, 1)]
        for sampler in samplers:
            sampler.start_at(number, 0)
        return [list(sampler) for sampler in samplers]

    # 11 sweeps // (2 a batch * 2 processes) = 2 batches each
    first, second = epoch(0)
    assert len(first) == len(second) == 2
    seen = [index for batch in first + second for index in batch]
    assert len(seen) == len(set(seen)) == 8
    assert epoch(0) == [first, second]
    assert epoch(1) != [first, second]


def test_an_epoch_goes_on_where_it_was_left():
    sampler = EpochSampler(10, 2, seed=0)
    sampler.start_at(4, 0)
    whole = list(sampler)
    sampler.start_at(4, 3)
    assert list(sampler) == whole[3:]


def test_caches_without_labels_are_refused_before_any_training(tmp_path):
    unlabelled = street_cache(tmp_path, sweeps=3, labels=None)
    with pytest.raises(InputError, match="no labelled sweep is left to train on"):
        baseline([unlabelled], tmp_path / "run", settings())


def test_a_loss_that_is_no_number_stops_the_run_with_advice(cache, tmp_path):
    with pytest.raises(InputError, match="lower learning_rate"):
        baseline([cache], tmp_path / "run", settings("loop.learning_rate=1e30"))


def test_a_model_whose_classes_do_not_fit_the_cache_is_refused(tiny_model, cache):
    with pytest.raises(InputError, match=r"classes road, car, building; .*cache has road, road_"):
        evaluate_model(tiny_model, cache)


def test_a_file_that_is_no_model_is_refused_by_evaluate(cache, tmp_path):
    with pytest.raises(ModelFileError):
        evaluate_model(Path(cache) / "index.json", cache)


def test_a_folder_with_something_else_in_it_is_left_alone(cache, tmp_path):
    (tmp_path / "thesis.tex").write_text("precious")
    with pytest.raises(InputError, match="neither empty nor a run"):
        baseline([cache], tmp_path, settings())
    assert [entry.name for entry in tmp_path.iterdir()] == ["thesis.tex"]


def test_a_refused_run_does_not_stand_in_the_way_of_the_right_one(cache, tmp_path):
    out = tmp_path / "run"
    with pytest.raises(InputError, match="no labelled sweep is left"):
        baseline([cache], out, settings("split.validation=0.5", "split.test=0.5"))
    assert not out.exists()
    assert baseline([cache], out, settings("loop.epochs=1")).model.exists()


def test_batches_without_points_or_within_one_voxel_are_no_reason_to_stop(cache, tmp_path):
    # The box nearest the sensor begins 3 m away; 10 m voxels put a whole sweep into a few
    for assignment in ("max_range=1", "voxel_size=10"):
        result = baseline(
            [cache],
            tmp_path / assignment,
            settings(assignment, "loop.epochs=1", "loop.batch_size=1"),
        )
        assert result.model.exists()


@pytest.mark.parametrize(
    ("assignment", "complaint"),
    [
        ("loop.epoch=3", r"loop\.epoch: extra inputs.*there are epochs, batch_size"),
        ("loop.epochs=none", r"loop\.epochs: .* found 'none'"),
        ("voxel_size=-1", r"voxel_size: .*greater than or equal to 0.01, found -1"),
        ("voxel_size", "not of the form KEY=VALUE"),
    ],
)
def test_a_setting_that_is_wrong_is_named_with_what_is_allowed(assignment, complaint):
    with pytest.raises(InputError, match=complaint):
        load_settings(StudentConfig, None, [assignment])
