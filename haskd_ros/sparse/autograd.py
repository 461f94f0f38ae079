"""Types that torch's stubs leave out of differentiable functions."""

from __future__ import annotations

from typing import Protocol

import torch
from torch import Tensor


class Context(Protocol):
    """What `forward` leaves for `backward`."""

    @property
    def saved_tensors(self) -> tuple[Tensor, ...]: ...

    @property
    def needs_input_grad(self) -> tuple[bool, ...]: ...

    def save_for_backward(self, *tensors: Tensor | None) -> None: ...


def apply(function: type[torch.autograd.Function], *arguments: object) -> Tensor:
    """The function of these arguments, recorded for its gradient."""
    result: Tensor = function.apply(*arguments)  # type: ignore[no-untyped-call]  # no stub
    return result
