"""Rays that are cast into a mesh."""

from __future__ import annotations

import numpy as np
import open3d as o3d

from haskd_training.simulation.mesh import Mesh


def make_caster(mesh: Mesh) -> o3d.t.geometry.RaycastingScene:
    """What finds the first hits of rays on a mesh."""
    scene = o3d.t.geometry.RaycastingScene()
    scene.add_triangles(
        o3d.core.Tensor.from_numpy(np.ascontiguousarray(mesh.vertices)),
        o3d.core.Tensor.from_numpy(np.ascontiguousarray(mesh.triangles)),
    )
    return scene


def cast_rays(
    caster: o3d.t.geometry.RaycastingScene, origins: np.ndarray, directions: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """First hit of N rays: distance [N] float32, in lengths of their directions (inf: none), and
    triangle [N] int64."""
    rays = np.concatenate([origins, directions], axis=1, dtype=np.float32)
    result = caster.cast_rays(o3d.core.Tensor.from_numpy(rays))
    return result["t_hit"].numpy(), result["primitive_ids"].numpy().astype(np.int64)
