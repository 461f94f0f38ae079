"""What holds a recording on disk: its files as they are, put in order where they can be."""

from __future__ import annotations

import re
import shutil
import sqlite3
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path, PurePath
from typing import Any

import yaml

from haskd_ros.errors import InputError
from haskd_training.recordings.cloud_files.formats import FORMATS, if_text, is_cloud_folder
from haskd_training.recordings.findings import Finding
from haskd_training.recordings.readers.inflate import inflate_file
from haskd_training.recordings.readers.mcap import check_end, check_profile
from haskd_training.recordings.readers.metadata import INFORMATION, METADATA, read_metadata
from haskd_training.recordings.readers.sqlite import check_tables
from haskd_training.recordings.reading import reading, regular_file

STORAGE_SUFFIXES = (".mcap", ".db3", ".bag")

_MAGIC = {b"#ROSBAG V": ".bag", b"\x89MCAP0\r\n": ".mcap", b"SQLite format 3\0": ".db3"}
_ZSTD_MAGIC = b"\x28\xb5\x2f\xfd"
_STORAGE_IDS = {".mcap": "mcap", ".db3": "sqlite3"}
_UNFINISHED = ("-wal", "-journal")
"""sqlite's files beside a database that hold what isn't in it yet."""


@dataclass
class Container:
    """A recording that a reader can open.

    path: of the file or folder to open; a temporary one with links to the recording's files where
        they had to be put in order.
    is_ros1: a `.bag` file.
    """

    path: Path
    is_ros1: bool
    findings: list[Finding] = field(default_factory=list)


@contextmanager
def opened_container(path: Path) -> Iterator[Container]:
    """Look at a recording's files, which are never changed.

    Raises:
        InputError: there is none, or it is of a kind that can't be read; with what mends it.
    """
    check_is_bag(path)
    with tempfile.TemporaryDirectory(prefix="haskd-bag-") as scratch:
        try:
            look = _folder if path.is_dir() else _file
            container = look(path, Path(scratch))
        except OSError as error:
            raise InputError(f"{error.filename or path} can't be read: {error.strerror}") from error
        yield container


def check_is_bag(path: Path) -> None:
    """Check that there is a bag, or something that looks like one.

    Raises:
        InputError: there is none.
    """
    if not path.exists():
        raise InputError(f"bag {path} does not exist")
    if not path.is_dir():
        regular_file(path)
        if path.suffix not in STORAGE_SUFFIXES and storage_suffix(path) is None:
            raise InputError(
                f"{path} is not a bag; allowed are a bag's folder and files that end in "
                f"{', '.join(STORAGE_SUFFIXES)}; segment and view also take cloud files "
                f"({', '.join(FORMATS)}), and every command a folder of them"
                f"{if_text(path)}"
            )
        return
    if (path / METADATA).is_file() or is_cloud_folder(path):
        return
    inside = {file.suffix for file in path.iterdir()}
    if inside & {".mcap", ".db3"}:
        raise InputError(
            f"{path}: metadata.yaml is missing, the recording was cut off; "
            f"`ros2 bag reindex {path}` writes it anew"
        )
    if ".bag" in inside and any(file.is_file() for file in path.glob("*.bag")):
        raise InputError(f"{path} is a folder of ROS 1 bags; name the .bag files themselves")
    if bags := sorted(folder.parent.name for folder in path.glob(f"*/{METADATA}")):
        raise InputError(f"{path} is a folder of bags; name those in it: {', '.join(bags)}")
    raise InputError(f"{path} is not a bag: neither metadata.yaml nor .mcap or .db3 files in it")


def storage_suffix(path: Path) -> str | None:
    """The suffix that belongs to a file by its first bytes; None where it is no storage file."""
    with reading(path), open(path, "rb") as file:
        head = file.read(16)
    if head.startswith(_ZSTD_MAGIC):
        return ".zstd"
    return next((suffix for magic, suffix in _MAGIC.items() if head.startswith(magic)), None)


def _check_content(file: Path) -> None:
    """
    Raises:
        InputError: it is empty, or doesn't begin as a storage file does.
    """
    if not file.stat().st_size:
        raise InputError(f"{file} is empty: nothing was recorded into it, or it was not copied")
    if storage_suffix(file) is None:
        raise InputError(
            f"{file} is no recording by its content, whatever its name: it begins as none of "
            f"{', '.join(STORAGE_SUFFIXES)} files does"
        )


