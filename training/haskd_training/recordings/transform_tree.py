"""The transform tree of a recording.

Transforms are named `T_target_source`: [4, 4] float64, taking a point of frame `source` to frame
`target`, in m.
"""

from __future__ import annotations

from array import array
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from scipy.spatial.transform import Rotation

from haskd_ros.clouds.crop import frame_name
from haskd_training.recordings.findings import Finding

_WORTH_A_LOWER_FRAME = 0.9
"""The root is the fixed frame if it has at least this share of the poses of the frame below it
that has most of them."""


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
        self._static: dict[str, _Edge] = {}
        self._sampled: dict[str, _Edge] = {}
        self._first_is_static: dict[str, bool] = {}
        self._not_rigid: Counter[tuple[str, str]] = Counter()
        self._of_themselves: Counter[str] = Counter()

    def add(self, message: Any, static: bool) -> None:
        """Add the transforms of a TFMessage; of a static transform the last one counts. Adding a
        message again changes nothing."""
        for stamped in message.transforms:
            # ROS 1's first tf wrote frames with a leading slash.
            parent = frame_name(stamped.header.frame_id)
            child = frame_name(stamped.child_frame_id)
            t, q = stamped.transform.translation, stamped.transform.rotation
            if parent == child:
                self._of_themselves[child] += 1
                continue
            values = (t.x, t.y, t.z, q.x, q.y, q.z, q.w)
            if not np.isfinite(values).all() or not any(values[3:]):
                self._not_rigid[parent, child] += 1
                continue
            self._first_is_static.setdefault(child, static)
            edges = self._static if static else self._sampled
            edge = edges.setdefault(child, _Edge(parent, static))
            if edge.parent != parent:
                edge.other_parents[parent] += 1
                continue
            stamp = stamped.header.stamp
            edge.append(stamp.sec * 1_000_000_000 + stamp.nanosec, values)

    @property
    def frames(self) -> set[str]:
        return {
            frame
            for edges in (self._static, self._sampled)
            for child, edge in edges.items()
            for frame in (child, edge.parent)
        }

    def fixed_frame(self, frame: str) -> tuple[str | None, Finding | None]:
        """The frame in which poses of `frame` are told: the root above it if it moves against that;
        where the root's transforms have gaps, the frame below it that has none: localisation
        corrects `map` -> `odom` now and then, odometry comes all the time (REP 105).

        A root that the frame is fixed to is the vehicle itself, whose motion isn't recorded then.

        Returns:
            The frame, None where no motion is recorded, and what there is to know of the choice.
        """
        chain, loop = self._ancestors(frame)
        if loop:
            return None, None
        moving = [above for above in chain if self.moves(above, frame)]
        if not moving:
            return None, None
        edges = [edge for name in chain if (edge := self._edge(name)) is not None]
        stamps = max((edge for edge in edges if not edge.static), key=len).stamps
        # Between its samples, where a gap of another one shows.
        stamps = stamps[:-1] + np.diff(stamps) // 2 if len(stamps) > 1 else stamps
        shares = [self._share_of_poses(above, frame, stamps) for above in moving]
        best = max(shares)
        k = max(k for k, share in enumerate(shares) if share >= _WORTH_A_LOWER_FRAME * best)
        chosen, root = moving[k], moving[-1]
        if chosen == root:
            return root, None
        return chosen, Finding(
            "fixed-frame",
            "/tf",
            "repaired",
            f"{root} has a pose at {100 * shares[-1]:.0f} % of the times and {chosen} at "
            f"{100 * shares[k]:.0f} %, because of gaps of more than "
            f"{self._max_gap_ns * 1e-9:g} s; {chosen} is the fixed frame",
            "fixed_frame names another, max_tf_gap_s allows longer gaps",
        )

    def findings(self) -> Iterator[Finding]:
        """What there is to know of the transforms read so far."""
        for (parent, child), count in self._not_rigid.items():
            yield Finding(
                "tf-not-rigid",
                f"{parent} -> {child}",
                "left out",
                f"{count} transforms are no rigid ones (NaN, infinity or a quaternion of zeros)",
            )
        for frame, count in self._of_themselves.items():
            message = f"{count} transforms lead from {frame} to itself; they are passed over"
            yield Finding("tf-of-itself", frame, "noted", message)
        for child in sorted(self._static.keys() & self._sampled.keys()):
            static, used = self._static[child], self._edge(child)
            sampled = self._sampled[child]
            yield Finding(
                "tf-static-on-both",
                f"{static.parent} -> {child}",
                "repaired" if used is static and not sampled.varies else "doubtful",
                f"{child} is published on /tf_static (under {static.parent}) and on /tf (under "
                f"{sampled.parent}, {len(sampled)} x); "
                f"that on {'/tf_static' if used is static else '/tf'} is used",
            )
        for edge, child in self._used():
            if edge.other_parents:
                others = ", ".join(f"{name} ({n} x)" for name, n in edge.other_parents.items())
                yield Finding(
                    "tf-two-parents",
                    f"{edge.parent} -> {child}",
                    "doubtful",
                    f"{child} is published under {edge.parent} and under {others}; the first one "
                    "counts",
                    "record with one publisher of it",
                )
            if clashes := edge.clashes:
                yield Finding(
                    "tf-clashes",
                    f"{edge.parent} -> {child}",
                    "doubtful",
                    f"{clashes} transforms have the stamp of an earlier one and another pose: two "
                    "publishers, or a clock that began again; the first of each counts",
                )
        loops = {frozenset(loop): loop for _, child in self._used() if (loop := self.loop(child))}
        for loop in loops.values():
            yield Finding(
                "tf-loop",
                "TF",
                "doubtful",
                f"has a loop: {' -> '.join(loop)}; no transform through it is used",
                "publish one direction of it only",
            )

    def root(self, frame: str) -> str:
        """The topmost frame above `frame`; itself where it is not in TF.

        Raises:
            NoTransform: there is a loop above it.
        """
        chain, loop = self._ancestors(frame)
        if loop:
            raise NoTransform(f"TF has a loop: {' -> '.join(loop)}")
        return chain[-1]

    def body(self, frame: str) -> str:
        """The topmost frame that `frame` never moves against: that of the vehicle which carries it,
        or itself."""
        chain, _ = self._ancestors(frame)
        return [above for above in chain if not self.moves(above, frame)][-1]

    def loop(self, frame: str) -> list[str]:
        """The loop that TF has above a frame, from parent to child; empty where it has none."""
        return self._ancestors(frame)[1]

    def moves(self, target: str, source: str) -> bool:
        """Whether a transform that changes over time lies between two connected frames."""
        down, up = self._path(target, source)
        return any(edge is not None and not edge.static for edge in map(self._edge, down + up))

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
            edge = self._edge(frame)
            assert edge is not None, "a path leads along transforms"
            poses, valid = edge.at(stamps, self._tolerance_ns, self._max_gap_ns)
            for k in np.flatnonzero(~valid):
                reasons[k] = reasons[k] or f"no transform {edge.parent} -> {frame} at that time"
            product = poses @ product
        return product

    def _share_of_poses(self, target: str, source: str, stamps: np.ndarray) -> float:
        """Share of the times at which there is a transform."""
        _, reasons = self.lookups(target, source, stamps.tolist())
        return sum(reason is None for reason in reasons) / max(len(reasons), 1)

    def _path(self, target: str, source: str) -> tuple[list[str], list[str]]:
        """The frames from target, and from source, up to below their nearest common ancestor."""
        above_target, loop = self._ancestors(target)
        above_source, other_loop = self._ancestors(source)
        common = next((frame for frame in above_source if frame in above_target), None)
        if common is None:
            reason = f"TF does not connect {source} to {target}"
            if loop := loop or other_loop:
                reason = f"TF has a loop: {' -> '.join(loop)}"
            raise NoTransform(reason)
        return (
            above_target[: above_target.index(common)],
            above_source[: above_source.index(common)],
        )

    def _ancestors(self, frame: str) -> tuple[list[str], list[str]]:
        """The frame itself and all above it, nearest first, up to the first one of a loop; and that
        loop, from parent to child, which begins and ends with the same frame."""
        chain = [frame]
        while (edge := self._edge(chain[-1])) is not None:
            if edge.parent in chain:
                first = chain.index(edge.parent)
                loop = [*chain[first:], edge.parent][::-1]
                return chain[: first + 1], loop
            chain.append(edge.parent)
        return chain, []

    def _edge(self, child: str) -> _Edge | None:
        """The transform to a frame from its parent. A static one counts more than samples, unless
        they come from another parent and vary: then the first one counts."""
        static, sampled = self._static.get(child), self._sampled.get(child)
        if static is None or sampled is None:
            return static or sampled
        if static.parent == sampled.parent or not sampled.varies or self._first_is_static[child]:
            return static
        return sampled

    def _used(self) -> list[tuple[_Edge, str]]:
        children = sorted(self._static.keys() | self._sampled.keys())
        return [(edge, child) for child in children if (edge := self._edge(child)) is not None]


