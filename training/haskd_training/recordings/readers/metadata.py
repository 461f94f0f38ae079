"""The metadata.yaml of a rosbag2 (github.com/ros2/rosbag2, rosbag2_storage)."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, Field, NonNegativeInt, StrictStr, ValidationError

from haskd_ros.documents import parse_yaml, read_text
from haskd_ros.errors import InputError
from haskd_ros.text import quoted

METADATA = "metadata.yaml"

INFORMATION = "rosbag2_bagfile_information"

_Int64 = Annotated[int, Field(ge=-(2**63), lt=2**63)]


class _Duration(BaseModel):
    nanoseconds: _Int64


class _Start(BaseModel):
    nanoseconds_since_epoch: _Int64


class _TopicMetadata(BaseModel):
    name: StrictStr
    type: StrictStr
    serialization_format: StrictStr


class _Topic(BaseModel):
    topic_metadata: _TopicMetadata
    message_count: NonNegativeInt


class _Information(BaseModel):
    """What every version of it has."""

    version: int
    storage_identifier: StrictStr
    relative_file_paths: list[StrictStr]
    duration: _Duration
    starting_time: _Start
    message_count: NonNegativeInt
    topics_with_message_count: list[_Topic]
    compression_mode: StrictStr | None = None
    compression_format: StrictStr | None = None


def read_metadata(path: Path) -> dict[str, Any]:
    """The content of the metadata.yaml of a bag's folder.

    Raises:
        InputError: it can't be read, or something in it is missing or of another type.
    """
    file = path / METADATA
    remedy = f"`ros2 bag reindex {path}` writes it anew"
    try:
        content = parse_yaml(read_text(file, str(file)), str(file))
    except InputError as error:
        raise InputError(f"{error}; it is cut off or damaged; {remedy}") from error
    if not isinstance(content, dict) or not isinstance(content.get(INFORMATION), dict):
        raise InputError(f"{file} is empty, cut off or damaged; {remedy}")
    try:
        information = _Information.model_validate(content[INFORMATION])
    except ValidationError as error:
        problem = error.errors()[0]
        where = quoted(".".join(map(str, problem["loc"])))
        raise InputError(
            f"{file} is empty, cut off or damaged ({where}: {problem['msg'].lower()}); {remedy}"
        ) from error
    if not information.relative_file_paths:
        raise InputError(f"{file} names no storage file; {remedy}")
    return content
