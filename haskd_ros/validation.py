"""What pydantic finds wrong, in one line."""

from __future__ import annotations

from pydantic import ValidationError

from haskd_ros.text import quoted, shown


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
