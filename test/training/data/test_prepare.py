"""`prepare`: from bags to a cache, bad input, kills, and the real recordings."""

from __future__ import annotations

import io
import os
import re
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import numpy as np
import pytest
from pydantic import ValidationError
from rich.console import Console

from haskd_ros.errors import InputError
from haskd_training.data.caches.cache import Cache
from haskd_training.data.preparing.inputs import PrepareConfig, read_report
from haskd_training.data.preparing.prepare import prepare
from haskd_training.data.preparing.report import PrepareReport, render
from haskd_training.recordings.labels import LABEL_MAPS
from haskd_training.recordings.recording import CameraTopics
from recorded_bags import POINT, SCENE, Scene, points_of, write_bag


def prepare_scene(
    folder: Path, scene: Scene, labels: object = "pandaset", **config
) -> PrepareReport:
    return prepare([write_bag(folder, scene)], labels, folder / "cache", PrepareConfig(**config))


def refused(folder: Path, scene: Scene, labels: object = "pandaset", **config) -> str:
    """The message of the InputError; nothing may be left of the cache."""
    with pytest.raises(InputError) as error:
        prepare_scene(folder, scene, labels, **config)
    assert not (folder / "cache").exists()
    return str(error.value)


@pytest.mark.parametrize("kind", ["mcap", "sqlite3", "ros1"])
def test_every_bag_format_gives_the_same_cache(tmp_path: Path, kind: str) -> None:
    report = prepare([write_bag(tmp_path, kind=kind)], "pandaset", tmp_path / "cache")
    cache = Cache.open(tmp_path / "cache")
    assert (report.sweeps, report.images) == (4, 3)
    # The image at 350 ms: TF ends at 300 ms.
    assert report.images_skipped == {"front: no transform map -> base_link at that time": 1}
    assert cache.t_camera_lidar(0, 0) @ [11.0, 0, 0, 1] == pytest.approx([0, -1, 10.5, 1])


def test_the_report_says_what_is_there(tmp_path: Path) -> None:
    report = prepare_scene(tmp_path, Scene())
    assert report.points_per_sweep == {"min": 4, "median": 4, "max": 4}
    shares = {share.name: (share.points, share.share, share.sweeps) for share in report.classes}
    assert shares["car"] == shares["road"] == shares["building"] == (4, 0.25, 4)
    assert shares["person"] == (0, 0, 0)
    assert report.ignored_share == 0.25
    # Sweeps at 0, 100, 200, 300 ms; images at 50, 150, 250: of two as near the earlier is taken.
    assert report.camera_offsets_ms["front"]["min"] == -50
    assert report.camera_offsets_ms["front"]["max"] == 50
    # The camera (f 100, centre 50, 40; 100 x 80 px) always sees (11, 0, 0). (3, 0, -2) is 3 below
    # it less 2 m above: 1 m down, at depth 3 - 0.5 for the first sweep, whose image is 50 ms later:
    # v = 40 + 100 / 2.5 = 80, just outside; for the others at depth 3.5: v = 68.6.
    # (4, 3, 0) is at u = 50 - 300 / 4.5 < 0.
    assert report.camera_coverage["front"] == pytest.approx((1 + 2 + 2 + 2) / 16)
    assert report.seen_share == report.camera_coverage["front"]
    assert report.intensity_scale == 255
    # TF ends at 300 ms: of the images at 50, 150, 250 and 350 ms the last has no pose, which is
    # more than a tenth.
    assert [(found.code, found.outcome) for found in report.findings] == [
        ("images-without-pose", "left out")
    ]
    assert report.findings[0].subject == "/camera/front/image/compressed"
    assert report.findings[0].message.startswith("3 of 4 images have a pose")
    assert read_report(Cache.open(tmp_path / "cache")) == report
    assert len(list((tmp_path / "cache" / "overlays").glob("drive_*_front.png"))) > 1


