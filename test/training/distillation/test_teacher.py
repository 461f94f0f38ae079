"""The teacher: image features, fusion, training, and what it is worth."""

from __future__ import annotations

import logging
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx_networks import conv_network
from painted_wall import TAXONOMY, pixel_of, wall_cache
from safetensors.torch import load_file

from haskd_ros import model_file
from haskd_ros.errors import InputError
from haskd_ros.models import SIZES, build, of_size
from haskd_training.core.settings import load_settings
from haskd_training.data.splits import Split
from haskd_training.data.sweep_files import SweepFiles
from haskd_training.data.sweep_ref import SweepRef
from haskd_training.distillation.fusion import (
    FusionTeacher,
    GatedFusion,
    load_teacher,
    save_teacher,
)
from haskd_training.distillation.learning_teacher import LearningTeacher, with_pixels
from haskd_training.distillation.teacher import (
    TeacherConfig,
    seen_and_unseen_confusion,
    teacher_predictor,
    train_teacher,
    with_images,
)
from haskd_training.images.candidates import SelectionConfig
from haskd_training.images.encoder import EncoderConfig
from haskd_training.images.features import ImageDropout, ImageFeatures, image_features
from haskd_training.images.point_views import PointView, views_to_arrays
from haskd_training.images.selection import Selection, select
from haskd_training.images.visibility import image_quality
from haskd_training.learning.baseline import baseline
from haskd_training.learning.batches import Cloud, collate
from haskd_training.learning.student import StudentConfig
from haskd_training.metrics.confusion import mean_iou

pytestmark = pytest.mark.usefixtures("two_levels")

STUDENT = load_settings(
    StudentConfig,
    assignments=["voxel_size=0.5", "loop.epochs=8", "loop.batch_size=2", "loop.device=cpu"],
)
ENCODER = EncoderConfig(channels=16)
ONE_IMAGE = SelectionConfig(strategy="nearest", images=1)


@pytest.fixture(scope="module")
def split(tmp_path_factory: pytest.TempPathFactory) -> Split:
    cache = wall_cache(tmp_path_factory.mktemp("wall") / "cache")
    places = [SweepRef(0, sweep) for sweep in range(len(cache))]
    return Split([cache], places[:8], places[8:], [], [], [])


