"""The ablation: paired rows, resumable, and a table whose numbers can be worked out by hand."""

from __future__ import annotations

import json
from dataclasses import replace
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
import torch
from onnx_networks import conv_network
from painted_wall import wall_cache
from pydantic import ValidationError
from safetensors.torch import load_file
from small_run import METHOD as SETTINGS
from small_run import quiet

from haskd_ros import model_file
from haskd_ros.errors import InputError
from haskd_ros.models import build
from haskd_training.core.run_folder import UNRECORDED, code_state
from haskd_training.core.settings import load_settings
from haskd_training.data.caches.cache import Cache
from haskd_training.data.splits import Split, SplitConfig, make_split
from haskd_training.data.sweep_ref import SweepRef
from haskd_training.distillation.fusion import load_teacher
from haskd_training.experiments.ablation import RECORDED, Scores, ablate
from haskd_training.experiments.ablation_rows import (
    LABELS,
    LABELS_LONGER,
    LABELS_ORACLE,
    LABELS_WHOLE,
    METHOD,
    TOO,
    AblationConfig,
    row_settings,
)
from haskd_training.experiments.ablation_rows import ROWS as DEFAULT_ROWS
from haskd_training.experiments.ablation_table import circumstances, markdown, summarise, write
from haskd_training.learning.weight_averaging import average_snapshots
from haskd_training.pipeline.config import MethodConfig
from haskd_training.pipeline.stage_folders import StageCost

pytestmark = [pytest.mark.long, pytest.mark.usefixtures("two_levels")]

NOBODY = "taught by nobody"
ROWS = {
    NOBODY: {"distillation": {"teacher": "none", "snapshots": "none"}},
    METHOD: {},
}


def settings(*assignments: str, rows=ROWS) -> AblationConfig:
    given = [f"method.{setting}" for setting in SETTINGS]
    config = load_settings(
        AblationConfig, None, [*given, "bounds=false", "seeds=[0]", *assignments]
    )
    return config.model_copy(update={"rows": rows})


def few(caches: list[Cache], config: SplitConfig) -> Split:
    """4 of the 10 sweeps to learn from: dozens of networks are trained here, and what is asked is
    which, on what, and whether they differ."""
    split = make_split(caches, config)
    return replace(split, train=split.train[::3])


@pytest.fixture(scope="module")
def split(drive_cache):
    return few([Cache.open(drive_cache)], settings().method.student.split)


@pytest.fixture(scope="module")
def out(tmp_path_factory):
    return tmp_path_factory.mktemp("ablation")


@pytest.fixture(scope="module")
def scores(split, out):
    """Seeds 0 and 1, each made by a call of its own, as two machines would."""
    for seed in (0, 1):
        ablate(split, out, settings(f"seeds=[{seed}]"), quiet)
    return ablate(split, out, settings("seeds=[0,1]"), quiet)


def written(out: Path) -> dict[Path, int]:
    files = (path for path in out.rglob("*") if path.is_file() and path.name != "seconds.json")
    return {path: path.stat().st_mtime_ns for path in files}


def test_rows_of_a_seed_are_pairs(scores, split):
    # Taught by nobody, a row is the baseline: same initial weights, same order, same steps
    np.testing.assert_array_equal(scores[NOBODY].counts[RECORDED], scores[LABELS].counts[RECORDED])
    plain, nobody, method = (
        load_file(scores[name].models[0]()) for name in (LABELS, NOBODY, METHOD)
    )
    assert all(torch.equal(plain[name], nobody[name]) for name in plain)
    assert not all(torch.equal(plain[name], method[name]) for name in plain)
    # [seeds, sweeps, C, C + 1], and the two seeds are two runs
    classes = len(split.taxonomy)
    counts = scores[METHOD].counts[RECORDED]
    assert counts.shape == (2, 4, classes, classes + 1)
    assert not np.array_equal(counts[0], counts[1])
    assert set(scores[METHOD].counts) == {RECORDED, *scores[LABELS].counts}
    assert set(scores[NOBODY].counts) == {RECORDED}


