"""What a label field or file holds -> class ids: raw ids, alone or packed with an instance."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from haskd_ros.errors import InputError
from haskd_ros.taxonomy import UNLABELLED, LabelMap

CLASS_BITS = 16
"""SemanticKITTI packs two numbers in a uint32: the class below, the instance above."""

CLASS_FACTOR = 1000
"""nuScenes packs them as class * 1000 + instance."""

_EXACT = {2: 2**11, 4: 2**24, 8: 2**53}
"""Whole numbers below are exact in a float of so many bytes."""


@dataclass(frozen=True)
class ClassIds:
    """Labels of one cloud.

    Attributes:
        ids: [N] uint8, 255 for points without a class.
        nan: returns whose label is NaN: they are unlabelled.
        packed: points whose raw id holds an instance too, which was cut off.
        example: one of these raw ids and the class's own in it; None where there is none.
    """

    ids: np.ndarray
    nan: int = 0
    packed: int = 0
    example: tuple[int, int] | None = None


def class_ids(
    raw: np.ndarray,
    label_map: LabelMap,
    lost: Callable[[], np.ndarray],
    by_factor: bool = False,
) -> ClassIds:
    """Turn raw labels into classes. An id that the map doesn't name is tried without its instance.

    Args:
        raw: [N] of any integer or float type.
        lost: gives the points [N] bool that are no returns: what stands there does not matter.
            Called where something is odd.
        by_factor: instances are packed as nuScenes does it, else as SemanticKITTI does.

    Raises:
        InputError: values that aren't whole numbers, or an id that the label map doesn't name.
    """
    odd = _not_whole(raw)
    whole = np.where(odd, 0, raw).astype(np.int64) if odd.any() else raw.astype(np.int64)
    ids, named = label_map.lookup(whole)
    packed = ~named & (whole >= CLASS_FACTOR if by_factor else whole >> CLASS_BITS > 0)
    example = None
    if packed.any():
        full = whole[packed]
        whole[packed] = full // CLASS_FACTOR if by_factor else full & ((1 << CLASS_BITS) - 1)
        ids[packed], named[packed] = label_map.lookup(whole[packed])
        example = int(full[0]), int(whole[packed][0])
    ids[odd] = UNLABELLED
    wrong = odd | ~named
    nan = 0
    if wrong.any():
        returns = wrong & ~lost()
        is_nan = np.isnan(raw) if raw.dtype.kind == "f" else np.zeros(len(raw), bool)
        nan = int((returns & is_nan).sum())
        _check_returns(raw, whole, returns & ~is_nan, odd, label_map)
        ids[wrong] = UNLABELLED
    return ClassIds(ids, nan, int(packed.sum()), example)


def _check_returns(
    raw: np.ndarray, whole: np.ndarray, returns: np.ndarray, odd: np.ndarray, label_map: LabelMap
) -> None:
    """Stop at returns whose label can't be used."""
    if (returns & odd).any():
        value = float(raw[returns & odd][0])
        if value.is_integer():
            raise InputError(
                f"raw id {value:.0f} is larger than {raw.dtype.name} holds exactly; record the "
                "labels as uint32"
            )
        raise InputError(f"values that aren't whole numbers, as {value:g}")
    if returns.any():
        raise label_map.unnamed(whole[returns])


def _not_whole(raw: np.ndarray) -> np.ndarray:
    """[N] bool: NaN, infinite or not whole, or so large that the type rounds it."""
    if raw.dtype.kind != "f":
        return np.zeros(len(raw), bool)
    # NaN compares false.
    whole: np.ndarray = (np.floor(raw) == raw) & (np.abs(raw) < _EXACT[raw.dtype.itemsize])
    return ~whole
