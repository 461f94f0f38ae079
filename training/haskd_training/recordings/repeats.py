"""Messages that are in a recording twice."""

from __future__ import annotations

import zlib
from typing import Any

from haskd_training.recordings.readers.bag import stamp_ns


class Repeats:
    """Tells which clouds and images of a recording are there already, to the byte: two recorders,
    or a publisher that was started twice. Some 100 bytes of memory a message."""

    def __init__(self) -> None:
        self._seen: set[tuple[str, str, int, int, int]] = set()

    def is_repeat(self, topic: str, message: Any) -> bool:
        """Whether a message with the same stamp, frame and data was asked about before."""
        data = memoryview(message.data)
        key = (
            topic,
            message.header.frame_id,
            stamp_ns(message),
            data.nbytes,
            zlib.crc32(data),
        )
        if key in self._seen:
            return True
        self._seen.add(key)
        return False