def test_calls_for_single_seeds_leave_nothing_to_do_for_the_one_that_assembles(scores, split, out):
    before = written(out)
    again = ablate(split, out, settings("seeds=[0,1]"), quiet)
    assert written(out) == before
    np.testing.assert_array_equal(again[METHOD].counts[RECORDED], scores[METHOD].counts[RECORDED])
    # What seed 1 cost is known to a call that did not pay it
    assert len(again[METHOD].costs) == 2 and (again[METHOD].seconds > 0).all()
    stages = {cost.stage for cost in again[METHOD].costs[1]}
    assert {"baseline", "selection", "features", "teacher", "expertise", "student"} <= stages
    assert {cost.stage for cost in again[LABELS].costs[1]} == {"baseline"}


def test_what_code_trained_a_row_is_known_to_a_call_that_finds_it_done(scores, split, out):
    assert {state for row in scores.values() for state in row.code} == {code_state()}
    # Of seed 1 alone
    (teacher,) = {cost.folder for cost in scores[METHOD].costs[1] if cost.stage == "teacher"}
    record = out / "stages" / teacher / "code.json"
    kept = record.read_text()
    try:
        record.write_text('"another"')
        assert ablate(split, out, settings("seeds=[0,1]"), quiet)[METHOD].code == {
            "another", code_state(),
        }  # fmt: skip
        record.unlink()
        assert UNRECORDED in ablate(split, out, settings("seeds=[0,1]"), quiet)[METHOD].code
    finally:
        record.write_text(kept)


def test_scores_of_other_settings_are_not_taken_for_ones_own(scores, split, out):
    before = written(out)
    config = settings("method.distillation.teacher_weight=0.7", "corrupted=[]")
    other = ablate(split, out, config, quiet)
    assert not np.array_equal(other[METHOD].counts[RECORDED][0], scores[METHOD].counts[RECORDED][0])
    # The old ones stay, and of the stages only the student was trained again
    now = written(out)
    assert before.items() <= now.items()
    new = {path.relative_to(out).parts[1] for path in now.keys() - before.keys()}
    assert {name.rpartition("-")[0] for name in new if "." not in name} == {"student"}


def test_snapshots_may_come_from_a_run_in_cycles_beside_the_baseline(scores, split, out):
    cyclic = {"expertise": {"pool": "cyclic"}, "distillation": {"teacher": "none"}}
    before = written(out)
    found = ablate(split, out, settings("corrupted=[]", rows={METHOD: cyclic}), quiet)
    stages = [cost.stage for cost in found[METHOD].costs[0]]
    assert stages.count("baseline") == 1 and "teacher" not in stages
    new = {path.relative_to(out).parts[1] for path in written(out).keys() - before.keys()}
    (pool,) = (out / "stages" / name for name in new if name.startswith("baseline"))
    assert json.loads((pool / "config.json").read_text())["config"]["loop"]["schedule"] == "cyclic"
    assert pool.name in {cost.folder for cost in found[METHOD].costs[0]}
    # The student itself is trained as the baseline is
    (student,) = (out / "stages" / name for name in new if name.startswith("student"))
    loop = json.loads((student / "config.json").read_text())["config"]["loop"]
    assert loop["schedule"] == "one_cycle"
    with pytest.raises(InputError, match=r"snapshots \(5\) may not exceed loop.cycles \(3\)"):
        load_settings(MethodConfig, None, ["expertise.pool=cyclic", "student.loop.cycles=3"])


def test_the_rows_of_the_table_are_all_trained_and_all_different(drive_cache, tmp_path):
    config = settings(
        "method.student.split.distil_held_out=true", "method.expertise.min_scans=1",
        "method.selection.images=2", "corrupted=[]",
        rows=DEFAULT_ROWS,
    )  # fmt: skip
    split = few([Cache.open(drive_cache)], config.method.student.split)
    found = ablate(split, tmp_path, config, quiet)
    assert list(found) == [LABELS, LABELS_LONGER, LABELS_WHOLE, *DEFAULT_ROWS]
    trained = {name: load_file(row.models[0]()) for name, row in found.items()}
    for (one, first), (two, second) in combinations(trained.items(), 2):
        assert not all(torch.equal(first[key], second[key]) for key in first), f"{one} is {two}"


