"""YAML that anyone may have written."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from haskd_ros.documents import DEEPEST, parse_yaml, read_text
from haskd_ros.errors import InputError


def test_anchors_are_read_as_long_as_they_stand_for_little() -> None:
    text = "a: &a {x: [1, 2]}\nb: *a\nc: {<<: *a, y: 3}"
    expected = {"a": {"x": [1, 2]}, "b": {"x": [1, 2]}, "c": {"x": [1, 2], "y": 3}}
    assert parse_yaml(text, "it") == expected


def test_levels_are_counted() -> None:
    assert parse_yaml("[" * DEEPEST + "]" * DEEPEST, "it")
    with pytest.raises(InputError, match=f"^it can't be read: more than {DEEPEST} levels in line"):
        parse_yaml("[" * (DEEPEST + 1) + "]" * (DEEPEST + 1), "it")


def test_aliases_count_as_what_they_stand_for() -> None:
    # 9 lists of 9 of ... : 9^7 values, 4.8 million, in 8 lines
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{k}: &a{k} [{', '.join([f'*a{k - 1}'] * 9)}]" for k in range(1, 8)]
    with pytest.raises(InputError, match="more than 250,000 values"):
        parse_yaml("\n".join(lines), "it")
    with pytest.raises(InputError, match="a stands within itself"):
        parse_yaml("&a [*a]", "it")


@given(text=st.text("[]{}&*a: -\n!<|>'\"#%0.1tx", max_size=30) | st.text(max_size=20))
@settings(max_examples=80)
def test_any_text_is_yaml_or_told_in_one_line(text: str) -> None:
    try:
        parse_yaml(text, "it")
    except InputError as error:
        assert "\n" not in str(error)


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (os.mkfifo, "it is a pipe, socket or device, not a file"),
        (os.mkdir, "it is a folder, not a file"),
        (lambda path: path.symlink_to(path.name), "Too many levels of symbolic links"),
        (lambda path: path.write_bytes(b"\xff"), "'utf-8' codec can't decode"),
        (lambda path: None, "No such file or directory"),
    ],
)
def test_what_is_no_file_of_text_is_named(tmp_path: Path, make, said: str) -> None:
    make(tmp_path / "a.yaml")
    with pytest.raises(InputError, match=f"^settings can't be read: .*{said}"):
        read_text(tmp_path / "a.yaml", "settings")


def test_a_larger_file_than_allowed_is_not_read(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text("x" * 11)
    assert read_text(tmp_path / "a.yaml", "it", largest=11) == "x" * 11
    with pytest.raises(InputError, match="it has 11 bytes, at most 10 are allowed"):
        read_text(tmp_path / "a.yaml", "it", largest=10)
