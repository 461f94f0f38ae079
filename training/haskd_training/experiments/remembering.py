"""A model that remembers what it said of earlier sweeps of a drive, as the node does with
`memory.half_life`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import torch

from haskd_ros import model_file
from haskd_ros.errors import InputError
from haskd_ros.score_memory import ScoreMemory
from haskd_ros.segmenter import Segmenter
from haskd_training.core.progress import Progress, no_progress
from haskd_training.data.splits import Split
from haskd_training.data.sweep_ref import SweepRef
from haskd_training.evaluation.scoring import answers_of
from haskd_training.evaluation.trust import Trust, together, trust_of
from haskd_training.learning.inference import label_as_robot
from haskd_training.metrics.confusion import confusion


def scored_remembering(
    model: Path,
    temperature: float,
    half_life: float,
    split: Split,
    refs: Sequence[SweepRef],
    device: torch.device,
    progress: Progress = no_progress,
) -> tuple[np.ndarray, Trust]:
    """[C, C + 1] counts and probabilities of some sweeps of one recording, labelled in the order of
    their stamps.

    Args:
        temperature: of the model's probabilities.
        half_life: s, of the memory.

    Raises:
        InputError: a sweep has no pose.
        ModelFileError: not a model.
    """
    network, metadata = model_file.load(model)
    # As the rows that it is compared with are scored.
    segmenter = Segmenter(network, replace(metadata, temperature=temperature), str(device), "fp32")
    memory = ScoreMemory(metadata.taxonomy, half_life)
    classes = len(split.taxonomy)
    counts, parts = np.zeros((classes, classes + 1), np.int64), []
    rows = [split.caches[ref.cache].sweeps[ref.sweep] for ref in refs]
    for number, i in enumerate(sorted(range(len(refs)), key=lambda i: rows[i].stamp_ns), 1):
        ref, row = refs[i], rows[i]
        if row.T_world_lidar is None:
            raise InputError(
                f"{row.recording}, stamp {row.stamp_ns}: no pose, which remembering needs"
            )
        refine = partial(
            memory.refine, pose=np.array(row.T_world_lidar), time_s=1e-9 * row.stamp_ns
        )
        said = label_as_robot(segmenter, split.caches[ref.cache], ref.sweep, refine=refine)
        true = split.sweep(ref).label
        counts += confusion(true, said.class_id, classes)
        parts.append(trust_of(answers_of(said, true), classes))
        progress(number, len(refs))
    return counts, together(parts)