def test_bounds_stand_beside_the_rows(split, out, scores):
    config = settings(
        "bounds=true", "corrupted=[]", "method.student.loop.ema_decay=0.9",
        "method.distillation.snapshots=none", rows={},
    )  # fmt: skip
    found = ablate(split, out, config, quiet)
    assert list(found) == [
        LABELS,
        LABELS_WHOLE,
        "SWA of the snapshots",
        "ensemble of the snapshots",
        "EMA of the weights",
        "teacher (with images)",
    ]
    points = found[LABELS].counts[RECORDED].sum()
    assert points > 0
    for row in found.values():
        assert row.counts[RECORDED].sum() == points


def test_teachers_with_other_image_features_stand_beside_the_methods_own(
    split, out, scores, tmp_path
):
    network = conv_network(tmp_path / "n.onnx", [[1, 0, 0], [0, 1, 0]])
    ours = {"encoder": {"weights": str(network)}}
    # As above, so that all but the new teacher is there.
    config = settings(
        "bounds=true", "corrupted=[]", "method.student.loop.ema_decay=0.9",
        "method.distillation.snapshots=none", rows={},
    ).model_copy(update={"teachers": {"scores of a network": ours}})  # fmt: skip
    found = ablate(split, out, config, quiet)
    own, name = list(found)[-2:]
    assert (own, name) == ("teacher (with images)", "teacher, scores of a network")
    folder = {cost.stage: cost.folder for cost in found[name].costs[0]}["teacher"]
    teacher, _ = load_teacher(out / "stages" / folder / "teacher.safetensors")
    assert teacher.image_width == 2 + 3
    summary = summarise(found, split, config)
    assert list(summary["over"]) == [name] and list(summary["over"][name]) == [own]
    assert f"{name}, over each of these rows" in markdown(summary)
    # Another network in the same file is scored anew.
    files = sorted((out / "scores").glob("teacher-scores-of-a-network-*"))
    conv_network(network, [[0, 0, 1], [0, 1, 0]])
    ablate(split, out, config, quiet)
    assert len(list((out / "scores").glob("teacher-scores-of-a-network-*"))) == len(files) + 1


def test_a_teacher_is_scored_for_each_way_to_choose_as_many_images(split, out, scores):
    config = settings(
        "strategies=[coverage,iof,nearest]", "method.selection.images=1", "corrupted=[]", rows={}
    )
    found = ablate(split, out, config, quiet)
    teachers = [f"teacher, {strategy} images" for strategy in config.strategies]
    assert list(found) == [LABELS, LABELS_WHOLE, *teachers]
    chosen = {}
    for name in teachers:
        stages = {cost.stage: cost.folder for cost in found[name].costs[0]}
        assert list(stages) == ["baseline", "selection", "features", "teacher"]
        given = json.loads((out / "stages" / stages["selection"] / "config.json").read_text())
        chosen[name] = (given["config"]["strategy"], given["config"]["images"])
        assert found[name].counts[RECORDED].sum() == found[LABELS].counts[RECORDED].sum()
        assert not np.array_equal(found[name].counts[RECORDED], found[LABELS].counts[RECORDED])
    assert list(chosen.values()) == [("coverage", 1), ("iof", 1), ("nearest", 1)]
    # The method's own way is compared with each of the others, and nobody else is
    coverage, iof, nearest = teachers
    summary = summarise(found, split, config)
    assert list(summary["over"]) == [iof] and list(summary["over"][iof]) == [coverage, nearest]
    (gain,) = summary["over"][iof][nearest]["gain"]["by_seed"]
    rows = summary["rows"]
    assert gain == pytest.approx(rows[iof]["miou"][0] - rows[nearest]["miou"][0])
    assert f"{iof}, over each of these rows" in markdown(summary)


@pytest.mark.parametrize(
    "given, message",
    [
        (
            ["strategies=[iof]", "teachers={iof images: {encoder: {channels: 8}}}"],
            "teachers have the names of other rows: teacher, iof images",
        ),
        (
            ["teachers={a: {}}", "method.distillation.teacher=none"],
            "teachers are trained beside the method's",
        ),
        (["seeds=[0,1,0]"], "seeds names one of them twice"),
        (["strategies=[iof,iof]"], "strategies names one of them twice"),
        (["strategies=[iof]", "method.distillation.teacher=none"], "distillation.teacher is none"),
    ],
)
def test_a_comparison_that_means_nothing_is_refused(given, message):
    with pytest.raises(InputError, match=message):
        load_settings(AblationConfig, None, given)


