"""What holds for all stores on this machine, from the environment."""

from __future__ import annotations

import os
from functools import lru_cache
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from haskd_ros.errors import InputError
from haskd_ros.text import quoted

PREFIX = "HASKD_STORE_"


class StoreSettings(BaseModel):
    """Environment variables: what is set by them changes no result, and two machines of one run may
    differ in it. See [storage.md](storage.md)."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    folder: Path = Field(
        Path("~/.cache/haskd_ros/stores"),
        description="folder for copies of what was read, and for what is not yet uploaded",
    )
    gigabytes: float = Field(
        50.0, gt=0, description="10^9 bytes of such copies; those that were used last stay"
    )
    ahead: int = Field(
        4, ge=0, description="shards that are fetched before they are asked for, at most"
    )
    retry_s: float = Field(
        120.0, ge=0, description="s for which a store that doesn't answer is asked again"
    )


def store_settings() -> StoreSettings:
    """The settings of this machine.

    Raises:
        InputError: a value that isn't allowed.
    """
    given = {name: os.environ.get(PREFIX + name.upper()) for name in StoreSettings.model_fields}
    return _parsed(tuple((name, value) for name, value in given.items() if value))


@lru_cache(maxsize=1)
def _parsed(given: tuple[tuple[str, str], ...]) -> StoreSettings:
    try:
        settings = StoreSettings.model_validate(dict(given))
    except ValidationError as error:
        problem = error.errors()[0]
        name, message = str(problem["loc"][0]), problem["msg"]
        raise InputError(
            f"{PREFIX}{name.upper()}={quoted(problem['input'])} in the environment: "
            f"{message[:1].lower()}{message[1:]}"
        ) from error
    return settings.model_copy(update={"folder": settings.folder.expanduser().absolute()})