def test_the_report_can_be_shown(tmp_path: Path) -> None:
    prepare_scene(tmp_path, Scene())
    console = Console(width=120, file=io.StringIO())
    console.print(render(prepare([tmp_path / "drive"], "pandaset", tmp_path / "cache")))
    text = console.file.getvalue()
    for expected in ("road_marking", "front", "no transform map -> base_link", "up to date"):
        assert expected in text


def test_preparing_again_finds_the_cache_up_to_date(tmp_path: Path) -> None:
    first = prepare_scene(tmp_path, Scene())
    stamp = (tmp_path / "cache" / "index.json").stat().st_mtime_ns
    again = prepare([tmp_path / "drive"], "pandaset", tmp_path / "cache")
    assert again.up_to_date and not first.up_to_date
    assert (tmp_path / "cache" / "index.json").stat().st_mtime_ns == stamp


def test_a_finished_cache_of_other_inputs_is_not_touched(tmp_path: Path) -> None:
    prepare_scene(tmp_path, Scene())
    with pytest.raises(InputError, match="other bags, labels or settings"):
        prepare([tmp_path / "drive"], None, tmp_path / "cache")
    with pytest.raises(InputError, match="other bags, labels or settings"):
        prepare([tmp_path / "drive"], "pandaset", tmp_path / "cache",
                PrepareConfig(intensity_scale=100.0))  # fmt: skip
    assert Cache.open(tmp_path / "cache").intensity_scale == 255


def test_the_progress_ends_at_the_total(tmp_path: Path) -> None:
    steps: list[tuple[int, int]] = []
    prepare([write_bag(tmp_path)], "pandaset", tmp_path / "cache",
            progress=lambda done, total: steps.append((done, total)))  # fmt: skip
    # Examined: 4 clouds, images, CameraInfo and transforms each, and /tf_static; then written:
    # clouds and images.
    examined = [(done, 17) for done in range(1, 18)]
    assert steps == examined + [(done, 8) for done in range(1, 9)]


def test_returns_in_the_sensors_origin_are_removed_with_their_labels(tmp_path: Path) -> None:
    points = SCENE.copy()
    for name in "xyz":
        points[name][1] = 0
    prepare_scene(tmp_path, Scene(points=lambda index: points))
    sweep = Cache.open(tmp_path / "cache").sweep(0)
    assert len(sweep.points) == len(SCENE) - 1
    assert sweep.points[:, 0].tolist() == np.delete(SCENE["x"], 1).tolist()


def test_nan_points_are_removed_with_their_labels(tmp_path: Path) -> None:
    points = SCENE.copy()
    points["y"][0] = np.nan
    points["x"][2] = np.inf
    prepare_scene(tmp_path, Scene(points=lambda index: points))
    sweep = Cache.open(tmp_path / "cache").sweep(0)
    assert sweep.label.tolist() == [0, 255]
    assert sweep.points[:, 0].tolist() == [-5, 3]
    assert sweep.time == pytest.approx([-0.1, -0.02])


def test_sweeps_that_cannot_be_used_are_counted_by_reason(tmp_path: Path) -> None:
    nan = SCENE.copy()
    nan["x"] = np.nan
    variants = [SCENE, SCENE[:0], nan, SCENE]
    report = prepare_scene(tmp_path, Scene(points=lambda index: variants[index]))
    assert report.sweeps == 2
    assert report.sweeps_skipped == {"cloud of zero points": 1, "cloud without a single return": 1}


@pytest.mark.parametrize(
    ("largest", "scale"), [(0.0, 1), (1.0, 1), (1.5, 255), (255.0, 255), (256.0, 65535)]
)
def test_the_unit_of_intensity_is_found(tmp_path: Path, largest: float, scale: float) -> None:
    points = SCENE.copy()
    points["intensity"] = [0, largest / 2, largest, 0]
    assert prepare_scene(tmp_path, Scene(points=lambda _: points)).intensity_scale == scale


