"""The labels that a node, or `haskd segment`, put into a bag: which topic they are on, and their
classes."""

from __future__ import annotations

from collections.abc import Sequence

from haskd_ros.errors import InputError
from haskd_training.recordings.readers.bag import POINT_CLOUD, Bag, choose_topic

CLASS_ID = "class_id"
"""Field of a labelled cloud: a class id for each point."""

_FIELDS = {CLASS_ID, "probability"}
"""What tells a node's output from a cloud that people labelled."""


def labelled_topics(bag: Bag) -> list[str]:
    """The topics of labelled clouds, sorted; by the fields of their first cloud."""
    found = []
    for topic in bag.topics_of(POINT_CLOUD):
        _, cloud = next(iter(bag.messages([topic])))
        if {field.name for field in cloud.fields} >= _FIELDS:
            found.append(topic)
    return found


def namespace(topic: str) -> str:
    """Of the outputs of the node that published on a topic."""
    return topic.rpartition("/")[0]


def published_topic(bag: Bag, topic: str | None) -> str | None:
    """The labelled clouds to show: the given topic if it holds such, or the only one that does;
    None where there are none.

    Raises:
        InputError: there are several and none is given.
    """
    labelled = labelled_topics(bag)
    if topic is not None:
        return topic if topic in labelled else None
    if len(labelled) > 1:
        raise InputError(
            f"{bag.path}: several topics of labelled clouds: {', '.join(labelled)}; name one of "
            "them as --topic"
        )
    return labelled[0] if labelled else None


def input_topic(bag: Bag, topic: str | None, labelled: Sequence[str]) -> str:
    """The clouds to label: the given topic, or the only one that no node's output is on.

    Args:
        labelled: as of `labelled_topics`.

    Raises:
        InputError: as of `choose_topic`.
    """
    outputs = {namespace(output) for output in labelled}
    inputs = [name for name in bag.topics_of(POINT_CLOUD) if namespace(name) not in outputs]
    only = inputs[0] if topic is None and len(inputs) == 1 else topic
    return choose_topic(bag, POINT_CLOUD, only, "--topic")
