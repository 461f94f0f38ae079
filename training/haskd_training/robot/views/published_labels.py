"""The labels that a node, or `haskd segment`, put into a bag: which topic they are on, and their
classes."""

from __future__ import annotations

from haskd_ros.errors import InputError
from haskd_training.recordings.readers.bag import POINT_CLOUD, Bag
from haskd_training.recordings.readers.node_outputs import labelled_clouds


def labelled_topics(bag: Bag) -> list[str]:
    """The topics of labelled clouds, sorted; by the fields of their first cloud."""
    return labelled_clouds(bag.topics_of(POINT_CLOUD), bag.cloud_fields)


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
