"""Outputs of trained networks on recorded sweeps, stored on disk: a teacher or a snapshot is run
once on each sweep, not once per epoch, so that distillation costs little more than training.

FOLDER/CACHE-SWEEP.safetensors   arrays of N rows each, float16, see `sweep_files`
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from haskd_training.core.exchange import share_files
from haskd_training.core.progress import Progress, no_progress
from haskd_training.data.splits import Split
from haskd_training.data.sweep_files import SweepFiles
from haskd_training.data.sweep_ref import SweepRef
from haskd_training.learning.inference import SweepPredictor, network_input


class Outputs(Protocol):
    """What networks said of the points of sweeps."""

    @property
    def name(self) -> str:
        """The same for the same networks on the same sweeps."""

    def of(self, ref: SweepRef) -> dict[str, np.ndarray]:
        """Outputs by name, [N, ...] float16 for all N points of a sweep; 0 beyond the range.

        Raises:
            InputError: not recorded, or damaged.
        """


class RecordedOutputs:
    """Stored outputs for the points of sweeps.

    Args:
        folder: of their files; `record` creates it.
        split: that the sweeps belong to.
    """

    def __init__(self, folder: Path, split: Split) -> None:
        self.folder, self._split = folder, split
        self._files = SweepFiles(folder, split.caches)

    @property
    def name(self) -> str:
        """Of the folder, which has the digest of what it depends on."""
        return self.folder.name

    def of(self, ref: SweepRef) -> dict[str, np.ndarray]:
        """See `Outputs`."""
        return self._files.read(ref)

    def record(
        self,
        predictor: SweepPredictor,
        refs: Sequence[SweepRef],
        *,
        max_range: float,
        device: torch.device,
        progress: Progress = no_progress,
    ) -> RecordedOutputs:
        """Run the predictor on every sweep without a file, shared by all processes; returns itself.

        Args:
            max_range: m; points beyond are not predicted.
        """

        def write(ref: SweepRef) -> None:
            points, near = network_input(self._split.sweep(ref), max_range)
            with torch.inference_mode():
                outputs = predictor(ref, torch.from_numpy(points).to(device), near)
            arrays = {name: _for_all_points(x, near) for name, x in outputs.items()}
            self._files.write(ref, arrays)

        self.folder.mkdir(parents=True, exist_ok=True)
        share_files(refs, self._files.path, write, progress)
        return self


class OutputsByPart:
    """Of each sweep the outputs of the networks that have not learned from it.

    Args:
        parts: outputs, and the sweeps that they are taken of.
    """

    def __init__(self, parts: Sequence[tuple[Outputs, Sequence[SweepRef]]]) -> None:
        self._of = {ref: outputs for outputs, refs in parts for ref in refs}
        told = [[outputs.name, [[r.cache, r.sweep] for r in refs]] for outputs, refs in parts]
        self._name = hashlib.sha256(json.dumps(told).encode()).hexdigest()[:10]

    @property
    def name(self) -> str:
        """A digest of the parts' names and sweeps."""
        return self._name

    def of(self, ref: SweepRef) -> dict[str, np.ndarray]:
        """See `Outputs`."""
        return self._of[ref].of(ref)


def _for_all_points(values: Tensor, near: np.ndarray) -> np.ndarray:
    """[n, ...] of the points within range -> [N, ...] float16 of all."""
    result = np.zeros((len(near), *values.shape[1:]), np.float16)
    result[near] = values.half().cpu().numpy()
    return result
