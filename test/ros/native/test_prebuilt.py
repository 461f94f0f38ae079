"""The compiled kernels that an installed package brings along."""

import logging
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from kernel_cache import quick_compiler, script
from kernel_checks import needs_kernels

from haskd_ros.native import build, library, load_kernels, prebuilt
from haskd_ros.native.compiler import Unavailable
from haskd_ros.native.own_folder import cache_folder
from haskd_ros.native.runtime.build import RUNTIME
from haskd_ros.segmenter import Segmenter

pytestmark = needs_kernels
REPOSITORY = Path(__file__).resolve().parents[3]
PACKAGED = (
    *("LICENSE", "README.md", "package.xml", "pyproject.toml", "setup.cfg", "setup.py"),
    *("config", "haskd_ros", "launch", "resource", "scripts", "training"),
)
X86 = "linux-x86_64"
X86_NAMES = [f"kernels-x86-64-{level}" for level in ("v4-bf16", "v4", "v3", "v2")]

V3 = (
    "fpu vme de pse tsc sse sse2 ht lm constant_tsc pni ssse3 fma cx16 sse4_1 sse4_2 movbe popcnt "
    "avx f16c lahf_lm abm bmi1 avx2 bmi2"
)
"""What a Haswell says of itself, in part."""


@pytest.fixture(scope="module")
def native_library() -> Path:
    """The file of the kernels for this CPU."""
    return build.build(build.native_flags(), cache_folder())


@pytest.fixture(scope="module")
def native_runtime() -> Path:
    """The file of libhaskd for this CPU."""
    return build.build(build.native_flags(RUNTIME), cache_folder(), RUNTIME)


@pytest.fixture
def calls(native_library, native_runtime, tmp_path, monkeypatch) -> Path:
    """The compiler always makes this CPU's libraries; the file with a line for each call of it."""
    quick = quick_compiler(tmp_path, native_library, native_runtime)
    counting = script(tmp_path / "counting-g++", f'echo >> {tmp_path}/calls\nexec {quick} "$@"')
    monkeypatch.setenv("CXX", str(counting))
    (tmp_path / "calls").touch()
    return tmp_path / "calls"


@pytest.fixture
def packaged(calls, tmp_path, monkeypatch, fresh_process, caplog) -> Path:
    """The folder of a package that has been built, in a process that has loaded no kernels."""
    folder = tmp_path / "prebuilt"
    prebuilt.make(folder, X86)
    monkeypatch.setattr(prebuilt, "FOLDER", folder)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    caplog.set_level(logging.INFO)
    return folder


def cpuinfo(path: Path, *cores: str) -> Path:
    path.write_text("".join(f"processor\t: {n}\nflags\t\t: {c}\n\n" for n, c in enumerate(cores)))
    return path


@pytest.mark.parametrize(
    ("cores", "level"),
    [
        ([V3], "x86-64-v3"),
        ([f"{V3} avx512f avx512cd avx512bw avx512dq avx512vl"], "x86-64-v4"),
        ([f"{V3} avx512f avx512cd avx512bw avx512dq avx512vl avx512_bf16"], "x86-64-v4-bf16"),
        # Knights Landing: AVX-512, but not all of it
        ([f"{V3} avx512f avx512cd"], "x86-64-v3"),
        ([V3.replace("avx2", "")], "x86-64-v2"),
        ([V3, V3.replace("avx2", "")], "x86-64-v2"),
        ([V3.replace("sse4_2", "")], None),
        ([], None),
    ],
)
def test_a_cpu_takes_the_highest_level_that_all_its_cores_have(cores, level, tmp_path):
    features = prebuilt.cpu_features(cpuinfo(tmp_path / "cpuinfo", *cores))
    best = prebuilt.best_level(X86, features)
    assert (best and best.name) == level


def test_arm_has_one_level_and_other_platforms_have_none(tmp_path):
    (tmp_path / "cpuinfo").write_text("processor\t: 0\nFeatures\t: fp asimd evtstrm crc32\n")
    features = prebuilt.cpu_features(tmp_path / "cpuinfo")
    assert prebuilt.best_level("linux-aarch64", features).name == "armv8-a"
    assert prebuilt.best_level("linux-riscv64", features) is None
    assert prebuilt.best_level(X86, prebuilt.cpu_features(tmp_path / "none")) is None


def test_what_a_build_has_made_it_does_not_make_again(calls, tmp_path):
    folder = tmp_path / "prebuilt"
    made = prebuilt.make(folder, X86)
    levels = [path.name.rsplit("-", 2)[0] for path in made]
    assert (levels[::2], levels[1::2]) == (X86_NAMES, X86_NAMES)
    # Each source is compiled, then all are linked.
    kernels, runtime = (len(parts.sources) + 1 for parts in (build.KERNELS, RUNTIME))
    assert len(calls.read_text()) == 4 * (kernels + runtime)
    made[1].write_bytes(made[1].read_bytes()[:-1])
    (folder / "kernels-x86-64-v2-of-other-sources.so").touch()
    assert sorted(prebuilt.make(folder, X86)) == sorted(made) == sorted(folder.iterdir())
    assert len(calls.read_text()) == 4 * kernels + 5 * runtime


def test_a_package_that_is_built_loads_its_own(packaged, calls, caplog, tmp_path):
    built = len(calls.read_text())
    assert load_kernels()
    assert str(packaged) in caplog.text
    assert Path(library.library()._name).parent == packaged
    assert len(calls.read_text()) == built
    assert not (tmp_path / "cache").exists()


HARM = {
    "cut off": lambda path: path.write_bytes(path.read_bytes()[:4096]),
    "one bit": lambda path: path.write_bytes(path.read_bytes()[:-1] + b"\1"),
    "gone": lambda path: path.unlink(),
    "of other sources": lambda path: path.rename(path.with_name("kernels-x86-64-v3-0-0.so")),
}


