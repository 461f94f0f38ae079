"""What a network says of several copies of a cloud, and their mean."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from haskd_ros import model_file
from haskd_ros.errors import InputError
from haskd_ros.models.views import Views
from haskd_ros.segmenter import Segmenter


@pytest.fixture(scope="module")
def points():
    points = np.random.default_rng(0).uniform(-20, 20, (500, 4)).astype(np.float32)
    points[:, 3] = np.linspace(0, 1, 500)
    return points


def test_views_are_the_cloud_itself_turned_mirrored_and_scaled(points):
    cloud = torch.from_numpy(points)
    views = Views(4).of(cloud)
    assert len(views) == 4 and views[0] is cloud
    for number, view in enumerate(views):
        assert (view[:, 3] == cloud[:, 3]).all()
        size = (1.0, 1.0, 1.04, 0.96)[number]
        moved = view[:, :3].double() - view[0, :3].double()
        expected = size * (cloud[:, :3].double() - cloud[0, :3].double())
        torch.testing.assert_close(moved.norm(dim=1), expected.norm(dim=1), rtol=1e-4, atol=1e-3)
        # Odd ones are mirrored: a right-handed triple becomes a left-handed one
        turn = np.sign(np.linalg.det(moved[1:4].numpy()) / np.linalg.det(expected[1:4].numpy()))
        assert turn == (-1 if number % 2 else 1)
    # A quarter turn, mirrored first: (x, y) becomes (y, x), shifted by less than 0.1 m
    first = views[1][:, :2] - cloud[:, [1, 0]]
    assert (first.abs() <= 0.1 + 1e-4).all() and first.std(0).max() < 1e-4


def test_normals_turn_with_the_points_and_keep_their_length():
    away = np.random.default_rng(1).normal(size=(100, 3)).astype(np.float32)
    away /= np.linalg.norm(away, axis=1, keepdims=True)
    # A sphere about the origin: each normal points away from it
    cloud = torch.from_numpy(np.concatenate([10 * away, np.zeros((100, 1)), away], 1)).float()
    for view in Views(5, normals=[4]).of(cloud):
        centre = view[:, :3].mean(0) - 10 * cloud[:, :3].mean(0) / 10
        assert torch.isfinite(centre).all()
        torch.testing.assert_close(view[:, 4:].norm(dim=1), torch.ones(100), atol=1e-4, rtol=0)
        sphere = view[:, :3] - view[:, 4:] * view[:, :3].sub(view[:1, :3]).norm(dim=1).max() * 0
        size = (view[1:, :3] - view[:1, :3]).norm(dim=1) / (cloud[1:, :3] - cloud[:1, :3]).norm(
            dim=1
        )
        middle = sphere - 10 * size.mean() * view[:, 4:]
        torch.testing.assert_close(middle, middle[:1].expand_as(middle), atol=1e-3, rtol=0)


def test_the_mean_is_that_of_the_views_probabilities(tiny_model, points):
    network, metadata = model_file.load(tiny_model)
    warm = replace(metadata, temperature=2.0, intensity=replace(metadata.intensity, scale=1.0))
    said = Segmenter(network, warm, device="cpu", precision="fp32", views=3)(points)
    alone, _ = model_file.load(tiny_model)
    with torch.inference_mode():
        views = Views(3).of(torch.from_numpy(points))
        mean = sum(torch.softmax(alone(view) / 2.0, 1) for view in views).numpy() / 3
    # Points on which two classes all but agree may fall either way
    assert (said.class_id == mean.argmax(1)).mean() > 0.99
    np.testing.assert_allclose(said.probability, mean.max(1), atol=2e-3)
    entropy = -(mean * np.log(mean)).sum(1)
    np.testing.assert_allclose(said.entropy, entropy, atol=5e-3)


def test_one_view_is_the_cloud_alone_and_senseless_numbers_are_refused(tiny_model, points):
    one = Segmenter.load(tiny_model, device="cpu", views=1)(points)
    usual = Segmenter.load(tiny_model, device="cpu")(points)
    np.testing.assert_array_equal(one.probability, usual.probability)
    for views in (0, 65):
        with pytest.raises(InputError, match=f"{views} views of a cloud; wanted 1 to 64"):
            Segmenter.load(tiny_model, device="cpu", views=views)