@pytest.mark.parametrize(
    ("name", "dtype", "values", "expected"),
    [
        ("t", "<u4", [0, 50_000_000], [0.0, 0.05]),
        ("timestamp", "<f8", [999.95, 1000.0], [-0.05, 0.0]),
    ],
)
def test_the_time_of_points_is_read_as_drivers_write_it(
    tmp_path: Path, name: str, dtype: str, values: list, expected: list
) -> None:
    points = np.ones(2, [("x", "<f4"), ("y", "<f4"), ("z", "<f4"), (name, dtype)])
    points[name] = values
    report = prepare_scene(tmp_path, Scene(clouds=1, points=lambda _: points), labels=None)
    assert Cache.open(tmp_path / "cache").sweep(0).time == pytest.approx(expected, abs=1e-6)
    assert "no-intensity" in [finding.code for finding in report.findings]


def test_without_labels_every_point_is_unlabelled(tmp_path: Path) -> None:
    report = prepare_scene(tmp_path, Scene(), labels=None)
    assert report.ignored_share == 1
    assert "no-labels" in [finding.code for finding in report.findings]
    assert Cache.open(tmp_path / "cache").sweep(0).label.tolist() == [255] * 4


def test_sweeps_without_a_file_in_a_folder_of_labels_are_unlabelled(tmp_path: Path) -> None:
    (tmp_path / "labels").mkdir()
    for index in (0, 2):
        np.array([10, 40, 50, 0], "<u4").tofile(tmp_path / "labels" / f"{index:06d}.label")
    report = prepare_scene(
        tmp_path, Scene(), labels="semantickitti", label_folder=tmp_path / "labels"
    )
    assert (report.sweeps, report.sweeps_skipped) == (4, {})
    labelled = [any(row.class_counts) for row in Cache.open(tmp_path / "cache").sweeps]
    assert labelled == [True, False, True, False]
    findings = {finding.code: finding for finding in report.findings}
    assert not findings["clouds-without-labels"].is_warning


def test_motion_that_is_not_recorded_is_warned_of(tmp_path: Path) -> None:
    report = prepare_scene(tmp_path, Scene(with_motion=False))
    cache = Cache.open(tmp_path / "cache")
    assert "motion-not-recorded" in [finding.code for finding in report.findings]
    assert cache.images[0].T_world_camera is None
    # Without motion: 11 ahead, 1 above the camera.
    assert cache.t_camera_lidar(3, 0) @ [11.0, 0, 0, 1] == pytest.approx([0, -1, 11, 1])


@pytest.mark.parametrize(
    ("scene", "reason"),
    [
        (Scene(with_tf=False), "TF does not connect lidar to camera_front_optical"),
        (Scene(with_camera_info=False), "no CameraInfo"),
        (Scene(distortion_model="double_sphere"), "'double_sphere' is unknown"),
        (Scene(encoding="32FC1"), "'32FC1' is not a colour or grey one"),
        (Scene(images=0), "no images"),
    ],
)
def test_clouds_without_usable_images_still_make_a_baseline(
    tmp_path: Path, scene: Scene, reason: str
) -> None:
    report = prepare_scene(tmp_path, scene)
    assert (report.sweeps, report.images, report.seen_share) == (4, 0, None)
    (warning,) = [str(one) for one in report.findings if one.code == "no-images"]
    assert reason in warning
    assert not list((tmp_path / "cache").glob("images-*"))


def test_topics_can_be_named(tmp_path: Path) -> None:
    scene = Scene(points_topics=("/a", "/b"), image_topic="/camera/front/picture")
    nose = CameraTopics(image="/camera/front/picture/compressed", info="/camera/front/camera_info")
    prepare_scene(tmp_path, scene, points_topic="/b", cameras={"nose": nose})
    assert Cache.open(tmp_path / "cache").images[0].camera == "nose"


