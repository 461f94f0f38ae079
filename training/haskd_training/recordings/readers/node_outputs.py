"""Which clouds of a recording a node published, or `haskd segment` wrote."""

from __future__ import annotations

from collections.abc import Callable, Sequence

CLASS_ID = "class_id"
"""Field of a labelled cloud: a class id for each point."""

FieldsOf = Callable[[str], set[str]]
"""Topic -> names of the fields of its clouds."""

LABELLED = {CLASS_ID, "probability"}
"""What tells a node's output from a cloud that people labelled."""

_ENTROPY = "entropy"
_COLOURED = {"x", "y", "z", "rgb"}
_FILTERED = "filtered"


def labelled_clouds(topics: Sequence[str], fields_of: FieldsOf) -> list[str]:
    """Those of some topics of clouds that have a node's labels, each node's but once: without the
    clouds in their input's layout where those with the entropy are there too."""
    labelled = _with_labels(topics, fields_of)
    full = [topic for topic in labelled if _ENTROPY in fields_of(topic)]
    beside = {namespace(topic) for topic in full}
    return [topic for topic in labelled if topic in full or namespace(topic) not in beside]


def _with_labels(topics: Sequence[str], fields_of: FieldsOf) -> list[str]:
    return [topic for topic in topics if fields_of(topic) >= LABELLED]


def input_clouds(topics: Sequence[str], fields_of: FieldsOf) -> list[str]:
    """Those of some topics of clouds that can be a node's input: all but labelled clouds and what
    is published beside these, coloured and filtered clouds. Where nothing else was recorded, the
    labelled ones; of one topic, that topic."""
    if len(topics) < 2:
        return list(topics)
    labelled = _with_labels(topics, fields_of)
    beside = {namespace(topic) for topic in labelled}
    inputs = []
    for topic in topics:
        # A filtered cloud has the fields of the input.
        derived = topic.rpartition("/")[2] == _FILTERED or fields_of(topic) == _COLOURED
        if topic not in labelled and not (derived and namespace(topic) in beside):
            inputs.append(topic)
    return inputs or labelled_clouds(topics, fields_of)


def namespace(topic: str) -> str:
    """Of the outputs of the node that published on a topic."""
    return topic.rpartition("/")[0]
