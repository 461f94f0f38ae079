"""Text that comes from files and messages, made fit to be shown."""

from __future__ import annotations

import unicodedata

QUOTED_CHARACTERS = 200
"""How much of a value a message quotes."""

_UNSEEN = ("Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp")
"""Categories of characters that steer a terminal, change the direction of a line, or can't be
encoded."""


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


def quoted(value: object, characters: int = QUOTED_CHARACTERS) -> str:
    """A value as a message quotes it: its `repr`, `shown`, cut off where it is longer than this."""
    try:
        text = repr(value)
    except (ValueError, RecursionError) as error:  # a number of 5,000 digits, lists in lists
        text = f"<{type(value).__name__}: {error}>"
    return shown(text, characters)
