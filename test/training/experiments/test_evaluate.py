"""What `haskd evaluate` says is what `haskd segment` and the node publish, to the point."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import numpy as np
import pytest

from haskd_ros.clouds.pointcloud import read_points
from haskd_ros.errors import InputError
from haskd_training.data.caches.cache import Cache
from haskd_training.data.preparing.prepare import PrepareConfig, prepare
from haskd_training.experiments.evaluate import evaluate_model
from haskd_training.recordings.readers.bag import open_bag
from haskd_training.robot.offline.segment_bag import SEGMENTATION, parse, segment_bag
from recorded_bags import POINT, Scene, write_bag

LABELS = """
classes:
  - {name: road, color: [128, 64, 128], ids: [1]}
  - {name: car, color: [0, 0, 142], ids: [2], movable: true}
  - {name: building, color: [70, 70, 70], ids: [3]}
ignore: [0]
field: label
"""
CLOUDS, POINTS = 2, 700
UNITS = {"<f4": 1.0, "u1": 255.0, "<u2": 65535.0, "<f8": 65535.0}


def with_intensity(kind: str) -> np.dtype:
    return np.dtype([(name, kind if name == "intensity" else POINT[name]) for name in POINT.names])


def points_of_cloud(index: int, kind: str, full: float) -> np.ndarray:
    """Points around the sensor, some beyond the model's 100 m, some lost, in every class."""
    random = np.random.default_rng(index)
    points = np.zeros(POINTS, with_intensity(kind))
    for name in "xyz":
        points[name] = random.uniform(-20, 20, POINTS)
    points["x"][::50] = 140
    points["y"][7::100] = np.nan
    points["label"] = random.integers(0, 4, POINTS)
    points["label"][7::100] = 0
    # Whole 255ths, so that 8 bits hold them
    points["intensity"] = random.integers(0, 256, POINTS) / 255 * full + (full > 1) * 1e-6
    return points


def recording(folder: Path, kind: str, full: float) -> Path:
    (folder / "labels.yaml").write_text(LABELS)
    scene = Scene(CLOUDS, 0, lambda index: points_of_cloud(index, kind, full))
    return write_bag(folder, scene)


def counted(labelled: Path) -> np.ndarray:
    """[3, 4] points by label and published class, the last column without one."""
    counts = np.zeros((3, 4), np.int64)
    with open_bag(labelled) as bag:
        clouds = [read_points(cloud) for _, cloud in bag.messages(["/lidar/points"])]
        answers = [read_points(cloud) for _, cloud in bag.messages([SEGMENTATION])]
    for cloud, answer in zip(clouds, answers, strict=True):
        for label, class_id in zip(cloud["label"], answer["class_id"]):
            if label:
                counts[label - 1, min(class_id, 3)] += 1
    return counts


@pytest.mark.parametrize("kind", UNITS)
def test_evaluate_counts_what_segment_writes_in_any_unit(tmp_path, tiny_model, kind):
    bag = recording(tmp_path, kind, UNITS[kind])
    prepare([bag], tmp_path / "labels.yaml", tmp_path / "cache", PrepareConfig(overlays=0))
    assert Cache.open(tmp_path / "cache").intensity_scale == UNITS[kind]
    for number, settings in enumerate(
        (
            [],
            ["min_probability=0.5", "range.max=15"],
            ["class_remap=[car:road, building:unlabelled]"],
            ["crop.min=[-10, -10, -5]", "crop.max=[30, 10, 5]"],
        )
    ):
        out, parameters = tmp_path / f"labelled-{number}", parse(settings)
        segment_bag(tiny_model, bag, out, device="cpu", parameters=parameters)
        expected = counted(out).tolist()
        of_cache = evaluate_model(
            tiny_model, tmp_path / "cache", device="cpu", parameters=parameters
        )
        of_bag = evaluate_model(
            tiny_model, bag, device="cpu", labels=tmp_path / "labels.yaml", parameters=parameters
        )
        assert of_cache.counts.tolist() == of_bag.counts.tolist() == expected
        # 14 points beyond the range of the model a cloud, of which 3 in 4 are labelled
        assert of_cache.counts[:, 3].sum() > 10


