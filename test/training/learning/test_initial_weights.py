"""Trainings that start from a model: the same weights, classes by name, and what it owes."""

from __future__ import annotations

import logging
import shutil
from dataclasses import replace

import pytest
import torch

from haskd_ros import model_file
from haskd_ros.errors import InputError
from haskd_ros.model_content import ModelFileError
from haskd_ros.segmentation import DEFAULT_MODEL
from haskd_ros.taxonomy import ClassInfo, Taxonomy
from haskd_training.core.settings import load_settings
from haskd_training.data.caches.cache import Cache
from haskd_training.data.splits import make_split
from haskd_training.learning.baseline import baseline
from haskd_training.learning.student import StudentConfig, make_network, stage_settings
from small_street import street_cache


def settings(*given: str) -> StudentConfig:
    short = ["loop.epochs=1", "loop.device=cpu", "snapshots=1", "split.test=0"]
    return load_settings(StudentConfig, None, [*short, "split.validation=0", *given])


@pytest.fixture(scope="module")
def split(tmp_path_factory):
    cache = Cache.open(street_cache(tmp_path_factory.mktemp("street"), sweeps=4))
    return make_split([cache], settings().split)


def weights(network):
    return {name: value for name, value in network.state_dict().items() if "num_" not in name}


def test_a_network_starts_as_the_model_that_ships(split):
    network, metadata = make_network(split, settings("init=shipped"), "Somebody, CC0")
    shipped, header = model_file.load(DEFAULT_MODEL)
    assert split.taxonomy.names == header.taxonomy.names
    for name, value in weights(shipped).items():
        assert torch.equal(weights(network)[name], value)
    # The model was made from what others are to be credited for.
    assert metadata.provenance.attribution == f"Somebody, CC0 And: {header.provenance.attribution}"
    assert metadata.provenance.initial["init"] == "shipped"
    assert metadata.provenance.initial["recordings"] == sorted(header.provenance.recordings)
    assert make_network(split, settings(), None)[1].provenance.initial is None


def test_classes_are_matched_by_name(split):
    # The street's classes in another order, and one that the model has never heard of
    shuffled = (ClassInfo("ufo", (1, 2, 3)), *reversed(split.taxonomy.classes))
    caches = [replace(cache, taxonomy=Taxonomy(shuffled)) for cache in split.caches]
    config = settings("init=shipped")
    network, _ = make_network(replace(split, caches=caches), config, None)
    fresh, _ = make_network(replace(split, caches=caches), settings(), None)
    shipped, header = model_file.load(DEFAULT_MODEL)
    for number, info in enumerate(shuffled):
        own = network.classifier.weight[number]
        if info.name == "ufo":
            assert torch.equal(own, fresh.classifier.weight[number])
        else:
            assert torch.equal(own, shipped.classifier.weight[header.taxonomy.id_of(info.name)])


def test_another_file_of_the_same_name_is_another_training(split, tmp_path):
    file = tmp_path / "start.safetensors"
    shutil.copy(DEFAULT_MODEL, file)
    config = settings(f"init={file}")
    before = stage_settings(split, config)
    network, metadata = model_file.load(file)
    network.classifier.bias.data += 1
    model_file.save(file, network, metadata)
    assert stage_settings(split, config)["initial"] != before["initial"]
    assert "initial" not in stage_settings(split, settings())


def test_a_package_update_repeats_no_training_that_its_model_is_no_part_of(split):
    assert "initial" in stage_settings(split, settings("init=auto"))
    assert "initial" not in stage_settings(split, settings("init=auto", "voxel_size=0.5"))


def test_what_the_first_model_of_a_chain_knew_is_still_known(split, tmp_path, caplog):
    made = baseline(split, tmp_path / "run", settings("init=shipped"))
    shipped = model_file.load(DEFAULT_MODEL)[1].provenance.recordings
    _, metadata = make_network(split, settings(f"init={made.model}"), None)
    assert set(shipped) < set(metadata.provenance.initial["recordings"])


def test_a_training_goes_on_from_there(split, tmp_path):
    made = baseline(split, tmp_path / "run", settings("init=shipped", "loop.learning_rate=1e-9"))
    network, _ = model_file.load(made.model)
    shipped, _ = model_file.load(DEFAULT_MODEL)
    assert torch.allclose(network.classifier.weight, shipped.classifier.weight, atol=1e-5)


def test_auto_starts_from_what_ships_where_that_fits(split, caplog):
    caplog.set_level(logging.INFO)
    shipped, _ = model_file.load(DEFAULT_MODEL)
    network, metadata = make_network(split, settings("init=auto"), None)
    assert torch.equal(network.classifier.weight, shipped.classifier.weight)
    assert metadata.provenance.initial["init"] == "auto"
    assert not caplog.messages
    network, metadata = make_network(split, settings("init=auto", "voxel_size=0.5"), None)
    fresh, _ = make_network(split, settings("voxel_size=0.5"), None)
    assert torch.equal(network.classifier.weight, fresh.classifier.weight)
    assert metadata.provenance.initial is None
    assert len(caplog.messages) == 1
    assert "starting from nothing" in caplog.text
    stage_settings(split, settings("init=auto", "voxel_size=0.5"))
    assert len(caplog.messages) == 1


def test_a_score_on_what_the_first_weights_know_is_told_to_flatter(split, caplog):
    config = settings("init=shipped", "split.calibration=0.25")
    known = model_file.load(DEFAULT_MODEL)[1].provenance.recordings[0]
    rows = [replace(row, recording=known) for row in split.caches[0].sweeps]
    same = make_split([replace(split.caches[0], sweeps=rows)], config.split)
    make_network(same, config, None)
    assert f"have learned from {known}, on which the model is judged" in caplog.text
    caplog.clear()
    make_network(make_split(split.caches, config.split), config, None)
    assert not caplog.messages


def test_a_model_that_can_t_be_started_from_is_told_with_what_would_fit(split, tmp_path):
    with pytest.raises(InputError, match=r"sees voxels of 0\.2 m.*set voxel_size=0\.2"):
        make_network(split, settings("init=shipped", "voxel_size=0.5"), None)
    for size in ("M", "R"):
        with pytest.raises(InputError, match="another network than the one to train; choose the"):
            make_network(split, settings("init=shipped", f"size={size}"), None)
    with pytest.raises(ModelFileError, match="no such file"):
        make_network(split, settings(f"init={tmp_path / 'none.safetensors'}"), None)
    strange = Taxonomy((ClassInfo("moon", (1, 1, 1)), ClassInfo("mars", (2, 2, 2))))
    caches = [replace(cache, taxonomy=strange) for cache in split.caches]
    with pytest.raises(InputError, match="knows none of the classes"):
        make_network(replace(split, caches=caches), settings("init=shipped"), None)
