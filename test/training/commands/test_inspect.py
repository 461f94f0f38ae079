"""What a person is told of a recording, by `haskd inspect` and by other commands first."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
import yard

from haskd_ros import model_file
from haskd_ros.segmentation import DEFAULT_MODEL


def by_another_clock(folder):
    """A yard whose clouds are stamped from 1 s on, everything else from 1,600,000,000 s on."""
    return yard.record(folder, cloud_clock_ns=10**9)


def test_inspect_tells_what_is_there_and_what_a_run_would_do(haskd, tmp_path):
    bag = yard.record(tmp_path, clouds=20)
    done = haskd("inspect", bag, "--labels", tmp_path / "labels.yaml", "--json")
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    recording = found["recordings"]["yard"]
    assert recording["findings"] == []
    assert (recording["lidar_frame"], recording["world_frame"]) == ("lidar", "odom")
    # 289, 136 and 70 points in each of 20 clouds
    assert recording["labels"]["classes"] == {"ground": 5780, "wall": 2720, "box": 1400}
    assert recording["labels"]["labelled_clouds"] == 20
    # The camera sees 2/3 of the distance to either side, and the ground 1.5 m below it from
    # 1.5 * 150 / 60 = 3.75 m on; an image is taken 0.1 m further on. So of the rows of ground from
    # x = 3 m on, each 0.5 m, those at 3.9 m from the camera on, with 11, 11, 13, 15 and 15 points,
    # and nine of 17: 218 of 289.
    seen = recording["labels"]["seen"]
    assert seen == {"ground": pytest.approx(218 / 289), "wall": 1, "box": 1}
    # The model that ships was trained on 100,000 points a sweep.
    assert any("points per sweep 495" in one for one in recording["unlike_the_model"])
    # Of 20 sweeps a tenth each to calibrate, validate and test on.
    run = found["run"]
    assert run["stops"] is None
    del run["sweeps"]["unlabelled"]
    assert run["sweeps"] == {"train": 14, "calibration": 2, "validation": 2, "test": 2}
    assert run["teaching_images"] == {"yard": {"front": 20}}


def test_a_segmented_recording_is_inspected_as_the_one_it_was_made_from(haskd, tmp_path):
    bag, out = yard.record(tmp_path, clouds=4), tmp_path / "labelled"
    assert haskd("segment", DEFAULT_MODEL, bag, "--out", out).returncode == 0
    found = {}
    for path in (bag, out):
        done = haskd("inspect", path, "--json")
        assert done.returncode == 0, done.stderr
        (found[path],) = json.loads(done.stdout)["recordings"].values()
    assert found[out]["sensor"] == found[bag]["sensor"]
    assert found[out]["findings"] == found[bag]["findings"] == []


def test_inspect_fits_a_screen_of_80_columns(haskd, tmp_path, monkeypatch):
    from haskd_training.core.progress import console

    monkeypatch.setattr(console, "_width", 80)
    bag = yard.record(tmp_path)
    done = haskd("inspect", bag, "--labels", tmp_path / "labels.yaml")
    assert done.returncode == 0, done.stderr
    assert max(map(len, done.stdout.splitlines())) <= 80
    for told in (
        "/points",
        "PointCloud2",
        "10.0",
        "495",
        "-31.3 to 9.4 degrees",
        "ground",
        "train",
    ):
        assert told in done.stdout


def test_inspect_without_labels_names_both_ways_to_a_run(haskd, tmp_path):
    done = haskd("inspect", yard.record(tmp_path))
    assert done.returncode == 0, done.stderr
    assert " ".join(done.stdout.split()).endswith(
        "haskd run: needs --labels, a label map; or --labels none and --images-know, labels that "
        "label-images made"
    )


def test_inspect_says_why_a_run_would_stop(haskd, tmp_path):
    bag = by_another_clock(tmp_path)
    done = haskd("inspect", bag, "--labels", tmp_path / "labels.yaml", "--json")
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    codes = [finding["code"] for finding in found["recordings"]["yard"]["findings"]]
    assert codes == ["clocks-apart"]
    assert found["run"]["teaching_images"] == {"yard": {"front": 0}}
    assert "50.7 years" in found["run"]["stops"]


def test_run_stops_before_any_training_where_no_image_can_teach(haskd, tmp_path):
    bag = yard.record(
        tmp_path,
        clouds=20,
        static=[
            ("base_link", "lidar", (0, 0, 2), yard.STRAIGHT),
            ("base_link", yard.CAMERA, (0.5, 0, 1.5), yard.STRAIGHT),
        ],
    )
    out = tmp_path / "run"
    done = haskd("run", bag, "--labels", tmp_path / "labels.yaml", "--out", out)
    assert done.returncode == 2
    (line,) = done.stderr.splitlines()
    assert line.startswith("error: no image can teach: ")
    assert "sees 0.0 % of the cloud" in line and "optical frame" in line
    assert not (out / "stages").exists()
    # Said first, too.
    assert "doubtful: /front/image_raw/compressed: sees 0.0 %" in done.stdout


@pytest.mark.parametrize("command", ["prepare", "run", "segment", "view", "benchmark", "inspect"])
def test_strict_makes_a_warning_an_error_and_writes_nothing(haskd, tmp_path, tiny_model, command):
    bag = by_another_clock(tmp_path / "bag")
    rows = yard.points()
    rows["intensity"] = float("nan")
    dim = yard.record(tmp_path / "dim", rows=lambda number: rows)
    labels, out = bag.parent / "labels.yaml", tmp_path / "out"
    arguments = {
        "prepare": [bag, "--labels", labels, "--out", out],
        "run": [bag, "--labels", labels, "--out", out],
        "segment": [tiny_model, dim, "--out", out],
        "view": [dim, "--model", tiny_model, "--out", tmp_path / "out"],
        "benchmark": [dim, "--model", tiny_model, "--out", out],
        "inspect": [bag, "--labels", labels],
    }[command]
    done = haskd(command, *arguments, "--strict")
    assert done.returncode == 2
    (line,) = done.stderr.splitlines()
    clocks = command in ("prepare", "run", "inspect")
    assert ("stamps are 50.7 years before" if clocks else "intensity is NaN throughout") in line
    assert not out.exists()


def test_what_was_found_is_said_again_where_a_cache_is_scored(haskd, tmp_path, tiny_metadata):
    bag = by_another_clock(tmp_path)
    cache = tmp_path / "cache"
    made = haskd("prepare", bag, "--labels", tmp_path / "labels.yaml", "--out", cache)
    assert made.returncode == 0, made.stderr
    shown = haskd("view", cache, "--out", tmp_path / "picture.png")
    assert shown.returncode == 0, shown.stderr
    assert "doubtful: /points: stamps are 50.7 years before" in shown.stdout
    assert haskd("view", cache, "--out", tmp_path / "again.png", "--strict").returncode == 2
    assert not (tmp_path / "again.png").exists()


def told(printed: str) -> list[str]:
    """The lines of what is noted, doubtful and so on."""
    outcomes = ("noted: ", "doubtful: ", "repaired: ", "left out: ")
    return [line for line in printed.splitlines() if line.startswith(outcomes)]


@pytest.mark.parametrize("command", ["segment", "export", "view", "evaluate", "evaluate a cache"])
def test_what_labels_a_recording_says_once_what_is_wrong_with_it(
    haskd, tmp_path, tiny_model, tiny_metadata, command
):
    rows = yard.points()
    rows["intensity"] = 0
    bag = yard.record(tmp_path, rows=lambda number: rows)
    labels = tmp_path / "own.yaml"
    labels.write_text(yard.LABELS)
    for name, own in (("ground", "road"), ("wall", "car"), ("box", "building")):
        labels.write_text(labels.read_text().replace(f"name: {name}", f"name: {own}"))
    # Trained on ten times as many points
    sensor = {"points_per_sweep": {"p5": 4900.0, "median": 5000.0, "p95": 5100.0}}
    model, out = tmp_path / "other.safetensors", tmp_path / "out"
    model_file.save(model, model_file.load(tiny_model)[0], replace(tiny_metadata, sensor=sensor))
    arguments = {
        "segment": ["segment", model, bag, "--out", out],
        "export": ["segment", model, bag, "--out", out, "--export", "labels"],
        "view": ["view", bag, "--model", model, "--out", out],
        "evaluate": ["evaluate", model, bag, "--labels", labels, "--out", out],
        "evaluate a cache": ["evaluate", model, tmp_path / "cache", "--out", out],
    }[command]
    if command == "evaluate a cache":
        haskd("prepare", bag, "--labels", labels, "--out", tmp_path / "cache")
    refused = haskd(*arguments, "--strict")
    assert refused.returncode == 2
    assert not out.exists()
    done = haskd(*arguments)
    assert done.returncode == 0, done.stderr
    lines = told(done.stdout)
    assert len(lines) == len(set(lines))
    said = "".join(lines)
    assert said.count("intensity is 0 throughout all clouds") == 1
    assert said.count("points per sweep 495, trained on 4,900 to 5,100") == 1


def test_a_fixed_unit_is_what_the_findings_are_about(haskd, tmp_path, tiny_model):
    rows = yard.points()
    rows["intensity"] = 100
    bag = yard.record(tmp_path, rows=lambda number: rows)
    out = tmp_path / "out"
    fixed = ["--set", "intensity.scale=50", "--strict"]
    refused = haskd("segment", tiny_model, bag, "--out", out, *fixed)
    assert "intensity goes up to 100, 100 % of the points exceed 50" in refused.stderr
    assert not out.exists()
    prepared = haskd(
        "prepare", bag, "--labels", tmp_path / "labels.yaml", "--out", out,
        "--set", "intensity_scale=50", "--strict",
    )  # fmt: skip
    assert "intensity goes up to 100" in prepared.stderr
