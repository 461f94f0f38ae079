"""A few returns that no sensor means, among the recorded ones."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from haskd_training.data.caches.cache import Cache
from haskd_training.data.preparing.prepare import prepare
from haskd_training.data.splits import SplitConfig, make_split
from haskd_training.learning.batches import collate
from haskd_training.learning.student import StudentConfig, make_network, training_dataset
from recorded_bags import Scene, write_bag
from small_street import street

SWEEPS = 10


def network_of(folder, absurd: float | None):
    """A network for a street with this intensity in two returns of one sweep, its cache, and what
    it was given of all sweeps once."""

    def points(index: int) -> np.ndarray:
        found = street(index)
        if absurd is not None and index == 4:
            found["intensity"][[7, 900]] = absurd
        return found

    folder.mkdir()
    prepare([write_bag(folder, Scene(clouds=SWEEPS, images=0, points=points))], "pandaset",
            folder / "cache")  # fmt: skip
    cache = Cache.open(folder / "cache")
    config = StudentConfig()
    split = make_split([cache], SplitConfig(calibration=0, validation=0, test=0))
    network, metadata = make_network(split, config, None)
    dataset = training_dataset(split, split.train, config)
    batch = collate([dataset[i] for i in range(SWEEPS)])
    with torch.no_grad():
        network.train()(batch.points, batch.cloud)
    return cache, metadata, network


@pytest.mark.parametrize("absurd", [1e6, 3e38, -1e30, np.inf, np.nan])
def test_an_absurd_return_changes_neither_scale_nor_statistics_nor_norms(tmp_path, absurd):
    cache, metadata, network = network_of(tmp_path / "absurd", absurd)
    sane_cache, sane, sane_network = network_of(tmp_path / "sane", None)
    assert cache.intensity_scale == sane_cache.intensity_scale == 255
    assert metadata.intensity.mean == pytest.approx(sane.intensity.mean, abs=1e-3)
    for end in ("min", "max"):
        found, wanted = (getattr(m.input_range.intensity, end) for m in (metadata, sane))
        assert found == pytest.approx(wanted, abs=0.01)
    # 2 of 18,000 values at the limit of 1.25, where the others are 0.04 to 0.8: the variance of
    # 0.04 moves by 1e-4 of (1.25 - 0.4)^2.
    torch.testing.assert_close(
        network.scale.running_var, sane_network.scale.running_var, rtol=1e-2, atol=1e-4
    )
    torch.testing.assert_close(
        network.scale.running_mean, sane_network.scale.running_mean, rtol=1e-2, atol=1e-3
    )
