"""What earlier clouds said of a place, beside what the newest one says."""

import math
from contextlib import nullcontext

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from haskd_ros.native import dispatch, load_kernels
from haskd_ros.native.place_table import PlaceTable
from haskd_ros.score_memory import FORGOTTEN, ScoreMemory
from haskd_ros.taxonomy import ClassInfo, Taxonomy

ROAD, CAR, WALL = range(3)
TAXONOMY = Taxonomy(
    (
        ClassInfo("road", (1, 1, 1)),
        ClassInfo("car", (2, 2, 2), movable=True),
        ClassInfo("wall", (3, 3, 3)),
    )
)
HERE = [[5.1, 0.1, 0.1, 0.5]]


@pytest.fixture(autouse=True, params=["compiled", "plain torch"], scope="module")
def places(request):
    """Both ways to keep places, one after the other."""
    if request.param == "compiled" and not load_kernels():
        pytest.skip("no compiled kernels on this machine")
    with nullcontext() if request.param == "compiled" else dispatch.plain_torch():
        yield


def pose(x=0.0, y=0.0, z=0.0, yaw=0.0):
    cosine, sine = math.cos(yaw), math.sin(yaw)
    return np.array([[cosine, -sine, 0, x], [sine, cosine, 0, y], [0, 0, 1, z], [0, 0, 0, 1.0]])


def said(memory, points, probabilities, time_s, where=None):
    return memory.refine(
        torch.tensor(points, dtype=torch.float32),
        torch.tensor(probabilities),
        pose=pose() if where is None else where,
        time_s=time_s,
    ).tolist()


def test_what_a_voxel_was_counts_half_and_fades():
    memory = ScoreMemory(TAXONOMY, half_life=1.0)
    assert said(memory, HERE, [[0.5, 0.25, 0.25]], 10.0) == [[0.5, 0.25, 0.25]]
    # One half life later half of it, and of that half beside the new
    second = said(memory, HERE, [[0.25, 0.25, 0.5]], 11.0)
    assert second == [[0.25 + 0.125, 0.25 + 0.0625, 0.5 + 0.0625]]
    # Two later: (the first / 2 + the second) / 4
    third = said(memory, HERE, [[1.0, 0.0, 0.0]], 13.0)
    assert third == [[1 + 0.5 * (0.5 / 2 + 0.25) / 4, 0.5 * 0.375 / 4, 0.5 * (0.125 + 0.5) / 4]]
    assert len(memory) == 1


def test_points_of_a_voxel_share_their_mean_and_other_voxels_are_not_concerned():
    memory = ScoreMemory(TAXONOMY, half_life=1.0)
    near, far = [5.15, 0.15, 0.1, 0.0], [5.3, 0.1, 0.1, 0.0]
    said(memory, [*HERE, near], [[1.0, 0.0, 0.0], [0.0, 0.0, 1.0]], 0.0)
    found = said(memory, [near, far], [[0.0, 0.0, 1.0], [0.0, 0.0, 1.0]], 1.0)
    assert found == [[0.125, 0.0, 1.125], [0.0, 0.0, 1.0]]
    assert len(memory) == 2


def test_what_moves_has_no_past_but_is_one():
    memory = ScoreMemory(TAXONOMY, half_life=1.0)
    said(memory, HERE, [[1.0, 0.0, 0.0]], 0.0)
    assert said(memory, HERE, [[0.25, 0.75, 0.0]], 1.0) == [[0.25, 0.75, 0.0]]
    assert said(memory, HERE, [[0.0, 0.0, 1.0]], 2.0) == [[0.25 * (0.5 + 0.25), 0.25 * 0.75, 1.0]]


@pytest.mark.parametrize("moved", [pose(x=2.0), pose(y=-3.0, yaw=math.pi / 2), pose(30, -40, 3)])
@pytest.mark.parametrize("start", [0.0, 5e5])
def test_the_place_counts_wherever_the_sensor_is(moved, start):
    memory = ScoreMemory(TAXONOMY, half_life=1.0)
    begin, end = pose(x=start), pose(x=start) @ moved
    said(memory, HERE, [[1.0, 0.0, 0.0]], 0.0, begin)
    seen = np.linalg.inv(moved) @ [5.1, 0.1, 0.1, 1.0]
    assert said(memory, [[*seen[:3], 0.0]], [[0.0, 0.0, 1.0]], 1.0, end) == [[0.25, 0.0, 1.0]]
    assert said(memory, HERE, [[0.0, 0.0, 1.0]], 2.0, end) == [[0.0, 0.0, 1.0]]


def test_places_far_from_where_it_began_are_told_apart():
    memory = ScoreMemory(TAXONOMY, half_life=1.0)
    said(memory, HERE, [[1.0, 0.0, 0.0]], 0.0)
    # Beyond the anchor's reach, from there what was seen first lies behind
    far = pose(-1500.0, 1500.0, 30.0)
    behind = [[1505.1, -1499.9, -29.9, 0.0]]
    assert said(memory, behind, [[0.0, 0.0, 1.0]], 1.0, far) == [[0.25, 0.0, 1.0]]
    assert said(memory, HERE, [[0.0, 0.0, 1.0]], 2.0, far) == [[0.0, 0.0, 1.0]]
    # On another map
    said(memory, HERE, [[0.0, 0.0, 1.0]], 3.0, pose(-2e5))
    assert len(memory) == 1


