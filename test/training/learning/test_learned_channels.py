"""Channels of recorded points: kept, learned from, and read again by what was trained."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import yard
from coloured import GREEN, RED, painted_rows

from haskd_ros import model_file
from haskd_ros.clouds.pointcloud import read_points
from haskd_ros.errors import InputError
from haskd_ros.model_header import ChannelInput, Extent
from haskd_training.data.caches.cache import Cache
from haskd_training.data.channel_inputs import channel_inputs
from haskd_training.experiments.evaluate import evaluate_model
from haskd_training.learning.augmentation import AugmentationConfig, augment
from haskd_training.learning.mixing import turned
from haskd_training.metrics.confusion import accuracy
from haskd_training.recordings.readers.bag import open_bag
from haskd_training.robot.offline.segment_bag import SEGMENTATION

QUICK = (
    "loop.epochs=12", "voxel_size=0.5", "split.test=0", "split.validation=0",
    "split.calibration=0", "snapshots=1", "loop.learning_rate=0.01",
)  # fmt: skip

SEEN = Extent(-1.0, 1.0)
RGB = ChannelInput("rgb", 255.0, (0.25, 0.5, 0.75), (SEEN,) * 3)
NORMAL = ChannelInput("normal", 1.0, (0.0, 0.0, 1.0), (SEEN,) * 3)

pytestmark = pytest.mark.usefixtures("two_levels")


@pytest.fixture(scope="module")
def bags(tmp_path_factory):
    """Two recordings in which paint alone tells the classes apart."""
    folder = tmp_path_factory.mktemp("painted")
    train = yard.record(folder / "train", rows=painted_rows)
    test = yard.record(folder / "test", rows=lambda number: painted_rows(number + 100), clouds=2)
    return train, test, folder / "train" / "labels.yaml"


def options(*settings: str) -> list[str]:
    return [part for setting in settings for part in ("--set", setting)]


@pytest.fixture
def caches(haskd, bags, tmp_path):
    train, test, labels = bags
    found = []
    for bag in (train, test):
        out = tmp_path / bag.parent.name
        done = haskd("prepare", bag, "--labels", labels, "--out", out, *options("overlays=0"))
        assert done.returncode == 0, done.stderr
        found.append(out)
    return found


def test_a_student_learns_what_colour_alone_tells(haskd, bags, caches, tmp_path):
    train, test = caches
    done = haskd("baseline", train, "--out", tmp_path / "run", *options(*QUICK, "channels=[rgb]"))
    assert done.returncode == 0, done.stderr
    model = tmp_path / "run" / "model.safetensors"
    (channel,) = model_file.load(model)[1].channels
    # Half of the points are (200, 40, 30), half (30, 180, 60)
    np.testing.assert_allclose(channel.mean, [115 / 255, 110 / 255, 45 / 255], atol=0.02)
    assert [round(255 * each.max) for each in channel.range] == [200, 180, 60]

    assert accuracy(evaluate_model(model, test).counts) > 0.95

    # A recording is labelled by its own colours, as its cache is
    done = haskd("segment", model, bags[1], "--out", tmp_path / "labelled")
    assert done.returncode == 0, done.stderr
    with open_bag(tmp_path / "labelled") as bag:
        clouds = [message for _, message in bag.messages([SEGMENTATION])]
    said = read_points(clouds[0])["class_id"]
    assert (said + 1 == painted_rows(100)["label"]).mean() > 0.95

    # Without colours the mean stands in, and that is said
    grey = yard.record(tmp_path / "grey", clouds=1)
    done = haskd("segment", model, grey, "--out", tmp_path / "grey_labelled")
    assert done.returncode == 0 and "no rgb in the clouds" in " ".join(
        (done.stdout + done.stderr).split()
    )


def test_without_colours_nobody_can_tell(haskd, caches, tmp_path):
    train, test = caches
    done = haskd("baseline", train, "--out", tmp_path / "run", *options(*QUICK))
    assert done.returncode == 0, done.stderr
    model = tmp_path / "run" / "model.safetensors"
    assert accuracy(evaluate_model(model, test).counts) < 0.65


def test_a_cache_keeps_channels_in_their_own_unit_and_gives_them_as_inputs(caches):
    cache = Cache.open(caches[0])
    assert cache.sweep(0).points.shape == (495, 4)
    recorded = cache.recorded_channels(0, ["rgb", "normal"])
    assert recorded["normal"] is None and recorded["rgb"].dtype == np.uint8
    is_red = painted_rows(0)["label"] == 2
    assert recorded["rgb"].tolist() == np.where(is_red[:, None], RED, GREEN).tolist()
    seen = replace(cache, channels=(RGB, NORMAL)).sweep(0).points
    assert seen.shape == (495, 10)
    np.testing.assert_allclose(seen[:, 4:7], recorded["rgb"] / np.float32(255), rtol=1e-6)
    assert (seen[:, 7:] == [0, 0, 1]).all()  # of normals the mean stands in
    with pytest.raises(InputError, match=r"no sweep to train on has normal; .* normal_x normal_y"):
        channel_inputs([cache], ["normal"])


def test_channels_that_are_not_wanted_are_not_kept(haskd, bags, tmp_path):
    train, _, labels = bags
    out = tmp_path / "bare"
    done = haskd(
        "prepare", train, "--labels", labels, "--out", out, *options("overlays=0", "channels=[]")
    )
    assert done.returncode == 0, done.stderr
    assert Cache.open(out).recorded_channels(0, ["rgb"]) == {"rgb": None}


def coloured_points(count: int = 500) -> np.ndarray:
    """Coloured points whose normals point away from the sensor."""
    random = np.random.default_rng(0)
    points = random.uniform(-30, 30, (count, 10)).astype(np.float32)
    points[:, 4:7] = random.random((count, 3))
    points[:, 7:] = points[:, :3] / np.linalg.norm(points[:, :3], axis=1, keepdims=True)
    return points


def test_normals_turn_with_their_points_and_colours_stay_in_range():
    points = coloured_points()
    config = AugmentationConfig(shift_m=0, drop=0, colour=0.5)
    for seed in range(5):
        changed, kept = augment(points, config, np.random.default_rng(seed), channels=(RGB, NORMAL))
        assert kept.all()
        away = changed[:, :3] / np.linalg.norm(changed[:, :3], axis=1, keepdims=True)
        np.testing.assert_allclose(changed[:, 7:], away, atol=1e-4)
        assert changed[:, 4:7].min() >= 0 and changed[:, 4:7].max() <= 1
        dark = points[:, 4:7].max(1) < 0.4
        ratio = changed[dark, 4:7] / points[dark, 4:7]
        np.testing.assert_allclose(ratio, np.broadcast_to(ratio[0], ratio.shape), rtol=1e-4)
        assert 0.25 <= ratio.min() <= ratio.max() <= 2.25


def test_where_channels_are_left_out_their_means_stand_in():
    points = coloured_points()
    config = AugmentationConfig(drop=0, no_channels=1.0)
    changed, _ = augment(points, config, np.random.default_rng(1), channels=(RGB, NORMAL))
    grey = (changed[:, 4:7] == np.float32(RGB.mean)).all(1)
    level = (changed[:, 7:] == np.float32(NORMAL.mean)).all(1)
    assert 0 < grey.mean() < 1 and 0 < level.mean() < 1


def test_a_turned_sweep_has_turned_normals():
    points = coloured_points()
    changed = turned(points, np.pi / 2, (RGB, NORMAL))
    np.testing.assert_allclose(changed[:, 7], -points[:, 8], atol=1e-6)
    np.testing.assert_allclose(changed[:, 8], points[:, 7], atol=1e-6)
    assert (changed[:, [3, 4, 5, 6, 9]] == points[:, [3, 4, 5, 6, 9]]).all()
