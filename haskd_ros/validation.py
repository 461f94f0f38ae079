"""What pydantic finds wrong, in one line."""

from __future__ import annotations

from pydantic import ConfigDict, ValidationError

from haskd_ros.text import quoted, shown

STRICT = ConfigDict(extra="forbid", allow_inf_nan=False)
"""For what comes from files: no keys that nobody knows, no numbers that are none."""


def first_problem(error: ValidationError) -> str:
    """Where the first problem is, what it is, and what was found."""
    problem = error.errors(include_url=False)[0]
    place = shown(".".join(str(part) for part in problem["loc"]))[:200]
    message = shown(problem["msg"].removeprefix("Value error, "))
    message = message[:1].lower() + message[1:]
    line = f"{place}: {message}" if place else message
    if problem["type"] in ("value_error", "missing"):  # says itself what was found; nothing was
        return line
    return f"{line}, found {quoted(problem['input'])}"
