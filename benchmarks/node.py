"""The live node's latency: `python benchmarks/node.py MODEL BAG CACHE`.

Plays a recorded bag to a real node in another process over DDS, in a loop, and reports how long
each cloud took from the publisher's hand to the subscriber's, and where in the node the time went.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table

from haskd_training.cache import Cache
from haskd_training.demo import held_out_clouds
from haskd_training.node_client import replay


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model", type=Path)
    parser.add_argument("bag", type=Path)
    parser.add_argument("cache", type=Path, help="folder that `haskd prepare` made of the bag")
    parser.add_argument("--rate", type=float, default=10.0, help="Hz")
    parser.add_argument("--frames", type=int, default=200)
    arguments = parser.parse_args()
    cache = Cache.open(arguments.cache)
    sweeps = held_out_clouds(arguments.bag, cache, list(range(len(cache))))
    clouds = [sweep.cloud for sweep in sweeps]
    period_ns = round(1e9 / arguments.rate)
    looped = [
        clouds[frame % len(clouds)].restamped(clouds[0].stamp_ns + frame * period_ns)
        for frame in range(arguments.frames)
    ]
    with tempfile.TemporaryDirectory() as folder:
        played = replay(arguments.model, looped, arguments.rate, Path(folder) / "node.log")
    table = Table(title=f"{played.sent} clouds at {arguments.rate:g} Hz, ms")
    for column in ("", "p50", "p95", "p99", "max"):
        table.add_column(column, justify="right")
    rows = {"message in to message out": [reply.latency_ms for reply in played.replies]}
    rows |= {f"node: {stage}": values for stage, values in played.stages.items()}
    for name, values in rows.items():
        table.add_row(name, *(f"{x:.1f}" for x in np.percentile(values, [50, 95, 99, 100])))
    console = Console()
    console.print(table)
    console.print(
        f"{played.sent} sent, {len(played.replies)} came back labelled, {played.replaced} replaced"
    )


if __name__ == "__main__":
    main()