class _Edge:
    """One transform T_parent_child: a constant, or samples over time (56 bytes each + stamp).

    other_parents: messages that name another parent.
    varies: whether samples differ.
    """

    def __init__(self, parent: str, static: bool) -> None:
        self.parent = parent
        self.static = static
        self.other_parents: Counter[str] = Counter()
        self.varies = False
        self._stamps = array("q")
        self._values = array("d")
        self._sorted: tuple[np.ndarray, np.ndarray] | None = None

    def __len__(self) -> int:
        return len(self._stamps)

    @property
    def stamps(self) -> np.ndarray:
        """[n] int64, ns, sorted."""
        return np.unique(np.array(self._stamps, np.int64))

    @property
    def clashes(self) -> int:
        """Samples with the stamp of an earlier one and another pose."""
        if self.static:
            return 0
        stamps = np.array(self._stamps)
        poses = np.array(self._values).reshape(-1, 7)
        _, first, which = np.unique(stamps, return_index=True, return_inverse=True)
        return int((poses != poses[first[which]]).any(1).sum())

    def append(self, stamp_ns: int, values: tuple[float, ...]) -> None:
        if self.static:
            del self._stamps[:], self._values[:]
        elif len(self._stamps) and not self.varies:
            self.varies = tuple(self._values[:7]) != tuple(values)
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