def _file(path: Path, scratch: Path) -> Container:
    _check_content(path)
    suffix = storage_suffix(path) or path.suffix
    if suffix == ".zstd":
        raise InputError(
            f"{path} is compressed as a whole; name its folder, with the metadata.yaml that says "
            f"so, or `zstd -d {path}` first"
        )
    if suffix == ".mcap":
        check_profile(path)
        check_end(path)
    findings = []
    opened = path
    if suffix != path.suffix:
        opened = scratch / f"{path.name}{suffix}"
        opened.symlink_to(path.absolute())
        message = f"is a {suffix} file by its content, whatever its name; it is read as one"
        findings.append(Finding("wrong-suffix", str(path), "repaired", message))
    if suffix == ".db3":
        opened = _finished(path, scratch, findings) or opened
        check_tables(opened)
    return Container(opened, suffix == ".bag", findings)


def _folder(path: Path, scratch: Path) -> Container:
    metadata = read_metadata(path)
    information = metadata[INFORMATION]
    named = [PurePath(name).name for name in information["relative_file_paths"]]
    findings: list[Finding] = []
    files = _files_named(path, named, findings)
    changed = [file.name for file in files] != named
    linked = scratch / "bag"
    linked.mkdir()
    suffixes = []
    opened = []
    for file in files:
        _check_content(file)
        whole = file
        if storage_suffix(file) == ".zstd":
            whole = linked / file.name.removesuffix(".zstd")
            with reading(file):
                inflate_file(file, whole)
            _check_content(whole)
        suffix = storage_suffix(whole)
        if suffix == ".mcap":
            check_profile(whole)
            check_end(whole)
        finished = None
        if suffix == ".db3":
            finished = _finished(file, linked, findings) if whole == file else None
            check_tables(finished or whole)
        if finished is None and whole == file:
            (linked / file.name).symlink_to(file.absolute())
        changed |= finished is not None or whole != file
        suffixes.append(suffix)
        opened.append(whole.name)
    if not changed and not _differs(information, suffixes):
        return Container(path, False, findings)
    information["relative_file_paths"] = opened
    _correct(information, suffixes)
    (linked / METADATA).write_text(yaml.safe_dump(metadata), encoding="utf-8")
    return Container(linked, False, findings)


def _files_named(path: Path, named: Sequence[str], findings: list[Finding]) -> list[Path]:
    """The storage files that metadata.yaml means."""
    files = [file for file in path.iterdir() if file.is_file()]
    empty = [file.name for file in files if file.name in named and not file.stat().st_size]
    there = {file.name: file for file in files if file.name not in empty}
    found = {name: there[twin] for name in named if (twin := _twin(name, there)) is not None}
    missing = [name for name in named if name not in found]
    taken = {file.name for file in found.values()}
    spare = [
        name
        for name, file in there.items()
        if name not in taken
        and name.removesuffix(".zstd").endswith((".mcap", ".db3"))
        and name.removesuffix(".zstd") not in {other.removesuffix(".zstd") for other in taken}
        and file.stat().st_size
    ]
    if missing and spare:
        renamed = _renamed(missing, spare)
        if not renamed:
            raise InputError(
                f"{path}: metadata.yaml names {', '.join(missing)}, in the folder lie "
                f"{', '.join(sorted(spare))}; `ros2 bag reindex {path}` writes metadata.yaml anew"
            )
        for old, new in renamed.items():
            found[old] = there[new]
            message = f"metadata.yaml names {old}, which is not there; {new} is read for it"
            remedy = f"`ros2 bag reindex {path}` writes metadata.yaml anew"
            findings.append(Finding("file-renamed", str(path), "repaired", message, remedy))
    elif empty and not found:
        raise InputError(
            f"{path}: {', '.join(empty)} is empty: nothing was recorded into it, or it was not "
            "copied"
        )
    elif missing and not found:
        raise InputError(
            f"{path}: no storage file is there; metadata.yaml names "
            f"{', '.join(missing)}: copy them into the folder"
        )
    elif missing:
        findings.append(
            Finding(
                "file-missing",
                str(path),
                "left out",
                f"{len(missing)} of {len(named)} storage files are missing: "
                f"{', '.join(f'{name} (empty)' if name in empty else name for name in missing)}; "
                "the others are read",
                "copy them into the folder again",
            )
        )
    elif spare:
        message = f"{', '.join(sorted(spare))} is not named in metadata.yaml and not read"
        remedy = f"`ros2 bag reindex {path}` takes it in"
        findings.append(Finding("file-not-named", str(path), "left out", message, remedy))
    return [found[name] for name in named if name in found]


