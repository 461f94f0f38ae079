"""`haskd label-images`: a recording and masks or networks in, labels of its points out."""

from __future__ import annotations

import hashlib
import shutil
from importlib.resources import files

import numpy as np
import pytest
from onnx_networks import conv_network
from simulated_masks import write_classes, write_masks
from small_run import DRIVE

from haskd_training.data.caches.point_labels import PointLabels
from haskd_training.experiments import label_images as job

FAST = ("--set", "prepare.overlays=0")


@pytest.fixture(scope="module")
def masks(tmp_path_factory):
    """Masks of `drive`, as it was simulated, and image classes for them."""
    folder = tmp_path_factory.mktemp("simulated_masks")
    write_classes(folder / "classes.yaml")
    return write_masks(folder / "masks", DRIVE), folder / "classes.yaml"


@pytest.fixture(scope="module")
def label(masks):
    """The arguments for masks of the drive."""
    folder, classes = masks
    return ("--masks", folder, "--image-classes", classes, *FAST)


def test_true_masks_give_labels_most_of_which_are_right(haskd, drive, label, tmp_path):
    done = haskd("label-images", drive, *label, "--labels", "simulation", "--out", tmp_path / "l")
    assert done.returncode == 0, done.stderr
    assert "10 of 10 images have a mask" in " ".join(done.stdout.split())
    labels = PointLabels.open(tmp_path / "l")
    origin = labels.origin
    assert origin["recordings"] == ["drive"]
    assert origin["image_classes"]["means"]["car"] == ["car", "large_vehicle"]
    assert origin["settings"]["points"]["window_s"] == 0.15
    measured = origin["measured"]
    # One camera of 90 degrees sees a quarter of the turn, and of that what is not hidden. A pixel
    # is as wide as a kerb is high from 10 m on: thin things and edges go wrong.
    assert 0.1 < measured["labelled"] <= measured["seen"] < 0.3
    *_, whole = measured["right"]
    assert whole["sets"] > 0.8
    page = (tmp_path / "l" / "report.html").read_text()
    for told in ("Right against share", "large_vehicle", "points.window_s", "data:image/jpeg"):
        assert told in page

    again = haskd("label-images", drive, *label, "--labels", "simulation", "--out", tmp_path / "l")
    assert again.returncode == 0, again.stderr
    assert (tmp_path / "l" / "report.html").read_text() == page
    assert PointLabels.open(tmp_path / "l").identity == labels.identity

    changed = haskd(
        "label-images", drive, *label, "--labels", "simulation", "--out", tmp_path / "l",
        "--set", "points.window_s=0.1",
    )  # fmt: skip
    assert changed.returncode == 2
    told = " ".join(changed.stderr.split())
    assert "made from other settings; give another folder, or delete this one" in told


def test_labels_by_hand_are_carried_to_all_sweeps_but_their_own(haskd, drive, label, tmp_path):
    carry = ("--set", "points.carry_labels=true", "--out", tmp_path / "l")
    refused = haskd("label-images", drive, *label, *carry)
    assert refused.returncode == 2
    assert "--labels has to name their label map" in " ".join(refused.stderr.split())
    done = haskd("label-images", drive, *label, "--labels", "simulation", *carry)
    assert done.returncode == 0, done.stderr
    origin = PointLabels.open(tmp_path / "l").origin
    assert origin["carried"] == {"sweeps": 20}
    # The one camera sees a quarter of the turn; other sweeps have been nearly everywhere.
    assert origin["measured"]["labelled"] > 0.7
    *_, whole = origin["measured"]["right"]
    assert whole["strict"] > 0.9
    page = (tmp_path / "l" / "report.html").read_text()
    assert "by human labels, which were carried to all sweeps but their own" in page
    assert "of 20 sweeps" in page


def test_labels_by_other_shapes_are_refused(haskd, drive, label, tmp_path):
    source = files("haskd_training.recordings") / "label_maps" / "simulation.yaml"
    own = tmp_path / "own.yaml"

    def call(widest):
        text = source.read_text()
        assert text.count("wide_up_to: 1.5") == 1
        own.write_text(text.replace("wide_up_to: 1.5", f"wide_up_to: {widest}"))
        return haskd("label-images", drive, *label, "--classes", own, "--out", tmp_path / "l")

    assert call(1.5).returncode == 0
    refused = call(2.5)
    assert refused.returncode == 2
    assert "labels made from other label map" in " ".join(refused.stderr.split())


