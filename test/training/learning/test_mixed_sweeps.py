"""The data set of a training that mixes sweeps: what belongs to a point goes with it."""

import numpy as np
import pytest

from haskd_training.data.caches.cache import Cache
from haskd_training.data.sweep_ref import SweepRef
from haskd_training.learning.augmentation import AugmentationConfig
from haskd_training.learning.batches import SweepDataset, collate
from haskd_training.learning.mixing import MixingConfig
from small_street import street_cache

SWEEPS = [SweepRef(0, i) for i in range(6)]


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    return Cache.open(street_cache(tmp_path_factory.mktemp("street"), sweeps=6))


def dataset(cache, ways=("sectors", "things", "bands", "union"), share=1.0, **more):
    mixing = MixingConfig(share=share, ways=ways)
    augmentation = AugmentationConfig(intensity=0, mixing=mixing)
    return SweepDataset([cache], SWEEPS, max_range=30.0, augmentation=augmentation, **more)


def origin(cache):
    """Where each point is from."""

    def extras(ref, _):
        count = len(cache.sweep(ref.sweep).points)
        return {"sweep": np.full(count, ref.sweep), "row": np.arange(count)}

    return extras


@pytest.mark.parametrize("way", ["sectors", "things", "bands", "union"])
def test_every_point_keeps_its_label_and_its_teachers_word(cache, way):
    sweeps_in_one = set()
    mixing = dataset(cache, (way,), extras=origin(cache))
    for index in range(len(mixing)):
        cloud = mixing[index]
        numbers = np.unique(cloud.extras["sweep"])
        sweeps_in_one.add(len(numbers))
        for number in numbers:
            own = cloud.extras["sweep"] == number
            rows, sweep = cloud.extras["row"][own], cache.sweep(int(number))
            np.testing.assert_array_equal(cloud.labels[own], sweep.label[rows])
            np.testing.assert_array_equal(cloud.points[own, 3], sweep.points[rows, 3])
    assert max(sweeps_in_one) == 2


def test_a_mixture_is_the_same_with_a_teacher_and_without(cache):
    for index in range(len(SWEEPS)):
        alone, taught = dataset(cache)[index], dataset(cache, extras=origin(cache))[index]
        np.testing.assert_array_equal(alone.points, taught.points)
        np.testing.assert_array_equal(alone.labels, taught.labels)


def test_half_of_a_mixture_may_have_no_labels(cache):
    unlabelled = set(SWEEPS[:3])
    mixing = dataset(cache, ("union",), extras=origin(cache), unlabelled=unlabelled)
    clouds = [mixing[index] for index in range(len(SWEEPS))]
    batch = collate(clouds)
    silent = batch.extras["sweep"] < 3
    assert (batch.supervised == ~silent).all()
    assert (batch.labels[silent] == 255).all()
    assert any(len(np.unique(cloud.supervised)) == 2 for cloud in clouds)


def test_without_a_share_nothing_is_mixed(cache):
    mixing = dataset(cache, share=0.0, extras=origin(cache))
    assert all(len(np.unique(mixing[i].extras["sweep"])) == 1 for i in range(len(mixing)))


def test_a_sweep_is_not_mixed_with_itself(cache):
    mixing = dataset(cache, ("union",), extras=origin(cache))
    mixing.sweeps = SWEEPS[:1]
    cloud = mixing[0]
    # Each point once
    assert len(np.unique(cloud.extras["row"])) == len(cloud.points)