def test_names_that_are_not_there_are_answered_with_those_that_are(tmp_path: Path) -> None:
    wrong = CameraTopics(image="/nose/image", info="/camera/front/camera_info")
    message = refused(tmp_path / "a", Scene(), cameras={"nose": wrong})
    assert "CompressedImage topics there: /camera/front/image/compressed" in message
    message = refused(tmp_path / "b", Scene(), fixed_frame="odom")
    assert "fixed_frame odom not in TF; frames there: base_link, camera_front_optical" in message
    message = refused(tmp_path / "c", Scene(points_topics=("/a", "/b")))
    assert "several PointCloud2 topics: /a, /b; name one of them as points_topic" in message


def test_a_setting_that_does_not_exist_is_refused() -> None:
    with pytest.raises(ValidationError, match="point_topic"):
        PrepareConfig(point_topic="/points")


def test_bad_input_is_refused_and_leaves_nothing(tmp_path: Path) -> None:
    assert "no PointCloud2 in bag" in refused(tmp_path / "clouds", Scene(clouds=0))

    message = refused(tmp_path / "empty", Scene(points=lambda _: SCENE[:0]))
    assert "no sweep can be used: 4 x cloud of zero points" in message

    nan = SCENE.copy()
    nan["z"] = np.nan
    message = refused(tmp_path / "nan", Scene(points=lambda _: nan))
    assert "no sweep can be used: 4 x cloud without a single return" in message

    flat = np.zeros(2, [("x", "<f4"), ("y", "<f4"), ("label", "u1")])
    message = refused(tmp_path / "flat", Scene(points=lambda _: flat))
    assert "/lidar/points have no z; their fields are x, y, label" in message

    bare = np.ones(2, [("x", "<f4"), ("y", "<f4"), ("z", "<f4")])
    message = refused(tmp_path / "bare", Scene(points=lambda _: bare))
    assert "no label field 'label'; its fields are x, y, z" in message


def test_an_id_that_the_label_map_does_not_name_leaves_nothing(tmp_path: Path) -> None:
    odd = points_of([(1, 0, 0, 0, 0, 77)], POINT)
    scene = Scene(points=lambda index: odd if index == 3 else SCENE)
    message = refused(tmp_path, scene, shard_bytes=1)
    assert "cloud 3" in message and "77 (1 points)" in message

    text = (LABEL_MAPS / "pandaset.yaml").read_text()
    (tmp_path / "map.yaml").write_text(text.replace("ids: [13, 14]", "ids: [14]"))
    message = refused(tmp_path / "again", Scene(), tmp_path / "map.yaml")
    assert "13 (1 points)" in message


def test_a_bag_that_was_cut_off_leaves_nothing(tmp_path: Path) -> None:
    path = write_bag(tmp_path, Scene(clouds=40))
    (file,) = path.glob("*.mcap")
    file.write_bytes(file.read_bytes()[:-200])
    with pytest.raises(InputError, match=r"is cut off: .*mcap recover"):
        prepare([path], "pandaset", tmp_path / "cache")
    assert not (tmp_path / "cache").exists()


