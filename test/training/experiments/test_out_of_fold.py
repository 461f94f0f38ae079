"""Out of fold: what teaches, judges and calibrates has not learned from the sweeps that it speaks
of, and no label is kept from the student."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from small_run import METHOD, quiet

from haskd_ros import model_file
from haskd_ros.errors import InputError
from haskd_training.core.settings import load_settings
from haskd_training.data.caches.cache import Cache
from haskd_training.data.preparing.prepare import prepare
from haskd_training.data.splits import SplitConfig, make_split
from haskd_training.data.sweep_ref import SweepRef
from haskd_training.evaluation.temperature import calibrate
from haskd_training.experiments.run import RunConfig, run
from haskd_training.learning.recorded_outputs import OutputsByPart
from haskd_training.pipeline.config import MethodConfig, check

pytestmark = [pytest.mark.long, pytest.mark.usefixtures("two_levels")]

FOLDS = 2


@pytest.fixture(scope="module")
def out(tmp_path_factory):
    return tmp_path_factory.mktemp("run")


@pytest.fixture(scope="module")
def titles():
    return []


@pytest.fixture(scope="module")
def result(drive, out, titles):
    def steps(title):
        titles.append(title)
        return quiet(title)

    given = [*METHOD, "prepare.overlays=0", f"student.split.folds={FOLDS}"]
    config = load_settings(RunConfig, None, given)
    return run([drive], out / "run", "simulation", config, steps)


def test_the_student_learns_from_every_label_but_those_to_test_on(result):
    split = result.split
    assert [len(split.train), len(split.test)] == [16, 4]
    assert split.calibration == split.validation == []
    _, metadata = model_file.load(result.model)
    assert metadata.provenance.sweeps == 16


def test_each_part_has_teachers_of_its_own(result, out, titles):
    kinds = [folder.name.rpartition("-")[0] for folder in (out / "run/stages").iterdir()]
    # The student on all labels, and one without each part
    assert kinds.count("baseline") == FOLDS + 1
    assert kinds.count("teacher") == kinds.count("teacher-outputs") == FOLDS
    assert kinds.count("snapshot-1-outputs") == FOLDS
    assert kinds.count("expertise") == kinds.count("student") == 1
    assert "without part 2 of 2: training the teacher" in titles
    # What a part's teacher says is recorded for that part alone.
    for folder in (out / "run/stages").glob("teacher-outputs-*"):
        assert len(list(folder.glob("*.safetensors"))) == 16 / FOLDS


def test_the_temperature_is_that_of_answers_on_what_was_not_learned(result):
    assert result.calibration.points > 0
    _, metadata = model_file.load(result.model)
    assert metadata.temperature == result.calibration.temperature
    folds = result.folds
    judges = [(model_file.load(fold.model)[0], fold.split.calibration) for fold in folds]
    assert {ref for _, refs in judges for ref in refs} == set(result.split.train)
    for fold in folds:
        assert not set(fold.split.train) & set(fold.split.calibration)
    again, _ = calibrate(metadata, judges, result.split.caches)
    assert again.temperature == metadata.temperature


def test_the_report_says_what_to_expect_elsewhere(result):
    page = result.report.read_text()
    assert "What to expect where it has not learned" in page
    assert "Teacher, without part 1 of 2" in page
    assert "16 sweeps, each by what the student on labels alone says that has not" in page


class Said:
    """Outputs of one number."""

    def __init__(self, name, value):
        self.name, self.value = name, value

    def of(self, ref):
        return {"logits": np.full((1, 1), self.value)}


def test_outputs_are_taken_from_the_part_that_has_them():
    first, second = [SweepRef(0, 0)], [SweepRef(0, 1), SweepRef(1, 0)]
    joined = OutputsByPart([(Said("a", 1), first), (Said("b", 2), second)])
    assert [joined.of(ref)["logits"][0, 0] for ref in (*first, *second)] == [1, 2, 2]
    other = OutputsByPart([(Said("a", 1), second), (Said("b", 2), first)])
    same = OutputsByPart([(Said("a", 5), first), (Said("b", 6), second)])
    assert joined.name == same.name != other.name


def test_a_part_that_no_teacher_with_images_could_tell_of_is_found_before_any_training(
    drive, tmp_path
):
    cache = tmp_path / "cache"
    prepare([drive], "simulation", cache)
    with_camera = Cache.open(cache)
    blind = replace(
        with_camera,
        images=[],
        sweeps=[replace(row, recording="blind") for row in with_camera.sweeps],
    )
    split = make_split([with_camera, blind], SplitConfig(folds=2, test=0.1))
    with pytest.raises(InputError, match="without part 1 of 2 no recording has images"):
        check(split, MethodConfig())
    alone = MethodConfig.model_validate({"distillation": {"teacher": "none"}})
    check(split, alone)
