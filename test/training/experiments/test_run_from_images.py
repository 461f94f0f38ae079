"""`haskd run` on labels that images gave."""

from __future__ import annotations

import re

import numpy as np
import pytest
from small_run import METHOD, quiet

from haskd_ros import model_file
from haskd_ros.errors import InputError
from haskd_ros.taxonomy import UNLABELLED
from haskd_training.core.settings import load_settings
from haskd_training.data.caches.cache import Cache
from haskd_training.data.caches.label_sets import LabelSets
from haskd_training.data.caches.point_labels import PointLabels
from haskd_training.experiments.run import NO_LABELS, RunConfig, run, score_table
from haskd_training.learning.student import training_dataset
from haskd_training.robot.views.view import model_table

pytestmark = [pytest.mark.long, pytest.mark.usefixtures("two_levels")]

ORIGIN = {
    "networks": [{"file": "city.onnx", "sha256": "5" * 64}],
    "image_classes": {"name": "cityscapes", "means": {"car": ["car", "large_vehicle"]}},
    "measured": {
        "labelled": 0.9,
        "right": [
            {"share": 0.6, "sets": 0.971, "strict": 0.942},
            {"share": 0.9, "sets": 0.883, "strict": 0.861},
        ],
    },
}


def cells(page: str) -> list[list[str]]:
    """Rows of the tables of a page."""
    return [re.findall(r"<td[^>]*>(.*?)</td>", row) for row in page.split("<tr")]


def settings(*assignments: str) -> RunConfig:
    return load_settings(RunConfig, None, [*METHOD, "prepare.overlays=0", *assignments])


@pytest.fixture(scope="module")
def image_labels(drive_cache, tmp_path_factory):
    """What images might say of the drive: a car or a large vehicle of every car, road of every
    second other point, and nothing of the rest."""
    cache = Cache.open(drive_cache)
    car, road = cache.taxonomy.id_of("car"), cache.taxonomy.id_of("road")
    large = cache.taxonomy.id_of("large_vehicle")
    sets = LabelSets(len(cache.taxonomy), ((car, large),))
    labels = PointLabels(tmp_path_factory.mktemp("labels"), cache.taxonomy, sets, ORIGIN)
    for i, row in enumerate(cache.sweeps):
        true = cache.sweep(i).label
        ids = np.where(np.arange(row.points) % 2, road, 255)
        ids[true == car] = len(cache.taxonomy)
        labels.write(
            row.recording,
            row.stamp_ns,
            label=ids.astype(np.uint8),
            confidence=np.ones(row.points),
            seen=ids != 255,
        )
    labels.write_index()
    return labels


@pytest.fixture(scope="module")
def said():
    return []


@pytest.fixture(scope="module")
def result(drive, image_labels, said, tmp_path_factory):
    return run(
        [drive], tmp_path_factory.mktemp("run"), NO_LABELS, settings(), quiet,
        images_know=image_labels.folder, say=said.append,
    )  # fmt: skip


def test_no_label_by_hand_is_read(result, image_labels):
    taxonomy = result.split.taxonomy
    counts = dict(zip(taxonomy.names, result.split.class_counts(result.split.train).tolist()))
    assert {name for name, count in counts.items() if count} == {"car", "road"}
    assert result.split.label_sets == image_labels.sets


def test_an_open_label_is_its_likeliest_class_or_asks_for_a_sum(result):
    names, split = result.split.taxonomy.names, result.split
    classes = {}
    for kind in ("likeliest", "sum"):
        student = settings(f"student.open_labels={kind}").student
        clouds = training_dataset(split, split.train, student)
        ids = {int(label) for k in range(len(clouds)) for label in np.unique(clouds[k].labels)}
        (of_cars,) = ids - {names.index("road"), UNLABELLED}
        classes[kind] = [names[c] for c in split.label_sets.members(of_cars)]
    assert classes == {"likeliest": ["car"], "sum": ["car", "large_vehicle"]}


def test_the_model_says_where_its_labels_came_from(result):
    provenance = model_file.load(result.model)[1].provenance
    assert provenance.image_labels == ORIGIN | {"min_confidence": 0.9}
    facts = dict(zip(*(column.cells for column in model_table(result.model).columns)))
    assert "city.onnx" in str(facts["labels from images"])


def test_the_user_is_told_what_a_score_on_such_labels_is(result, said):
    found = next(finding for finding in said if finding.code == "labels-from-images")
    assert "is agreement with the images, not how right a model is" in found.message
    assert "agreement with the images" in result.report.read_text()
    assert "agreement with the images" in str(score_table(result).caption)


def test_the_report_says_what_images_taught(result, drive_cache):
    page = result.report.read_text()
    section = page[page.index("<h2>Labels from images") :]
    rows = cells(section[: section.index("<h2>", 4)])
    assert ["image network", f"city.onnx, SHA-256 {'5' * 64}"] in rows
    assert ["image classes", "cityscapes"] in rows
    assert ["least confidence of a label", "0.9"] in rows
    assert ["sweeps taught by them", "20"] in rows
    # 97.1 % right as sets, 94.2 % by likeliest class of the surest 60 %
    assert ["60.0", "97.1", "94.2"] in rows and ["90.0", "88.3", "86.1"] in rows
    # Images name all cars, and of every sweep's other points each second one a road.
    cache = Cache.open(drive_cache)
    car = cache.taxonomy.id_of("car")
    true = [cache.sweep(i).label for i in range(len(cache))]
    cars = sum(int((labels == car).sum()) for labels in true)
    roads = sum(int((labels[1::2] != car).sum()) for labels in true)
    points = sum(map(len, true))
    for name, count in (("car", cars), ("road", roads), ("building", 0), ("all", cars + roads)):
        assert [name, f"{count:,}", f"{100 * count / points:.2f}"] in rows


def test_images_add_nothing_where_every_sweep_has_labels(drive, image_labels, tmp_path):
    with pytest.raises(InputError, match="has no labels for a sweep without its own"):
        run([drive], tmp_path / "run", "simulation", settings(), quiet,
            images_know=image_labels.folder)  # fmt: skip


def test_without_labels_there_must_be_images_that_know(drive, tmp_path):
    with pytest.raises(InputError, match="--labels none leaves nothing to learn from"):
        run([drive], tmp_path / "run", NO_LABELS, settings(), quiet)
