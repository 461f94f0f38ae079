"""Tables of neighbours against lists of pairs, and that a GPU computes them without being asked."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from scattered import scattered_voxels

from haskd_ros.native import dispatch
from haskd_ros.sparse.kernel_map import (
    CENTRE,
    KernelMap,
    downsampling_map,
    submanifold_map,
    submanifold_map_at_once,
)
from haskd_ros.sparse.neighbours import (
    NONE,
    Neighbours,
    downsampling_neighbours,
    submanifold_neighbours,
)


def pairs_of(neighbours: Neighbours) -> tuple[torch.Tensor, torch.Tensor, tuple[int, ...]]:
    """Sources, targets and sizes as of a `KernelMap`."""
    met = neighbours.sources != NONE
    targets = met.nonzero()[:, 1]
    return neighbours.sources[met], targets.int(), tuple(met.sum(1).tolist())


def assert_same_pairs(found: tuple[torch.Tensor, ...], wanted: KernelMap) -> None:
    sources, targets, sizes = found
    assert sizes == wanted.sizes
    assert torch.equal(sources, wanted.sources)
    assert torch.equal(targets, wanted.targets)


@pytest.mark.parametrize("share", [0.0, 0.02, 0.3, 1.0])
def test_tables_hold_the_pairs_of_kernel_maps(share):
    _, keys = scattered_voxels(0, share)
    neighbours = submanifold_neighbours(keys)
    assert torch.equal(neighbours.sources[CENTRE], torch.arange(len(keys)).int())
    neighbours.sources[CENTRE] = NONE  # a kernel map leaves it out
    with dispatch.plain_torch():
        wanted, step = submanifold_map(keys), downsampling_map(keys)
    assert_same_pairs(pairs_of(neighbours), wanted)
    at_once = submanifold_map_at_once(keys)
    assert_same_pairs((at_once.sources, at_once.targets, at_once.sizes), wanted)
    assert (at_once.output_rows, at_once.identity_centre) == (len(keys), True)
    parents, down, up = downsampling_neighbours(keys)
    assert torch.equal(parents, step.parents)
    # A parent has one child in an octant: the pairs of a tap are in the order of both.
    assert_same_pairs(pairs_of(down), step.down())
    assert_same_pairs(pairs_of(up), step.up())


def test_rows_that_meet_voxels_under_the_same_taps_follow_each_other():
    _, keys = scattered_voxels(1, 0.3)
    for neighbours in (submanifold_neighbours(keys), *downsampling_neighbours(keys)[1:]):
        order = neighbours.order.long()
        assert torch.equal(order.sort().values, torch.arange(len(order)))
        columns = neighbours.sources != NONE
        groups = {tuple(column) for column in columns.t().tolist()}
        changes = (columns[:, order[1:]] != columns[:, order[:-1]]).any(0).sum()
        assert changes == len(groups) - 1


WAITED_FOR = {"bincount", "item", "masked_select", "nonzero", "repeat_interleave", "_unique2"}
"""Operations whose result's shape, or value on the CPU, depends on values on the GPU."""


def waits(work: Callable[[], object]) -> list[str]:
    """The operations for whose result a GPU would be waited for."""
    with dispatch.plain_torch(), torch.autograd.profiler.profile() as profile:
        work()
    names = [event.name.removeprefix("aten::") for event in profile.function_events]
    return [name for name in names if name in WAITED_FOR]


def test_a_gpu_is_asked_for_the_number_of_coarse_voxels_and_for_nothing_else(monkeypatch):
    _, keys = scattered_voxels(0)
    # As on a GPU: not by numpy, and without a list, which no operation shows.
    monkeypatch.setattr("haskd_ros.sparse.grouping.argsort", torch.argsort)
    monkeypatch.setattr(torch.Tensor, "tolist", None)
    assert waits(lambda: submanifold_neighbours(keys)) == []
    assert waits(lambda: downsampling_neighbours(keys)) == ["nonzero"]
    assert waits(lambda: keys[:3].max().item()) == ["item"]
