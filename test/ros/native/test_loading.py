"""How the compiled kernels come to be built and loaded, and what stands in their way."""

import ctypes
import logging
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from kernel_cache import quick_compiler
from kernel_checks import needs_kernels

from haskd_ros import model_file
from haskd_ros.native import arguments, build, dispatch, library, load_kernels, own_folder
from haskd_ros.native.arguments import ConvolveArguments
from haskd_ros.native.compiler import Unavailable
from haskd_ros.segmenter import Segmenter
from haskd_ros.sparse import Linear
from haskd_training.learning.loop import LoopConfig, make_fabric


@pytest.fixture
def own_library():
    """The file of the library that this process loads."""
    return build.build(build.native_flags(), own_folder.cache_folder())


@needs_kernels
def test_what_was_built_is_used_again_and_other_flags_are_built_anew(
    own_library, tmp_path, monkeypatch
):
    monkeypatch.setenv("CXX", str(quick_compiler(tmp_path, own_library)))
    first = build.build((*build.FLAGS, "-O0"), tmp_path)
    stamp = first.stat().st_mtime_ns
    assert build.build((*build.FLAGS, "-O0"), tmp_path) == first
    assert first.stat().st_mtime_ns == stamp
    assert build.build((*build.FLAGS, "-O1"), tmp_path) != first
    assert len(list(tmp_path.glob("*.so"))) == 2


@pytest.mark.parametrize("compiler", ["no-such-compiler", "false"])
def test_without_a_working_compiler_plain_torch_does_the_work_and_says_so_once(
    compiler, monkeypatch, fresh_process, tmp_path, caplog
):
    monkeypatch.setenv("CXX", compiler)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    with caplog.at_level(logging.WARNING):
        assert not load_kernels()
        assert not load_kernels()
        assert Linear(2, 3)(torch.zeros(1, 2)).shape == (1, 3)
    (record,) = caplog.records
    assert "plain torch" in record.message
    assert compiler in record.message


def test_a_file_that_is_no_library_is_a_reason(tmp_path):
    (tmp_path / "kernels.so").write_bytes(b"not a library")
    with pytest.raises(Unavailable, match=r"kernels\.so"):
        library.open_library(tmp_path / "kernels.so")


@needs_kernels
@pytest.mark.parametrize(
    "other",
    [
        # Two fields of one type have changed places; one field is 4 bytes wide instead of 8.
        {"x_rows": ("x_stride", ctypes.c_int64), "x_stride": ("x_rows", ctypes.c_int64)},
        {"y_rows": ("y_rows", ctypes.c_int32)},
    ],
)
def test_a_library_that_takes_its_arguments_in_another_layout_is_a_reason(
    other, own_library, monkeypatch
):
    fields = [other.get(name, (name, kind)) for name, kind in ConvolveArguments._fields_]
    changed = type("ConvolveArguments", (ctypes.Structure,), {"_fields_": fields})
    monkeypatch.setattr(arguments, "STRUCTURES", (changed, *arguments.STRUCTURES[1:]))
    with pytest.raises(Unavailable, match="takes its arguments as 'ConvolveArguments "):
        library.open_library(own_library)


@needs_kernels
def test_a_library_without_one_of_the_functions_is_a_reason(own_library, monkeypatch):
    monkeypatch.setitem(arguments.SIGNATURES, "haskd_of_tomorrow", ((), None))
    with pytest.raises(Unavailable, match="haskd_of_tomorrow"):
        library.open_library(own_library)


def test_an_argument_that_does_not_exist_is_refused():
    with pytest.raises(AttributeError, match="relus"):
        ConvolveArguments(relus=1)


def test_the_environment_can_ask_for_plain_torch(monkeypatch, fresh_process, caplog):
    monkeypatch.setenv("HASKD_NATIVE", "0")
    with caplog.at_level(logging.INFO):
        assert not load_kernels()
        assert not load_kernels()
    assert [record.message for record in caplog.records] == [
        "HASKD_NATIVE=0: the sparse engine runs on plain torch"
    ]


def test_whether_kernels_are_usable_is_known_without_compiling_them(
    monkeypatch, fresh_process, tmp_path
):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert not dispatch.usable()
    assert Linear(2, 3)(torch.zeros(1, 2)).shape == (1, 3)
    assert list(tmp_path.iterdir()) == []


@needs_kernels
def test_loading_a_model_loads_the_kernels(fresh_process, tiny_model):
    model_file.load(tiny_model)
    assert dispatch.usable()


@needs_kernels
def test_a_segmenter_of_any_network_loads_the_kernels(tiny_model, monkeypatch):
    network, metadata = model_file.load(tiny_model)
    monkeypatch.setattr(library, "_attempted", False)
    monkeypatch.setattr(library, "_loaded", None)
    assert Segmenter(network, metadata, device="cpu").engine == "compiled kernels"


@needs_kernels
def test_a_training_that_begins_loads_the_kernels(fresh_process, tmp_path):
    make_fabric(LoopConfig(device="cpu"), tmp_path)
    assert dispatch.usable()


@needs_kernels
def test_threads_that_load_at_once_get_one_library(monkeypatch, fresh_process, caplog):
    opened = []
    open_library = library.open_library
    monkeypatch.setattr(
        library, "open_library", lambda path: opened.append(path) or open_library(path)
    )
    with ThreadPoolExecutor(8) as threads:
        assert all(threads.map(lambda _: load_kernels(), range(8)))
    assert len(opened) == 1