@pytest.fixture(scope="module")
def alone(split: Split, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Model file of the baseline."""
    return baseline(split, tmp_path_factory.mktemp("baseline") / "run", STUDENT).model


@pytest.fixture(scope="module")
def selection(split: Split, alone: Path, tmp_path_factory: pytest.TempPathFactory) -> Selection:
    places = split.train + split.calibration
    return select(split.caches, places, alone, tmp_path_factory.mktemp("s") / "run", ONE_IMAGE)


@pytest.fixture(scope="module")
def features(
    split: Split, selection: Selection, tmp_path_factory: pytest.TempPathFactory
) -> ImageFeatures:
    out = tmp_path_factory.mktemp("features") / "run"
    return image_features(split, selection.sweeps, selection, out, ENCODER)


@pytest.fixture(scope="module")
def trained(split, features, alone, tmp_path_factory):
    out = tmp_path_factory.mktemp("teacher") / "run"
    return train_teacher(split, features, alone, out, STUDENT, TeacherConfig())


def test_the_gate_is_worked_out_by_hand():
    fusion = GatedFusion(width=1, image_width=2)
    with torch.no_grad():
        fusion.gate.weight[:], fusion.gate.bias[:] = 1.0, 0.0
        # h = 3 f2d[0], and f2d[1] goes to the gate
        fusion.image.weight[:] = torch.tensor([[3.0, 0.0], [0.0, 1.0]])
        found = fusion(torch.tensor([[2.0], [2.0]]), torch.tensor([[5.0, -2.0], [0.0, 0.0]]))
    # 2 + sigmoid(2 - 2) * 15 = 9.5; without an image nothing is added
    assert found.tolist() == [[9.5], [2.0]]


def trunk_of(size: str) -> torch.nn.Module:
    torch.manual_seed(0)
    architecture, arguments = of_size(size, voxel_size=0.5)
    return build(architecture, classes=3, **arguments).eval()


@pytest.mark.parametrize("size", SIZES)
def test_any_network_can_be_a_trunk_and_without_images_stays_what_it_is(size):
    trunk = trunk_of(size)
    teacher = FusionTeacher(trunk, image_width=5, width=4).eval()
    points = torch.rand(200, 4) * 8
    cloud = torch.arange(200) // 100
    nothing = torch.full((200, 5), torch.nan)  # not read where not seen
    with torch.no_grad():
        without = teacher(points, cloud, nothing, torch.zeros(200, dtype=torch.bool))
        assert torch.equal(without, trunk(points, cloud))
        seen = torch.arange(200) < 100  # the first cloud
        images = torch.where(seen[:, None], torch.rand(200, 5), torch.nan)
        fused = teacher(points, cloud, images, seen)
    assert torch.isfinite(fused).all()
    assert not torch.allclose(fused[:100], without[:100], atol=1e-3)
    assert fused[100:] == pytest.approx(without[100:], abs=1e-4)
    assert teacher.feature_width == trunk.feature_width


def test_what_a_row_is_told_is_the_mean_over_its_seen_points():
    told = {}

    class Row(torch.nn.Module):
        """A trunk whose one level is a single row."""

        fusion_widths, feature_width = (4,), 4
        classifier = torch.nn.Identity()

        def features(self, points, batch, fuse):
            fuse(0, torch.zeros(1, 4), lambda level, values: values.sum(0, keepdim=True))
            return torch.zeros(len(points), 4)

    teacher = FusionTeacher(Row(), image_width=2, width=4)
    teacher.levels[0] = torch.nn.Module()
    teacher.levels[0].forward = lambda x, image: told.update(image=image)
    images = torch.rand(3, 2)
    seen = torch.tensor([True, False, True])
    with torch.no_grad():
        teacher(torch.rand(3, 4), None, images, seen)
        assert told["image"] == pytest.approx(teacher.image_branch(images[seen]).mean(0)[None])


def test_every_weight_has_a_gradient_even_where_no_image_sees_anything():
    # Several processes wait for each other's gradients.
    teacher = FusionTeacher(trunk_of("S"), image_width=5, width=4).train()
    points = torch.rand(50, 4) * 8
    teacher(points, None, torch.zeros(50, 5), torch.zeros(50, dtype=torch.bool)).sum().backward()
    assert all(weight.grad is not None for weight in teacher.parameters())


def test_a_teacher_reads_back_as_written(tmp_path, tiny_metadata):
    trunk = build("sparse_unet", classes=3, **tiny_metadata.arguments)
    teacher = FusionTeacher(trunk, image_width=5, width=4).eval()
    save_teacher(tmp_path / "teacher.safetensors", teacher, tiny_metadata)
    loaded, metadata = load_teacher(tmp_path / "teacher.safetensors")
    assert metadata == tiny_metadata
    arguments = (torch.rand(60, 4), None, torch.rand(60, 5), torch.arange(60) % 2 == 0)
    with torch.no_grad():
        assert torch.equal(teacher(*arguments), loaded(*arguments))


def test_a_file_that_is_no_teacher_is_named(tmp_path, tiny_model):
    with pytest.raises(InputError, match=r"none\.safetensors is missing"):
        load_teacher(tmp_path / "none.safetensors")
    with pytest.raises(InputError, match=r"tiny\.safetensors is missing, damaged or no teacher"):
        load_teacher(tiny_model)


def colours_at(image: np.ndarray, pixels: np.ndarray) -> np.ndarray:
    """[N, 3] of an RGB image between its pixels, brought to the features' scale."""
    image = image.astype(np.float64)
    u, v = pixels.T
    left, top = np.floor(u).astype(int), np.floor(v).astype(int)
    a, b = (u - left)[:, None], (v - top)[:, None]
    upper = (1 - a) * image[top, left] + a * image[top, left + 1]
    lower = (1 - a) * image[top + 1, left] + a * image[top + 1, left + 1]
    return ((1 - b) * upper + b * lower - 110) / 60


def test_features_are_those_of_the_pixel_where_a_point_lies(split, features):
    place = split.train[3]
    found, seen = features.of(place)
    assert (found.dtype, found.shape) == (np.float16, (600, 16 + 3))
    # The wall keeps 11 px from the picture's sides, and nothing stands before it.
    assert seen.all()
    pixels = pixel_of(split.sweep(place).points)
    expected = colours_at(split.caches[0].image(3), pixels)
    assert found[:, -3:] == pytest.approx(expected, abs=5e-3)


def test_several_images_are_averaged_by_the_quality_of_their_views(split, alone, tmp_path):
    cache, places = split.caches[0], split.train[:2]
    pair = SelectionConfig(strategy="all", window_s=0.15, min_move_m=0)
    selection = select(split.caches, places, alone, tmp_path / "pair", pair)
    part = Split(split.caches, places, [], [], [], [])
    found, _ = image_features(part, places, selection, tmp_path / "run", ENCODER).of(places[0])
    assert sorted(selection.chosen(places[0])) == [0, 1]
    pixels = pixel_of(cache.sweep(0).points)
    first, second = (colours_at(cache.image(j), pixels) for j in (0, 1))
    # The camera is 8 m away from the wall and has not moved. Views differ by the pictures' own
    # quality and by age: exp(-0 s / 1 s) and exp(-0.1 s / 1 s).
    a, b = image_quality(cache.image(0)), image_quality(cache.image(1)) * np.exp(-0.1)
    assert found[:, -3:] == pytest.approx((a * first + b * second) / (a + b), abs=5e-3)


def test_an_interrupted_run_goes_on_and_comes_out_the_same(split, selection, features, tmp_path):
    out = tmp_path / "cut"

    def stop(done: int, total: int, line: str) -> None:
        if done == 4:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        image_features(split, selection.sweeps, selection, out, ENCODER, stop)
    unfinished = ImageFeatures(SweepFiles(out, split.caches), selection.sweeps, {})
    assert unfinished.missing == selection.sweeps[4:]
    again = image_features(split, selection.sweeps, selection, out, ENCODER)
    for place in selection.sweeps:
        assert np.array_equal(again.of(place)[0], features.of(place)[0])


def test_scores_of_any_network_stand_in_for_the_features(split, selection, alone, tmp_path):
    # The scores are 1, 2 and 3 times the red: one component, and two of which nothing is left.
    network = conv_network(tmp_path / "n.onnx", [[1, 0, 0], [2, 0, 0], [3, 0, 0]])
    config = EncoderConfig(weights=str(network), channels=16)
    found = image_features(split, selection.sweeps, selection, tmp_path / "features", config)
    assert found.width == 3 + 3
    ref = split.train[0]
    features, seen = found.of(ref)
    red = colours_at(split.caches[0].image(ref.sweep), pixel_of(split.sweep(ref).points))[:, 0]
    component, colour = features[seen, 2].astype(float), red[seen]
    assert abs(np.corrcoef(component, colour)[0, 1]) > 0.9999
    assert np.abs(features[seen, :2]).max() < 0.05 < np.ptp(component)
    result = train_teacher(
        split, found, alone, tmp_path / "teacher", STUDENT, TeacherConfig(epochs=1)
    )
    assert load_teacher(result.teacher)[0].image_width == 6
    # Another network under the same name makes other features.
    conv_network(network, [[0, 1, 0]])
    with pytest.raises(InputError, match="holds a run with other inputs"):
        image_features(split, selection.sweeps, selection, tmp_path / "features", config)


def test_features_of_a_sweep_that_was_left_out_are_refused(features):
    with pytest.raises(InputError, match=r"-77\.safetensors is missing"):
        features.of(SweepRef(0, 77))


@settings(max_examples=5)
@given(st.integers(0, 1000))
def test_which_sweeps_lose_their_cameras_is_up_to_the_generator_alone(features, seed):
    extras = with_images(features, ImageDropout(sweeps=0.3))
    first, again, other_sweep = (
        [
            extras(SweepRef(0, sweep), np.random.default_rng((seed, number)))["seen"].any()
            for number in range(40)
        ]
        for sweep in (0, 0, 5)
    )
    assert first == again == other_sweep
    # 28 of 40 expected, standard deviation 2.9: 5 of these either way
    assert 14 <= sum(first) <= 40


@pytest.fixture
def two_views(tmp_path, split) -> ImageFeatures:
    """A sweep of 5 points: one image shows 0, 1 and 2, another 2 and 3, none 4."""
    features = ImageFeatures(SweepFiles(tmp_path, split.caches), [SweepRef(0, 0)], {})
    rows, pixels = [[0, 1, 2], [2, 3]], np.zeros((3, 2), np.float32)
    views = [
        PointView(image, np.array(each, np.int32), pixels[: len(each)], np.ones(len(each)))
        for image, each in enumerate(rows)
    ]
    count, seen = np.array([5], np.int32), np.arange(4, dtype=np.int32)
    known = {"points": count, "seen": seen, "features": np.ones((4, 2), np.float16)}
    features.files.write(SweepRef(0, 0), known | views_to_arrays(views))
    return features


def test_a_point_is_kept_back_with_the_last_of_its_images(two_views):
    def shown(dropout: ImageDropout, draws: int = 400) -> Counter[tuple[int, ...]]:
        generator, place = np.random.default_rng(0), SweepRef(0, 0)
        seen = two_views.seen(place)
        found = (
            two_views.seen_after_dropout(place, seen, dropout, generator) for _ in range(draws)
        )
        return Counter(tuple(np.flatnonzero(seen).tolist()) for seen in found)

    assert set(shown(ImageDropout())) == {(0, 1, 2, 3)}
    assert set(shown(ImageDropout(sweeps=1.0))) == set(shown(ImageDropout(images=1.0))) == {()}
    # Of 400 sweeps half are shown none; of the others, image by image: 0.7 x 0.7 both, 0.7 x 0.3
    # either, 0.3 x 0.3 none. Four standard deviations of the largest are 40.
    found = shown(ImageDropout(sweeps=0.5, images=0.3))
    expected = {(0, 1, 2, 3): 98, (0, 1, 2): 42, (2, 3): 42, (): 218}
    assert set(found) == set(expected)
    assert all(abs(found[seen] - count) <= 40 for seen, count in expected.items())


def test_a_teacher_learns_what_only_the_camera_tells(trained):
    found = trained.comparison
    assert found["seen_points"] == found["points"] == 2 * 600
    # Half of the wall is posters, and points alone don't tell which: an IoU of about 1/3 each.
    assert found["baseline"]["seen_miou"] < 0.45
    assert found["teacher"]["seen_miou"] > 0.8
    assert set(found["teacher"]["seen_iou"]) == {"wall", "poster"}


def test_a_finished_teacher_is_not_trained_again(trained, split, features, alone):
    out = trained.teacher.parent
    before = trained.teacher.stat().st_mtime_ns
    assert train_teacher(split, features, alone, out, STUDENT, TeacherConfig()) == trained
    assert trained.teacher.stat().st_mtime_ns == before
    with pytest.raises(InputError, match="other inputs or settings"):
        train_teacher(split, features, alone, out, STUDENT, TeacherConfig(camera_dropout=0.5))


def test_a_teacher_that_was_interrupted_goes_on_bit_for_bit(
    trained, split, features, alone, tmp_path
):
    student = load_settings(
        StudentConfig, assignments=["voxel_size=0.5", "loop.epochs=2", "loop.save_every=1"]
    )

    def stop(done: int, total: int, line: str) -> None:
        if done == 11:
            raise KeyboardInterrupt

    run = (split, features, alone)
    whole = train_teacher(*run, tmp_path / "whole", student, TeacherConfig())
    with pytest.raises(KeyboardInterrupt):
        train_teacher(*run, tmp_path / "cut", student, TeacherConfig(), stop)
    resumed = train_teacher(*run, tmp_path / "cut", student, TeacherConfig())
    first, second = load_file(whole.teacher), load_file(resumed.teacher)
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert resumed.comparison == whole.comparison


def test_a_teacher_that_is_not_better_is_reported_loudly(tmp_path, caplog):
    # The baseline knows the posters by their intensity
    cache = wall_cache(tmp_path / "cache", bright_posters=True)
    sweeps = [SweepRef(0, sweep) for sweep in range(len(cache))]
    split = Split([cache], sweeps[:8], sweeps[8:], [], [], [])
    alone = baseline(split, tmp_path / "baseline", STUDENT).model
    chosen = select(split.caches, sweeps, alone, tmp_path / "images", ONE_IMAGE)
    features = image_features(split, chosen.sweeps, chosen, tmp_path / "features", ENCODER)
    # The teacher has learned nothing: neither an image nor a rate to learn at
    student = load_settings(StudentConfig, assignments=["voxel_size=0.5", "loop.epochs=1"])
    blind = TeacherConfig(camera_dropout=1.0, learning_rate=1e-8)
    with caplog.at_level(logging.WARNING):
        found = train_teacher(split, features, alone, tmp_path / "run", student, blind).comparison
    assert found["teacher"]["seen_miou"] < found["baseline"]["seen_miou"]
    assert "THE TEACHER IS NOT BETTER THAN THE BASELINE" in caplog.text


def test_a_trunk_can_start_from_the_baseline_if_it_is_the_same_network(
    split, features, alone, tmp_path
):
    config = TeacherConfig(init="baseline", size="M")
    with pytest.raises(InputError, match="another network than the teacher's trunk"):
        train_teacher(split, features, alone, tmp_path / "m", STUDENT, config)
    student = load_settings(StudentConfig, assignments=["voxel_size=0.5", "loop.epochs=1"])
    config = TeacherConfig(init="baseline", learning_rate=1e-9)
    found = train_teacher(split, features, alone, tmp_path / "s", student, config)
    trunk = load_teacher(found.teacher)[0].trunk.state_dict()
    before = model_file.load(alone)[0].state_dict()
    assert trunk["classifier.weight"] == pytest.approx(before["classifier.weight"], abs=1e-6)


def test_what_is_recorded_of_a_teacher_leads_to_its_scores(trained, split, features):
    teacher, metadata = load_teacher(trained.teacher)
    assert metadata.taxonomy == TAXONOMY
    place = split.calibration[0]
    cloud = split.sweep(place).points
    near = np.arange(len(cloud)) % 2 == 0
    found = teacher_predictor(teacher, features)(place, torch.from_numpy(cloud[near]), near)
    assert found["features"].shape == (300, teacher.feature_width)
    assert found["seen"].all()
    with torch.inference_mode():
        assert torch.equal(found["logits"], teacher.trunk.classifier(found["features"]))


def test_a_learning_encoder_starts_from_the_features_that_were_kept(split, features):
    network = LearningTeacher(
        FusionTeacher(trunk_of("S"), features.width, 4), features.network(), features, split.caches
    ).eval()
    told = []
    network.teacher.register_forward_pre_hook(lambda _, arguments: told.append(arguments[2]))
    # A batch of two sweeps, of which augmentation kept some points; the second has no cameras.
    kept = [np.arange(0, 600, 3), np.arange(100, 200)]
    clouds = []
    for place, rows in zip((split.train[4], split.train[1]), kept):
        extras = with_pixels(features)(place, np.random.default_rng(0))
        values = {name: found[rows] for name, found in extras.items()}
        points = split.sweep(place)
        supervised = np.ones(len(rows), bool)
        clouds.append(Cloud(points.points[rows], points.label[rows], supervised, values))
    clouds[1].extras["seen"][:] = False
    batch = collate(clouds)
    with torch.no_grad():
        network(batch.points, batch.cloud, **batch.extras)
    (found,) = told
    expected = torch.from_numpy(features.of(split.train[4])[0][kept[0]]).float()
    assert found[:200, -3:] == pytest.approx(expected[:, -3:], abs=5e-3)
    # bfloat16, where the machine has it, keeps about two digits of the encoder's maps.
    assert found[:200] == pytest.approx(expected, abs=0.3)
    assert torch.all(found[200:] == 0)


def test_a_sweep_in_two_clouds_of_a_batch_shows_its_images_in_both(split, features):
    network = LearningTeacher(
        FusionTeacher(trunk_of("S"), features.width, 4), features.network(), features, split.caches
    ).eval()
    told = []
    network.teacher.register_forward_pre_hook(lambda _, arguments: told.append(arguments[2]))
    place, rows = split.train[4], np.arange(0, 600, 3)
    extras = with_pixels(features)(place, np.random.default_rng(0))
    values = {name: found[rows] for name, found in extras.items()}
    points = split.sweep(place)
    cloud = Cloud(points.points[rows], points.label[rows], np.ones(len(rows), bool), values)
    batch = collate([cloud, cloud])
    with torch.no_grad():
        network(batch.points, batch.cloud, **batch.extras)
    (found,) = told
    assert torch.equal(found[: len(rows)], found[len(rows) :])
    assert found.abs().sum() > 0


def test_an_encoder_from_scratch_learns_with_the_teacher(split, selection, alone, tmp_path):
    config = EncoderConfig(weights="scratch", frozen=False, channels=8)
    before = image_features(split, selection.sweeps, selection, tmp_path / "before", config)
    student = load_settings(StudentConfig, assignments=["voxel_size=0.5", "loop.epochs=1"])
    run = (split, before, alone, tmp_path / "run", student, TeacherConfig())
    found = train_teacher(*run)
    after = found.features
    assert after.path != before.path
    stem = "encoder.network._conv_stem.weight"
    assert not torch.equal(before.network().state_dict()[stem], after.network().state_dict()[stem])
    # What is kept is what the encoder makes now, and what the teacher was scored with.
    place = split.calibration[0]
    assert not np.allclose(after.of(place)[0][:, :8], before.of(place)[0][:, :8], atol=0.1)
    teacher, _ = load_teacher(found.teacher)
    counts = seen_and_unseen_confusion(
        teacher_predictor(teacher, after),
        split,
        split.calibration,
        after,
        120.0,
        torch.device("cpu"),
    )
    assert mean_iou(counts[1]) == pytest.approx(found.comparison["teacher"]["seen_miou"])
    again = train_teacher(*run)
    assert (again.teacher, again.comparison) == (found.teacher, found.comparison)
    assert again.features.path == after.path