def test_all_units_get_the_same_labels(tmp_path, tiny_model):
    found = []
    for kind in ("<f4", "u1", "<u2"):
        folder = tmp_path / kind.strip("<")
        folder.mkdir()
        bag = recording(folder, kind, UNITS[kind])
        segment_bag(tiny_model, bag, folder / "out", device="cpu")
        found.append(counted(folder / "out"))
    # 255ths are not the same float in every unit; a point on the fence may change sides
    assert np.abs(found[0] - found[1]).sum() <= 4
    assert np.abs(found[0] - found[2]).sum() <= 4
    assert np.count_nonzero(found[0][:, :3].sum(0)) == 3


def test_intensity_that_was_not_measured_is_read_as_none_at_all(tmp_path, tiny_model):
    def without(index: int) -> np.ndarray:
        points = points_of_cloud(index, "<f4", 1.0)
        kept = [name for name in POINT.names if name != "intensity"]
        bare = np.zeros(POINTS, [(name, POINT[name]) for name in kept])
        for name in kept:
            bare[name] = points[name]
        return bare

    def nan(index: int) -> np.ndarray:
        points = points_of_cloud(index, "<f4", 1.0)
        points["intensity"] = np.nan
        return points

    def zero(index: int) -> np.ndarray:
        points = points_of_cloud(index, "u1", 255.0)
        points["intensity"] = 0
        return points

    def zero_and_nan(index: int) -> np.ndarray:
        points = points_of_cloud(index, "<f4", 1.0)
        points["intensity"] = np.where(np.arange(POINTS) % 2, np.nan, 0)
        return points

    counts = []
    for name, points, code in (
        ("without", without, "no-intensity"),
        ("nan", nan, "intensity-nan"),
        ("zero", zero, "intensity-zero"),
        ("both", zero_and_nan, "intensity-zero"),
    ):
        folder = tmp_path / name
        bag = write_bag(folder, Scene(CLOUDS, 0, points))
        (folder / "labels.yaml").write_text(LABELS)
        found = segment_bag(tiny_model, bag, folder / "out", device="cpu")
        (finding,) = found.findings
        assert finding.code == code
        counts.append(counted(folder / "out").tolist())
        prepare([bag], folder / "labels.yaml", folder / "cache", PrepareConfig(overlays=0))
        evaluation = evaluate_model(tiny_model, folder / "cache", device="cpu")
        assert evaluation.counts.tolist() == counts[-1]
    assert counts[0] == counts[1] == counts[2] == counts[3]


def test_a_point_whose_own_intensity_is_no_number_is_labelled_as_any_other(tmp_path, tiny_model):
    def points(index: int) -> np.ndarray:
        points = points_of_cloud(index, "<f4", 1.0)
        points["intensity"][:100] = np.nan
        # A sensor that was dark at first: all of these points get a label
        if index == 0:
            points["intensity"][100:] = 0
        return points

    bag = write_bag(tmp_path, Scene(CLOUDS, 0, points))
    (tmp_path / "labels.yaml").write_text(LABELS)
    segment_bag(tiny_model, bag, tmp_path / "out", device="cpu")
    expected = counted(tmp_path / "out").tolist()
    prepare([bag], tmp_path / "labels.yaml", tmp_path / "cache", PrepareConfig(overlays=0))
    of_cache = evaluate_model(tiny_model, tmp_path / "cache", device="cpu")
    of_bag = evaluate_model(tiny_model, bag, device="cpu", labels=tmp_path / "labels.yaml")
    assert of_cache.counts.tolist() == of_bag.counts.tolist() == expected
    # Without a label: what lies beyond the range, and nothing else
    clouds = points(0), points(1)
    missed = sum(((cloud["label"] > 0) & (cloud["x"] == 140)).sum() for cloud in clouds)
    assert sum(row[3] for row in expected) == missed


