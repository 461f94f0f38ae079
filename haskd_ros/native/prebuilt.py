"""The kernels and libhaskd as they are compiled when the package is built: a library of each for
every level of a processor family, of which a machine takes the highest that it has. An installed
package then needs no compiler, and its first start labels at once.

`setup.py` calls `make`, without torch. A checkout and an editable install have no such libraries:
their sources may change, and `build` compiles these when they are needed.
"""

from __future__ import annotations

import sysconfig
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from haskd_ros.native import kept
from haskd_ros.native.build import KERNELS, Parts, all_flags, compile_library, source_digest
from haskd_ros.native.compiler import Unavailable, compiler_command
from haskd_ros.native.runtime.build import RUNTIME
from haskd_ros.text import shown

FOLDER = Path(__file__).parent / "prebuilt"
"""Where an installed package has them."""

ALL = (KERNELS, RUNTIME)
"""What a package is built with."""


@dataclass(frozen=True)
class Level:
    """Instruction sets that are to be had together.

    Attributes:
        name: in messages and names of files.
        flags: compiler flags.
        features: what the CPU must have, as /proc/cpuinfo names it.
    """

    name: str
    flags: tuple[str, ...]
    features: frozenset[str]


# As x86-64's ABI defines its levels. Linux lists AVX only where it also keeps the registers.
_V2 = frozenset(["cx16", "lahf_lm", "pni", "popcnt", "sse4_1", "sse4_2", "ssse3"])
_V3 = _V2 | frozenset(["abm", "avx", "avx2", "bmi1", "bmi2", "f16c", "fma", "movbe"])
_V4 = _V3 | frozenset(["avx512bw", "avx512cd", "avx512dq", "avx512f", "avx512vl"])

LEVELS = {
    "linux-x86_64": (
        Level(
            "x86-64-v4-bf16",
            ("-march=x86-64-v4", "-mavx512bf16"),
            _V4 | {"avx512_bf16"},
        ),
        Level("x86-64-v4", ("-march=x86-64-v4",), _V4),
        Level("x86-64-v3", ("-march=x86-64-v3",), _V3),
        Level("x86-64-v2", ("-march=x86-64-v2",), _V2),
    ),
    # NEON is in every one. The kernels compute in float32 alone, for which later levels bring
    # nothing of use.
    "linux-aarch64": (Level("armv8-a", ("-march=armv8-a",), frozenset({"asimd", "fp"})),),
}
"""Of each platform, as `sysconfig.get_platform` names it, from the highest down."""


def make(folder: Path, platform: str) -> list[Path]:
    """Compile the libraries for each level of a platform into a folder, unless they are there
    already; what else is there goes.

    Returns:
        the libraries, `ALL` of a level after another; none for a platform without levels.

    Raises:
        Unavailable: no compiler, or it failed.
        OSError: the folder can't be written.
    """
    wanted = [(level, parts) for level in LEVELS.get(platform, ()) for parts in ALL]
    there = [path for each in wanted if (path := _found(folder, *each)) is not None]
    for path in set(folder.glob("*")) - set(there):
        kept.discard(path)
    for each in wanted:
        if _found(folder, *each) is None:
            there.append(_compiled(folder, *each))
    return there


def find(parts: Parts) -> Path | None:
    """The package's library of these parts, of the highest level that this CPU has; None for a
    package that was not built with any.

    It is as trusted as the package's other files, whoever they belong to.

    Raises:
        Unavailable: there is none for this CPU, or it has changed since, or its sources have.
        OSError: it can't be read.
    """
    if not FOLDER.is_dir():
        return None
    level = best_level(sysconfig.get_platform(), cpu_features())
    if level is None:
        raise Unavailable(f"{shown(FOLDER)} holds none for this CPU")
    path = _found(FOLDER, level, parts)
    if path is None:
        raise Unavailable(f"{shown(FOLDER)} holds none for {level.name}, or not as it was built")
    return path


def best_level(platform: str, features: frozenset[str]) -> Level | None:
    """The highest of a platform that asks for no more than these features."""
    fitting = (level for level in LEVELS.get(platform, ()) if level.features <= features)
    return next(fitting, None)


def cpu_features(cpuinfo: Path = Path("/proc/cpuinfo")) -> frozenset[str]:
    """What all cores have, as Linux names it; nothing where that can't be read."""
    try:
        lines = cpuinfo.read_text().splitlines()
    except OSError:
        return frozenset()
    cores = [
        frozenset(line.partition(":")[2].split())
        for line in lines
        if line.startswith(("flags", "Features"))
    ]
    return frozenset.intersection(*cores) if cores else frozenset()


def _compiled(folder: Path, level: Level, parts: Parts) -> Path:
    # torch's OpenMP library is looked for when the library is loaded: there is none here.
    flags = all_flags(parts, level.flags)
    with TemporaryDirectory(prefix="haskd_ros-") as scratch:
        content = compile_library(compiler_command(), flags, Path(scratch), parts)
    path = folder / kept.file_name(_name(level, parts), content)
    folder.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    path.chmod(0o755)  # whatever the umask: another user may start the node
    return path


def _found(folder: Path, level: Level, parts: Parts) -> Path | None:
    """The library of a level, if it was made from these sources and is as it was made: one that is
    cut off could end the process that loads it."""
    name = _name(level, parts)
    for path in kept.named(folder, name):
        if path.is_file() and path.name == kept.file_name(name, path.read_bytes()):
            return path
    return None


def _name(level: Level, parts: Parts) -> str:
    return f"{level.name}-{source_digest(all_flags(parts, level.flags), parts)}"
