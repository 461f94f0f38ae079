"""`haskd run` on a small simulated drive: from the bag to a calibrated student and its report."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest
from small_run import METHOD, quiet

from haskd_ros import model_file
from haskd_ros.errors import InputError
from haskd_ros.model_header import ShippedStudent
from haskd_ros.models import SIZES
from haskd_ros.segmenter import Segmenter
from haskd_ros.taxonomy import UNLABELLED
from haskd_training.core.progress import console
from haskd_training.core.settings import load_settings
from haskd_training.data.caches.cache import Cache
from haskd_training.data.preparing.inputs import PrepareConfig
from haskd_training.data.preparing.prepare import prepare
from haskd_training.data.splits import SplitConfig, make_split
from haskd_training.evaluation.student_cost import same_network
from haskd_training.experiments.run import RunConfig, held_back, run, score_table
from haskd_training.learning.loop import make_fabric
from haskd_training.metrics.confusion import mean_iou
from haskd_training.pipeline.method import run_method
from haskd_training.pipeline.stage_folders import StageRunner
from haskd_training.robot.views.view import model_table
from recorded_bags import Scene, write_bag
from small_street import street, street_cache

pytestmark = [pytest.mark.long, pytest.mark.usefixtures("two_levels")]


def settings(*assignments: str) -> RunConfig:
    return load_settings(RunConfig, None, [*METHOD, "prepare.overlays=0", *assignments])


def stages(out: Path) -> set[str]:
    return {folder.name for folder in (out / "stages").iterdir()}


def kinds(names: set[str]) -> list[str]:
    return sorted(name.rpartition("-")[0] for name in names)


def run_stages(out: Path, caches: list[Cache], config: RunConfig, unlabelled=()) -> None:
    """The stages of a run alone, without what it makes of them."""
    split = make_split(caches, config.student.split, unlabelled=unlabelled)
    runner = StageRunner(out / "stages", make_fabric(config.student.loop, out), quiet)
    run_method(runner, split, config, "Nobody, CC0")


@pytest.fixture(scope="module")
def out(tmp_path_factory):
    return tmp_path_factory.mktemp("runs") / "first"


@pytest.fixture(scope="module")
def result(drive, out):
    return run([drive], out, "simulation", settings(), quiet, attribution="Nobody, CC0")


def test_a_bag_becomes_a_calibrated_model(result):
    segmenter = Segmenter.load(result.model)
    assert segmenter.metadata.temperature == result.calibration.temperature != 1
    assert segmenter.metadata.provenance.attribution == "Nobody, CC0"
    points = result.caches[0].sweep(0).points
    assert set(np.unique(segmenter(points).class_id)) <= set(range(len(segmenter.taxonomy)))
    # 20 sweeps: 0.2, 0.1 and 0.2 of them held back
    roles = ("train", "calibration", "validation", "test")
    assert [len(getattr(result.split, role)) for role in roles] == [10, 4, 2, 4]
    assert result.distilled.sweeps == 4


def test_labels_are_of_recordings_and_caches_have_their_own(drive, drive_cache, tmp_path):
    with pytest.raises(InputError, match="is a recording: --labels names its label map"):
        run([drive_cache, drive], tmp_path / "run", None, settings(), quiet)
    with pytest.raises(InputError, match="a prepared cache has its own labels"):
        run([drive_cache], tmp_path / "run", "simulation", settings(), quiet)


def test_two_bags_may_not_take_the_same_labels(tmp_path):
    (tmp_path / "labels").mkdir()
    np.zeros(4, "<u4").tofile(tmp_path / "labels/000000.label")
    bags = [write_bag(tmp_path / name, Scene()) for name in ("one", "two")]
    config = settings(f"prepare.label_folder={tmp_path / 'labels'}")
    for given in ({"bags": bags}, {"bags": bags[:1], "test": bags[1:]}):
        with pytest.raises(InputError, match="2 recordings would read their labels from"):
            run(out=tmp_path / "run", labels="semantickitti", config=config, steps=quiet, **given)
    assert not (tmp_path / "run/caches").exists()


def test_the_report_is_one_page_with_what_the_run_found(result):
    page = result.report.read_text()
    headings = re.findall(r"<h2>(.+)</h2>", page)
    assert headings == [
        "Scores",
        "Predictions",
        "Probability calibration",
        "Teacher",
        "Selected images",
        "Expert snapshots",
        "Training",
        "Data",
        "Examination of the recordings",
        "Training cost",
        "Provenance",
    ]
    for evaluation in (result.baseline, result.distilled):
        assert f"{100 * mean_iou(evaluation.counts):.1f} %" in page
    assert "on 4 test sweeps that had no part in training" in page
    assert "the same tensors as trained on labels alone" in page
    assert "student.voxel_size" in page
    # Nothing but itself: no address outside of the page, all pictures inside
    assert not re.search(r'(src|href)="(?!data:|#)', page)
    # confusions, IoU by range, 2 predictions, 6 contact sheets, curves of 3 trainings
    assert page.count("data:image/") == 2 + 2 + 6 + 3
    # One of the scored sweeps can be turned: two models, the labels, where they disagree
    (sweep,) = re.findall(r'<script type="application/json">(.+)</script>', page)
    assert len(json.loads(sweep)["colorings"]) == 4
    assert result.report.stat().st_size < 8e6


def test_the_distilled_student_is_the_network_that_it_was(out, result):
    plain, distilled = (
        next(out.glob(f"stages/{stage}-*/model.safetensors")) for stage in ("baseline", "student")
    )
    assert same_network(plain, distilled)
    states = [model_file.load(path)[0].state_dict() for path in (plain, distilled)]
    sizes = [sum(value.nbytes for value in state.values()) for state in states]
    assert sizes[0] == sizes[1]
    assert list(states[0]) == list(states[1])
    # What differs is what it learned, and in the file the header that says so.
    name = next(name for name in states[0] if name.endswith("weight"))
    assert not np.array_equal(states[0][name], states[1][name])


@pytest.mark.parametrize(
    ("epochs", "distilled_epochs", "ships"), [(6, 1, "labels alone"), (1, 6, "distilled")]
)
def test_the_better_student_on_the_validation_sweeps_ships(
    drive, tmp_path, epochs, distilled_epochs, ships
):
    """One epoch against six, of ten steps each: whoever learns longer is better."""
    config = settings(
        "distillation.teacher=none", f"student.loop.epochs={epochs}",
        f"distillation.epochs={distilled_epochs}",
    )  # fmt: skip
    result = run([drive], tmp_path / "run", "simulation", config, quiet)
    stage = {"labels alone": "baseline", "distilled": "student"}
    scores = {}
    for name, folder in stage.items():
        (file,) = (tmp_path / "run/stages").glob(f"{folder}-*/result.json")
        scores[name] = json.loads(file.read_text())["validation_miou"]
    assert max(scores, key=scores.get) == ships
    (source,) = (tmp_path / "run/stages").glob(f"{stage[ships]}-*/model.safetensors")
    weights, shipped = (model_file.load(path)[0].state_dict() for path in (source, result.model))
    assert all(np.array_equal(weights[name], shipped[name]) for name in weights)
    _, metadata = model_file.load(result.model)
    assert metadata.provenance.shipped == ShippedStudent(
        ships, validation_miou=scores, validation_sweeps=2
    )
    assert metadata.temperature == result.calibration.temperature
    # The report, the table and the model's own facts say so, and by how much.
    other = min(scores, key=scores.get)
    lead = f"{100 * (scores[ships] - scores[other]):.1f} more than the"
    assert lead in result.report.read_text()
    assert lead in str(score_table(result).caption)
    with console.capture() as shown:
        console.print(model_table(result.model))
    assert re.search(rf"student\W+{ships} \(mIoU on 2 validation sweeps", shown.get())


def test_a_second_call_does_nothing_again(result, out, drive):
    def written() -> dict[Path, int]:
        # The digests of the bag's files are kept once those have settled, which takes two seconds.
        files = (path for path in out.rglob("*") if path.is_file() and path.name != "inputs.json")
        return {path: path.stat().st_mtime_ns for path in files}

    before = written()
    again = run([drive], out, "simulation", settings(), quiet, attribution="Nobody, CC0")
    # The model, the report and its pictures are the same, to the byte, and so stay as they are.
    assert {"model.safetensors", "report.html"} <= {path.name for path in before}
    assert written() == before
    np.testing.assert_array_equal(again.distilled.counts, result.distilled.counts)


def test_a_changed_setting_redoes_what_depends_on_it(result, out):
    before = stages(out)
    run_stages(out, result.caches, settings())
    assert stages(out) == before
    # On how loudly the teacher speaks nothing depends but the student
    run_stages(out, result.caches, settings("distillation.teacher_weight=0.25"))
    louder = stages(out) - before
    assert kinds(louder) == ["student"]
    # On the images what is made of them; the baseline and its snapshots stay
    run_stages(out, result.caches, settings("selection.images=1", "selection.window_s=0.2"))
    redone = stages(out) - before - louder
    assert kinds(redone) == ["features", "selection", "student", "teacher", "teacher-outputs"]
    # On whom else the teachers explain nothing that they learn themselves
    run_stages(out, result.caches, settings("student.split.distil_held_out=true"))
    assert kinds(stages(out) - before - louder - redone) == ["student"]


def test_of_a_recording_that_joins_only_its_own_sweeps_are_looked_at(
    result, out, another_drive, tmp_path
):
    def looked_at() -> dict[Path, int]:
        files = (out / "stages").rglob("*-*.safetensors")
        return {p: p.stat().st_mtime_ns for p in files if "student" not in p.parts[-2]}

    before, stages_before = looked_at(), stages(out)
    prepare([another_drive], None, tmp_path / "cache", PrepareConfig(overlays=0))
    run_stages(out, result.caches, settings(), unlabelled=[Cache.open(tmp_path / "cache")])
    assert kinds(stages(out) - stages_before) == ["student"]
    after = looked_at()
    assert {path: after[path] for path in before} == before
    # By image selection, features, teacher, two snapshots and the experts together
    new = sorted(path.parent.name.rsplit("-", 1)[0] for path in after.keys() - before.keys())
    folders = [
        "expert-outputs", "features", "selection", "snapshot-1-outputs", "snapshot-2-outputs",
        "teacher-outputs",
    ]  # fmt: skip
    assert new == sorted(5 * folders)


@pytest.fixture(scope="module")
def with_unlabelled(drive_cache, another_drive, tmp_path_factory):
    """A run on a cache, and a bag beside it. It has labels, which nobody is to see."""
    out = tmp_path_factory.mktemp("unlabelled")
    config = settings("distillation.teacher=none")
    return out, run([drive_cache], out, None, config, quiet, unlabelled=[another_drive])


def test_a_cache_is_as_good_as_the_bag_it_was_made_of(result, with_unlabelled, drive_cache):
    # The cache of the first run and one that `haskd prepare` made are of one bag, the same numbers
    out, again = with_unlabelled
    assert [cache.path for cache in again.caches] == [drive_cache]
    assert len(list((out / "caches").iterdir())) == 1  # of the other bag
    assert (again.baseline.counts == result.baseline.counts).all()


def test_a_bag_without_labels_is_learned_from_too(with_unlabelled):
    out, result = with_unlabelled
    assert len(result.split.unlabelled) == 5
    assert result.split.train_and_unlabelled[10:] == result.split.unlabelled
    for place in result.split.unlabelled:
        assert (result.split.sweep(place).label == UNLABELLED).all()
    # 10 labelled and 5 unlabelled sweeps, one a step and epoch
    (said,) = (out / "stages").glob("expert-outputs-*")
    assert len(list(said.glob("*-*.safetensors"))) == 15
    _, metadata = model_file.load(result.model)
    assert metadata.provenance.sweeps == 15
    page = result.report.read_text()
    assert "5 sweeps without labels, or with labels that are not read" in page
    assert "<h2>Teacher</h2>" not in page


def test_labels_of_sweeps_that_serve_as_unlabelled_are_hidden(drive_cache, tmp_path):
    labelled, other = Cache.open(drive_cache), Cache.open(street_cache(tmp_path, sweeps=3))
    split = make_split([labelled], SplitConfig(distil_held_out=False), unlabelled=[other])
    assert len(split.unlabelled) == 3
    assert all((split.sweep(place).label == UNLABELLED).all() for place in split.unlabelled)
    assert split.class_counts(split.unlabelled).tolist() == [0] * len(labelled.taxonomy)
    assert split.caches[1].taxonomy == labelled.taxonomy


def test_without_a_camera_the_run_stops_before_any_training(tmp_path):
    bag = write_bag(tmp_path, Scene(clouds=20, images=0, points=street))
    advice = "no images in the bags.*record a camera, or set distillation.teacher=none"
    with pytest.raises(InputError, match=advice):
        run([bag], tmp_path / "run", "pandaset", settings(), quiet)
    assert not (tmp_path / "run/stages").exists()


def test_without_sweeps_to_calibrate_on_the_run_stops_before_any_training(drive, tmp_path):
    with pytest.raises(InputError, match=r"raise student\.split\.calibration"):
        run([drive], tmp_path, "simulation", settings("student.split.calibration=0"), quiet)
    assert not (tmp_path / "stages").exists()


def test_a_2d_network_goes_the_same_way_and_no_test_sweeps_are_admitted(
    drive, tmp_path, monkeypatch
):
    # A panorama as coarse as the drive's clouds: the one of 64 x 1024 pixels takes a minute.
    coarse = {"architecture": "range_view", "channels": (8, 16), "rows": 16, "columns": 128}
    monkeypatch.setitem(SIZES, "R", coarse)
    blocks = ("student.split.calibration=0.4", "student.split.validation=0.3")
    config = settings("student.size=R", "student.split.test=0", *blocks)
    result = run([drive], tmp_path, "simulation", config, quiet)
    _, metadata = model_file.load(result.model)
    assert metadata.architecture == "range_view"
    seen = result.caches[0].statistics["elevation_deg"]
    low, high = metadata.arguments["elevation"]
    assert -90 < low < seen["min"] < seen["max"] < high < 90
    assert kinds(stages(tmp_path)) == [
        "baseline",
        "expert-outputs",
        "expertise",
        "features",
        "selection",
        "snapshot-1-outputs",
        "snapshot-2-outputs",
        "student",
        "teacher",
        "teacher-outputs",
    ]
    # 0.3 of 20 sweeps
    assert result.distilled.sweeps == 6
    page = result.report.read_text()
    assert "6 validation sweeps, which also picked the epoch, since no test sweeps" in page


def test_a_role_that_whole_recordings_serve_takes_nothing_from_the_others():
    config = SplitConfig(calibration=0.1, validation=0.2, test=0.3)
    assert held_back(config, test=[], validation=[1]) == SplitConfig(
        calibration=0.1, validation=0, test=0.3
    )
