"""Which images are chosen, and the reasons for all the others."""

from __future__ import annotations

import io
import json
import math
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.console import Console

from haskd_ros import model_file
from haskd_ros.errors import InputError
from haskd_ros.model_header import Extent, InputRange, Intensity, ModelMetadata
from haskd_ros.models import build
from haskd_ros.segmentation import Segmentation
from haskd_ros.segmenter import Segmenter
from haskd_ros.taxonomy import ClassInfo, Taxonomy
from haskd_training.data.caches.cache import Cache, Sweep
from haskd_training.data.preparing.inputs import PrepareConfig
from haskd_training.data.preparing.prepare import prepare
from haskd_training.data.sweep_ref import SweepRef
from haskd_training.images.candidates import CandidateImage, SelectionConfig, near_duplicates
from haskd_training.images.filtering import filter_images, weighted_voxels
from haskd_training.images.selection import Selection, select
from haskd_training.reports.contact_sheets import by_rank, contact_sheets, seen_share, table
from recorded_bags import Scene, write_bag
from small_street import street

TAXONOMY = Taxonomy((ClassInfo("road", (0, 0, 0)), ClassInfo("car", (1, 1, 1), movable=True)))


def test_voxels_are_worth_more_where_the_cloud_alone_is_in_doubt() -> None:
    # Two points in the first voxel, one in the second; the last one is beyond the model's range.
    points = np.array([[0.1, 0.1, 0.1], [0.3, 0.1, 0.1], [1.2, 0.1, 0.1], [9, 9, 9]], np.float32)
    sweep = Sweep(
        np.pad(points, ((0, 0), (0, 1))),
        np.array([-0.04, -0.02, 0.0, 0.0], np.float32),
        np.full(4, 255, np.uint8),
        0,
        "drive",
    )
    predicted = Segmentation(
        np.array([1, 0, 0, 255], np.uint8),
        np.ones(4, np.float32),
        np.array([math.log(2), 0, 0, math.log(2)], np.float32),
    )
    voxels = weighted_voxels(sweep, predicted, TAXONOMY, size=1.0)
    assert voxels.centroids == pytest.approx(np.array([[0.2, 0.1, 0.1], [1.2, 0.1, 0.1]]))
    assert voxels.times == pytest.approx([-0.03, 0])
    assert voxels.counts.tolist() == [2, 1]
    # Half of the first voxel's points may move.
    assert voxels.movable.tolist() == [True, False]
    # 0.5 + 0.5 * H / log 2, H the mean of log 2 and 0; and without doubt 0.5.
    assert voxels.weights == pytest.approx([0.75, 0.5])
    assert voxels.share(np.array([True, False])) == pytest.approx(2 / 3)


def test_a_sweep_without_any_point_in_range_has_no_voxels() -> None:
    sweep = Sweep(np.ones((2, 4), np.float32), np.zeros(2, np.float32), np.zeros(2), 0, "drive")
    beyond = Segmentation(np.full(2, 255, np.uint8), np.zeros(2), np.ones(2, np.float32))
    voxels = weighted_voxels(sweep, beyond, TAXONOMY, size=1.0)
    assert voxels.centroids.shape == (0, 3)
    assert voxels.share(np.zeros(0, bool)) == 0


# recorded_bags: 10 m/s along x; sweep i at 0.1 i s, image j at 0.05 + 0.1 j s, that is 1 m apart.
SWEEP = 3  # at 0.3 s; the images 0.05 0.15 0.25 | 0.35 0.45 0.55 s around it, places 0 to 5
CONFIG = SelectionConfig(images=2, voxel_size=0.5)


@pytest.fixture(scope="module")
def drive(tmp_path_factory: pytest.TempPathFactory) -> Cache:
    return drive_cache(tmp_path_factory.mktemp("drive"))


def drive_cache(folder: Path, labels: str | None = "pandaset", **scene: Any) -> Cache:
    bag = write_bag(folder, Scene(clouds=7, images=7, points=street, **scene))
    prepare([bag], labels, folder / "cache", PrepareConfig(overlays=0))
    return Cache.open(folder / "cache")


def outcome(
    cache: Cache,
    config: SelectionConfig = CONFIG,
    quality: dict[int, float] | None = None,
    taxonomy: Taxonomy = TAXONOMY,
) -> dict[int, CandidateImage]:
    """What becomes of each image, where the baseline calls all of the sweep by the first class and
    is equally in doubt everywhere; images are sharp unless `quality` says otherwise."""
    points = len(cache.sweep(SWEEP).points)
    predicted = Segmentation(
        np.zeros(points, np.uint8), np.ones(points, np.float32), np.ones(points, np.float32)
    )
    records = filter_images(
        cache,
        SWEEP,
        predicted=predicted,
        taxonomy=taxonomy,
        config=config,
        image_quality=lambda image: (quality or {}).get(image, 1.0),
        generator=np.random.default_rng(0),
    )
    assert len({record.image for record in records}) == len(records)
    return {record.image: record for record in records}


