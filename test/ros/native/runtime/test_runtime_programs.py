"""Programs that are built on the runtime without Python: the example in C, and by CMake."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from haskd_ros import __version__
from haskd_ros.native.build import native_flags
from haskd_ros.native.runtime.build import HEADER, HERE, RUNTIME
from haskd_ros.segmentation import DEFAULT_MODEL
from haskd_ros.segmenter import Segmenter

REPOSITORY = Path(__file__).resolve().parents[4]
SOURCE = REPOSITORY / "examples" / "label_file" / "label_file.c"


@pytest.fixture(scope="module")
def label_file(runtime_path, tmp_path_factory):
    """The example, compiled: a function of its words that returns the ended process."""
    compiler = shutil.which("cc")
    if compiler is None:
        pytest.skip("no C compiler here")
    program = tmp_path_factory.mktemp("label_file") / "label_file"
    strict = ("-std=c99", "-pedantic", "-Wall", "-Wextra", "-Werror")
    subprocess.run(
        [compiler, *strict, f"-I{HEADER.parent}", SOURCE, runtime_path, "-o", program], check=True
    )

    def run(*words: object) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [program, *map(str, words)], capture_output=True, text=True, timeout=60
        )

    return run


def test_the_example_in_c_labels_files_as_python_does(label_file, tmp_path):
    points = np.random.default_rng(0).normal(0, (20, 20, 1, 0.4), (500, 4)).astype(np.float32)
    points.tofile(tmp_path / "one.bin")
    points[:0].tofile(tmp_path / "none.bin")
    ended = label_file(
        *(DEFAULT_MODEL, 1, tmp_path / "one.bin", tmp_path / "one.label"),
        *(tmp_path / "none.bin", tmp_path / "none.label"),
    )
    expected = Segmenter.load(DEFAULT_MODEL, device="cpu")(points, intensity_scale=1.0).class_id
    labelled = (expected != 255).sum()
    assert (ended.returncode, ended.stderr) == (0, "")
    assert f"one.bin: 500 points, {labelled} labelled" in ended.stdout
    np.testing.assert_array_equal(np.fromfile(tmp_path / "one.label", np.uint8), expected)
    assert (tmp_path / "none.label").read_bytes() == b""


def test_the_example_in_c_says_what_is_wrong(label_file, tmp_path):
    (tmp_path / "cut.bin").write_bytes(b"\0" * 17)
    cases = (
        ((), 2, "usage:"),
        ((tmp_path / "none", 1, tmp_path / "cut.bin", tmp_path / "out"), 1, "No such file"),
        ((DEFAULT_MODEL, 1, tmp_path / "cut.bin", tmp_path / "out"), 1, "no file of points"),
        ((DEFAULT_MODEL, 1, tmp_path, tmp_path / "out"), 1, "can't be read"),
    )
    for words, code, complaint in cases:
        ended = label_file(*words)
        assert (ended.returncode, ended.stdout) == (code, "")
        assert complaint in ended.stderr


def effective(words):
    """What holds of a compiler's flags, by what they are about: of several the last."""
    flags = [word for word in words if word.startswith(("-O", "-f", "-m", "-std"))]
    return {flag[:2] if flag.startswith("-O") else flag.split("=")[0]: flag for flag in flags}


def test_cmake_compiles_the_same_sources_with_the_same_flags(tmp_path):
    if shutil.which("cmake") is None:
        pytest.skip("no cmake here")
    subprocess.run(
        ["cmake", "-S", HERE, "-B", tmp_path, "-DCMAKE_EXPORT_COMPILE_COMMANDS=ON"],
        check=True,
        capture_output=True,
    )
    commands = json.loads((tmp_path / "compile_commands.json").read_text())
    found = {Path(one["file"]).resolve(): one["command"].replace("\\", "") for one in commands}
    wanted = {(HERE.parent / source).resolve(): own for source, own in RUNTIME.sources.items()}
    assert found.keys() == wanted.keys()
    for path, own in wanted.items():
        assert effective(found[path].split()) == effective([*native_flags(RUNTIME), *own])
    version = 'HASKD_VERSION="' + __version__ + '"'
    assert version in found[(HERE / "all.cpp").resolve()]


def test_every_source_is_part_of_the_one_that_is_compiled():
    text = (HERE / "all.cpp").read_text()
    included = [line.split('"')[1] for line in text.splitlines() if line.startswith("#include")]
    sources = [str(path.relative_to(HERE)) for path in HERE.rglob("*.cpp")]
    assert sorted([*included, "all.cpp"]) == sorted(sources)


def test_the_package_for_colcon_has_the_version_of_this_one():
    assert f"<version>{__version__}</version>" in (HERE / "package.xml").read_text()


def test_it_needs_neither_python_nor_torch(runtime_path):
    if sys.platform != "linux" or shutil.which("ldd") is None:
        pytest.skip("no ldd here")
    needed = subprocess.run(["ldd", runtime_path], capture_output=True, text=True, check=True)
    names = {line.split()[0].split(".so")[0].split("/")[-1] for line in needed.stdout.splitlines()}
    assert names <= {"linux-vdso", "libstdc++", "libm", "libgcc_s", "libc", "libpthread"} | {
        name for name in names if name.startswith("ld-linux")
    }
