"""Text from files, as messages and screens show it."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from haskd_ros.text import file_name, listed, quoted, shown, shown_lines


def test_what_can_not_be_seen_is_written_as_its_escape() -> None:
    # Escape, bell, newline, right-to-left override, a lone surrogate, a no-break space (seen)
    assert shown("a\x1b[31m\a\n\u202eb\ud800\xa0é") == "a\\x1b[31m\\x07\\n\\u202eb\\ud800\xa0é"
    assert shown_lines("a\x1b\nb") == "a\\x1b\nb"


@given(text=st.text(max_size=60))
@settings(max_examples=60)
def test_shown_text_is_one_line_stays_as_it_is_and_can_be_encoded(text: str) -> None:
    once = shown(text)
    assert shown(once) == once and len(once.splitlines()) <= 1
    once.encode("utf-8")


def test_a_quoted_value_is_cut_off_and_one_that_has_no_text_is_named() -> None:
    assert quoted("a\nb") == r"'a\nb'"
    # The quote before it and 199 letters
    assert quoted("x" * 300) == f"'{'x' * 199}..."
    loop: list = []
    for _ in range(100_000):
        loop = [loop]
    assert quoted(loop).startswith("<list: maximum recursion")
    while loop:  # as deep, it can't be freed at once
        loop = loop.pop()
    assert "int: Exceeds the limit" in quoted(10**5000)


def test_a_list_of_names_is_cut_off() -> None:
    assert listed([]) == "(none)"
    assert listed(["a", "b\n"]) == r"a, b\n"
    assert listed(["abc"] * 9, characters=8) == "abc, abc..."


@pytest.mark.parametrize("name", ["front", "my_bag-2.0", "straße"])
def test_a_plain_name_is_its_file_s(name: str) -> None:
    assert file_name(name) == name


@pytest.mark.parametrize("name", ["", ".", "..", "../../etc/passwd", "a/b", "a\0b", "x" * 5000,
                                  "-\ud800", "a b"])  # fmt: skip
def test_any_other_becomes_one_that_a_file_can_have(tmp_path: Path, name: str) -> None:
    path = tmp_path / f"1_{file_name(name)}.png"
    path.touch()
    assert path.parent == tmp_path and list(tmp_path.iterdir()) == [path]


def test_names_that_are_cut_alike_stay_apart() -> None:
    assert file_name("a/b") != file_name("a:b")
    assert file_name("x" * 100) != file_name("x" * 101)
