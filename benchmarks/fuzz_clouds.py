"""Feed hostile PointCloud2 messages to what the node does with a cloud, and count what becomes of
them: any exception but a refusal ends the run with the seed that makes it again.

python benchmarks/fuzz_clouds.py [--messages 100000] [--seed 0]
"""

from __future__ import annotations

import argparse
import resource
import sys
import time
from collections import Counter
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "test" / "support"))

from hostile_clouds import hostile_cloud
from test_hostile_clouds import outcome

from haskd_ros.segmentation import DEFAULT_MODEL
from haskd_ros.segmenter import Segmenter


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--messages", type=int, default=100_000)
    parser.add_argument("--seed", type=int, default=0, help="of the first message")
    arguments = parser.parse_args()
    segmenter = Segmenter.load(DEFAULT_MODEL, device="cpu")
    outcomes: Counter[str] = Counter()
    started = time.perf_counter()
    for seed in range(arguments.seed, arguments.seed + arguments.messages):
        try:
            outcomes[outcome(hostile_cloud(np.random.default_rng(seed)), segmenter)] += 1
        except Exception:
            print(f"message of seed {seed}", file=sys.stderr)
            raise
    seconds = time.perf_counter() - started
    for reason, count in outcomes.most_common():
        print(f"{count:8,}  {reason}")
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(f"{arguments.messages:,} messages in {seconds:.0f} s, peak memory {peak:.0f} MiB")


if __name__ == "__main__":
    main()
