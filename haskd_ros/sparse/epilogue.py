"""What a layer does to its result before the next one reads it, in the same pass where it can."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from haskd_ros.sparse.grouping import Grouping, unpool


@dataclass(frozen=True)
class Epilogue:
    """relu(y + bias + addend) of a layer's result y [R, O]; nothing at all by default.

    Attributes:
        bias: [O].
        addend: [R, O]; with `grouping` [G, O], of which each row gets that of its group.
        grouping: of the R rows.
        relu: whether the ReLU is to be taken.
    """

    bias: Tensor | None = None
    addend: Tensor | None = None
    grouping: Grouping | None = None
    relu: bool = False

    @property
    def tensors(self) -> tuple[Tensor, ...]:
        """Those of floating point that there are."""
        return tuple(t for t in (self.bias, self.addend) if t is not None)

    def with_bias(self, bias: Tensor | None) -> Epilogue:
        """The same with this bias, or without a change where there is none."""
        return self if bias is None else replace(self, bias=bias)

    def check(self, rows: int, channels: int) -> None:
        """Whether it fits a result [rows, channels].

        Raises:
            ValueError: it does not.
        """
        groups = rows if self.grouping is None else len(self.grouping.starts)
        if self.bias is not None and self.bias.shape != (channels,):
            raise ValueError(f"the bias is {tuple(self.bias.shape)}, not ({channels},)")
        if self.addend is not None and self.addend.shape != (groups, channels):
            shape = tuple(self.addend.shape)
            raise ValueError(f"the addend is {shape}, not ({groups}, {channels})")
        if self.grouping is not None and len(self.grouping.inverse) != rows:
            raise ValueError(f"{len(self.grouping.inverse)} rows are grouped, not {rows}")

    def __call__(self, y: Tensor) -> Tensor:
        """In plain torch, in place; differentiable."""
        if self.bias is not None:
            y = y.add_(self.bias)
        if self.addend is not None:
            grouping = self.grouping
            y = y.add_(self.addend if grouping is None else unpool(self.addend, grouping))
        return torch.relu_(y) if self.relu else y


NO_EPILOGUE = Epilogue()
