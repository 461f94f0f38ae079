"""The point transformer through the whole of training: on labels alone, and distilled by HAS-KD."""

from __future__ import annotations

import pytest
from small_run import METHOD, quiet

from haskd_ros import model_file
from haskd_ros.models import SIZES
from haskd_training.core.settings import load_settings
from haskd_training.data.caches.cache import Cache
from haskd_training.data.splits import make_split
from haskd_training.distillation.fusion import load_teacher
from haskd_training.experiments.evaluate import evaluate_model
from haskd_training.experiments.run import RunConfig, run
from haskd_training.learning.baseline import baseline
from haskd_training.learning.student import StudentConfig
from small_street import street_cache

pytestmark = pytest.mark.long


@pytest.fixture(scope="module", autouse=True)
def two_levels_of_it():
    """Instead of four: half the time."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(SIZES, "P", SIZES["P"] | {"channels": (16, 32)})
        yield


def test_it_learns_a_simple_street(tmp_path):
    cache = street_cache(tmp_path)
    few = ["size=P", "voxel_size=0.5", "loop.epochs=4", "loop.device=cpu"]
    few += ["loop.learning_rate=0.01", "split.calibration=0", "split.validation=0", "split.test=0"]
    config = load_settings(StudentConfig, None, few)
    trained = baseline(make_split([Cache.open(cache)], config.split), tmp_path / "run", config)
    assert model_file.load(trained.model)[1].architecture == "point_transformer"
    # Three classes that geometry alone tells apart
    assert evaluate_model(trained.model, cache, tmp_path / "scores").to_json()["miou"] > 0.9


def test_has_kd_distils_it_from_a_teacher_of_its_kind(drive, tmp_path):
    settings = [*METHOD, "student.size=P", "student.init=fresh"]
    config = load_settings(RunConfig, None, settings)
    result = run([drive], tmp_path, "simulation", config, quiet)
    _, metadata = model_file.load(result.model)
    assert metadata.architecture == "point_transformer"
    (folder,) = tmp_path.glob("stages/teacher-*/teacher.safetensors")
    teacher, _ = load_teacher(folder)
    assert type(teacher.trunk).__name__ == "PointTransformer"
    assert len(teacher.levels) == 2
    # 0.2 of 20 sweeps, scored with both students
    assert (result.baseline.sweeps, result.distilled.sweeps) == (4, 4)