def test_a_job_that_was_stopped_goes_on_and_refuses_other_masks(
    haskd, drive, label, masks, tmp_path, monkeypatch
):
    small = ("--set", "points.map_sweeps=7")

    def call():
        return haskd("label-images", drive, *label, *small, "--out", tmp_path / "l")

    def dying(*arguments, progress, **how):
        def stop(done, total, remark=""):
            raise KeyboardInterrupt

        return real(*arguments, progress=stop, **how)

    real = job.label_points
    monkeypatch.setattr(job, "label_points", dying)
    assert call().returncode == 130
    monkeypatch.setattr(job, "label_points", real)
    # 20 sweeps in blocks of 7, 7 and 6: the first one is done.
    done = sorted((tmp_path / "l" / "points").rglob("*.safetensors"))
    assert len(done) == 7
    assert not (tmp_path / "l" / "labels.json").exists()
    before = [path.stat().st_mtime_ns for path in done]
    assert call().returncode == 0
    assert [path.stat().st_mtime_ns for path in done] == before
    assert len(list((tmp_path / "l" / "points").rglob("*.safetensors"))) == 20
    measured = PointLabels.open(tmp_path / "l").origin["measured"]
    assert measured["labelled"] > 0.1
    assert "right" not in measured  # no human labels were asked for

    mask = next(masks[0].rglob("*.png"))
    shutil.copytree(masks[0], tmp_path / "masks")
    (tmp_path / "masks" / mask.relative_to(masks[0])).unlink()
    other = ("--masks", tmp_path / "masks", *label[2:])
    done = haskd("label-images", drive, *other, *small, "--out", tmp_path / "l")
    assert done.returncode == 2
    assert "other networks or masks" in " ".join(done.stderr.split())


def test_networks_are_named_with_their_digest(haskd, drive, tmp_path):
    classes = tmp_path / "colours.yaml"
    classes.write_text("classes: [{name: red, means: [car]}, {name: green, means: [vegetation]}]")
    network = conv_network(tmp_path / "two.onnx", np.eye(3)[:2])
    out = tmp_path / "l"
    done = haskd(
        "label-images", drive, "--network", network, "--image-classes", classes, "--out", out,
        *FAST, "--classes", "simulation", "--set", "images.size_multiple=1",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    origin = PointLabels.open(out).origin
    digest = hashlib.sha256(network.read_bytes()).hexdigest()
    assert origin["networks"] == [{"file": "two.onnx", "sha256": digest}]
    assert len(list((out / "masks").rglob("*.png"))) == 10
    assert digest in (out / "report.html").read_text()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((), "give either --network, once or several times, or --masks"),
        (("--masks", "m", "--network", "n.onnx"), "give either --network"),
        (("--masks", "nowhere"), "mask folder nowhere does not exist"),
        (("--network", "nowhere.onnx"), "image network nowhere.onnx does not exist"),
        (("--masks", ".", "--labels", "pandaset", "--classes", "pandaset"), "leave --classes out"),
    ],
)
def test_what_cannot_be_meant_is_refused_before_anything_is_done(
    arguments, message, haskd, drive, tmp_path
):
    done = haskd(
        "label-images", drive, *arguments, "--image-classes", "cityscapes", "--out", tmp_path / "l"
    )
    assert done.returncode == 2
    assert message in " ".join(done.stderr.split())
    assert not (tmp_path / "l").exists()


def test_a_folder_of_something_else_and_bags_of_one_name_are_refused(haskd, drive, label, tmp_path):
    out = tmp_path / "l"
    out.mkdir()
    (out / "notes.txt").write_text("mine")
    done = haskd("label-images", drive, *label, "--out", out)
    assert done.returncode == 2
    assert "it holds notes.txt" in " ".join(done.stderr.split())
    done = haskd("label-images", drive, drive, *label, "--out", tmp_path / "other")
    assert done.returncode == 2
    assert "several bags are called drive" in " ".join(done.stderr.split())
    assert (out / "notes.txt").read_text() == "mine"
