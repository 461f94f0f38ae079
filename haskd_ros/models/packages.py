"""Networks that installed packages add: entry points of the group `haskd.networks`.

Nothing is imported but an entry point of an installed package, and of those only the one that is
asked for by its name.
"""

from __future__ import annotations

import functools
from collections.abc import Collection, Mapping
from importlib.metadata import EntryPoint, entry_points

from pydantic.dataclasses import is_pydantic_dataclass

from haskd_ros.errors import InputError
from haskd_ros.models.architecture import Architecture
from haskd_ros.text import quoted

GROUP = "haskd.networks"


@functools.cache
def _installed() -> Mapping[str, tuple[EntryPoint, ...]]:
    """Entry points by their name, which is that of the architecture. To read them takes 15 ms."""
    found: dict[str, tuple[EntryPoint, ...]] = {}
    for point in entry_points(group=GROUP):
        found[point.name] = (*found.get(point.name, ()), point)
    return found


def names() -> tuple[str, ...]:
    """Of the architectures that installed packages add; imports none of them."""
    return tuple(sorted(_installed()))


def find(name: str, built_in: Collection[str], sizes: Collection[str]) -> Architecture | None:
    """The architecture of that name that a package adds; None where no package does.

    Args:
        built_in, sizes: names of architectures and sizes that no package may take.

    Raises:
        InputError: a name that is taken, or a package that can't be imported or does not give what
            it should; it names the package.
    """
    points = _installed().get(name, ())
    if not points:
        return None
    if name in built_in:
        raise InputError(
            f"{_owner(points[0])} adds a network {quoted(name)}, a name that one of haskd_ros "
            "itself has, which can't be replaced: uninstall the package, or have it take another"
        )
    if len(points) > 1:
        owners = " and ".join(map(_owner, points))
        raise InputError(f"{owners} both add a network {quoted(name)}; uninstall one of them")
    architecture = _load(points[0])
    if taken := sorted(set(architecture.sizes) & set(sizes)):
        raise InputError(
            f"{_owner(points[0])} adds a size {quoted(taken[0])}, a name that one of haskd_ros "
            "itself has, which can't be replaced: have the package take another name"
        )
    return architecture


def by_size(
    size: str, built_in: Collection[str], sizes: Collection[str]
) -> tuple[str, Architecture] | None:
    """Name and architecture of the network that a package adds under that size; None where no
    package does. Imports all packages that add networks; arguments and errors as of `find`."""
    found = [
        (name, architecture)
        for name in names()
        if (architecture := find(name, built_in, sizes)) is not None and size in architecture.sizes
    ]
    if len(found) > 1:
        owners = " and ".join(_owner(_installed()[name][0]) for name, _ in found)
        raise InputError(f"{owners} both add a size {quoted(size)}; uninstall one of them")
    return found[0] if found else None


def _load(point: EntryPoint) -> Architecture:
    from haskd_ros.models.network import SegmentationNetwork  # and with it torch

    try:
        architecture: object = point.load()
    # Of somebody else's code: whatever it raises while it is imported is told in one line.
    except Exception as error:
        problem = f"can't be imported: {type(error).__name__}: {quoted(str(error))}"
        raise _misfit(point, problem) from error
    if not isinstance(architecture, Architecture):
        raise _misfit(point, "is no haskd_ros.models.Architecture")
    network = architecture.network
    if not (isinstance(network, type) and issubclass(network, SegmentationNetwork)):
        raise _misfit(point, "has a network that is no subclass of SegmentationNetwork")
    if not is_pydantic_dataclass(architecture.arguments):
        raise _misfit(point, "has arguments that are no pydantic dataclass")
    return architecture


def _misfit(point: EntryPoint, problem: str) -> InputError:
    return InputError(
        f"{_owner(point)} adds the network {quoted(point.name)}, but {quoted(point.value)} "
        f"{problem}"
    )


def _owner(point: EntryPoint) -> str:
    """The package that an entry point is of."""
    return f"package {quoted(point.dist.name)}" if point.dist is not None else "a package"
