"""What the other clouds of a recording say of a place, the later ones too: class scores of voxels
in a fixed frame."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Generic, TypeVar

import numpy as np
import torch
from torch import Tensor

from haskd_ros.clouds.point_times import SECOND_NS
from haskd_ros.clouds.sweeps import OUT_OF_ORDER_S
from haskd_ros.errors import InputError
from haskd_ros.node.labelling import published
from haskd_ros.node.parameters.values import Parameters
from haskd_ros.score_memory import VOXEL_SIZE, WEIGHT
from haskd_ros.segmentation import PointSegmenter, Segmentation
from haskd_ros.segmenter import classify_logits
from haskd_ros.sparse import group_by_key, pool, unpool
from haskd_ros.sparse.keys import pack
from haskd_ros.taxonomy import UNLABELLED, Taxonomy

MOST_SECONDS = 10.0
"""Between two clouds that vote for each other: what bounds the memory."""

_SPAN = 2 * 131_000
"""Voxels after which keys begin anew, 52 km: no two clouds within seconds are that far apart."""

_T = TypeVar("_T")


def check_votes(seconds: float, parameters: Parameters) -> None:
    """
    Raises:
        InputError: more seconds than allowed, or a memory beside the votes.
    """
    if not 0 <= seconds <= MOST_SECONDS:
        raise InputError(f"votes of clouds within {seconds:g} s; wanted 0 to {MOST_SECONDS:g}")
    if seconds and parameters.remembers:
        raise InputError(
            "--votes and memory.half_life both add what other clouds say of a place; take one"
        )


class Heard:
    """A `Refine` that changes nothing and keeps what it is given.

    Attributes:
        points: [M, >= 3] float32, x y z in m in the sensor frame, of the points with scores; None:
            there was no cloud to label.
        probabilities: [M, C]; rows may be NaN.
    """

    points: Tensor | None = None
    probabilities: Tensor | None = None

    def __call__(self, points: Tensor, probabilities: Tensor) -> Tensor:
        self.points, self.probabilities = points, probabilities
        return probabilities


@dataclass(frozen=True)
class Voter(Generic[_T]):
    """A cloud that was labelled by itself.

    Attributes:
        cloud: what the caller knows it by.
        stamp_ns: of the cloud.
        pose: T_fixed_sensor [4, 4] float64 at that time; None: not known, it neither votes nor
            is voted for.
        heard: what the network said of it.
    """

    cloud: _T
    stamp_ns: int
    pose: np.ndarray | None
    heard: Heard


def voted(
    voters: Iterable[Voter[_T]], taxonomy: Taxonomy, seconds: float
) -> Iterator[tuple[_T, Tensor | None]]:
    """Add to the probabilities of each cloud's points what the others say of their voxels:

    p + WEIGHT * sum over clouds c not further than `seconds` of mean of p_c over the voxel

    where a mean is over points whose own class does not move, and a point whose own class moves
    stays as it is. Where time goes back by more than clouds come out of order, a recording
    begins again and nothing before it counts.

    Args:
        voters: in the order of recording. One is asked for at a time; those of the last `seconds`
            are held, each as its scores and twice those of its voxels.
        taxonomy: of the model whose scores these are.
        seconds: by their stamps.

    Yields:
        Each voter's `cloud`, in order, with probabilities [M, C], rows that need not sum to one;
        None where nothing could vote.
    """
    movable = torch.tensor([info.movable for info in taxonomy.classes])
    waiting: deque[tuple[Voter[_T], _Ballot | None]] = deque()
    newest_ns = 0
    for voter in voters:
        if waiting and voter.stamp_ns < newest_ns - OUT_OF_ORDER_S * SECOND_NS:
            yield from map(_counted, waiting)
            waiting.clear()
        newest_ns = max(newest_ns, voter.stamp_ns) if waiting else voter.stamp_ns
        while waiting and waiting[0][0].stamp_ns < newest_ns - seconds * SECOND_NS:
            yield _counted(waiting.popleft())
        ballot = _Ballot.of(voter, movable)
        for other, of_other in waiting:
            # A cloud that was recorded twice is no other one.
            apart_ns = abs(voter.stamp_ns - other.stamp_ns)
            if ballot and of_other and 0 < apart_ns <= seconds * SECOND_NS:
                ballot.exchange(of_other)
        waiting.append((voter, ballot))
    yield from map(_counted, waiting)


def first_parameters(parameters: Parameters) -> Parameters:
    """By which clouds are labelled before the votes: the class rules come after the count."""
    return replace(parameters, class_remap=(), min_probability=0.0)


def elected(
    first: Segmentation,
    probabilities: Tensor | None,
    segmenter: PointSegmenter,
    parameters: Parameters,
) -> Segmentation:
    """Labels of a cloud as they are to be published.

    Args:
        first: its labels by `first_parameters`.
        probabilities: [M, C] of its points with scores, as of `voted`; None: as in `first`.
        segmenter, parameters: as of `label_points`.
    """
    if probabilities is not None:
        numbers = ~probabilities[:, 0].isnan()
        scores = probabilities[numbers].clamp_min(torch.finfo(torch.float32).tiny).log()
        found = [each.numpy() for each in classify_logits(scores, 1.0)]
        where = first.class_id != UNLABELLED
        values = [first.class_id.copy(), first.probability.copy(), first.entropy.copy()]
        for all_values, own in zip(values, found, strict=True):
            all_values[where] = own
        class_id, probability, entropy = values
        first = replace(first, class_id=class_id, probability=probability, entropy=entropy)
    return published(first, segmenter, parameters)


class _Ballot:
    """What a cloud says of its voxels, and what others said of them until now.

    Args:
        points: [M, >= 3] in the sensor frame.
        probabilities: [M, C].
        pose: T_fixed_sensor [4, 4].
        movable: [C] bool.
    """

    def __init__(
        self, points: Tensor, probabilities: Tensor, pose: np.ndarray, movable: Tensor
    ) -> None:
        self._probabilities = probabilities
        self._stands = ~(movable[probabilities.argmax(1)] | probabilities[:, 0].isnan())
        self._voxels, self._grouping = group_by_key(_keys(points[self._stands], pose))
        self._means = pool(probabilities[self._stands], self._grouping)
        self._votes = torch.zeros_like(self._means)

    @classmethod
    def of(cls, voter: Voter[_T], movable: Tensor) -> _Ballot | None:
        points, probabilities = voter.heard.points, voter.heard.probabilities
        if voter.pose is None or points is None or probabilities is None:
            return None
        return cls(points, probabilities, voter.pose, movable)

    def exchange(self, other: _Ballot) -> None:
        """Vote for each other."""
        if not len(other._voxels):
            return
        at = torch.searchsorted(other._voxels, self._voxels).clamp_(max=len(other._voxels) - 1)
        common = (other._voxels[at] == self._voxels).nonzero().squeeze(1)
        at = at[common]
        # Each voxel stands once on either side.
        self._votes.index_add_(0, common, other._means[at])
        other._votes.index_add_(0, at, self._means[common])

    def counted(self) -> Tensor:
        """[M, C], as `voted` yields."""
        result = self._probabilities.clone()
        result[self._stands] += WEIGHT * unpool(self._votes, self._grouping)
        return result


def _counted(waiting: tuple[Voter[_T], _Ballot | None]) -> tuple[_T, Tensor | None]:
    voter, ballot = waiting
    return voter.cloud, None if ballot is None else ballot.counted()


def _keys(points: Tensor, pose: np.ndarray) -> Tensor:
    """[N] of the voxels that hold points [N, >= 3] of a sensor at T_fixed_sensor [4, 4]."""
    placed = points[:, :3].numpy().astype(np.float64) @ pose[:3, :3].T + pose[:3, 3]
    voxels = np.floor(placed / VOXEL_SIZE) % _SPAN - _SPAN // 2
    return pack(torch.from_numpy(voxels.astype(np.int64)))
