"""Settings from files and from the command line, and what a wrong one is answered with."""

from __future__ import annotations

from pathlib import Path

import pytest

from haskd_ros.errors import InputError
from haskd_training.core.settings import RENAMED, load_settings
from haskd_training.data.preparing.inputs import PrepareConfig
from haskd_training.learning.student import StudentConfig
from haskd_training.pipeline.config import MethodConfig


def test_an_assignment_beats_the_file_and_the_file_beats_the_default(tmp_path: Path) -> None:
    file = tmp_path / "student.yaml"
    file.write_text("loop:\n  epochs: 7\n  batch_size: 2\n", encoding="utf-8")
    settings = load_settings(StudentConfig, file, ["loop.epochs=9"])
    assert (settings.loop.epochs, settings.loop.batch_size, settings.snapshots) == (9, 2, 5)


def test_an_unknown_key_is_answered_with_the_keys_beside_it() -> None:
    with pytest.raises(InputError, match=r"setting loop\.epoch: .*; there are epochs, batch_size"):
        load_settings(StudentConfig, None, ["loop.epoch=9"])


def test_an_unknown_key_below_a_name_of_the_users_is_answered_with_the_keys_beside_it() -> None:
    wrong = ["cameras.front.image=/front/image", "cameras.front.info=/front/info"]
    with pytest.raises(InputError, match=r"cameras\.front\.topic: .*; there are image, info"):
        load_settings(PrepareConfig, None, [*wrong, "cameras.front.topic=/front"])


def test_a_value_that_is_not_allowed_is_named() -> None:
    with pytest.raises(InputError, match=r"setting loop\.epochs: .*, found 0"):
        load_settings(StudentConfig, None, ["loop.epochs=0"])


def test_a_setting_that_was_renamed_is_answered_with_its_new_name() -> None:
    new = r"setting loop\.average is called loop\.ema_decay now"
    with pytest.raises(InputError, match=new):
        load_settings(StudentConfig, None, ["loop.average=0.9"])
    # The same setting where the student is a part of more
    new = r"setting student\.loop\.average is called student\.loop\.ema_decay now"
    with pytest.raises(InputError, match=new):
        load_settings(MethodConfig, None, ["student.loop.average=0.9"])


@pytest.mark.parametrize("old", RENAMED)
def test_every_new_name_is_a_setting(old: str) -> None:
    settings: object = load_settings(MethodConfig)
    in_method = ("student." if old.startswith(("loop.", "split.")) else "") + RENAMED[old]
    for part in in_method.split("."):
        settings = getattr(settings, part)
