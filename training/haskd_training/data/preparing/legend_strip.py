"""A legend to stand below a picture: colours and what they mean."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np

from haskd_ros.taxonomy import UNLABELLED, UNLABELLED_COLOR, Taxonomy

_BACKGROUND = (16, 20, 24)
_LINE, _SWATCH, _GAP = 22, 12, 14
_SIZE = 0.45


def class_entries(taxonomy: Taxonomy, class_ids: np.ndarray) -> list[tuple[str, tuple[int, ...]]]:
    """Name and colour, RGB, of the classes that occur among ids [N], in their order, and last of
    points that are not labelled."""
    present = set(np.unique(class_ids).tolist())
    entries = [
        (info.name, info.color) for number, info in enumerate(taxonomy.classes) if number in present
    ]
    return entries + [("not labelled", UNLABELLED_COLOR)] * (UNLABELLED in present)


def with_legend(picture: np.ndarray, entries: Sequence[tuple[str, tuple[int, ...]]]) -> np.ndarray:
    """The picture [H, W, 3] uint8, RGB, above a strip of its width with a legend.

    Args:
        entries: name and colour, RGB; broken into lines where the strip is too narrow.
    """
    width = picture.shape[1]
    lines: list[list[tuple[str, tuple[int, ...], int]]] = [[]]
    x = _GAP
    for name, color in entries:
        (text, _), _ = cv2.getTextSize(name, cv2.FONT_HERSHEY_SIMPLEX, _SIZE, 1)
        length = _SWATCH + 6 + text + _GAP
        if lines[-1] and x + length > width:
            lines.append([])
            x = _GAP
        lines[-1].append((name, color, x))
        x += length
    strip = np.full((_LINE * len(lines), width, 3), _BACKGROUND, np.uint8)
    for number, line in enumerate(lines):
        top = _LINE * number + (_LINE - _SWATCH) // 2
        for name, color, left in line:
            strip[top : top + _SWATCH, left : left + _SWATCH] = color
            cv2.putText(
                strip, name, (left + _SWATCH + 6, top + _SWATCH - 1),
                cv2.FONT_HERSHEY_SIMPLEX, _SIZE, (255, 255, 255), 1, cv2.LINE_AA,
            )  # fmt: skip
    return np.vstack([picture, strip])
