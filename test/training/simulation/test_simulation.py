"""The simulation as a program: what it writes, what it refuses, what it leaves behind."""

from __future__ import annotations

import resource
from pathlib import Path

import numpy as np
import pytest
from pydantic import ValidationError
from rosbags.highlevel import AnyReader
from simulated_bag import TINY, read

from haskd_ros.errors import InputError
from haskd_training.simulation import SimulationConfig, simulate
from haskd_training.simulation.drive import World, make_world
from haskd_training.simulation.town import build_town
from haskd_training.simulation.traffic import simulate_traffic

pytestmark = pytest.mark.long


def raw_messages(bag: Path) -> list[tuple[str, int, bytes]]:
    with AnyReader([bag]) as reader:
        return [(c.topic, time, bytes(data)) for c, time, data in reader.messages()]


@pytest.fixture(scope="module")
def tiny_bag(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("tiny") / "bag"
    simulate(out, TINY)
    return out


@pytest.fixture(scope="module")
def world() -> World:
    return make_world(TINY)


@pytest.fixture
def town_is_built(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """For what is about the bag: building the town, the same each time, takes most of the time."""
    monkeypatch.setattr("haskd_training.simulation.drive.make_world", lambda _: world)


def test_the_same_seed_gives_the_same_bytes(tiny_bag: Path, tmp_path: Path):
    again = tmp_path / "bag"
    simulate(again, TINY)
    names = sorted(file.name for file in tiny_bag.iterdir())
    assert names == ["bag.mcap", "metadata.yaml"]
    for name in names:
        assert (again / name).read_bytes() == (tiny_bag / name).read_bytes()


def test_another_seed_gives_another_town(tiny_bag: Path, tmp_path: Path):
    simulate(tmp_path / "bag", TINY.model_copy(update={"seed": 4}))
    one, other = (read(bag).clouds()[0] for bag in (tiny_bag, tmp_path / "bag"))
    shared = set(zip(one["x"].tolist(), one["y"].tolist()))
    shared &= set(zip(other["x"].tolist(), other["y"].tolist()))
    assert not shared


@pytest.mark.usefixtures("town_is_built")
def test_sqlite3_holds_the_same_messages_as_mcap(tiny_bag: Path, tmp_path: Path):
    simulate(tmp_path / "bag", TINY.model_copy(update={"storage": "sqlite3"}))
    assert (tmp_path / "bag" / "bag.db3").is_file()
    assert raw_messages(tmp_path / "bag") == raw_messages(tiny_bag)


def test_an_existing_folder_is_left_alone(tmp_path: Path):
    out = tmp_path / "bag"
    out.mkdir()
    (out / "precious").write_text("mine")
    with pytest.raises(InputError, match=f"{out} exists already"):
        simulate(out, TINY)
    assert (out / "precious").read_text() == "mine"


def test_a_missing_parent_folder_is_named(tmp_path: Path):
    with pytest.raises(InputError, match=f"there is no folder {tmp_path / 'missing'}"):
        simulate(tmp_path / "missing" / "bag", TINY)


@pytest.mark.usefixtures("town_is_built")
@pytest.mark.parametrize("storage", ["mcap", "sqlite3"])
def test_a_full_disk_leaves_nothing_behind(storage: str, tmp_path: Path):
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, before[1]))
    try:
        with pytest.raises(InputError, match=f"{tmp_path / 'bag'} can't be written"):
            simulate(tmp_path / "bag", TINY.model_copy(update={"storage": storage}))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.usefixtures("town_is_built")
def test_an_interrupted_drive_leaves_nothing_behind(tmp_path: Path):
    def interrupt(done: int, total: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        simulate(tmp_path / "bag", TINY, interrupt)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.usefixtures("town_is_built")
def test_progress_counts_sweeps_and_images(tmp_path: Path):
    calls = []
    simulate(tmp_path / "bag", TINY, lambda done, total: calls.append((done, total)))
    # 0.4 s at 10 Hz: sweeps end at 0.1 0.2 0.3 0.4; images at 0.037 0.137 0.237 0.337.
    assert calls == [(k, 8) for k in range(1, 9)]


@pytest.mark.usefixtures("town_is_built")
def test_single_turns_of_many_are_recorded(tmp_path: Path):
    calls = []
    config = TINY.model_copy(update={"lidar_every": 3})
    simulate(tmp_path / "bag", config, lambda done, total: calls.append((done, total)))
    # The sweeps that end at 0.1 and 0.4, and four images.
    assert calls == [(k, 6) for k in range(1, 7)]


def test_a_drive_without_a_sweep_is_refused(tmp_path: Path):
    with pytest.raises(InputError, match=r"0.05 s is too short: the first sweep ends at 0.100 s"):
        simulate(tmp_path / "bag", TINY.model_copy(update={"duration_s": 0.05}))
    assert list(tmp_path.iterdir()) == []


def test_unknown_sensors_and_options_are_refused():
    with pytest.raises(ValidationError, match="pandar64"):
        SimulationConfig(lidar="beams_8")
    with pytest.raises(ValidationError, match="front_left"):
        SimulationConfig(cameras=("periscope",))
    with pytest.raises(ValidationError, match="weather"):
        SimulationConfig(weather="rain")


@pytest.mark.parametrize("seed", [0, 2])
def test_the_car_stands_at_red_lights_and_runs_into_nobody(seed: int):
    town = build_town(np.random.default_rng(seed), 600.0)
    traffic = simulate_traffic(np.random.default_rng(seed), town, 60.0)
    times = np.arange(0.0, 60.0, 0.1)
    ego = traffic.ego.at(times)
    speed = np.linalg.norm(np.diff(ego[:, :2], axis=0), axis=1) / 0.1
    # It waits 2 s before it departs; anything after that is a red light.
    assert np.sum(speed[30:] < 0.05) * 0.1 > 2.0
    assert speed.max() < 10.5
    cos, sin = np.cos(ego[:, 2]), np.sin(ego[:, 2])
    for actor in traffic.actors:
        there = (times >= actor.trajectory.times[0]) & (times <= actor.trajectory.times[-1])
        x, y = (actor.trajectory.at(times) - ego)[:, :2].T
        ahead, left = cos * x + sin * y, cos * y - sin * x
        length, width, _ = np.ptp(traffic.shapes[actor.shape].vertices, axis=0)
        # The car is 4.8 m x 1.85 m.
        touching = (np.abs(ahead) < (length + 4.8) / 2) & (np.abs(left) < (width + 1.85) / 2)
        assert not (there & touching).any()
