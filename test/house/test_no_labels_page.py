"""README.md, "No labels? Start here": its commands, in order, from a bag to a robot's model."""

from __future__ import annotations

import hashlib
import os
import re
import shlex
import shutil
import sys

import numpy as np
import pytest
from onnx_networks import conv_network
from small_run import METHOD
from test_docs import REPOSITORY, blocks

from haskd_ros import model_file
from haskd_training.commands.app import main
from haskd_training.data.caches.point_labels import PointLabels

CITYSCAPES = 19
ROAD, BUILDING, VEGETATION = 0, 2, 8
"""Of Cityscapes' training ids."""

SMALL = {
    "haskd label-images": ["prepare.overlays=0"],
    "haskd run": [
        *METHOD, "prepare.overlays=0", "distillation.teacher=none", "images.min_confidence=0.5",
    ],
}  # fmt: skip


def colour_network(path):
    """What is green is vegetation, what is blue is road, what is red is building."""
    weights = np.full((CITYSCAPES, 3), -1.0)
    weights[[BUILDING, VEGETATION, ROAD]] = np.eye(3)
    return conv_network(path, weights)


@pytest.mark.usefixtures("two_levels")
def test_three_commands_lead_from_a_bag_without_labels_to_a_model_for_the_robot(
    drive, tmp_path, monkeypatch, capsys
):
    monkeypatch.chdir(tmp_path)
    shutil.copytree(drive, tmp_path / "drive1")
    network = colour_network(tmp_path / "city.onnx")
    (block,) = (
        block
        for block in blocks(REPOSITORY / "README.md", "sh")
        if block.commands[0].startswith("haskd label-images")
    )
    *here, launch = block.commands
    for command, (begin, settings) in zip(here, SMALL.items(), strict=True):
        assert command.startswith(begin)
        words = [*shlex.split(command), *(word for one in settings for word in ("--set", one))]
        monkeypatch.setattr(sys, "argv", words)
        with pytest.raises(SystemExit) as ended:
            main()
        said = capsys.readouterr()
        assert not ended.value.code, f"{command}: {said.err}"
    labels = PointLabels.open(tmp_path / "labels")
    # The bag's own labels were not looked at.
    assert "right" not in labels.origin["measured"]
    # The launched node loads the file that the run wrote, which says where its labels came from.
    (model,) = re.findall(r"model:=\$PWD/(\S+)", launch)
    metadata = model_file.load(tmp_path / model)[1]
    assert metadata.taxonomy.names == labels.taxonomy.names
    known = metadata.provenance.image_labels
    digest = hashlib.sha256(network.read_bytes()).hexdigest()
    assert known["networks"] == [{"file": "city.onnx", "sha256": digest}]
    assert known["image_classes"]["means"]["road"] == ["road", "road_marking"]
    assert os.listdir(tmp_path / "labels" / "points") == ["drive1"]
    assert "Labels from images" in (tmp_path / "run" / "report.html").read_text()
