"""JSON from files that anybody may have written."""

from __future__ import annotations

import json
from collections import Counter
from typing import Any, NoReturn

from haskd_ros.errors import InputError
from haskd_ros.text import quoted

MAX_CHARACTERS = 1 << 20
MAX_DEPTH = 16


def parse(text: str | bytes, max_characters: int = MAX_CHARACTERS) -> Any:
    """The value of a JSON document, in time and memory that its length bounds.

    Raises:
        InputError: no JSON (NaN and Infinity are none), longer than `max_characters`, nested deeper
            than `MAX_DEPTH`, a key that stands twice, a number too long, or text that is not
            Unicode.
    """
    if len(text) > max_characters:
        raise InputError(f"JSON of {len(text):,} characters, allowed are {max_characters:,}")
    try:
        document = json.loads(text, object_pairs_hook=_unique, parse_constant=_no_number)
        # A lone surrogate may hide in an escape.
        json.dumps(document, ensure_ascii=False).encode()
    except RecursionError:
        raise _too_deep() from None
    except UnicodeError as error:
        raise InputError("JSON with characters that are none (not UTF-8)") from error
    except InputError:
        raise
    except ValueError as error:  # a JSONDecodeError, or a number of more digits than Python reads
        raise InputError(f"no JSON ({error})") from error
    _check_depth(document)
    return document


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        ((twice, _),) = Counter(name for name, _ in pairs).most_common(1)
        raise InputError(f"JSON in which the key {quoted(twice)} stands twice")
    return found


def _no_number(name: str) -> NoReturn:
    raise InputError(f"JSON with {name}, which is no number")


def _check_depth(document: Any) -> None:
    level = [document]
    for _ in range(MAX_DEPTH):
        level = [
            value
            for inner in level
            if isinstance(inner, (dict, list))
            for value in (inner.values() if isinstance(inner, dict) else inner)
        ]
        if not level:
            return
    raise _too_deep()


def _too_deep() -> InputError:
    return InputError(f"JSON nested deeper than {MAX_DEPTH} levels")