def _twin(name: str, there: dict[str, Path]) -> str | None:
    """The file of this name, or the same one compressed or decompressed."""
    for twin in (name, f"{name}.zstd", name.removesuffix(".zstd")):
        if twin in there:
            return twin
    return None


def _renamed(missing: Sequence[str], spare: Sequence[str]) -> dict[str, str]:
    """Which spare file each missing one is: the only one, or the one with its number at the end.
    Empty where that isn't clear."""
    if len(missing) == len(spare) == 1:
        return {missing[0]: spare[0]}
    by_number = {_number(name): name for name in spare}
    numbers = [_number(name) for name in missing]
    clear = len(by_number) == len(spare) == len(missing) and None not in by_number
    if clear and set(numbers) == set(by_number):
        return {name: by_number[number] for name, number in zip(missing, numbers, strict=True)}
    return {}


def _number(name: str) -> str | None:
    match = re.search(r"_(\d+)\.[^_]*$", name)
    return match and match[1]


def _differs(information: dict[str, Any], suffixes: Sequence[str | None]) -> bool:
    """Whether files are of another storage or compression than metadata.yaml says."""
    before = (information.get("storage_identifier"), information.get("compression_mode"))
    corrected = dict(information)
    _correct(corrected, suffixes)
    return before != (corrected.get("storage_identifier"), corrected.get("compression_mode"))


def _correct(information: dict[str, Any], suffixes: Sequence[str | None]) -> None:
    kinds = set(suffixes)
    if len(kinds) == 1 and (kind := kinds.pop()) in _STORAGE_IDS:
        information["storage_identifier"] = _STORAGE_IDS[kind or ""]
        if str(information.get("compression_mode", "")).lower() == "file":
            information.update(compression_mode="", compression_format="")


def _finished(database: Path, scratch: Path, findings: list[Finding]) -> Path | None:
    """A copy of a sqlite database with what its recorder had not moved into it yet; None where all
    is in it."""
    beside = logs_beside(database)
    if not beside:
        return None
    needed = sum(file.stat().st_size for file in (database, *beside))
    if shutil.disk_usage(scratch).free < 2 * needed:
        raise InputError(
            f"{database}: part of it lies in {beside[0].name}, and {scratch.parent} has no room "
            f"for a copy; `sqlite3 {database} 'pragma wal_checkpoint(truncate)'` moves it in"
        )
    copy = scratch / database.name
    for file in (database, *beside):
        shutil.copyfile(file, scratch / file.name)
    try:
        connection = sqlite3.connect(copy)
        try:
            connection.execute("pragma wal_checkpoint(truncate)")
            connection.execute("pragma journal_mode=delete")
        finally:
            connection.close()
    except sqlite3.Error as error:
        raise InputError(
            f"{database}: part of it lies in {beside[0].name}, which can't be read ({error}); "
            f"`sqlite3 {database} .recover` saves the rest"
        ) from error
    message = f"part of it lies in {beside[0].name}; a copy that holds all of it is read"
    remedy = f"`sqlite3 {database} 'pragma wal_checkpoint(truncate)'` moves it in"
    findings.append(Finding("write-ahead-log", str(database), "repaired", message, remedy))
    return copy


def logs_beside(database: Path) -> list[Path]:
    """The files beside a sqlite database that hold part of its content."""
    beside = [database.with_name(database.name + suffix) for suffix in _UNFINISHED]
    return [file for file in beside if file.is_file() and file.stat().st_size]


def lacks_its_log(database: Path) -> bool:
    """Whether a sqlite database was written with a write-ahead log (bytes 18 and 19 of its header,
    sqlite.org/fileformat.html)."""
    with open(database, "rb") as file:
        header = file.read(20)
    return header.startswith(b"SQLite format 3\0") and header[18:20] == b"\x02\x02"
