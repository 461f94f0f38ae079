"""Clouds without a channel that the model reads, told once for all of them."""

from __future__ import annotations

from collections import Counter

from haskd_ros.channels import ChannelName
from haskd_ros.clouds.channels import missing_channel
from haskd_ros.node.labelling import LabelledCloud
from haskd_training.recordings.findings import Finding


class MissingChannels:
    """Counts clouds that lack a channel of the model's."""

    def __init__(self) -> None:
        self._clouds: Counter[ChannelName] = Counter()

    def note(self, cloud: LabelledCloud) -> None:
        self._clouds.update(cloud.missing_channels)

    def findings(self, subject: str) -> list[Finding]:
        """
        Args:
            subject: topic or name of the clouds.
        """
        return [
            Finding(
                "channel-missing", subject, "doubtful", f"{count} clouds: {missing_channel(name)}"
            )
            for name, count in self._clouds.items()
        ]