def test_a_box_in_another_frame_needs_the_recording(tmp_path, tiny_model):
    bag = recording(tmp_path, "u1", 255.0)
    # The sensor is 2 m above the base: from 3 m above the base on, 1 m above the sensor
    parameters = parse(["crop.frame=/base_link", "crop.min=[-.inf, -.inf, 3]"])
    segment_bag(tiny_model, bag, tmp_path / "out", device="cpu", parameters=parameters)
    labels = tmp_path / "labels.yaml"
    found = evaluate_model(tiny_model, bag, device="cpu", labels=labels, parameters=parameters)
    assert found.counts.tolist() == counted(tmp_path / "out").tolist()
    assert 0 < found.counts[:, :3].sum() < found.counts[:, 3].sum()
    prepare([bag], labels, tmp_path / "cache", PrepareConfig(overlays=0))
    with pytest.raises(InputError, match="no transforms to the box's frame /base_link; evaluate"):
        evaluate_model(tiny_model, tmp_path / "cache", device="cpu", parameters=parameters)


def test_a_recording_needs_a_label_map_and_a_cache_none(tmp_path, tiny_model):
    bag = recording(tmp_path, "u1", 255.0)
    with pytest.raises(InputError, match="is a recording; --labels names its label map"):
        evaluate_model(tiny_model, bag, device="cpu")
    with pytest.raises(InputError, match="is no recording; --labels and --topic"):
        evaluate_model(tiny_model, tmp_path / "none", device="cpu", labels="pandaset")
    with pytest.raises(InputError, match="has the classes road, car, building; pandaset has"):
        evaluate_model(tiny_model, bag, device="cpu", labels="pandaset")


def test_a_cloud_that_is_rejected_counts_as_missed(tmp_path, tiny_model):
    def thinner(index: int) -> np.ndarray:
        points = points_of_cloud(index, "u1", 255.0)
        # Lost, all but 100 of the second cloud
        if index == 1:
            points["x"][:600] = np.nan
        return points

    bag = write_bag(tmp_path, Scene(CLOUDS, 0, thinner))
    labels = tmp_path / "labels.yaml"
    labels.write_text(LABELS)
    parameters = parse(["min_points=200"])
    found = segment_bag(tiny_model, bag, tmp_path / "out", device="cpu", parameters=parameters)
    assert (found.labelled, found.rejected) == (1, {"fewer than min_points": 1})
    # Without an answer to the second cloud its points are in the last column
    with open_bag(tmp_path / "out") as opened:
        ((_, answer),) = opened.messages([SEGMENTATION])
    expected = np.zeros((3, 4), np.int64)
    class_ids = read_points(answer)["class_id"]
    for label, class_id in zip(thinner(0)["label"], class_ids):
        if label:
            expected[label - 1, min(class_id, 3)] += 1
    for label in thinner(1)["label"][600:]:
        if label:
            expected[label - 1, 3] += 1
    prepare([bag], labels, tmp_path / "cache", PrepareConfig(overlays=0))
    of_cache = evaluate_model(tiny_model, tmp_path / "cache", device="cpu", parameters=parameters)
    of_bag = evaluate_model(tiny_model, bag, device="cpu", labels=labels, parameters=parameters)
    assert of_cache.counts.tolist() == of_bag.counts.tolist() == expected.tolist()


def test_without_a_transform_to_the_box_no_cloud_is_labelled_and_all_are_missed(
    tmp_path, tiny_model
):
    points = partial(points_of_cloud, kind="u1", full=255.0)
    bag = write_bag(tmp_path, Scene(CLOUDS, 0, points, with_tf=False))
    labels = tmp_path / "labels.yaml"
    labels.write_text(LABELS)
    parameters = parse(["crop.frame=base_link", "crop.min=[0, 0, 0]"])
    found = segment_bag(tiny_model, bag, tmp_path / "out", device="cpu", parameters=parameters)
    assert (found.labelled, found.rejected) == (0, {"no transform to crop.frame": CLOUDS})
    counts = evaluate_model(
        tiny_model, bag, device="cpu", labels=labels, parameters=parameters
    ).counts
    labelled = sum(np.count_nonzero(points(index)["label"]) for index in range(CLOUDS))
    assert counts[:, 3].sum() == counts.sum() == labelled
