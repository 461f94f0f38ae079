"""docs/cloud_files.md: every command of it, on files of the names that stand there."""

from __future__ import annotations

import shlex
import shutil
import sys
from pathlib import Path

import laspy
import numpy as np
import open3d as o3d
import pye57
import pytest
from test_docs import DOCS, blocks

from haskd_training.commands.app import main
from small_street import street


@pytest.fixture
def files(tmp_path, tiny_model) -> Path:
    points = street(0, 200)
    rows = np.stack([points[name] for name in ("x", "y", "z", "intensity")], axis=1)
    shutil.copy(tiny_model, tmp_path / "model.safetensors")
    cloud = o3d.t.geometry.PointCloud(o3d.core.Tensor(np.ascontiguousarray(rows[:, :3])))
    (tmp_path / "clouds").mkdir()
    for name in ("scan.pcd", "scan.ply", "clouds/left.ply", "clouds/right.pcd"):
        o3d.t.io.write_point_cloud(str(tmp_path / name), cloud)
    las = laspy.LasData(laspy.LasHeader(point_format=3, version="1.2"))
    las.x, las.y, las.z = rows[:, :3].T.astype("f8")
    las.write(str(tmp_path / "scan.las"))
    las.write(str(tmp_path / "scan.laz"))
    with pye57.E57(str(tmp_path / "scan.e57"), "w") as file:
        names = ("cartesianX", "cartesianY", "cartesianZ")
        file.write_scan_raw(dict(zip(names, rows[:, :3].T)))
    np.save(tmp_path / "scan.npy", rows)
    rows.tofile(tmp_path / "000000.bin")
    np.c_[rows, np.arange(len(rows)) % 32].astype("f4").tofile(tmp_path / "sweep.pcd.bin")
    for folder in ("velodyne", "labels"):
        (tmp_path / "00" / folder).mkdir(parents=True)
    rows.tofile(tmp_path / "00" / "velodyne" / "000000.bin")
    np.full(len(rows), 40, "<u4").tofile(tmp_path / "00" / "labels" / "000000.label")
    return tmp_path


def test_the_commands_of_the_page_work(files, monkeypatch, capsys):
    for name in ("DISPLAY", "WAYLAND_DISPLAY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.chdir(files)
    page = [block for block in blocks(DOCS / "cloud_files.md", "sh") if block.is_run]
    commands = [command for block in page for command in block.commands]
    assert len(commands) == 15
    for command in commands:
        monkeypatch.setattr(sys, "argv", shlex.split(command))
        with pytest.raises(SystemExit) as ended:
            main()
        assert not ended.value.code, f"{command}: {capsys.readouterr().err}"
        assert (files / sys.argv[sys.argv.index("--out") + 1]).exists(), command
