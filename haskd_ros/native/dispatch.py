"""When the compiled kernels are used, in which precision and on which threads."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from contextvars import ContextVar

import torch
from torch import Tensor

from haskd_ros.native import library

_plain: ContextVar[bool] = ContextVar("plain", default=False)
_own: ContextVar[int] = ContextVar("own", default=0)
_bf16: ContextVar[bool] = ContextVar("bf16", default=False)


def usable(*tensors: Tensor, dtype: torch.dtype = torch.float32) -> bool:
    """Whether these tensors can go through the compiled kernels that take `dtype`: never before
    `load_kernels`, which this does not call."""
    if not library.is_loaded() or _plain.get() or torch.is_autocast_enabled("cpu"):
        return False
    return all(t.device.type == "cpu" and t.dtype == dtype for t in tensors)


@contextmanager
def _within(variable: ContextVar[bool]) -> Iterator[None]:
    token = variable.set(True)
    try:
        yield
    finally:
        variable.reset(token)


def plain_torch() -> AbstractContextManager[None]:
    """Within it plain torch does the work: to compare the two."""
    return _within(_plain)


@contextmanager
def own_threads() -> Iterator[None]:
    """Within it the kernels work on threads of their own, as many as torch has, and torch itself on
    one: for work in which torch has little to do. Elsewhere they share torch's threads."""
    if _own.get():
        # Torch is on one thread already: that says nothing about how many the kernels may have.
        yield
        return
    threads = torch.get_num_threads()
    token = _own.set(threads)
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)
        _own.reset(token)


def thread_count() -> int:
    """As the kernels take it: below 0 where the threads are their own."""
    return -_own.get() or torch.get_num_threads()


def bf16() -> AbstractContextManager[None]:
    """Within it convolutions that nothing has to be differentiated through multiply numbers of
    bfloat16 and add the products up in float32. Linear layers, which see a point's own coordinates
    and give its scores, and all that lies between layers stay float32."""
    return _within(_bf16)


def in_bf16() -> bool:
    """Whether this is within `bf16`."""
    return _bf16.get()


def bf16_is_faster() -> bool:
    """Whether this CPU multiplies bfloat16 faster than float32, by the compiled kernels."""
    return usable() and bool(library.library().haskd_bf16_is_faster())
