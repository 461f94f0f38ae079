"""Headers of a recording's images: frame and size of each."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Any

import numpy as np

from haskd_training.data.preparing.examination.stamps import StampSeries
from haskd_training.recordings.camera_model import CalibrationError
from haskd_training.recordings.camera_track import RecordedCamera
from haskd_training.recordings.findings import Finding
from haskd_training.recordings.image_codec import image_size
from haskd_training.recordings.image_header import MAX_PIXELS
from haskd_training.recordings.readers.bag import frame_of, stamp_ns
from haskd_training.recordings.repeats import Repeats

NEAR_NS = 500_000_000
"""An image further away in time from a cloud than this shows nothing of it."""

Kind = tuple[str, int, int]
"""Frame (without a leading slash), width and height of an image."""


class ImageTally:
    """The images of a topic by frame and size; those of more than `max_pixels` are not used."""

    def __init__(self, topic: str, max_pixels: int = MAX_PIXELS) -> None:
        self.topic = topic
        self._max_pixels = max_pixels
        self.kinds: dict[Kind, StampSeries] = {}
        self._broken: Counter[str] = Counter()
        self._repeats = Repeats()
        self._repeated: list[int] = []

    def add(self, image: Any, recorded_ns: int) -> None:
        """Look at the header of the next image; its pixels are not decoded."""
        if self._repeats.is_repeat(self.topic, image):
            self._repeated.append(recorded_ns)
            return
        size = image_size(image, self._max_pixels)
        if isinstance(size, str):
            self._broken[size] += 1
            return
        kind = (frame_of(image), *size)
        self.kinds.setdefault(kind, StampSeries()).add(stamp_ns(image), recorded_ns)

    def before(self, stop_ns: int | None) -> ImageTally:
        """Those recorded before a time."""
        kept = ImageTally(self.topic, self._max_pixels)
        kept._broken = self._broken
        kept._repeated = [at for at in self._repeated if stop_ns is None or at < stop_ns]
        every = {kind: series.before(stop_ns) for kind, series in self.kinds.items()}
        kept.kinds = {kind: series for kind, series in every.items() if len(series)}
        return kept

    @property
    def total(self) -> int:
        """Images, broken ones too."""
        return sum(map(len, self.kinds.values())) + self._broken.total()

    def nearest(self, at_ns: int) -> tuple[int, Kind] | None:
        """Stamp and kind of the image nearest in time; None where there is none."""
        found = []
        for kind, series in self.kinds.items():
            stamps = series.stamps
            found.append((int(stamps[np.abs(stamps - at_ns).argmin()]), kind))
        return min(found, key=lambda item: abs(item[0] - at_ns), default=None)

    def findings(self, camera: RecordedCamera) -> Iterator[Finding]:
        """Images that are there already or without content, sizes that are not those of the
        CameraInfo, and how K was fitted to those that are cropped, binned or resized."""
        if repeated := len(self._repeated):
            message = (
                f"{repeated} of {self.total + repeated} images are there already, to "
                "the byte; each is used once"
            )
            yield Finding("images-repeated", self.topic, "repaired", message)
        if camera.problem is not None:
            return
        for reason, count in self._broken.most_common():
            message = f"{count} of {self.total} images are left out: {reason}"
            yield Finding("images-broken", self.topic, "left out", message)
        unfit: Counter[str] = Counter()
        fitted: Counter[str] = Counter()
        for (frame, width, height), series in self.kinds.items():
            calibration = camera.track.at(int(series.stamps[0]), frame)
            try:
                _, note = calibration.fitted(width, height)
            except CalibrationError as error:
                unfit[str(error)] += len(series)
            else:
                fitted[note] += len(series)
        for reason, count in unfit.most_common():
            message = f"{count} of {self.total} images are left out: {reason}"
            yield Finding("image-size", self.topic, "left out", message)
        for note, count in fitted.items():
            if note:
                message = f"{note} ({count} of {self.total} images)"
                yield Finding("camera-info-fitted", self.topic, "repaired", message)
