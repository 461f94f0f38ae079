"""Text that comes from files and messages, made fit to be shown."""

from __future__ import annotations

import unicodedata

QUOTED_CHARACTERS = 200
"""How much of a value a message quotes."""

_UNSEEN = ("Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp")
"""Categories of characters that steer a terminal, change the direction of a line, or can't be
encoded."""


def shown(text: object) -> str:
    """The text in one line that no terminal and no log takes for orders: characters that can't be
    seen are written as their escapes."""
    return "".join(
        character.encode("unicode_escape").decode("ascii")
        if unicodedata.category(character) in _UNSEEN
        else character
        for character in str(text)
    )


def quoted(value: object, characters: int = QUOTED_CHARACTERS) -> str:
    """A value as a message quotes it: its `repr`, `shown`, cut off where it is longer than this."""
    try:
        text = repr(value)
    except (ValueError, RecursionError) as error:  # a number of 5,000 digits, lists in lists
        text = f"<{type(value).__name__}: {error}>"
    cut = "..." if len(text) > characters else ""
    return shown(text[:characters]) + cut