def chosen(records: dict[int, CandidateImage]) -> list[int]:
    return [image for image, record in records.items() if record.reason == "chosen"]


def test_a_drive_has_the_candidates_that_the_tests_are_worked_out_for(drive: Cache) -> None:
    assert [row.stamp_ns % 10**9 // 10**6 for row in drive.images] == [50, 150, 250, 350, 450, 550]
    assert all(row.T_world_camera is not None for row in drive.images)


def test_no_more_than_k_are_chosen_and_the_rest_says_so(drive: Cache) -> None:
    records = outcome(drive)
    assert Counter(record.reason for record in records.values()) == {"chosen": 2, "K reached": 4}
    first, second = (records[image] for image in chosen(records))
    assert (first.rank, second.rank) == (1, 2)
    assert first.gain > second.gain > 0
    assert first.covered == first.seen
    assert second.covered >= max(first.seen, second.seen)
    # What the others would still add is at most what the last one did.
    assert all(record.gain <= second.gain for record in records.values() if record.rank is None)
    assert {image: round(record.dt_s, 6) for image, record in records.items()} == {
        0: -0.25, 1: -0.15, 2: -0.05, 3: 0.05, 4: 0.15, 5: 0.25
    }  # fmt: skip


def test_near_duplicates_give_way_to_better_ones(drive: Cache) -> None:
    # Taken 1 m apart. Of the two at 50 ms the earlier goes first; 1 and 3 are 1 m from it; 4 is 2 m
    # away and stays, 5 is 1 m from 4; 0 is 2 m from 2 and stays.
    records = outcome(drive, CONFIG.model_copy(update={"min_move_m": 1.5}))
    duplicates = {
        image: record.duplicate_of
        for image, record in records.items()
        if record.reason == "near-duplicate"
    }
    assert duplicates == {1: 2, 3: 2, 5: 4}


def test_a_turned_camera_is_no_duplicate(drive: Cache) -> None:
    def turned(degrees: float) -> list[list[float]]:
        c, s = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
        return [[c, -s, 0, 0], [s, c, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]]

    rows = [replace(drive.images[0], T_world_camera=turned(degrees)) for degrees in (0, 4.9, 5.1)]
    assert near_duplicates(replace(drive, images=rows), [0, 1, 2], 0.3, 5.0) == {1: 0}
    # Nor is another camera in the same place.
    rows[1] = replace(rows[0], camera="wide")
    assert near_duplicates(replace(drive, images=rows), [0, 1, 2], 0.3, 5.0) == {}


def test_without_poses_only_the_images_of_the_moment_can_be_used(tmp_path: Path) -> None:
    records = outcome(drive_cache(tmp_path, with_motion=False))
    reasons = {image: record.reason for image, record in records.items()}
    # The calibration between camera and LiDAR holds at 50 ms; the motion until then is forgiven.
    assert {image for image, reason in reasons.items() if reason == "no pose"} == (
        reasons.keys() - {2, 3}
    )


def test_a_camera_without_an_image_in_the_window_is_reported(drive: Cache) -> None:
    # The window ends before 50 ms; the nearest image of the camera stands for all of them.
    records = outcome(drive, CONFIG.model_copy(update={"window_s": 0.04}))
    assert {image: record.reason for image, record in records.items()} == {2: "dt too large"}


def test_images_that_show_too_little_are_rejected(drive: Cache) -> None:
    records = outcome(drive, CONFIG.model_copy(update={"min_visible_share": 1.0}))
    assert {record.reason for record in records.values()} == {"too few points seen"}
    assert all(0 < record.seen < 1 for record in records.values())
    assert chosen(records) == []


@pytest.mark.parametrize(
    ("limit", "reason"),
    [({"min_gain": 0.9}, "gain too small"), ({"target_coverage": 0.01}, "enough covered")],
)
def test_the_reason_to_stop_is_everyones_who_is_left(
    drive: Cache, limit: dict[str, float], reason: str
) -> None:
    records = outcome(drive, CONFIG.model_copy(update=limit))
    left = [record.reason for record in records.values() if record.reason != "chosen"]
    assert set(left) == {reason}


@pytest.mark.parametrize(
    ("strategy", "expected"),
    [
        # 50 ms before and after, then 150 ms before.
        ("nearest", [2, 3, 1]),
        # The middles of three equal parts of six.
        ("stride", [1, 3, 5]),
        ("all", [2, 3, 1, 4, 0, 5]),
    ],
)
def test_simple_strategies_are_what_they_are_called(
    drive: Cache, strategy: str, expected: list[int]
) -> None:
    records = outcome(drive, CONFIG.model_copy(update={"strategy": strategy, "images": 3}))
    assert chosen(records) == expected
    assert all(record.gain is not None for record in records.values() if record.rank)
    assert {record.reason for record in records.values()} <= {"chosen", "K reached"}


def test_random_images_are_the_same_for_the_same_seed(drive: Cache) -> None:
    config = CONFIG.model_copy(update={"strategy": "random", "images": 3})
    picked = chosen(outcome(drive, config))
    assert len(set(picked)) == 3
    assert chosen(outcome(drive, config)) == picked


def test_coverage_does_not_ask_how_good_a_view_is(drive: Cache) -> None:
    sharp = {strategy: {"strategy": strategy, "images": 1} for strategy in ("iof", "coverage")}
    for strategy, setting in sharp.items():
        config = CONFIG.model_copy(update=setting)
        (best,) = chosen(outcome(drive, config))
        blurred = outcome(drive, config, quality={best: 0.01})
        assert (chosen(blurred) == [best]) == (strategy == "coverage")


def test_equal_doubt_everywhere_makes_entropy_irrelevant_to_coverage(drive: Cache) -> None:
    plain, weighted = (
        outcome(drive, CONFIG.model_copy(update={"strategy": strategy}))
        for strategy in ("coverage", "coverage_entropy")
    )
    assert chosen(weighted) == chosen(plain)
    for image in chosen(plain):
        assert weighted[image].gain == pytest.approx(plain[image].gain, rel=1e-5)


def test_only_what_can_change_its_place_needs_an_image_of_the_moment(drive: Cache) -> None:
    moving = Taxonomy((ClassInfo("car", (0, 0, 0), movable=True), ClassInfo("bus", (1, 1, 1))))
    records = outcome(drive, taxonomy=moving).values()
    useful = {record.image for record in records if record.reason != "too few points seen"}
    assert useful == {2, 3}


@settings(max_examples=20)
@given(order=st.permutations(range(6)))
def test_the_places_of_the_images_in_the_cache_make_no_difference(
    drive: Cache, order: list[int]
) -> None:
    config = CONFIG.model_copy(update={"min_move_m": 1.5})
    expected = outcome(drive, config)
    shuffled = outcome(replace(drive, images=[drive.images[place] for place in order]), config)
    assert [order[image] for image in shuffled] == list(expected)
    for image, record in shuffled.items():
        original = expected[order[image]]
        assert (record.reason, record.gain, record.seen, record.covered) == (
            original.reason, original.gain, original.seen, original.covered
        )  # fmt: skip


def test_labels_are_not_looked_at(drive: Cache, tmp_path: Path) -> None:
    unlabelled = drive_cache(tmp_path, labels=None)
    assert not any(any(row.class_counts) for row in unlabelled.sweeps)
    assert outcome(unlabelled) == outcome(drive)


SWEEPS = [SweepRef(0, 1), SweepRef(0, SWEEP)]


@pytest.fixture(scope="module")
def model(drive: Cache, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Random weights, the cache's classes."""
    torch.manual_seed(0)
    arguments = {"voxel_size": 0.5, "channels": [4, 8]}
    metadata = ModelMetadata(
        "sparse_unet",
        arguments,
        drive.taxonomy,
        Intensity(255.0, 0.1),
        12.0,
        InputRange(Extent(-10.0, 10.0), Extent(0.0, 1.0)),
    )
    path = tmp_path_factory.mktemp("model") / "model.safetensors"
    network = build("sparse_unet", classes=len(drive.taxonomy), **arguments)
    model_file.save(path, network, metadata)
    return path


@pytest.fixture(scope="module")
def selection(drive: Cache, model: Path, tmp_path_factory: pytest.TempPathFactory) -> Selection:
    return select([drive], SWEEPS, model, tmp_path_factory.mktemp("select") / "out", CONFIG)


def test_a_selection_keeps_what_became_of_every_image(selection: Selection) -> None:
    records = [selection.records(place) for place in SWEEPS]
    assert selection.reasons == Counter(record.reason for few in records for record in few)
    assert [len(few) for few in records] == [6, 6]
    ranks = [record.rank for record in records[1] if record.reason == "chosen"]
    assert ranks == list(range(1, len(ranks) + 1))
    assert selection.chosen(SWEEPS[1]) == [record.image for record in records[1][: len(ranks)]]
    with pytest.raises(InputError, match=r"-2.safetensors is missing or damaged"):
        selection.records(SweepRef(0, 2))


def test_the_baselines_classes_are_kept_with_it(
    drive: Cache, selection: Selection, model: Path
) -> None:
    points = drive.sweep(SWEEP).points
    class_id = selection.predicted(SWEEPS[1])
    # The cache's intensity is 0..1, the model's scale 255.
    expected = Segmenter.load(model)(points * np.array([1, 1, 1, 255], np.float32)).class_id
    assert np.array_equal(class_id, expected)
    assert ((class_id == 255) == (np.linalg.norm(points[:, :3], axis=1) > 12)).all()


def test_no_sweep_is_looked_at_twice(drive: Cache, model: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    whole = select([drive], SWEEPS, model, out, CONFIG)
    records = [whole.records(place) for place in SWEEPS]
    whole.files.path(SWEEPS[1]).unlink()
    kept = whole.files.path(SWEEPS[0])
    before = kept.stat().st_mtime_ns
    steps = []
    again = select(
        [drive], SWEEPS, model, out, CONFIG, lambda done, total, _: steps.append((done, total))
    )
    assert [again.records(place) for place in SWEEPS] == records
    assert again.reasons == whole.reasons
    assert steps == [(1, 1)]
    assert kept.stat().st_mtime_ns == before
    assert select([drive], SWEEPS[1:], model, out, CONFIG).sweeps == SWEEPS[1:]


def test_another_question_needs_another_folder(
    drive: Cache, model: Path, selection: Selection
) -> None:
    other = CONFIG.model_copy(update={"images": 1})
    with pytest.raises(InputError, match="other inputs or settings"):
        select([drive], SWEEPS, model, selection.path, other)


def test_a_model_with_other_classes_is_refused(
    drive: Cache, tiny_model: Path, tmp_path: Path
) -> None:
    with pytest.raises(
        InputError, match=r"has the classes road, car, building; cache .* has road,"
    ):
        select([drive], SWEEPS, tiny_model, tmp_path / "out", CONFIG)
    assert not (tmp_path / "out").exists()


def test_a_person_can_look_through_it(drive: Cache, selection: Selection, tmp_path: Path) -> None:
    pictures = contact_sheets([drive], selection, tmp_path / "sheets", count=5)
    assert [picture.path.name for picture in pictures] == ["0-1.jpg", "0-3.jpg"]
    share = max(record.covered or 0 for record in selection.records(SWEEPS[0]))
    assert f"sweep 1: {100 * share:.0f} % of the points seen" in pictures[0].caption
    for picture in pictures:
        image = cv2.imread(str(picture.path))
        # Two images of 640 px side by side; 100 x 80 px become 640 x 512, below a line of text.
        assert image.shape[1] == 1280
        assert image.shape[0] > 512
    text = io.StringIO()
    Console(width=100, file=text).print(table(selection))
    assert "iof: 2 sweeps" in text.getvalue()
    assert all(reason in text.getvalue() for reason in selection.reasons)
    # Both sweeps have two chosen images; the gain falls from one to the next, what is seen grows
    (first, images, gain, seen), (second, _, less, more) = by_rank(selection)
    assert (first, second, images) == (1, 2, 2)
    assert gain > less > 0 and 1 >= more > seen > 0
    firsts = [selection.records(place)[0] for place in SWEEPS]
    assert gain == pytest.approx(sum(record.gain for record in firsts) / 2)
    assert more == pytest.approx(seen_share(selection))


def test_sweeps_without_any_image_have_a_sheet_too(
    drive: Cache, model: Path, tmp_path: Path
) -> None:
    config = CONFIG.model_copy(update={"window_s": 0.001})
    none = select([drive], SWEEPS[:1], model, tmp_path / "out", config)
    assert none.chosen(SWEEPS[0]) == []
    (picture,) = contact_sheets([drive], none, tmp_path / "sheets")
    assert picture.path.exists()
    assert "0 % of the points seen" in picture.caption


def test_settings_are_checked() -> None:
    with pytest.raises(ValueError, match="greater than or equal to 1"):
        SelectionConfig(images=0)
    with pytest.raises(ValueError, match="Extra inputs"):
        SelectionConfig(visibility={"tolerances": 1})
    assert SelectionConfig.model_validate(json.loads(CONFIG.model_dump_json())) == CONFIG