@pytest.mark.parametrize("harm", HARM.values(), ids=HARM)
def test_what_is_not_as_it_was_built_is_compiled_on_the_machine(harm, packaged, caplog, tmp_path):
    for path in list(packaged.iterdir()):
        harm(path)
    assert load_kernels()
    (warning,) = (record for record in caplog.records if record.levelname == "WARNING")
    assert f"{packaged} holds none for" in warning.message
    assert "compiling kernels for this CPU" in caplog.text
    assert list((tmp_path / "cache" / "haskd_ros").glob("kernels-*.so"))


def test_a_library_that_the_system_refuses_is_compiled_on_the_machine(
    packaged, calls, native_library, caplog, monkeypatch
):
    shutil.rmtree(packaged)
    with monkeypatch.context() as patch:
        broken = packaged.with_name("broken")
        broken.write_bytes(b"no library")
        patch.setenv("CXX", str(quick_compiler(packaged.parent, broken)))
        prebuilt.make(packaged, X86)
    quick_compiler(packaged.parent, native_library)
    assert load_kernels()
    assert "compiled kernels of the package are not used" in caplog.text
    assert "compiled kernels built in" in caplog.text


def test_a_compiler_that_fails_is_a_reason(tmp_path, monkeypatch):
    monkeypatch.setenv("CXX", "no-such-compiler")
    with pytest.raises(Unavailable, match="no-such-compiler"):
        prebuilt.make(tmp_path / "prebuilt", X86)
    assert prebuilt.make(tmp_path / "prebuilt", "linux-riscv64") == []


@pytest.fixture
def checkout(tmp_path) -> Path:
    """A copy of what a package is built from: a build leaves files in it."""
    copy = tmp_path / "checkout"
    ignored = shutil.ignore_patterns("__pycache__", "*.egg-info")
    for name in PACKAGED:
        source = REPOSITORY / name
        if source.is_dir():
            shutil.copytree(source, copy / name, ignore=ignored)
        else:
            copy.mkdir(exist_ok=True)
            shutil.copy(source, copy)
    return copy


def python(folder: Path, *arguments: str, **environment: str) -> str:
    """What a Python process of its own prints, in this working directory."""
    done = subprocess.run(
        [sys.executable, *arguments],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": "", **environment},
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout
    return done.stdout


LABELS = """
import logging, sys
import numpy as np
logging.basicConfig(level=logging.INFO, stream=sys.stdout)
import haskd_ros
from haskd_ros import model_content
from haskd_ros.native.runtime.library import load_runtime
from haskd_ros.runtime_segmenter import open_runtime
model, points, labels, again = sys.argv[1:]
segmenter = open_runtime(model_content.read(model), model, device="cpu", precision="fp32")
np.save(labels, segmenter(np.load(points)).class_id)
print("by", segmenter.engine, "of", load_runtime()._name)
from haskd_ros.native import library
from haskd_ros.segmenter import Segmenter
segmenter = Segmenter.load(model, device="cpu", precision="fp32")
np.save(again, segmenter(np.load(points)).class_id)
print("by", segmenter.engine, "of", library.library()._name)
"""


@pytest.mark.skipif(
    prebuilt.best_level(X86, prebuilt.cpu_features()) is None, reason="no x86-64 of level 2"
)
def test_an_installed_package_labels_at_its_first_start_without_a_compiler(
    checkout, calls, tiny_model, tmp_path
):
    pip = ("-m", "pip", "--disable-pip-version-check")
    alone = ("--no-index", "--no-deps")
    python(
        tmp_path, *pip, "wheel", *alone, "--no-build-isolation", "-w", str(tmp_path), str(checkout)
    )
    (wheel,) = tmp_path.glob("*.whl")
    assert wheel.name.endswith("-py3-none-linux_x86_64.whl")
    robot = tmp_path / "robot"
    python(tmp_path, *pip, "install", *alone, "--no-compile", "--target", str(robot), str(wheel))
    installed = robot / "haskd_ros"
    assert len(list((installed / "native" / "prebuilt").iterdir())) == 8

    built = calls.read_text()
    points = np.random.default_rng(1).uniform(-20, 20, (500, 4)).astype(np.float32)
    np.save(tmp_path / "points.npy", points)
    labels = [tmp_path / "labels.npy", tmp_path / "again.npy"]
    files = map(str, (tiny_model, tmp_path / "points.npy", *labels))
    said = python(
        tmp_path, "-c", LABELS, *files,
        PYTHONPATH=str(robot), PATH="", XDG_CACHE_HOME=str(tmp_path / "cache"),
    )  # fmt: skip
    assert f"by libhaskd of {installed}" in said
    assert f"by compiled kernels of {installed}" in said
    assert "compiling" not in said
    assert calls.read_text() == built
    assert not (tmp_path / "cache").exists()
    segmenter = Segmenter.load(tiny_model, device="cpu", precision="fp32")
    for path in labels:
        assert np.array_equal(np.load(path), segmenter(points).class_id)


def test_where_no_compiler_is_a_package_is_built_without_kernels_and_says_so(checkout, tmp_path):
    said = python(
        checkout, "setup.py", "build_py", "--build-lib", str(tmp_path / "lib"),
        CXX="no-such-compiler",
    )  # fmt: skip
    assert "kernels are not compiled now, but at the first start: no C++ compiler no-such" in said
    assert (tmp_path / "lib" / "haskd_ros" / "native" / "build.py").is_file()
    assert not (tmp_path / "lib" / "haskd_ros" / "native" / "prebuilt").exists()
