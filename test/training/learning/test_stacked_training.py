"""Training on several sweeps at once, and labelling with what was trained."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from small_run import STUDENT

from haskd_ros import model_file
from haskd_ros.clouds.pointcloud import read_xyz_intensity, valid_returns
from haskd_ros.errors import InputError
from haskd_ros.node.loaded_model import load_model
from haskd_ros.node.parameters.values import DEFAULTS
from haskd_ros.segmentation import DEFAULT_MODEL
from haskd_ros.segmenter import Segmenter
from haskd_training.core.settings import load_settings
from haskd_training.data.caches.cache import Cache
from haskd_training.data.caches.packed_rows import PackedRows
from haskd_training.data.caches.rows import SweepRow
from haskd_training.data.corruptions import corrupted
from haskd_training.data.preparing.examination.examine import examine_clouds
from haskd_training.data.splits import make_split
from haskd_training.data.stacked_sweeps import stacked
from haskd_training.data.sweep_ref import SweepRef, within_range
from haskd_training.distillation.config import DistillationConfig
from haskd_training.distillation.distil import distil
from haskd_training.distillation.targets import SnapshotTargets
from haskd_training.experiments.evaluate import evaluate_model
from haskd_training.learning.baseline import baseline
from haskd_training.learning.batches import collate
from haskd_training.learning.inference import label_as_robot, model_predictor
from haskd_training.learning.recorded_outputs import RecordedOutputs
from haskd_training.learning.student import StudentConfig, make_network, training_dataset
from haskd_training.recordings.readers.bag import open_bag
from haskd_training.robot.offline.bag_labeller import BagLabeller

PARAMETERS = replace(DEFAULTS, poses_fixed_frame="map")


def settings(*more: str) -> StudentConfig:
    return load_settings(StudentConfig, None, [*STUDENT, "sweeps=2", *more])


@pytest.fixture(scope="module")
def split(drive_cache):
    plain = make_split([Cache.open(drive_cache)], settings().split)
    return stacked(plain.labelled(), 2)


@pytest.fixture(scope="module")
def model(split, tmp_path_factory):
    return baseline(split, tmp_path_factory.mktemp("two") / "run", settings()).model


def test_the_model_says_what_it_takes(model):
    _, metadata = model_file.load(model)
    (age,) = metadata.channels
    assert (metadata.sweeps, age.name, age.required) == (2, "sweep_age", True)
    # 10 sweeps a second
    assert age.range[0].min == 0 and age.range[0].max == pytest.approx(0.1)


def test_a_sweep_comes_with_the_one_before_in_its_frame(split):
    cache = split.caches[0]
    assert cache.sweep(0).older.shape == (0, 5)  # none before the first one
    this, before = cache.sweep(5), cache.sweep(4)
    assert len(this.older) == len(before.points)
    assert (this.points[:, 4] == 0).all() and this.older[:, 4] == pytest.approx(0.1)
    poses = [np.array(cache.sweeps[i].T_world_lidar) for i in (5, 4)]
    world = [
        np.c_[points[:, :3], np.ones(len(points))] @ pose.T
        for points, pose in zip((this.older, before.points), poses)
    ]
    np.testing.assert_allclose(world[0], world[1], atol=1e-3)
    np.testing.assert_array_equal(this.older[:, 3], before.points[:, 3])
    # A sweep of another role of the split is below the next one all the same.
    assert [cache.earlier_indices(i, 3) for i in (0, 1, 16)] == [[], [0], [15, 14]]


def test_older_points_are_input_and_nothing_is_learned_from_them(split):
    mixing = ("share=0.5", "ways=[sectors,bands,union]")
    dataset = training_dataset(
        split, split.train, settings(*(f"augmentation.mixing.{each}" for each in mixing)),
        extras=lambda ref, _: {"ones": np.ones(split.row(ref).points)},
    )  # fmt: skip
    batch = collate([dataset[i] for i in range(1, 4)])
    older = batch.points[:, 4] > 0
    assert 0.3 < older.float().mean() < 0.7
    assert (batch.labels[older] == 255).all()
    learned = batch.only_newest()
    assert len(learned.points) == (~older).sum() and learned.newest is None
    assert (learned.points[:, 4] == 0).all() and (learned.extras["ones"] == 1).all()
    assert torch.equal(learned.labels, batch.labels[~older])
    assert torch.equal(batch.of_newest(batch.cloud), learned.cloud)


def test_of_one_sweep_a_batch_is_as_it_always_was(drive_cache):
    config = load_settings(StudentConfig, None, STUDENT)
    split = make_split([Cache.open(drive_cache)], config.split)
    assert stacked(split, 1) is split
    batch = collate([training_dataset(split, split.train, config)[0]])
    assert batch.newest is None and batch.only_newest() is batch


def test_cache_recording_and_robot_are_labelled_to_the_same_bit(model, drive, drive_cache):
    cache = Cache.open(drive_cache)
    segmenter = Segmenter.load(model, device="cpu", precision="fp32")
    robot = load_model(replace(PARAMETERS, model=str(model), precision="fp32")).segmenter
    examination = examine_clouds(drive, None)
    by_torch, by_robot = (BagLabeller(examination, each, PARAMETERS) for each in (segmenter, robot))
    with open_bag(drive) as bag:
        for i, (_, cloud) in enumerate(bag.messages([examination.recording.points_topic])):
            valid = valid_returns(read_xyz_intensity(cloud)[0])
            of_cache = label_as_robot(segmenter, cache, i)
            for found in (by_torch(cloud).result, by_robot(cloud).result):
                np.testing.assert_array_equal(found.probability[valid], of_cache.probability)
                np.testing.assert_array_equal(found.class_id[valid], of_cache.class_id)
    told = {each.code: each.message for each in by_torch.later_findings}
    assert told["labelled-by-several-sweeps"].startswith("19 clouds are labelled by 2 sweeps")
    assert told["labelled-by-fewer-sweeps"].startswith("1 clouds are labelled by fewer than 2")

    # What training computes of the same points is what the robot computes
    of_cache = evaluate_model(model, drive_cache, device="cpu")
    of_bag = evaluate_model(model, drive, device="cpu", labels="simulation", parameters=PARAMETERS)
    np.testing.assert_array_equal(of_cache.counts, of_bag.counts)


def test_without_poses_nothing_is_stacked_and_that_is_an_error(split, drive_cache):
    cache = Cache.open(drive_cache)
    rows = [replace(row, T_world_lidar=None) for row in cache.sweeps]
    nowhere = replace(cache, sweeps=PackedRows(SweepRow, rows))
    with pytest.raises(InputError, match=r"sweeps=2: no sweep to train on has one before it"):
        stacked(replace(split, caches=[nowhere]), 2)
    assert nowhere.moment(5, 2, []) is None
    assert replace(nowhere, together=2, channels=split.caches[0].channels).sweep(5).older.shape == (
        0, 5,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("setting", "said"),
    [
        ("augmentation.mixing.share=0.5", "can't have things"),
        ("augmentation.beams=0.2", "augmentation.beams must be 0"),
        ("sweeps=0", "sweeps"),
        ("channels=[sweep_age]", "channels"),
    ],
)
def test_what_a_stack_can_not_be_is_refused(setting, said):
    with pytest.raises(InputError, match=said):
        settings(setting)


def test_a_stack_is_not_corrupted(split):
    with pytest.raises(InputError, match="not scored on corrupted clouds"):
        corrupted(split.sweep(SweepRef(0, 5)), "fog")


def test_a_training_starts_from_a_model_of_one_sweep_as_if_there_were_no_ages(split):
    config = settings("init=shipped", "voxel_size=0.2")
    network, metadata = make_network(split, config, None)
    assert metadata.sweeps == 2
    shipped, _ = model_file.load(DEFAULT_MODEL)
    shared = [
        (split.taxonomy.id_of(name), metadata.taxonomy.id_of(name))
        for name in metadata.taxonomy.names
    ]
    assert shared
    points = torch.from_numpy(split.sweep(SweepRef(0, 5)).stacked)
    plain = shipped.features(points[:, :4].contiguous())
    with torch.inference_mode():
        torch.testing.assert_close(network.eval().features(points), plain, atol=1e-4, rtol=1e-4)


def test_taught_by_nobody_a_student_of_several_sweeps_is_the_baseline_to_the_bit(
    split, model, tmp_path
):
    nobody = DistillationConfig(teacher="none", snapshots="none")
    taught = distil(split, tmp_path, settings(), nobody, None, None)
    weights, of_labels = load_file(taught.model), load_file(model)
    assert all(torch.equal(value, of_labels[name]) for name, value in weights.items())


def test_teachers_tell_of_the_newest_points_alone(split, model, tmp_path):
    device = torch.device("cpu")
    predictor = model_predictor(model, device)
    outputs = RecordedOutputs(tmp_path / "said", split)
    outputs.record(predictor, split.train, max_range=30.0, device=device)
    ref, sweep = split.train[5], split.sweep(split.train[5])
    near = within_range(sweep.stacked, 30.0)
    network, _ = model_file.load(model)
    with torch.inference_mode():
        logits = network(torch.from_numpy(sweep.stacked[near])).half().numpy()
    own = near[: len(sweep.points)]
    said = outputs.of(ref)["logits"]
    assert len(said) == len(sweep.points) and not said[~own].any()
    np.testing.assert_array_equal(said[own], logits[: own.sum()])
    mean = SnapshotTargets(outputs, torch.full((len(split.taxonomy),), torch.nan))
    config = DistillationConfig(teacher="none", snapshots="mean")
    taught = distil(split, tmp_path / "run", settings(), config, None, mean)
    assert model_file.load(taught.model)[1].sweeps == 2
