"""PointCloud2 messages that no driver should send: random headers over random bytes, from nearly
right to hopeless."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np

NAMES = ("x", "y", "z", "intensity", "reflectivity", "i", "rgb", "", "x", "ring", "\0", "ünïcödé")
SIZES = {1: 1, 2: 1, 3: 2, 4: 2, 5: 4, 6: 4, 7: 4, 8: 8, 9: 8, 10: 8, 11: 1}
HUGE = (2**31 - 1, 2**31, 2**32 - 1, 65536, 65537)


def hostile_cloud(random: np.random.Generator) -> SimpleNamespace:
    """A message with the value ranges of the wire: unsigned 8 and 32 bit, any bytes.

    About half of them begin as a sound cloud in which one to three things are then changed: such
    come further into the decoder than noise does.
    """
    cloud = _sound(random) if random.random() < 0.7 else _noise(random)
    for _ in range(random.integers(0, 4)):
        _damage(cloud, random)
    return cloud


def _sound(random: np.random.Generator) -> SimpleNamespace:
    fields, offset = [], 0
    for name in ("x", "y", "z", *random.choice(NAMES[3:], random.integers(0, 3), replace=False)):
        datatype = int(random.integers(1, 12)) if random.random() < 0.3 else 7
        offset += int(random.integers(0, 4)) if random.random() < 0.2 else 0
        fields.append(SimpleNamespace(name=str(name), offset=offset, datatype=datatype, count=1))
        offset += SIZES[datatype]
    height, width = (int(n) for n in random.integers(0, 12, 2))
    step = offset + int(random.integers(0, 9))
    row_step = width * step + int(random.integers(0, 5))
    return SimpleNamespace(
        header=SimpleNamespace(frame_id="f"),
        height=height,
        width=width,
        fields=fields,
        is_bigendian=bool(random.random() < 0.2),
        point_step=step,
        row_step=row_step,
        data=_octets(random, height * row_step),
        is_dense=bool(random.random() < 0.5),
    )


def _noise(random: np.random.Generator) -> SimpleNamespace:
    return SimpleNamespace(
        header=SimpleNamespace(frame_id="f"),
        height=_number(random),
        width=_number(random),
        fields=[_field(random) for _ in range(random.integers(0, 8))],
        is_bigendian=bool(random.random() < 0.5),
        point_step=_number(random),
        row_step=_number(random),
        data=_octets(random, int(random.integers(0, 2000))),
        is_dense=bool(random.random() < 0.5),
    )


def _damage(cloud: SimpleNamespace, random: np.random.Generator) -> None:
    kind = random.choice(["size", "size", "data", "field", "drop", "add", "endian"])
    if kind == "size":
        setattr(
            cloud, random.choice(["height", "width", "point_step", "row_step"]), _number(random)
        )
    elif kind == "data":
        cloud.data = cloud.data[: random.integers(0, len(cloud.data) + 1)]
    elif kind == "endian":
        cloud.is_bigendian = not cloud.is_bigendian
    elif kind == "add" or not cloud.fields:
        cloud.fields.append(_field(random))
    elif kind == "drop":
        cloud.fields.pop(random.integers(0, len(cloud.fields)))
    else:
        changed = cloud.fields[random.integers(0, len(cloud.fields))]
        attribute = random.choice(["offset", "datatype", "count", "name"])
        setattr(changed, attribute, getattr(_field(random), attribute))


def _field(random: np.random.Generator) -> SimpleNamespace:
    return SimpleNamespace(
        name=str(random.choice(NAMES)),
        offset=_number(random),
        datatype=int(random.integers(0, 256) if random.random() < 0.3 else random.integers(0, 13)),
        count=_number(random),
    )


def _number(random: np.random.Generator) -> int:
    """Mostly small, now and then near a border of 32 bits."""
    if random.random() < 0.2:
        return int(random.choice(HUGE))
    return int(random.integers(0, 40))


def _octets(random: np.random.Generator, count: int) -> np.ndarray:
    """Bytes: float32 of a street's size, or anything."""
    if random.random() < 0.5:
        floats = random.normal(0, 20, count // 4 + 1).astype(np.float32)
        floats[random.random(len(floats)) < 0.05] = random.choice([np.nan, np.inf, 0, 3e38])
        return floats.view(np.uint8)[:count].copy()
    return random.integers(0, 256, count, dtype=np.uint8)


def with_fields(fields: list[tuple[str, int, int, int]], point_step: int) -> SimpleNamespace:
    """One point of zeros, with fields of this name, offset, datatype and count."""
    return SimpleNamespace(
        header=SimpleNamespace(frame_id="f"),
        height=1,
        width=1,
        fields=[
            SimpleNamespace(name=name, offset=offset, datatype=datatype, count=count)
            for name, offset, datatype, count in fields
        ],
        is_bigendian=False,
        point_step=point_step,
        row_step=point_step,
        data=np.zeros(point_step, np.uint8),
        is_dense=True,
    )
