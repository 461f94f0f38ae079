"""The point layouts of the clouds that the node publishes."""

from __future__ import annotations

import numpy as np

SEGMENTATION_POINT = np.dtype(
    {
        "names": ["x", "y", "z", "class_id", "probability", "entropy"],
        "formats": ["f4", "f4", "f4", "u1", "f4", "f4"],
        "offsets": [0, 4, 8, 12, 16, 20],
        "itemsize": 24,
    }
)
"""Autoware's PointXYZCPE."""

PRECISE_SEGMENTATION_POINT = np.dtype(
    {
        "names": ["x", "y", "z", "class_id", "probability", "entropy"],
        "formats": ["f8", "f8", "f8", "u1", "f4", "f4"],
        "offsets": [0, 8, 16, 24, 28, 32],
        "itemsize": 40,
    }
)
"""The same for clouds with coordinates in float64."""

VISUALIZATION_POINT = np.dtype([("x", "f4"), ("y", "f4"), ("z", "f4"), ("rgb", "f4")])
"""`rgb` holds the bits of 0x00RRGGBB; its type is the float32 that PCL and RViz look for. RViz
shows clouds with x y z in float32 alone."""


def segmentation_points(
    points: np.ndarray, class_id: np.ndarray, probability: np.ndarray, entropy: np.ndarray
) -> np.ndarray:
    """Labelled points, in the order of the input.

    Args:
        points: [N, >= 3] float32 or float64, x y z in m.
        class_id: [N] uint8, 255 = not labelled.
        probability: [N] float32 of that class.
        entropy: [N] float32, nats.

    Returns:
        [N] of `SEGMENTATION_POINT`, of `PRECISE_SEGMENTATION_POINT` for float64; padding zero.
    """
    is_precise = points.dtype == np.float64
    labelled = np.zeros(
        len(points), PRECISE_SEGMENTATION_POINT if is_precise else SEGMENTATION_POINT
    )
    for column, name in enumerate("xyz"):
        labelled[name] = points[:, column]
    labelled["class_id"] = class_id
    labelled["probability"] = probability
    labelled["entropy"] = entropy
    return labelled


def visualization_points(
    points: np.ndarray, class_id: np.ndarray, packed_colors: np.ndarray
) -> np.ndarray:
    """Points in the colours of their classes.

    Args:
        points: [N, >= 3] float32 or float64, x y z in m.
        class_id: [N] uint8.
        packed_colors: [256] uint32 by class id, from `packed_color_table`.

    Returns:
        [N] of `VISUALIZATION_POINT`.
    """
    colored = np.empty(len(points), VISUALIZATION_POINT)
    with np.errstate(over="ignore", invalid="ignore"):  # of a float64 too large for float32
        for column, name in enumerate("xyz"):
            colored[name] = points[:, column]
    colored["rgb"] = packed_colors[class_id].view(np.float32)
    return colored


def packed_color_table(colors: np.ndarray) -> np.ndarray:
    """RGB [256, 3] uint8 -> 0x00RRGGBB [256] uint32."""
    red, green, blue = colors.astype(np.uint32).T
    packed: np.ndarray = red << 16 | green << 8 | blue
    return packed
