"""Teaching the student: paired with the baseline, by whom the settings name, and by nobody else."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from haskd_ros import model_file
from haskd_ros.errors import InputError
from haskd_training.core.settings import load_settings
from haskd_training.data.caches.cache import Cache
from haskd_training.data.splits import make_split
from haskd_training.distillation.config import DistillationConfig
from haskd_training.distillation.distil import distil
from haskd_training.distillation.targets import (
    BatchTargets,
    ChannelBatch,
    PlainBatch,
    RoutedBatch,
    SnapshotTargets,
    TeacherBatch,
    TeacherTargets,
    pseudo_labels,
)
from haskd_training.learning.baseline import baseline
from haskd_training.learning.inference import predict
from haskd_training.learning.recorded_outputs import RecordedOutputs
from haskd_training.learning.student import StudentConfig
from haskd_training.metrics.confusion import evaluate
from haskd_training.reports.training_curves import scalars
from small_street import street_cache

CPU = torch.device("cpu")
WIDTH = 3
STUDENT = load_settings(
    StudentConfig,
    None,
    [
        "voxel_size=1", "snapshots=1", "loop.epochs=2", "loop.device=cpu", "max_range=12",
        "split.calibration=0.2", "split.validation=0.2", "split.test=0",
        "split.distil_held_out=false",
    ],
)  # fmt: skip


@pytest.fixture(scope="module")
def split(tmp_path_factory):
    cache = Cache.open(street_cache(tmp_path_factory.mktemp("street"), sweeps=10))
    return make_split([cache], STUDENT.split)


@pytest.fixture(scope="module")
def plain(split, tmp_path_factory):
    """Trained on labels alone."""
    return baseline(split, tmp_path_factory.mktemp("plain") / "run", STUDENT)


def said(split, folder: Path, classes, confidence: float = 8.0) -> RecordedOutputs:
    """A teacher who sees all points and calls them `classes(labels)`; features tell the same."""
    count = len(split.taxonomy)

    def look(place, points, near):
        labels = torch.from_numpy(split.sweep(place).label[near]).long()
        one_hot = torch.nn.functional.one_hot(classes(labels).clamp(max=count - 1), count)
        return {
            "logits": confidence * one_hot.float(),
            "features": one_hot[:, :WIDTH].float(),
            "seen": torch.ones(len(points), dtype=torch.bool),
        }

    return RecordedOutputs(folder, split).record(
        look, split.train_and_unlabelled, max_range=STUDENT.max_range, device=CPU
    )


def config(**changes) -> DistillationConfig:
    return DistillationConfig(teacher="none", snapshots="none").model_copy(update=changes)


def weights(result) -> dict[str, torch.Tensor]:
    return load_file(result.model)


def distilled_share(result, who: str) -> list[float]:
    """The logged share of each step."""
    return scalars(result.model.parent / "tensorboard")[f"distilled_share/{who}"][1]


def same(first, second) -> bool:
    return all(torch.equal(value, second[name]) for name, value in first.items())


def test_taught_by_nobody_the_student_is_the_baseline_to_the_bit(split, plain, tmp_path):
    result = distil(split, tmp_path, STUDENT, config(), None, None)
    # The same initial weights, order, augmentation and steps: what makes the rows of a table pairs
    assert same(weights(plain), weights(result))
    assert result.validation_miou == plain.validation_miou


def test_the_student_may_be_taught_for_fewer_epochs_than_labels_alone(split, tmp_path):
    loop = STUDENT.loop.model_copy(update={"epochs": 1})
    short = baseline(split, tmp_path / "short", STUDENT.model_copy(update={"loop": loop}))
    taught = distil(split, tmp_path / "run", STUDENT, config(epochs=1), None, None)
    # By nobody, again: one epoch of one schedule
    assert same(weights(short), weights(taught))


def test_a_teacher_who_is_always_wrong_teaches_nothing(split, plain, tmp_path):
    wrong = said(split, tmp_path / "said", lambda labels: (labels + 1) % len(split.taxonomy))
    taught = distil(
        split, tmp_path / "run", STUDENT, config(teacher="information", feature_weight=0),
        TeacherTargets(wrong, WIDTH), None,
    )  # fmt: skip
    # g is 0 where the teacher's class is not the label: no weight is left
    assert same(weights(plain), weights(taught))
    assert set(distilled_share(taught, "teacher")) == {0.0}


def test_a_vanilla_teacher_is_followed_even_where_it_is_wrong(split, tmp_path):
    building = split.taxonomy.names.index("building")
    always = said(split, tmp_path / "said", lambda labels: torch.full_like(labels, building))
    taught = distil(
        split, tmp_path / "run", STUDENT, config(teacher="vanilla", teacher_weight=100.0),
        TeacherTargets(always, WIDTH), None,
    )  # fmt: skip
    network, _ = model_file.load(taught.model)
    found = evaluate(
        lambda sweep: predict(network, sweep, STUDENT.max_range, CPU),
        map(split.sweep, split.validation),
        split.taxonomy,
    )
    counts = found.counts[:, :-1]  # what is called anything, beyond the range nothing is
    assert counts[:, building].sum() > 0.9 * counts.sum()


def test_features_are_compared_by_a_part_that_stays_behind(split, plain, tmp_path):
    right = said(split, tmp_path / "said", lambda labels: labels)
    taught = distil(
        split, tmp_path / "run", STUDENT, config(teacher="information"),
        TeacherTargets(right, WIDTH), None,
    )  # fmt: skip
    alone, with_teacher = weights(plain), weights(taught)
    assert {n: v.shape for n, v in alone.items()} == {n: v.shape for n, v in with_teacher.items()}
    assert not same(alone, with_teacher)
    assert min(distilled_share(taught, "teacher")) > 0.5
    _, metadata = model_file.load(taught.model)
    distillation = metadata.provenance.distillation
    assert (distillation["teacher"], distillation["snapshots"]) == ("information", "none")
    assert distillation["sources"] == {"teacher": "said", "snapshots": None}


SURE, TORN = [9.0, 0.0, 0.0], [1.0, 0.0, 0.0]


def logits(*rows: list[float]) -> torch.Tensor:
    return torch.tensor(rows)


ROUTED = RoutedBatch(logits(*[SURE] * 5), torch.tensor([1, 255, 2, 255, 0]))


@pytest.mark.parametrize(
    ("targets", "expected"),
    [
        # The first sweep keeps its labels; of the second the teacher is sure, blind, torn
        (
            {"teacher": TeacherBatch(
                logits(*[SURE] * 4, TORN), torch.tensor([True, True, True, False, True])
            )},
            [1, 255, 0, 255, 255],
        ),
        # ASD: the class that chose each point's expert
        ({"snapshots": ROUTED}, [1, 255, 2, 255, 0]),
        # The mean or the last of the snapshots
        ({"snapshots": PlainBatch(logits(*[SURE] * 4, TORN))}, [1, 255, 0, 0, 255]),
        # ASD by channel
        ({"snapshots": ChannelBatch(logits(*[SURE] * 5))}, [1, 255, 255, 255, 255]),
    ],
)  # fmt: skip
def test_sweeps_without_labels_take_the_confident_classes_of_the_teacher(targets, expected):
    labels = torch.tensor([1, 255, 255, 255, 255])
    supervised = torch.tensor([True, True, False, False, False])
    found = pseudo_labels(
        labels, supervised, BatchTargets(**targets), config(teacher="information")
    )
    assert found.tolist() == expected


def test_pseudo_labels_teach_what_the_divergence_alone_does_not(split, tmp_path):
    silent = replace(split, train=split.train[1:], unlabelled=split.train[:1])
    right = said(silent, tmp_path / "said", lambda labels: labels)
    runs = [
        distil(
            silent, tmp_path / str(kept), STUDENT,
            config(teacher="information", teacher_weight=0, pseudo_labels=kept),
            TeacherTargets(right, WIDTH), None,
        )
        for kept in (True, False)
    ]  # fmt: skip
    assert not same(weights(runs[0]), weights(runs[1]))


def test_experts_fall_silent_for_a_student_that_is_as_good(split, plain, tmp_path):
    def look(place, points, near):
        labels = torch.from_numpy(split.sweep(place).label[near]).long()
        logits = torch.randn(len(points), len(split.taxonomy))
        logits[torch.arange(len(points)), labels.clamp(max=len(split.taxonomy) - 1)] = 9.0
        return {"logits": logits, "classes": labels}

    torch.manual_seed(0)
    outputs = RecordedOutputs(tmp_path / "said", split).record(
        look, split.train_and_unlabelled, max_range=12.0, device=CPU
    )
    count = len(split.taxonomy)

    def taught(name: str, expert_iou: float):
        targets = SnapshotTargets(outputs, torch.full((count,), expert_iou))
        settings = config(snapshots="adept", ramp=0.0)
        return distil(split, tmp_path / name, STUDENT, settings, None, targets)

    # e_c = (A - IoU) / (0.7 A) clipped to 0..1: before the student was measured it is 1, so the
    # first epoch is the same for both; then experts at 0.001 fall silent and those at 1 don't
    weak, strong = taught("weak", 0.001), taught("strong", 1.0)
    assert not same(weights(weak), weights(strong))
    assert not same(weights(plain), weights(strong))
    # 6 sweeps an epoch, one a step
    weak_shares, strong_shares = (distilled_share(one, "snapshots") for one in (weak, strong))
    assert weak_shares[:6] == strong_shares[:6] == [1.0] * 6
    silent, loud = weak_shares[6:], strong_shares[6:]
    assert all(0 <= less < more <= 1 for less, more in zip(silent, loud, strict=True))


def test_a_finished_run_is_returned_and_another_one_refused(split, tmp_path):
    first = distil(split, tmp_path, STUDENT, config(), None, None)
    written = first.model.stat().st_mtime_ns
    assert distil(split, tmp_path, STUDENT, config(), None, None) == first
    assert first.model.stat().st_mtime_ns == written
    with pytest.raises(InputError, match="other inputs or settings"):
        distil(split, tmp_path, STUDENT, config(epochs=1), None, None)
