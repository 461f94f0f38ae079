"""What the compiled functions take and return: their signatures, and the structures of those that
take many arguments, field by field as in `arguments.h`, where each field is explained."""

from __future__ import annotations

import ctypes
from ctypes import c_char_p, c_double, c_float, c_int32, c_int64, c_void_p


class ConvolveArguments(ctypes.Structure):
    """Of `haskd_convolve`."""

    # So that a field which does not exist is refused: ctypes would keep it beside the structure.
    __slots__ = ()
    _fields_ = [
        ("x", c_void_p),
        ("x_rows", c_int64),
        ("x_stride", c_int64),
        ("x_tail", c_void_p),
        ("tail_inputs", c_int64),
        ("tail_stride", c_int64),
        ("weight", c_void_p),
        ("packed", c_void_p),
        ("outputs", c_int64),
        ("inputs", c_int64),
        ("sources", c_void_p),
        ("targets", c_void_p),
        ("tap_offsets", c_void_p),
        ("taps", c_int32),
        ("identity_tap", c_int32),
        ("y", c_void_p),
        ("y_rows", c_int64),
        ("bias", c_void_p),
        ("addend", c_void_p),
        ("addend_rows", c_void_p),
        ("relu", c_int32),
        ("backward", c_int32),
        ("mirrored", c_int32),
        ("bf16", c_int32),
        ("threads", c_int32),
    ]


class WeightGradientArguments(ctypes.Structure):
    """Of `haskd_weight_gradient`."""

    __slots__ = ()
    _fields_ = [
        ("x", c_void_p),
        ("inputs", c_int64),
        ("y_gradient", c_void_p),
        ("y_rows", c_int64),
        ("outputs", c_int64),
        ("sources", c_void_p),
        ("targets", c_void_p),
        ("tap_offsets", c_void_p),
        ("taps", c_int32),
        ("identity_tap", c_int32),
        ("gradient", c_void_p),
        ("threads", c_int32),
    ]


class NormBackwardArguments(ctypes.Structure):
    """Of `haskd_norm_backward`."""

    __slots__ = ()
    _fields_ = [
        ("y_gradient", c_void_p),
        ("x", c_void_p),
        ("y", c_void_p),
        ("rows", c_int64),
        ("columns", c_int64),
        ("mean", c_void_p),
        ("inverse_std", c_void_p),
        ("weight", c_void_p),
        ("x_gradient", c_void_p),
        ("weight_gradient", c_void_p),
        ("bias_gradient", c_void_p),
        ("addend_gradient", c_void_p),
        ("threads", c_int32),
    ]


STRUCTURES: tuple[type[ctypes.Structure], ...] = (
    ConvolveArguments,
    WeightGradientArguments,
    NormBackwardArguments,
)


def layouts() -> str:
    """The structures as they lie in memory, as `haskd_layouts` gives them."""
    lines = []
    for structure in STRUCTURES:
        names = [field[0] for field in structure._fields_]
        positions = ((name, getattr(structure, name)) for name in names)
        fields = ", ".join(f"{name} {at.offset} {at.size}" for name, at in positions)
        lines.append(f"{structure.__name__} {ctypes.sizeof(structure)}: {fields}\n")
    return "".join(lines)


# (arguments, result) of each function.
SIGNATURES: dict[str, tuple[tuple[type, ...], type | None]] = {
    "haskd_convolve": ((ctypes.POINTER(ConvolveArguments),), None),
    "haskd_pack_weight": (
        (c_void_p, c_int64, c_int32, c_int64, c_int32, c_void_p, c_int32),
        c_int64,
    ),
    "haskd_bf16_is_faster": ((), c_int32),
    "haskd_weight_gradient": ((ctypes.POINTER(WeightGradientArguments),), None),
    "haskd_group_by_key": (
        (c_void_p, c_int64, c_int32, c_void_p, c_void_p, c_void_p, c_void_p),
        c_int64,
    ),
    "haskd_submanifold_pairs": (
        (c_void_p, c_int64, c_void_p, c_void_p, c_void_p, c_void_p, c_int32),
        c_int64,
    ),
    "haskd_sort_by_octant": (
        (c_void_p, c_void_p, c_int64, c_int32, c_void_p, c_void_p, c_void_p),
        None,
    ),
    "haskd_moments": ((c_void_p, c_int64, c_int64, c_void_p, c_void_p, c_int32), None),
    "haskd_affine": (
        (c_void_p, c_int64, c_int64, c_void_p, c_void_p, c_void_p, c_int32, c_void_p, c_int32),
        None,
    ),
    "haskd_norm_backward": ((ctypes.POINTER(NormBackwardArguments),), None),
    "haskd_valid_points": (
        (
            *(c_void_p, c_int64, c_int64, c_int32, c_float, c_float, c_double, c_double),
            *(c_void_p, c_void_p, c_void_p, c_void_p),
        ),
        c_int64,
    ),
    "haskd_voxel_keys": (
        (c_void_p, c_int64, c_void_p, c_int64, c_float, c_int32, c_void_p, c_void_p, c_int32),
        c_float,
    ),
    "haskd_pool": (
        (c_void_p, c_int64, c_int64, c_void_p, c_void_p, c_int64, c_void_p, c_int32),
        None,
    ),
    "haskd_softmax_statistics": (
        (c_void_p, c_int64, c_int64, c_float, c_void_p, c_void_p, c_void_p, c_int32),
        None,
    ),
    "haskd_remember": (
        (
            *(c_void_p, c_void_p, c_int64, c_int64, c_void_p, c_double, c_double, c_float),
            *(c_void_p, c_int64, c_int32, c_void_p, c_void_p, c_void_p, c_void_p, c_void_p),
            c_int32,
        ),
        c_int64,
    ),
    "haskd_move_places": (
        (c_void_p, c_int64, c_int64, c_int64, c_void_p, c_int64),
        None,
    ),
    "haskd_forget_places": (
        (c_void_p, c_int64, c_int64, c_double, c_int64, c_int64),
        c_int64,
    ),
    "haskd_slot_bytes": ((c_int64,), c_int64),
    "haskd_free_places": ((c_void_p, c_int64, c_int64), None),
    "haskd_layouts": ((), c_char_p),
}