@pytest.mark.parametrize("of_student, of_distillation", [(2, "null"), (1, 2)])
def test_rows_that_learn_from_unlabelled_sweeps_stand_beside_labels_with_as_many_steps(
    drive_cache, tmp_path, of_student, of_distillation
):
    # 4 sweeps to learn from, 4 + 2 held back: 2 epochs of all 10 are 20 steps, which on 4 sweeps
    # takes 5 epochs
    config = settings(
        "method.student.split.distil_held_out=true", f"method.student.loop.epochs={of_student}",
        f"method.distillation.epochs={of_distillation}",
        "corrupted=[]", "method.distillation.snapshots=none",
        rows={METHOD + TOO: {"distillation": {"teacher": "none", "unlabelled": True}}},
    )  # fmt: skip
    split = few([Cache.open(drive_cache)], config.method.student.split)
    found = ablate(split, tmp_path, config, quiet)
    assert list(found) == [LABELS, LABELS_LONGER, LABELS_WHOLE, METHOD + TOO]
    epochs = [
        json.loads(path.read_text())["config"]["loop"]["epochs"]
        for path in tmp_path.glob("stages/baseline-*/config.json")
    ]
    assert sorted(epochs) == [of_student, of_student, 5]
    assert summarise(found, split, config)["student"]["same_network"]
    # Without unlabelled sweeps there is nothing to compare
    alone = ablate(split.labelled(), tmp_path, config, quiet)
    assert list(alone) == [LABELS, LABELS_WHOLE]


def test_a_teacher_who_is_always_right_bounds_what_unlabelled_sweeps_can_bring(
    drive_cache, tmp_path
):
    config = settings(
        "method.student.split.distil_held_out=true", "bounds=true", "corrupted=[]",
        "method.distillation.teacher=none", rows={},
    )  # fmt: skip
    cache = Cache.open(drive_cache)
    split = few([cache], config.method.student.split)
    # 4 sweeps to learn from and the labels of 4 + 2 held back; those of a recording that serves
    # as unlabelled are not known to anybody
    assert len(split.with_oracle_labels().train) == 10 and not split.with_oracle_labels().unlabelled
    silent = cache.without_labels(cache.taxonomy)
    hidden = replace(split, caches=[cache, silent], unlabelled=[SweepRef(1, 0)])
    assert hidden.with_oracle_labels() == hidden
    found = ablate(split, tmp_path, config, quiet)
    assert list(found)[:4] == [LABELS, LABELS_LONGER, LABELS_WHOLE, LABELS_ORACLE]
    learned = [
        sum(end - first for _, first, end in json.loads(path.read_text())["split"]["train"])
        for path in tmp_path.glob("stages/baseline-*/config.json")
    ]
    assert sorted(learned) == [4, 4, 10, 10]
    assert f"{LABELS_ORACLE!r} is a bound too" in markdown(summarise(found, split, config))


def test_without_test_sweeps_nothing_is_trained(drive_cache, tmp_path):
    held = SplitConfig(calibration=0.2, validation=0.2, test=0)
    split = make_split([Cache.open(drive_cache)], held)
    with pytest.raises(InputError, match="no labelled sweep to test on"):
        ablate(split, tmp_path, settings(), quiet)
    assert not any(tmp_path.iterdir())


def test_a_row_with_an_impossible_setting_is_named_before_anything_is_trained(split, tmp_path):
    for row, message in (
        ({"distillation": {"teacher": "nobody"}}, r"'odd', setting distillation\.teacher"),
        ({"distilation": {"teacher": "none"}}, r"'odd', setting distilation: extra"),
    ):
        with pytest.raises(InputError, match=message):
            ablate(split, tmp_path, settings(rows={"odd": row}), quiet)
    assert not any(tmp_path.iterdir())


