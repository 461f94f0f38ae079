"""Text that comes from files and messages, made fit to be shown."""

from __future__ import annotations

import hashlib
import re
import unicodedata
from collections.abc import Iterable

QUOTED_CHARACTERS = 200
"""How much of a value a message quotes."""

_NO_NAME = re.compile(r"[^\w.+-]")

LISTED_CHARACTERS = 1500
"""How much of a list of names a message shows."""

STEERING = ("Cc", "Cf", "Cs", "Zl", "Zp")
"""Categories of characters that steer a terminal or the direction of a line, end it, or can't be
encoded."""

_UNSEEN = (*STEERING, "Co", "Cn")
"""With those that no font shows."""


def shown(text: object, characters: int | None = None) -> str:
    """The text in one line that no terminal and no log takes for orders: characters that can't be
    seen are written as their escapes. Cut off where it is longer than `characters`."""
    whole = str(text)
    part = whole[:characters]
    if not part.isprintable():
        part = "".join(
            character.encode("unicode_escape").decode("ascii")
            if unicodedata.category(character) in _UNSEEN
            else character
            for character in part
        )
    return part + ("..." if characters is not None and len(whole) > characters else "")


def shown_lines(text: object) -> str:
    """The same for a text of several lines, which stay lines."""
    return "\n".join(shown(line) for line in str(text).split("\n"))


def listed(names: Iterable[object], characters: int = LISTED_CHARACTERS) -> str:
    """Names as a message lists them: `shown`, with commas between them, `(none)` for none; cut off
    where they are longer than this."""
    # Cut before they are escaped: one name alone may fill a message of megabytes.
    text = ", ".join(str(name)[:characters] for name in names) or "(none)"
    return shown(text, characters)


def file_name(text: str, characters: int = 80) -> str:
    """A name for a file that is made of a text: the text itself where it is short and holds nothing
    but letters, digits and ``.+-_``; else cut, with a digest that tells it from others."""
    name = _NO_NAME.sub("_", text).lstrip(".")
    if name == text and 0 < len(name) <= characters:
        return name
    digest = hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:8]
    return f"{name[:characters]}-{digest}"


def quoted(value: object, characters: int = QUOTED_CHARACTERS) -> str:
    """A value as a message quotes it: its `repr`, `shown`, cut off where it is longer than this."""
    try:
        text = repr(value)
    except (ValueError, RecursionError) as error:  # a number of 5,000 digits, lists in lists
        text = f"<{type(value).__name__}: {error}>"
    return shown(text, characters)
