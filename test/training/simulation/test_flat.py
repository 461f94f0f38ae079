"""The simulated flat: what is in it, where the camera goes, what it measures there."""

from __future__ import annotations

import numpy as np
import open3d as o3d
import pytest
from simulated_flat import WALK

from haskd_training.simulation.indoor.flat import Flat, build_flat
from haskd_training.simulation.indoor.kinds import (
    CEILING,
    CLASS_NAMES,
    CLASS_OF_KIND,
    FLOOR,
    KINDS,
    NYU40_OF_KIND,
    WALL,
)
from haskd_training.simulation.indoor.recording import Recording, make_recording
from haskd_training.simulation.indoor.rgbd_camera import RgbdFrame

MOMENTS = range(0, 30, 3)


@pytest.fixture(scope="module")
def recording() -> Recording:
    return make_recording(WALK)


@pytest.fixture(scope="module")
def frames(recording: Recording) -> list[tuple[np.ndarray, RgbdFrame]]:
    """Pose and frame."""
    return [
        (recording.walk.optical(time_ns * 1e-9), frame) for time_ns, frame in recording.frames()
    ]


def on_floor_plan(flat: Flat, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """The number of the room of each place, -1 in a wall or a door."""
    found = np.full(len(x), -1)
    for number, room in enumerate(flat.plan.rooms):
        found[(room.x0 < x) & (x < room.x1) & (room.y0 < y) & (y < room.y1)] = number
    return found


@pytest.mark.parametrize("seed", range(4))
def test_every_class_is_in_every_flat(seed: int):
    flat = build_flat(np.random.default_rng(seed))
    assert 3 <= len(flat.plan.rooms) <= 6
    classes = CLASS_OF_KIND[flat.mesh.label]
    assert set(classes.tolist()) == set(range(13))
    # A thing is of one kind and in one room.
    np.testing.assert_array_equal(flat.kind_of_thing[flat.thing], flat.mesh.label)
    assert set(flat.room_of_thing.tolist()) == set(range(len(flat.plan.rooms)))
    assert flat.mesh.vertices[:, 2].min() > -0.01
    assert flat.mesh.vertices[:, 2].max() < max(r.height for r in flat.plan.rooms) + 0.01


def test_flats_are_unlike_each_other():
    plans = [build_flat(np.random.default_rng(seed)).plan for seed in range(4)]
    assert len({tuple(room.kind for room in plan.rooms) for plan in plans}) > 1
    assert len({plan.rooms[0].x1 for plan in plans}) == 4


def test_the_kinds_have_the_ids_of_nyu_and_the_classes_of_s3dis():
    ids = {kind.name: kind.nyu40 for kind in KINDS}
    # Of the list of 40: wall, floor, cabinet, bed, chair, sofa, table, door, window, bookshelf.
    names = ("wall", "floor", "cabinet", "bed", "chair", "sofa", "table", "door", "window")
    assert [ids[name] for name in (*names, "bookcase")] == list(range(1, 11))
    assert (ids["picture"], ids["counter"], ids["desk"], ids["curtain"]) == (11, 12, 14, 16)
    assert (ids["refrigerator"], ids["toilet"], ids["sink"], ids["bathtub"]) == (24, 33, 34, 36)
    assert CLASS_NAMES[CLASS_OF_KIND[[k.name for k in KINDS].index("desk")]] == "table"
    assert len(NYU40_OF_KIND) == len(KINDS) and NYU40_OF_KIND.max() == 40


@pytest.mark.parametrize(("seed", "carrier"), [(0, "hand"), (1, "robot"), (5, "hand")])
def test_the_camera_is_never_in_anything_and_comes_into_every_room(seed: int, carrier: str):
    change = {"seed": seed, "carrier": carrier, "frames": 300}
    recording = make_recording(WALK.model_copy(update=change))
    walk, flat = recording.walk, recording.flat
    places = np.column_stack([walk.x, walk.y, walk.z]).astype(np.float32)
    scene = o3d.t.geometry.RaycastingScene()
    scene.add_triangles(
        o3d.core.Tensor.from_numpy(flat.mesh.vertices),
        o3d.core.Tensor.from_numpy(flat.mesh.triangles),
    )
    # To the nearest surface, in m.
    assert scene.compute_distance(o3d.core.Tensor.from_numpy(places)).numpy().min() > 0.1
    rooms = on_floor_plan(flat, walk.x, walk.y)
    assert set(rooms.tolist()) - {-1} == set(range(len(flat.plan.rooms)))
    # Not through walls: where it is in no room it is in a door.
    rows, columns = flat.grid.cell_of(np.column_stack([walk.x, walk.y]))
    assert flat.grid.open[rows, columns].all()
    assert not flat.grid.taken[rows, columns].any()
    speed = np.hypot(np.diff(walk.x), np.diff(walk.y)) / np.diff(walk.times)
    assert 0.2 < speed.max() < 2.0
    heights = {"hand": (1.3, 1.7), "robot": (1.1, 1.1)}[carrier]
    assert heights[0] <= walk.z.min() <= walk.z.max() <= heights[1]


def test_every_room_and_nearly_every_class_is_seen_on_a_walk(
    recording: Recording, frames: list[tuple[np.ndarray, RgbdFrame]]
):
    seen = np.concatenate([np.unique(frame.thing) for _, frame in frames])
    flat = recording.flat
    floors = seen[flat.kind_of_thing[seen] == FLOOR]
    assert set(flat.room_of_thing[floors].tolist()) == set(range(len(flat.plan.rooms)))
    counts = sum(np.bincount(frame.classes.ravel(), minlength=256) for _, frame in frames)
    assert (counts[:13] > 0).sum() >= 12, dict(zip(CLASS_NAMES, counts))
    # A flat has no holes.
    assert counts[13:].sum() == 0


def test_a_pixel_lies_on_the_surface_that_its_label_names(
    recording: Recording, frames: list[tuple[np.ndarray, RgbdFrame]]
):
    """Depths, taken back into the flat by hand: floors at z = 0, ceilings at their room's height,
    walls on one of their room's four planes, all within the noise."""
    K, flat = recording.camera.K, recording.flat
    v, u = np.mgrid[:120, :160]
    rays = np.stack([(u - K[0, 2]) / K[0, 0], (v - K[1, 2]) / K[1, 1], np.ones(u.shape)], -1)
    residuals, levels = [], 0
    for pose, frame in (frames[k] for k in MOMENTS):
        measured = frame.depth > 0
        z = frame.depth[measured] / 1000.0
        camera = rays[measured]
        points = (camera * z[:, None]) @ pose[:3, :3].T + pose[:3, 3]
        kind = flat.kind_of_thing[frame.thing[measured]]
        rooms = np.array([[r.x0, r.x1, r.y0, r.y1, r.height] for r in flat.plan.rooms])
        x0, x1, y0, y1, height = rooms[flat.room_of_thing[frame.thing[measured]]].T
        x, y, up = points.T
        to_wall = np.min(np.abs([x - x0, x - x1, y - y0, y - y1]), axis=0)
        off = np.select([kind == FLOOR, kind == CEILING, kind == WALL],
                        [np.abs(up), np.abs(up - height), to_wall], np.nan)  # fmt: skip
        # sigma = 0.0015 z^2 along the axis, and 0.5 mm of rounding; skirting boards are 15 mm
        # thick, the reveals of windows and passages lie up to 14 cm in the wall.
        sigma = 0.0015 * z**2 + 0.0005
        flat_ones = (kind == FLOOR) | (kind == CEILING)
        levels += flat_ones.sum()
        assert (off[flat_ones] < 5 * sigma[flat_ones] + 1e-3).all()
        walls = kind == WALL
        near = off[walls] < 5 * sigma[walls] + 0.016
        assert near.mean() > 0.9 and (off[walls] < 0.15 + 5 * sigma[walls]).all()
        residuals.append((z - frame.exact[measured]) / (0.0015 * z**2))
    assert levels > 10_000
    # The noise is as wide as is said, and not off to one side.
    everything = np.concatenate(residuals)
    assert np.std(everything) == pytest.approx(1.0, abs=0.05)
    assert abs(np.mean(everything)) < 0.05


def test_the_images_agree_with_the_mesh(
    recording: Recording, frames: list[tuple[np.ndarray, RgbdFrame]]
):
    """Triangles that a ray meets, found one by one (Moeller and Trumbore, 1997)."""
    K, mesh, flat = recording.camera.K, recording.flat.mesh, recording.flat
    a, b, c = (mesh.vertices[mesh.triangles[:, corner]].astype(float) for corner in range(3))
    rng = np.random.default_rng(0)
    for pose, frame in (frames[k] for k in MOMENTS):
        for _ in range(8):
            u, v = rng.integers(160), rng.integers(120)
            ray = np.array([(u - K[0, 2]) / K[0, 0], (v - K[1, 2]) / K[1, 1], 1.0])
            way, origin = pose[:3, :3] @ ray, pose[:3, 3]
            cross = np.cross(way, c - a)
            determinant = np.einsum("ij,ij->i", b - a, cross)
            determinant[np.abs(determinant) < 1e-12] = np.nan
            s = np.einsum("ij,ij->i", origin - a, cross) / determinant
            q = np.cross(origin - a, b - a)
            t = q @ way / determinant
            depth = np.einsum("ij,ij->i", c - a, q) / determinant
            depth[~((s >= 0) & (t >= 0) & (s + t <= 1) & (depth > 0))] = np.inf
            first = np.nanargmin(depth)
            # Within a millimetre of the nearest one, others may lie in the same place.
            same = np.flatnonzero(depth < depth[first] + 1e-3)
            assert frame.exact[v, u] == pytest.approx(depth[first], abs=1e-3)
            assert frame.thing[v, u] in flat.thing[same]
            assert frame.classes[v, u] in CLASS_OF_KIND[mesh.label[same]]


def test_depth_is_limited_in_range_and_missing_at_edges(
    frames: list[tuple[np.ndarray, RgbdFrame]],
):
    lost_at_edges = []
    for _, frame in frames:
        measured = frame.depth[frame.depth > 0]
        # 0.3 to 6 m, and five deviations of noise there.
        assert measured.min() >= 300 - 2 and measured.max() <= 6000 + 5 * 0.0015 * 36 * 1000
        inside = (frame.exact > 0.35) & (frame.exact < 5.5)
        jump = np.zeros_like(inside)
        jump[:, 1:] = np.abs(np.diff(frame.exact, axis=1)) > 0.3 * frame.exact[:, 1:]
        lost_at_edges.append(frame.depth[jump & inside] == 0)
        beyond = frame.exact > 6.0
        assert (frame.depth[beyond] == 0).all()
    # Six of ten by default, a little more where panes are near.
    assert 0.5 < np.concatenate(lost_at_edges).mean() < 0.8


def test_a_recorded_pose_errs_as_much_as_is_said():
    change = {"pose_noise_m": 0.1, "pose_noise_deg": 2.0, "frames": 3000}
    recording = make_recording(WALK.model_copy(update=change))
    true, recorded = recording.walk, recording.recorded
    # 600 s and a knot every 1.5 s: 400 numbers; halfway between two knots the deviation is
    # 1/sqrt(2) of that at them, 0.82 over all.
    for name, size in (("x", 0.1), ("z", 0.1), ("yaw", np.deg2rad(2.0))):
        off = getattr(recorded, name) - getattr(true, name)
        assert np.std(off) == pytest.approx(0.82 * size, rel=0.2)