def test_a_row_may_change_one_nested_setting_and_keeps_the_others():
    method = settings("method.student.loop.epochs=3").method
    cyclic = {"student": {"loop": {"schedule": "cyclic"}}}
    loop = row_settings(method, "cyclic", cyclic, seed=7).student.loop
    assert (loop.schedule, loop.seed, loop.epochs) == ("cyclic", 7, 3)


# Two seeds, two sweeps, two classes and the column of points without a prediction.
PLAIN = np.array([[[[2, 2, 0], [0, 4, 0]], [[0, 0, 0], [0, 4, 0]]]] * 2)
BETTER = np.array(
    [
        [[[4, 0, 0], [0, 4, 0]], [[0, 0, 0], [0, 4, 0]]],
        [[[2, 0, 2], [0, 4, 0]], [[0, 0, 0], [0, 4, 0]]],
    ]
)


@pytest.fixture(scope="module")
def wall(tmp_path_factory):
    """Classes wall and poster, two sweeps to test on."""
    cache = wall_cache(tmp_path_factory.mktemp("wall") / "wall", sweeps=4)
    return make_split([cache], SplitConfig(calibration=0, validation=0, test=0.5))


@pytest.fixture(scope="module")
def summary(wall, tmp_path_factory, tiny_metadata):
    folder = tmp_path_factory.mktemp("models")
    models = {}
    for seed, name in enumerate((LABELS, METHOD)):
        torch.manual_seed(seed)
        network = build("sparse_unet", classes=2, **tiny_metadata.arguments)
        metadata = replace(tiny_metadata, taxonomy=wall.taxonomy)
        models[name] = folder / f"{seed}.safetensors"
        model_file.save(models[name], network, metadata)
    code = frozenset({"0123abcdef"})
    costs = [[StageCost("baseline", f"baseline-{seed}", 10.0 * (1 + seed))] for seed in (0, 1)]
    more = [
        [*costs[seed], StageCost("student", f"student-{seed}", 15.0 * (1 + seed))]
        for seed in (0, 1)
    ]
    scores = {
        LABELS: Scores({RECORDED: PLAIN, "fog": PLAIN}, costs, 1.0, code, [lambda: models[LABELS]]),
        METHOD: Scores({RECORDED: BETTER, "fog": PLAIN}, more, 2.0, code, [lambda: models[METHOD]]),
    }
    return summarise(scores, wall, AblationConfig(seeds=(0, 1)))


def test_the_table_s_numbers_are_those_worked_out_by_hand(summary):
    plain, method = summary["rows"][LABELS], summary["rows"][METHOD]
    # wall: TP 2, FN 2 -> 1/2; poster: TP 8, FP 2 -> 4/5
    assert plain["miou"] == pytest.approx([0.65, 0.65])
    # seed 0: all right; seed 1: wall TP 2, FN 2 -> 1/2, poster 1
    assert method["miou"] == pytest.approx([1.0, 0.75])
    assert method["iou"] == pytest.approx([0.75, 1.0])
    # differences 0.35 and 0.10: mean 0.225, standard error 0.125, t(1 degree) at 97.5 % 12.706
    mean, low, high = method["gain"]["over_seeds"]
    assert mean == pytest.approx(0.225)
    assert (low, high) == pytest.approx((0.225 - 12.706 * 0.125, 0.225 + 12.706 * 0.125), abs=1e-3)
    # Blocks as long as the test drive: every resample sees all sweeps, and adds no variance
    assert method["gain"]["over_seeds_and_sweeps"] == pytest.approx([mean, low, high])
    assert summary["over"][METHOD][LABELS]["gain"] == method["gain"]
    assert summary["corrupted"] == {"fog": {LABELS: plain["miou"], METHOD: plain["miou"]}}
    assert summary["common"] == ["wall", "poster"]


def test_stages_that_rows_share_are_paid_once(summary):
    assert summary["rows"][LABELS]["seconds"] == [10.0, 20.0]
    assert summary["rows"][METHOD]["seconds"] == [25.0, 50.0]
    # 10 + 20 + 15 + 30 and 3 for scoring
    assert summary["computing_s"] == pytest.approx(78.0)