def run_python(python: str, code: str, *arguments: object) -> subprocess.CompletedProcess:
    return subprocess.run(
        [python, "-c", textwrap.dedent(code), *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=120,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )


KILLED = """
    import os, signal, sys
    from pathlib import Path
    from haskd_training.data.preparing.prepare import prepare
    from haskd_training.data.preparing.inputs import PrepareConfig

    def kill(done, total):
        # When the bag has been examined and its 30 clouds and 30 images are written.
        if total == 60 and done == int(sys.argv[3]):
            os.kill(os.getpid(), signal.SIGKILL)

    config = PrepareConfig(shard_bytes=400)
    prepare([Path(sys.argv[1])], "pandaset", Path(sys.argv[2]), config, kill)
"""


def shards(folder: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in folder.glob("*.safetensors")}


def test_a_killed_run_goes_on_and_ends_byte_for_byte_the_same(
    tmp_path: Path, warm_python: str
) -> None:
    # One sweep in three is empty, so that what was skipped before the kill must not be lost.
    bag = write_bag(
        tmp_path, Scene(clouds=30, images=30, points=lambda i: SCENE[:0] if i % 3 == 1 else SCENE)
    )
    config = PrepareConfig(shard_bytes=400)
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    expected = prepare([bag], "pandaset", whole, config)
    for after in (25, 40):
        run = run_python(warm_python, KILLED, bag, cut, after)
        assert run.returncode == -signal.SIGKILL, run.stderr
        with pytest.raises(InputError, match="unfinished"):
            Cache.open(cut)
    assert 1 < len(shards(cut)) < len(shards(whole))
    # What a kill in the middle of writing leaves.
    unfinished = cut / "sweeps-00003.safetensors.partial"
    unfinished.mkdir()
    (unfinished / ".tmp3").write_bytes(b"half a shard")

    with pytest.raises(InputError, match="unfinished cache of other bags, labels or settings"):
        prepare([bag], None, cut, config)

    report = prepare([bag], "pandaset", cut, config)
    assert report.sweeps_skipped == expected.sweeps_skipped == {"cloud of zero points": 10}
    assert shards(cut) == shards(whole)
    assert (cut / "index.json").read_bytes() == (whole / "index.json").read_bytes()
    assert not list(cut.glob("*.partial"))


FULL_DISK = """
    import resource, sys
    from pathlib import Path
    from haskd_ros.errors import InputError
    from haskd_training.data.preparing.prepare import prepare

    resource.setrlimit(resource.RLIMIT_FSIZE, (3000, 3000))
    try:
        prepare([Path(sys.argv[1])], "pandaset", Path(sys.argv[2]))
    except InputError as error:
        sys.exit(f"refused: {error}")
"""


def test_a_disk_that_is_full_says_so_and_can_be_gone_on_from(
    tmp_path: Path, warm_python: str
) -> None:
    bag, cut = write_bag(tmp_path, Scene(clouds=20, images=20)), tmp_path / "cache"
    run = run_python(warm_python, FULL_DISK, bag, cut)
    assert re.search(r"refused: .*safetensors: .* needed, .* free; what is finished", run.stderr)
    assert not list(cut.glob("*.partial"))
    assert not (cut / "index.json").exists()
    assert prepare([bag], "pandaset", cut).sweeps == 20


# From shared/data/README.md of the recordings: share of the points in %.
REAL_SHARES = {
    "road": 13.3, "road_marking": 0.38, "sidewalk": 1.5, "building": 35.2, "vegetation": 3.6,
    "car": 18.1, "large_vehicle": 2.9, "two_wheeler": 0.07, "person": 0.10,
    "traffic_object": 0.13, "other_static": 24.1,
}  # fmt: skip


def test_the_real_recording_has_the_published_classes(tmp_path: Path, real_bags: Path) -> None:
    report = prepare([real_bags / "pandaset_002_train"], "pandaset", tmp_path / "cache")
    assert report.sweeps == 56
    assert report.sweeps_without_pose == 0
    for share in report.classes:
        rounding = 0.05 if REAL_SHARES[share.name] > 1 else 0.005
        assert 100 * share.share == pytest.approx(REAL_SHARES[share.name], abs=rounding + 1e-9)
    # Six cameras look all round; the images before the first pose can't be placed.
    assert set(report.camera_offsets_ms) == {
        "front", "front_left", "front_right", "left", "right", "back"
    }  # fmt: skip
    assert 6 * 57 - 6 <= report.images <= 6 * 57
    assert report.seen_share > 0.95
    for ms in report.camera_offsets_ms.values():
        assert -51 < ms["min"] <= ms["median"] <= ms["max"] < 61
