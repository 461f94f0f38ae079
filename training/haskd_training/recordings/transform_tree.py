"""The transform tree of a recording.

Transforms are named `T_target_source`: [4, 4] float64, taking a point of frame `source` to frame
`target`, in m.
"""

from __future__ import annotations

import logging
from array import array
from collections.abc import Sequence
from typing import Any

import numpy as np
from scipy.spatial.transform import Rotation

log = logging.getLogger(__name__)


class NoTransform(LookupError):
    """TF does not connect two frames at a time; `str()` is a reason to be counted."""


def transform_matrix(translation: np.ndarray, quaternion: np.ndarray) -> np.ndarray:
    """[4, 4] from a translation [3] in m and a quaternion [4] x y z w (any length but 0)."""
    matrix = np.eye(4)
    matrix[:3, :3] = Rotation.from_quat(quaternion).as_matrix()
    matrix[:3, 3] = translation
    return matrix


def invert(transform: np.ndarray) -> np.ndarray:
    """The inverse of rigid transforms [..., 4, 4]: T_a_b -> T_b_a."""
    rotation = np.swapaxes(transform[..., :3, :3], -1, -2)
    inverse = np.zeros_like(transform)
    inverse[..., :3, :3] = rotation
    inverse[..., :3, 3:] = -rotation @ transform[..., :3, 3:]
    inverse[..., 3, 3] = 1
    return inverse


class TransformTree:
    """The transforms of a recording, static ones and samples over time.

    Args:
        tolerance_ns: how far before the first or after the last sample a transform still holds.
        max_gap_ns: the longest time between two samples that is interpolated over.
    """

    def __init__(self, tolerance_ns: int, max_gap_ns: int) -> None:
        self._tolerance_ns = tolerance_ns
        self._max_gap_ns = max_gap_ns
        self._edges: dict[str, _Edge] = {}

    def add(self, message: Any, static: bool) -> None:
        """Add the transforms of a TFMessage; of a static transform the last one counts. Adding a
        message again changes nothing."""
        for stamped in message.transforms:
            # ROS 1's first tf wrote frames with a leading slash.
            parent = stamped.header.frame_id.lstrip("/")
            child = stamped.child_frame_id.lstrip("/")
            t, q = stamped.transform.translation, stamped.transform.rotation
            values = (t.x, t.y, t.z, q.x, q.y, q.z, q.w)
            if not np.isfinite(values).all() or not any(values[3:]):
                log.warning("TF %s -> %s: not a rigid transform, left out", parent, child)
                continue
            edge = self._edges.setdefault(child, _Edge(parent, static))
            if edge.parent != parent or edge.static != static:
                if not edge.conflict:
                    log.warning(
                        "TF: %s is published under %s and %s; the first one counts",
                        child,
                        edge.parent,
                        parent,
                    )
                edge.conflict = True
                continue
            stamp = stamped.header.stamp
            edge.append(stamp.sec * 1_000_000_000 + stamp.nanosec, values)

    @property
    def frames(self) -> set[str]:
        return {frame for child, edge in self._edges.items() for frame in (child, edge.parent)}

    def root(self, frame: str) -> str:
        """The topmost frame above `frame`; itself where it is not in TF."""
        return self._ancestors(frame)[-1]

    def moves(self, target: str, source: str) -> bool:
        """Whether a transform that changes over time lies between two connected frames."""
        down, up = self._path(target, source)
        return any(not self._edges[frame].static for frame in down + up)

    def connects(self, target: str, source: str) -> bool:
        """Whether transforms lead from one frame to the other at any time."""
        try:
            self._path(target, source)
        except NoTransform:
            return False
        return True

    def lookup(self, target: str, source: str, stamp_ns: int) -> np.ndarray:
        """T_target_source at a time, see `lookups`.

        Raises:
            NoTransform: the frames aren't connected, or a sample is missing around that time.
        """
        transforms, (reason,) = self.lookups(target, source, [stamp_ns])
        if reason is not None:
            raise NoTransform(reason)
        return transforms.reshape(4, 4)

    def lookups(
        self, target: str, source: str, stamps_ns: Sequence[int]
    ) -> tuple[np.ndarray, list[str | None]]:
        """T_target_source [n, 4, 4] at n times, by linear interpolation and slerp of each sampled
        transform, and for each None or why it is not valid: no sample near that time.

        Raises:
            NoTransform: the frames aren't connected.
        """
        down, up = self._path(target, source)
        stamps = np.asarray(stamps_ns, np.int64)
        reasons: list[str | None] = [None] * len(stamps)
        to_target = invert(self._product(down, stamps, reasons))
        return to_target @ self._product(up, stamps, reasons), reasons

    def _product(
        self, chain: list[str], stamps: np.ndarray, reasons: list[str | None]
    ) -> np.ndarray:
        """T_ancestor_frame [n, 4, 4], where `chain` leads from the frame up to below the ancestor;
        adds the reasons where there are none yet."""
        product = np.broadcast_to(np.eye(4), (len(stamps), 4, 4))
        for frame in chain:
            edge = self._edges[frame]
            poses, valid = edge.at(stamps, self._tolerance_ns, self._max_gap_ns)
            for k in np.flatnonzero(~valid):
                reasons[k] = reasons[k] or f"no transform {edge.parent} -> {frame} at that time"
            product = poses @ product
        return product

    def _path(self, target: str, source: str) -> tuple[list[str], list[str]]:
        """The frames from target, and from source, up to below their nearest common ancestor."""
        above_target, above_source = self._ancestors(target), self._ancestors(source)
        common = next((frame for frame in above_source if frame in above_target), None)
        if common is None:
            raise NoTransform(f"TF does not connect {source} to {target}")
        return (
            above_target[: above_target.index(common)],
            above_source[: above_source.index(common)],
        )

    def _ancestors(self, frame: str) -> list[str]:
        """The frame itself and all above it, nearest first."""
        chain = [frame]
        while (edge := self._edges.get(chain[-1])) is not None:
            if edge.parent in chain:
                raise NoTransform(f"TF has a loop at {edge.parent}")
            chain.append(edge.parent)
        return chain