def test_a_recording_that_begins_again_is_another_one():
    memory = ScoreMemory(TAXONOMY, half_life=1.0)
    said(memory, HERE, [[1.0, 0.0, 0.0]], 5.0)
    assert said(memory, HERE, [[0.0, 0.0, 1.0]], 4.0) == [[0.0, 0.0, 1.0]]
    # It goes on, with another sensor's cloud that is a little older than the newest one
    assert said(memory, HERE, [[0.0, 0.0, 1.0]], 3.75) == [[0.0, 0.0, 1.5]]
    memory.forget()
    assert said(memory, HERE, [[0.0, 0.0, 1.0]], 7.0) == [[0.0, 0.0, 1.0]]


def test_scores_that_are_no_numbers_stay_so_and_spoil_nothing():
    memory = ScoreMemory(TAXONOMY, half_life=1.0)
    assert np.isnan(said(memory, HERE, [[math.nan] * 3], 0.0)).all()
    assert said(memory, HERE, [[0.0, 0.0, 1.0]], 1.0) == [[0.0, 0.0, 1.0]]


def test_places_that_are_not_seen_again_are_forgotten():
    memory = ScoreMemory(TAXONOMY, half_life=0.1)
    forgotten_s = 0.1 * math.log2(1 / FORGOTTEN)
    for number in range(200):
        said(memory, [[number * 1.0, 0.1, 0.1, 0.0]], [[1.0, 0.0, 0.0]], 0.1 * number)
        # 10 sweeps at most go by until all of it was looked through.
        assert len(memory) <= forgotten_s / 0.1 + 12


def test_a_cloud_without_points_is_none():
    memory = ScoreMemory(TAXONOMY, half_life=1.0)
    none = memory.refine(torch.empty(0, 4), torch.empty(0, 3), pose=pose(), time_s=1.0)
    assert none.shape == (0, 3)
    said(memory, HERE, [[1.0, 0.0, 0.0]], 2.0)
    memory.refine(torch.empty(0, 4), torch.empty(0, 3), pose=pose(), time_s=3.0)
    assert said(memory, HERE, [[0.0, 0.0, 1.0]], 4.0) == [[0.125, 0.0, 1.0]]


@given(st.data())
def test_the_memory_is_what_a_plain_count_of_its_definition_is(data):
    memory, entries = ScoreMemory(TAXONOMY, half_life=0.5), {}
    time_s = 0.0
    for _ in range(data.draw(st.integers(1, 5))):
        time_s += data.draw(st.sampled_from([0.1, 0.5, 1.0]))
        shift = data.draw(st.integers(-2, 2))
        cells = data.draw(st.lists(st.tuples(*[st.integers(-1, 1)] * 3), min_size=1, max_size=8))
        points = [[0.2 * (x + 0.5), 0.2 * (y + 0.5), 0.2 * (z + 0.5), 0.0] for x, y, z in cells]
        scores = np.array(
            [data.draw(st.sampled_from([(0.5, 0.25, 0.25), (0.0, 0.0, 1.0), (0.25, 0.75, 0.0)]))
             for _ in cells]
        )  # fmt: skip
        found = said(memory, points, scores.astype("f4"), time_s, pose(x=0.2 * shift))
        places = [(x + shift, y, z) for x, y, z in cells]
        for place, score, row in zip(places, scores, found, strict=True):
            earlier = sum(
                (2.0 ** ((then - time_s) / 0.5) * mean for then, mean in entries.get(place, ())),
                np.zeros(3),
            )
            expected = score if score.argmax() == CAR else score + 0.5 * earlier
            assert row == pytest.approx(expected.tolist(), abs=1e-5)
        for place in set(places):
            mean = scores[[other == place for other in places]].mean(0)
            entries.setdefault(place, []).append((time_s, mean))


def test_a_table_that_grows_and_forgets_is_what_plain_torch_has(places):
    random = np.random.default_rng(3)
    compiled = ScoreMemory(TAXONOMY, half_life=0.2)
    with dispatch.plain_torch():
        plain = ScoreMemory(TAXONOMY, half_life=0.2)
    for number in range(25):
        count = int(random.integers(1, 6000))
        points = random.uniform(-12, 12, (count, 4)).astype(np.float32)
        scores = random.dirichlet([1, 1, 1], count).astype(np.float32)
        scores[random.random(count) < 0.01] = np.nan
        # 300 m a cloud, so that the anchor moves too
        where, time_s = pose(x=300.0 * (number // 3), yaw=0.1 * number), 0.1 * number
        given = torch.from_numpy(points), torch.from_numpy(scores)
        ours = compiled.refine(*given, pose=where, time_s=time_s)
        with dispatch.plain_torch():
            theirs = plain.refine(*given, pose=where, time_s=time_s)
        torch.testing.assert_close(ours, theirs, equal_nan=True, rtol=1e-4, atol=1e-5)
        assert len(compiled) >= len(plain)
    for _ in range(10):
        compiled._places.forget(2.3)
        plain._places.forget(2.3)
    assert 0 < len(compiled) == len(plain)


def test_a_cloud_for_which_there_was_no_memory_leaves_the_table_as_it_was(places, monkeypatch):
    if not dispatch.usable():
        pytest.skip("of the compiled table")
    table = PlaceTable(torch.tensor([False, True, False]))
    given = {"time_s": 0.0, "half_life": 1.0, "weight": 0.5}
    few, many = torch.arange(10), torch.arange(1000)
    first = table.remember(few, torch.full((10, 3), 0.25), **given)
    with monkeypatch.context() as patch:
        patch.setattr(torch, "empty", fails)
        with pytest.raises(RuntimeError):
            table.remember(many, torch.full((1000, 3), 0.25), **given)
    assert table.remember(many, torch.full((1000, 3), 0.25), **given).shape == (1000, 3)
    assert table.remember(few, torch.full((10, 3), 0.25), **given).shape == first.shape
    assert len(table) == 1000


def fails(*_, **__):
    raise RuntimeError("no memory")
