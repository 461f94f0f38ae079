"""How long choosing images takes: `python benchmarks/selection.py CACHE MODEL`.

For sweeps spread over the cache: the baseline's forward pass (not part of the choice), and the
choice by information-oriented filtering, in ms of wall clock and of processor time, median and
quartiles. Sharpness and exposure are computed once an image and shared by all the sweeps around it;
they are timed apart. Timings, not a test.
"""

from __future__ import annotations

# Before numpy, whose threads it keeps from spinning.
import haskd_ros  # noqa: F401

# isort: split

import argparse
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import cv2
import numpy as np
import torch
from rich.console import Console
from rich.table import Table

from haskd_ros.segmenter import Segmenter
from haskd_training.data.caches.cache import Cache
from haskd_training.images.candidates import SelectionConfig
from haskd_training.images.filtering import filter_images
from haskd_training.images.visibility import image_qualities

Result = TypeVar("Result")


class Stopwatch:
    """Wall clock and processor time by name, in ms."""

    def __init__(self) -> None:
        self.times: dict[str, list[tuple[float, float]]] = {}

    def __call__(self, name: str, function: Callable[[], Result]) -> Result:
        wall, processor = time.perf_counter(), time.process_time()
        result = function()
        spent = time.perf_counter() - wall, time.process_time() - processor
        self.times.setdefault(name, []).append((1e3 * spent[0], 1e3 * spent[1]))
        return result


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("cache", type=Path, help="folder made by `haskd prepare`")
    parser.add_argument("model", type=Path, help="model file with the cache's classes")
    parser.add_argument("--sweeps", type=int, default=15)
    parser.add_argument("--window", type=float, default=0.25, help="s around a sweep")
    parser.add_argument(
        "--keep-duplicates", action="store_true", help="look at every candidate, the hardest case"
    )
    parser.add_argument("--threads", type=int, default=2)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    cv2.setNumThreads(arguments.threads)

    cache, segmenter = Cache.open(arguments.cache), Segmenter.load(arguments.model)
    unit = np.array([1, 1, 1, segmenter.metadata.intensity.scale], np.float32)
    config = SelectionConfig(
        window_s=arguments.window, min_move_m=0.0 if arguments.keep_duplicates else 0.3
    )
    # Away from the recording's ends, where there are fewer candidates.
    margin = len(cache) // 10
    places = np.linspace(margin, len(cache) - 1 - margin, arguments.sweeps + 1).astype(int)
    qualities, stopwatch = image_qualities(cache), Stopwatch()
    points, candidates, warm = [], [], Stopwatch()
    for number, sweep in enumerate(places.tolist()):
        watch = warm if number == 0 else stopwatch
        for image in cache.images_near(sweep, config.window_s):
            watch("image quality, each image once", lambda image=image: qualities(image))
        cloud = cache.sweep(sweep).points
        predicted = watch("baseline's forward pass", lambda cloud=cloud: segmenter(cloud * unit))
        chosen = watch(
            "choice of images",
            lambda sweep=sweep, predicted=predicted: filter_images(
                cache,
                sweep,
                predicted=predicted,
                taxonomy=segmenter.taxonomy,
                config=config,
                image_quality=qualities,
                generator=np.random.default_rng(0),
            ),
        )
        points.append(len(cloud))
        candidates.append(len(chosen))

    table = Table(
        title=f"ms: median (quartiles) over {len(places) - 1} sweeps of {np.mean(points):,.0f} "
        f"points, {np.mean(candidates):.0f} candidate images, {arguments.threads} threads"
    )
    for column in ("", "wall clock", "processor"):
        table.add_column(column, justify="right")
    for name, times in stopwatch.times.items():
        # An image that an earlier sweep had computed takes no time.
        kept = np.array(times)
        kept = kept[kept[:, 0] > 0.1]
        cells = [
            "{1:.0f} ({0:.0f}-{2:.0f})".format(*np.percentile(column, [25, 50, 75]))
            for column in kept.T
        ]
        table.add_row(name, *cells)
    Console().print(table)


if __name__ == "__main__":
    main()