def test_the_page_says_who_made_it_from_what_and_where(summary, tmp_path):
    summary = summary | circumstances("haskd ablate wall", 90.0)
    write(summary, tmp_path / "results")
    page = (tmp_path / "results/ablation.md").read_text()
    assert page == markdown(summary)
    assert "haskd ablate wall" in page and "This call took 1.5 minutes" in page
    assert f"torch {torch.__version__}" in page
    assert "| wall (drive) | 2 |  |  | 2 |  | 600 |" in page
    assert "| labels alone | 65.0 |  |  |  | 65.0 |  |  |  | 1.00 |" in page
    # 37.5 s of 15 s on average
    row = next(line for line in page.splitlines() if line.startswith("| HAS-KD | 87.5 |"))
    assert "| +22.5 |" in row and "| -136.3 to +181.3 |" in row and row.endswith("| 2.50 |")
    assert "tensors of equal shapes (checked)" in page
    document = json.loads((tmp_path / "results/ablation.json").read_text())
    assert document["rows"] == summary["rows"] and document["machine"] == summary["machine"]


def test_a_table_of_rows_from_different_states_of_the_code_says_so(summary):
    page = markdown(summary | circumstances("haskd ablate wall", 90.0))
    assert "STATES OF THE CODE" not in page
    mixed = summary | {"code": ["0123abcdef", UNRECORDED]}
    page = markdown(mixed | circumstances("haskd ablate wall", 90.0))
    assert "TRAINED BY 2 STATES OF THE CODE (0123abcdef, unrecorded)" in page


def test_one_seed_alone_has_no_interval(wall):
    costs = [[StageCost("baseline", "baseline-a", 1.0)]]
    scores = {
        LABELS: Scores({RECORDED: PLAIN[:1]}, costs, 0.0, frozenset(), [lambda: None]),
        "other": Scores({RECORDED: BETTER[:1]}, costs, 0.0, frozenset(), [lambda: None]),
    }
    summary = summarise(scores, wall, AblationConfig(seeds=(0,)))
    for kind in ("over_seeds", "over_seeds_and_sweeps"):
        assert summary["rows"]["other"]["gain"][kind] == [pytest.approx(0.35), None, None]
    assert "| +35.0 | - | - |" in markdown(summary)
    assert summary["student"] is None


def test_averaged_weights_are_means_with_statistics_of_their_own(wall, tmp_path, tiny_metadata):
    metadata = replace(tiny_metadata, taxonomy=wall.taxonomy)
    snapshots = []
    for seed in (0, 1):
        torch.manual_seed(seed)
        network = build("sparse_unet", classes=2, **metadata.arguments)
        snapshots.append(tmp_path / f"{seed}.safetensors")
        model_file.save(snapshots[-1], network, metadata)
    config = settings().method.student
    average = average_snapshots(
        snapshots, wall, config, tmp_path / "mean.safetensors", torch.device("cpu")
    )
    first, second, mean = map(load_file, (*snapshots, average))
    for name, value in mean.items():
        if name.endswith(("running_mean", "running_var")):
            # Fresh networks have 0 and 1; after an epoch it is what the clouds give
            assert not torch.equal(value, first[name])
        elif name.endswith("num_batches_tracked"):
            assert value == len(wall.train)
        else:
            torch.testing.assert_close(value, (first[name] + second[name]) / 2)


def test_all_rows_share_one_split_but_for_its_parts():
    row = {"student": {"split": {"folds": 2}}}
    assert AblationConfig(labels_with={"out of fold": row}, controls=(LABELS,), corrupted=())
    with pytest.raises(ValidationError, match="may set folds alone, not calibration"):
        AblationConfig(labels_with={"x": {"student": {"split": {"calibration": 0.5}}}})
    with pytest.raises(ValidationError, match=r"give student\.split\.folds in rows"):
        AblationConfig(method={"student": {"split": {"folds": 2}}})
    with pytest.raises(ValidationError, match="have the names of other rows"):
        AblationConfig(labels_with={"nothing held back": {}})
    with pytest.raises(ValidationError, match="no row at all"):
        AblationConfig(rows={}, controls=(), corrupted=())
