"""Looking at clouds where there is no display, and at models."""

from __future__ import annotations

from dataclasses import replace

import matplotlib.image
import numpy as np
import pytest
from rich.console import Console
from rosbags.typesys import Stores, get_typestore
from typer.testing import CliRunner

from haskd_ros import model_file
from haskd_ros.errors import InputError
from haskd_ros.segmentation import DEFAULT_MODEL
from haskd_training.commands.app import app
from haskd_training.recordings.bag_writing import bag_writer
from haskd_training.recordings.readers.bag import POINT_CLOUD, open_bag
from haskd_training.robot.offline.segment_bag import SEGMENTATION, segment_bag
from haskd_training.robot.views.view import frames_of_bag, frames_of_cache, legend, model_table


@pytest.fixture(autouse=True)
def without_display(monkeypatch):
    for name in ("DISPLAY", "WAYLAND_DISPLAY"):
        monkeypatch.delenv(name, raising=False)


def test_a_cache_shows_its_truth(drive_cache):
    frames = frames_of_cache(drive_cache, None, "cpu")
    assert frames.count == 20
    shown = frames.frame(3)
    ((title, labels),) = shown.labellings
    assert (shown.name, title, len(labels)) == ("drive, sweep 3", "truth", len(shown.points))


def test_a_bag_shows_what_the_model_says(drive, tiny_model, tmp_path):
    frames = frames_of_bag(drive, tiny_model, None, "cpu")
    ((title, labels),) = frames.frame(19).labellings
    assert title == "tiny.safetensors" and set(labels) <= {0, 1, 2, 255}
    picture = tmp_path / "cloud.png"
    arguments = ["view", str(drive), "--model", str(tiny_model), "--out", str(picture)]
    found = CliRunner().invoke(app, arguments)
    assert found.exit_code == 0, found.output
    pixels = matplotlib.image.imread(picture)
    # car (0, 0, 142) of the tiny model is somewhere in it
    assert (np.abs(255 * pixels[..., :3] - [0, 0, 142]).max(-1) < 2).any()


def test_a_segmented_bag_shows_its_own_labels_in_its_own_colours(drive, tiny_model, tmp_path):
    out, picture = tmp_path / "labelled", tmp_path / "cloud.png"
    segment_bag(tiny_model, drive, out)
    frames = frames_of_bag(out, None, None, "cpu")
    shipped = model_file.load(tiny_model)[1].taxonomy
    assert [(info.name, info.color) for info in frames.taxonomy.classes] == [
        (info.name, info.color) for info in shipped.classes
    ]
    assert frames.count == 20 and not frames.findings
    shown, ((title, labels),) = frames.frame(7), frames.frame(7).labellings
    assert (shown.name, title) == ("labelled, cloud 7", "published")
    # As the model labels the clouds of the bag that it was made from.
    again = frames_of_bag(out, tiny_model, None, "cpu").frame(7)
    assert np.array_equal(shown.points[:, :3], again.points[:, :3])
    assert np.array_equal(labels, again.labellings[0][1])
    # That labelled clouds hold no intensity is nothing to refuse.
    found = CliRunner().invoke(app, ["view", str(out), "--out", str(picture), "--strict"])
    assert found.exit_code == 0, found.output
    pixels = matplotlib.image.imread(picture)
    assert (np.abs(255 * pixels[..., :3] - [0, 0, 142]).max(-1) < 2).any()


def test_labels_without_a_legend_have_the_shipped_models_names_and_a_warning(
    drive, tiny_model, tmp_path
):
    segment_bag(tiny_model, drive, tmp_path / "labelled")
    # As a recording of the labelled clouds alone, by another node's name
    with open_bag(tmp_path / "labelled") as bag, bag_writer(tmp_path / "alone") as writer:
        types = get_typestore(Stores.ROS2_HUMBLE)
        topic = writer.add_connection("/front/segment/labels", POINT_CLOUD, typestore=types)
        for time_ns, (_, cdr) in enumerate(bag.messages_with_cdr(SEGMENTATION)):
            writer.write(topic, time_ns, cdr)
    frames = frames_of_bag(tmp_path / "alone", None, None, "cpu")
    assert frames.taxonomy.names == model_file.load(DEFAULT_MODEL)[1].taxonomy.names
    (finding,) = frames.findings
    assert finding.is_warning and "no legend beside the labelled clouds" in str(finding)


def test_a_bag_is_leafed_through_in_any_order(drive, tiny_model):
    frames = frames_of_bag(drive, tiny_model, None, "cpu")
    straight_on = [frames.frame(number).points for number in range(20)]
    assert not any(map(np.array_equal, straight_on, straight_on[1:]))
    for number in (0, 3, 3, 4, 1, 19, 0):
        shown = frames.frame(number)
        assert shown.name == f"drive, cloud {number}"
        assert np.array_equal(shown.points, straight_on[number])


def test_without_a_display_a_picture_is_written(drive_cache, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    found = CliRunner().invoke(app, ["view", str(drive_cache), "--cloud", "2"])
    assert found.exit_code == 0, found.output
    assert (tmp_path / "drive-2.png").stat().st_size > 10_000


def test_what_can_not_be_shown_is_said(drive_cache, tiny_model):
    with pytest.raises(InputError, match="have different classes"):
        frames_of_cache(drive_cache, tiny_model, "cpu")
    found = CliRunner().invoke(app, ["view", str(drive_cache), "--cloud", "20"])
    assert isinstance(found.exception, InputError)
    assert str(found.exception) == "there is no cloud 20; there are 20, counted from 0"


def test_the_legend_for_the_screen_has_every_class_in_its_colour(tiny_metadata):
    shown = Console(record=True, width=120, color_system="truecolor", force_terminal=True)
    shown.print(legend(tiny_metadata.taxonomy))
    text = shown.export_text(styles=True)
    # car is (0, 0, 142)
    assert "\x1b[38;2;0;0;142m■ \x1b[0mcar" in text
    assert all(name in text for name in ("road", "building"))


def test_a_model_tells_of_itself(tiny_model):
    console = Console(record=True, width=120)
    console.print(model_table(tiny_model))
    text = console.export_text()
    for part in ("road, car, building", "voxels of 0.5 m", "255 stands for a full return"):
        assert part in text


def test_a_model_tells_by_which_version_it_was_trained(tiny_model, tiny_metadata, tmp_path):
    network, _ = model_file.load(tiny_model)
    metadata = replace(tiny_metadata, provenance={"haskd_ros": "0.1.0", "trained": "2026-11-29"})
    model_file.save(tmp_path / "trained.safetensors", network, metadata)
    console = Console(record=True, width=120)
    console.print(model_table(tmp_path / "trained.safetensors"))
    lines = console.export_text().splitlines()
    assert [line.strip("│ ").split() for line in lines if "haskd_ros" in line] == [
        ["haskd_ros", "│", "0.1.0"]
    ]
