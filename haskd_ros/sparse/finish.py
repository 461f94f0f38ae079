"""What follows a layer before the next one reads its rows."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from haskd_ros.sparse.voxels import Grouping, spread


@dataclass(frozen=True)
class Finish:
    """relu(y + bias + added) of a layer's result y [R, O]; nothing at all by default.

    Attributes:
        bias: [O].
        added: [R, O]; with `grouping` [G, O], of which each row gets that of its group.
        grouping: of the R rows.
        relu: whether the ReLU is to be taken.
    """

    bias: Tensor | None = None
    added: Tensor | None = None
    grouping: Grouping | None = None
    relu: bool = False

    @property
    def tensors(self) -> tuple[Tensor, ...]:
        """Of floats, those that are given."""
        return tuple(t for t in (self.bias, self.added) if t is not None)

    def check(self, rows: int, channels: int) -> None:
        """Whether it fits a result [rows, channels].

        Raises:
            ValueError: it does not.
        """
        groups = rows if self.grouping is None else len(self.grouping.starts)
        if self.bias is not None and self.bias.shape != (channels,):
            raise ValueError(f"the bias is {tuple(self.bias.shape)}, not ({channels},)")
        if self.added is not None and self.added.shape != (groups, channels):
            shape = tuple(self.added.shape)
            raise ValueError(f"added is {shape}, not ({groups}, {channels})")
        if self.grouping is not None and len(self.grouping.group) != rows:
            raise ValueError(f"{len(self.grouping.group)} rows are grouped, not {rows}")

    def __call__(self, y: Tensor) -> Tensor:
        """In plain torch, in place; differentiable."""
        if self.bias is not None:
            y = y.add_(self.bias)
        if self.added is not None:
            more = self.added if self.grouping is None else spread(self.added, self.grouping)
            y = y.add_(more)
        return torch.relu_(y) if self.relu else y


NOTHING = Finish()
