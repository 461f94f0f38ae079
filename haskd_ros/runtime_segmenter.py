"""A model at work in libhaskd: points in, labels out, without torch, in a fifth of the memory."""

from __future__ import annotations

import ctypes
import logging
import math
import os
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

import numpy as np

from haskd_ros.channels import ChannelName
from haskd_ros.model_content import naming, open_sealed
from haskd_ros.model_header import ModelMetadata
from haskd_ros.native.compiler import Unavailable
from haskd_ros.native.opening import is_allowed
from haskd_ros.native.runtime.library import (
    PRECISIONS,
    Model,
    Options,
    cloud_of_rows,
    load_runtime,
)
from haskd_ros.segmentation import (
    NO_CHANNELS,
    Refine,
    Segmentation,
    check_channel,
    check_points,
)
from haskd_ros.taxonomy import Taxonomy

log = logging.getLogger(__name__)

ARCHITECTURE = "sparse_unet"
"""Of the networks that libhaskd has."""

_MOST_BYTES_APART = 65536
"""Of two points of a cloud that is read in place."""


class RuntimeSegmenter:
    """A `segmentation.PointSegmenter` of sparse U-Nets on a CPU; labels as `Segmenter` does, to the
    bit.

    Args:
        model: opened.
        metadata: of it.
        threads: that label a cloud; 0: one a core, or as OMP_NUM_THREADS says.
    """

    device = "cpu"
    engine = "libhaskd"
    refines = False

    def __init__(self, model: Model, metadata: ModelMetadata, threads: int = 0) -> None:
        self.metadata = metadata
        self.precision = "bf16" if model.info.bf16 else "fp32"
        self._model = model
        self._threads = threads or _default_threads()

    @property
    def taxonomy(self) -> Taxonomy:
        return self.metadata.taxonomy

    @contextmanager
    def on_one_thread(self) -> Iterator[None]:
        threads, self._threads = self._threads, 1
        try:
            yield
        finally:
            self._threads = threads

    def __call__(
        self,
        points: np.ndarray,
        min_range: float = 0.0,
        max_range: float = math.inf,
        *,
        intensity_scale: float | None = None,
        channels: Mapping[ChannelName, np.ndarray | None] = NO_CHANNELS,
        refine: Refine | None = None,
    ) -> Segmentation:
        """As of `PointSegmenter`."""
        if refine is not None:
            raise ValueError("libhaskd does not tell the probabilities of all classes")
        started = time.perf_counter()
        rows = np.asarray(points, np.float32)
        check_points(rows, self.metadata)
        has_intensity, columns = rows.shape[1] == 4, list[int | None]()
        if self.metadata.channels:
            rows, columns = self._with_channels(rows, channels)
        rows = _readable(rows)
        cloud = cloud_of_rows(rows, has_intensity=has_intensity, channels=columns)
        options = Options(
            threads=self._threads,
            min_range=min_range,
            max_range=max(max_range, sys.float_info.min),  # 0 would be the model's own
            intensity_scale=intensity_scale or 0.0,
        )
        prepared = time.perf_counter()
        labels = self._model.label(cloud, options)
        inferred = time.perf_counter()
        return Segmentation(
            labels.class_id,
            labels.probability,
            labels.entropy,
            labels.beyond_training,
            {
                "preprocess": 1e3 * (prepared - started),
                "inference": 1e3 * (inferred - prepared),
                "postprocess": 0.0,
            },
        )

    def _with_channels(
        self, points: np.ndarray, channels: Mapping[ChannelName, np.ndarray | None]
    ) -> tuple[np.ndarray, list[int | None]]:
        """Points [N, 3 or 4] followed by what there is of the model's channels, in their own units,
        and the columns of the channels' values."""
        parts, columns = [points], list[int | None]()
        width = points.shape[1]
        for channel in self.metadata.channels:
            values = channels.get(channel.name)
            check_channel(channel, values, len(points))
            if values is None:
                columns += [None] * channel.width
                continue
            with np.errstate(over="ignore", invalid="ignore"):
                parts.append(values.astype(np.float32))
            columns += range(width, width + channel.width)
            width += channel.width
        return np.concatenate(parts, axis=1), columns


def open_runtime(
    content: bytes,
    path: Path | str,
    *,
    device: str = "auto",
    precision: str = "auto",
    threads: int = 0,
) -> RuntimeSegmenter | None:
    """The model in libhaskd; None where that can't do what is asked for, or can't be had.

    Args:
        content: of the model's file.
        path: where it was read from, for messages.
        device, precision: as of `Segmenter`.
        threads: as of the class.

    Raises:
        ModelFileError: not a whole model of this package.
    """
    if precision not in PRECISIONS or not is_allowed() or not _is_cpu(device):
        return None
    with naming(path):
        _, metadata = open_sealed(content)
        if metadata.architecture != ARCHITECTURE:
            return None
        try:
            library = load_runtime()
        except (Unavailable, OSError) as reason:
            log.warning("no libhaskd, torch labels instead: %s", reason)
            return None
        return RuntimeSegmenter(Model(library, content, precision), metadata, threads)


def _is_cpu(device: str) -> bool:
    """Whether a device is the CPU; torch is asked only where there could be a GPU."""
    if device != "auto":
        return device == "cpu"
    try:
        ctypes.CDLL("libcuda.so.1")  # of NVIDIA's driver
    except OSError:
        return True
    try:
        import torch
    except ModuleNotFoundError:
        log.warning("there is a driver of a GPU, but no torch, which would use it")
        return True
    return not torch.cuda.is_available()


def _default_threads() -> int:
    """As torch chooses: OMP_NUM_THREADS, or one a core that this process may use."""
    with suppress(KeyError, ValueError):
        if (threads := int(os.environ["OMP_NUM_THREADS"])) > 0:
            return threads
    cores = set()
    for processor in os.sched_getaffinity(0):
        topology = Path(f"/sys/devices/system/cpu/cpu{processor}/topology/thread_siblings_list")
        try:
            cores.add(topology.read_text())
        except OSError:  # each by itself, then
            cores.add(str(processor))
    return len(cores)


def _readable(rows: np.ndarray) -> np.ndarray:
    """Rows [N, D] as libhaskd reads them in place, copied where they don't lie so."""
    apart, beside = rows.strides
    width = rows.shape[1] * rows.itemsize
    if len(rows) and beside == rows.itemsize and width <= apart <= _MOST_BYTES_APART:
        return rows
    return np.ascontiguousarray(rows)