class _Edge:
    """One transform T_parent_child: a constant, or samples over time (56 bytes each + stamp)."""

    def __init__(self, parent: str, static: bool) -> None:
        self.parent = parent
        self.static = static
        self.conflict = False
        self._stamps = array("q")
        self._values = array("d")
        self._sorted: tuple[np.ndarray, np.ndarray] | None = None

    def append(self, stamp_ns: int, values: tuple[float, ...]) -> None:
        if self.static:
            del self._stamps[:], self._values[:]
        self._stamps.append(stamp_ns)
        self._values.extend(values)
        self._sorted = None

    def at(
        self, stamps_ns: np.ndarray, tolerance_ns: int, max_gap_ns: int
    ) -> tuple[np.ndarray, np.ndarray]:
        """T_parent_child [n, 4, 4] at times [n], and whether there are samples near enough [n]."""
        if self._sorted is None:
            stamps, first = np.unique(np.array(self._stamps), return_index=True)
            self._sorted = stamps, np.array(self._values).reshape(-1, 7)[first]
        stamps, poses = self._sorted
        if self.static:
            constant = transform_matrix(poses[0, :3], poses[0, 3:])
            return np.broadcast_to(constant, (len(stamps_ns), 4, 4)), np.ones(len(stamps_ns), bool)

        after = np.searchsorted(stamps, stamps_ns).clip(max=len(stamps) - 1)
        # At a sample, before the first and after the last one, that sample is both.
        between = (stamps_ns < stamps[after]) & (after > 0)
        before = np.where(between, after - 1, after)
        gap = stamps[after] - stamps[before]
        valid = np.where(
            between, gap <= max_gap_ns, np.abs(stamps[after] - stamps_ns) <= tolerance_ns
        )
        fraction = np.where(between, stamps_ns - stamps[before], 0) / np.maximum(gap, 1)
        fraction = fraction[:, None]
        start, end = (Rotation.from_quat(poses[k, 3:]) for k in (before, after))
        turn = Rotation.from_rotvec(fraction * (start.inv() * end).as_rotvec())
        transforms = np.zeros((len(stamps_ns), 4, 4))
        transforms[:, :3, :3] = (start * turn).as_matrix()
        transforms[:, :3, 3] = (1 - fraction) * poses[before, :3] + fraction * poses[after, :3]
        transforms[:, 3, 3] = 1
        return transforms, valid
