"""Caches in object stores: by real fsspec, in memory and over sockets to a server that can fail."""

from __future__ import annotations

import multiprocessing
import re
import sys
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import fsspec
import numpy as np
import pytest
from damage import with_flipped_bit
from object_store import ObjectStore, object_store

from haskd_ros.errors import InputError
from haskd_training.core.storage import files
from haskd_training.core.storage.location import Url, location
from haskd_training.data.caches.cache import Cache
from haskd_training.data.preparing.inputs import PrepareConfig, read_report
from haskd_training.data.preparing.prepare import prepare
from recorded_bags import Scene, write_bag

# Two sweeps a shard.
CONFIG = PrepareConfig(shard_bytes=150, overlays=1)
FIRST = "sweeps-00000.safetensors"


@pytest.fixture(scope="module")
def bag(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_bag(tmp_path_factory.mktemp("bag"), Scene(clouds=6, images=5))


@pytest.fixture(scope="module")
def here(tmp_path_factory: pytest.TempPathFactory, bag: Path) -> Cache:
    """The cache in a folder."""
    folder = tmp_path_factory.mktemp("cache") / "drive"
    prepare([bag], "pandaset", folder, CONFIG)
    return Cache.open(folder)


@pytest.fixture(autouse=True)
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of this machine's copies."""
    monkeypatch.setenv("HASKD_STORE_FOLDER", str(tmp_path / "stores"))
    monkeypatch.setenv("HASKD_STORE_AHEAD", "0")
    monkeypatch.setenv("HASKD_STORE_RETRY_S", "5")
    return tmp_path / "stores" / "copies"


@pytest.fixture
def memory() -> Iterator[str]:
    yield "memory://bucket/drive"
    fsspec.filesystem("memory").rm("/bucket", recursive=True)


@pytest.fixture
def store() -> Iterator[ObjectStore]:
    with object_store() as running:
        yield running


@pytest.fixture(params=["http", "s3"])
def url(
    request: pytest.FixtureRequest,
    store: ObjectStore,
    here: Cache,
    monkeypatch: pytest.MonkeyPatch,
) -> str:
    """The cache in a store on a socket."""
    for path in sorted(Path(str(here.path)).rglob("*.*")):
        if path.is_file():
            name = path.relative_to(str(here.path)).as_posix()
            store.objects[f"bucket/drive/{name}"] = path.read_bytes()
    return _url(request.param, store, monkeypatch)


def _url(protocol: str, store: ObjectStore, monkeypatch: pytest.MonkeyPatch) -> str:
    if protocol == "http":
        return f"{store.address}/bucket/drive"
    pytest.importorskip("s3fs", reason="an optional package: pip install '.[stores]'")
    monkeypatch.setitem(fsspec.config.conf, "s3", {"endpoint_url": store.address})
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "a user")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "a secret")
    return "s3://bucket/drive"


def assert_same(stored: Cache, here: Cache) -> None:
    assert list(stored.sweeps) == list(here.sweeps)
    for i in range(len(here)):
        one, other = stored.sweep(i), here.sweep(i)
        assert np.array_equal(one.points, other.points)
        assert np.array_equal(one.label, other.label)
    for j in range(len(here.images)):
        assert np.array_equal(stored.jpeg(j), here.jpeg(j))


def test_a_cache_prepared_to_a_store_is_the_one_in_a_folder(
    bag: Path, here: Cache, memory: str
) -> None:
    report = prepare([bag], "pandaset", location(memory), CONFIG)
    assert (report.cache, report.up_to_date) == (memory, False)
    stored = Cache.open(memory)
    assert (stored.name, stored.fingerprint) == ("drive", here.fingerprint)
    assert_same(stored, here)
    assert read_report(stored).sweeps == 6
    again = prepare([bag], "pandaset", location(memory), CONFIG)
    assert (again.cache, again.up_to_date) == (memory, True)
    with pytest.raises(InputError, match=r"memory://bucket/drive holds a cache of other bags"):
        prepare([bag], "pandaset", location(memory), CONFIG.model_copy(update={"jpeg_quality": 50}))


def test_a_folder_in_use_for_something_else_is_refused(bag: Path, memory: str) -> None:
    fsspec.filesystem("memory").pipe_file("/bucket/drive/thesis.tex", b"\\section{}")
    with pytest.raises(InputError, match=r"neither empty nor an unfinished cache \(thesis.tex"):
        prepare([bag], "pandaset", location(memory), CONFIG)


@pytest.mark.parametrize("protocol", ["http", "s3"])
def test_an_upload_goes_on_where_it_was(
    protocol: str, bag: Path, here: Cache, store: ObjectStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = _url(protocol, store, monkeypatch)
    monkeypatch.setenv("HASKD_STORE_RETRY_S", "0")
    write = "POST" if protocol == "http" else "PUT"
    store.faults.append((write, "report.json", "503"))
    with pytest.raises(InputError, match=r"drive/report.json can't be written: .*503|Unavailable"):
        prepare([bag], "pandaset", location(url), CONFIG)
    assert "bucket/drive/index.json" not in store.objects
    with pytest.raises(InputError, match=r"is not a cache: no index.json|the cache is unfin"):
        Cache.open(url)
    prepare([bag], "pandaset", location(url), CONFIG)
    assert_same(Cache.open(url), here)
    written = Counter(path for method, path in store.requests if method == write)
    assert {path for path, times in written.items() if times > 1} == {"bucket/drive/report.json"}


def test_a_cache_in_google_s_store(bag: Path, here: Cache, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("gcsfs", reason="an optional package: pip install '.[stores]'")
    url = "gs://bucket/drive"
    with object_store(of_google=True) as store:
        monkeypatch.setenv("STORAGE_EMULATOR_HOST", store.address)
        store.faults.append(("POST", "report.json", "403"))
        with pytest.raises(InputError, match=r"drive/report.json can't be written: .*Forbidden"):
            prepare([bag], "pandaset", location(url), CONFIG)
        # Not asked again: another try is not allowed either.
        assert store.requests.count(("POST", "bucket/drive/report.json")) == 1
        prepare([bag], "pandaset", location(url), CONFIG)
        assert_same(Cache.open(url), here)
        assert store.fetched(FIRST) == 1
        with pytest.raises(InputError, match=r"/nothing is not a cache: no index.json"):
            Cache.open(url.replace("/drive", "/nothing"))


def test_a_store_that_fails_for_a_moment_is_asked_again(
    url: str, store: ObjectStore, here: Cache
) -> None:
    store.faults += [
        ("GET", "index.json", "503"),
        ("GET", FIRST, "half"),
        ("GET", FIRST, "short"),
        ("GET", "sweeps-00001.safetensors", "drop"),
        ("GET", "sweeps-00002.safetensors", "503"),
    ]
    assert_same(Cache.open(url), here)
    assert store.faults == []


def test_a_store_that_is_gone_is_one_line_and_later_it_goes_on(
    url: str, store: ObjectStore, here: Cache, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache = Cache.open(url)
    cache.sweep(0)
    store.gone = True
    monkeypatch.setenv("HASKD_STORE_RETRY_S", "0.7")
    with pytest.raises(InputError) as told:
        cache.sweep(2)
    message = str(told.value)
    assert message.startswith(f"{url}/sweeps-00001.safetensors can't be read: ")
    assert re.search(r"\(\d+ (try|tries) in \d+ s\); run the same command again when", message)
    assert "\n" not in message
    assert np.array_equal(cache.sweep(0).points, here.sweep(0).points)
    store.gone = False
    assert np.array_equal(cache.sweep(2).points, here.sweep(2).points)


@pytest.mark.parametrize("url", ["http"], indirect=True)
def test_those_who_wait_for_one_that_asks_a_store_in_vain_ask_once_more(
    url: str, store: ObjectStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache = Cache.open(url)
    store.gone = True
    monkeypatch.setenv("HASKD_STORE_RETRY_S", "0.7")

    def tries(_: int) -> int:
        with pytest.raises(InputError) as told:
            cache.sweep(0)
        found = re.search(r"\((\d+) tr", str(told.value))
        assert found is not None
        return int(found[1])

    with ThreadPoolExecutor(12) as threads:
        total = sum(threads.map(tries, range(12)))
    # One after the other: a try each, and those again for which there is time within 0.7 s, with
    # pauses of at least 0.25 / 2 s. Each by itself would have tried twice at least.
    assert total <= 12 + 6


def test_what_is_missing_is_not_asked_for_twice(url: str, store: ObjectStore) -> None:
    cache = Cache.open(url)
    del store.objects[f"bucket/drive/{FIRST}"]
    store.requests.clear()
    with pytest.raises(InputError, match=rf"drive/{FIRST} is not there"):
        cache.sweep(0)
    assert store.fetched(FIRST) <= 1
    with pytest.raises(InputError, match=r"/nothing is not a cache: no index.json"):
        Cache.open(url.replace("/drive", "/nothing"))


def test_a_damaged_copy_is_fetched_again(
    url: str, store: ObjectStore, here: Cache, machine: Path
) -> None:
    Cache.open(url).sweep(0)
    (copy,) = machine.rglob(FIRST)
    whole = copy.read_bytes()
    for damaged in (whole[: len(whole) // 2], with_flipped_bit(whole, 8 * (len(whole) - 2))):
        copy.write_bytes(damaged)
        assert np.array_equal(Cache.open(url).sweep(1).points, here.sweep(1).points)
        assert copy.read_bytes() == whole
    store.objects[f"bucket/drive/{FIRST}"] = damaged
    copy.unlink()
    with pytest.raises(InputError, match=rf"drive/{FIRST} is missing or damaged: .* is not what"):
        Cache.open(url).sweep(1)


def test_copies_are_read_without_the_store_and_those_used_last_stay(
    url: str, store: ObjectStore, machine: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shards = [f"sweeps-0000{k}.safetensors" for k in range(3)]
    size = len(store.objects[f"bucket/drive/{FIRST}"])
    # Two shards fit, three don't.
    monkeypatch.setenv("HASKD_STORE_GIGABYTES", str(2.5 * size / 1e9))
    cache = Cache.open(url)
    for sweep in (0, 2, 0, 4):  # the second shard is that which was not used for longest
        cache.sweep(sweep)
    assert {path.name for path in machine.rglob("*") if path.is_file()} == {shards[0], shards[2]}
    cache.sweep(2)
    assert [store.fetched(shard) for shard in shards] == [1, 2, 1]


def _read_all(url: str) -> float:
    cache = Cache.open(url)
    return sum(float(cache.sweep(i).points.sum()) for i in range(len(cache)))


def test_processes_share_copies(
    store: ObjectStore, here: Cache, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HASKD_STORE_AHEAD", "2")
    Cache.open(url)  # a file system that is open already does not go into the fork
    with multiprocessing.get_context("fork").Pool(2) as pool:
        sums = pool.map(_read_all, [url] * 4, chunksize=1)
    assert len(set(sums)) == 1
    assert [store.fetched(f"sweeps-0000{k}.safetensors") for k in range(3)] == [1, 1, 1]


def test_the_next_shards_are_fetched_before_they_are_asked_for(
    url: str, store: ObjectStore, machine: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HASKD_STORE_AHEAD", "1")
    cache = Cache.open(url)
    cache.sweep(0)
    end = time.monotonic() + 10
    while not list(machine.rglob("sweeps-00001.safetensors")):
        assert time.monotonic() < end
        time.sleep(0.01)
    store.gone = True
    cache.sweep(2)
    assert not list(machine.rglob("sweeps-00002.safetensors"))


def test_what_a_store_needs_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "s3fs", None)
    monkeypatch.setitem(sys.modules, "gcsfs", None)
    for url, package in (("s3://bucket/drive", "s3fs"), ("gs://bucket/drive", "gcsfs")):
        known = sys.modules["fsspec.registry"]._registry
        monkeypatch.delitem(known, url.partition(":")[0], raising=False)
        with pytest.raises(InputError, match=rf"{url}.* is missing: pip install {package}"):
            Cache.open(url)
    with pytest.raises(InputError, match=r"floppy://a/drive/index.json: Protocol not known"):
        Cache.open("floppy://a/drive")


def test_missing_credentials_are_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    pytest.importorskip("s3fs", reason="an optional package: pip install '.[stores]'")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(InputError, match=r"no credentials .* aws configure, or AWS_ACCESS_KEY_ID"):
        Cache.open("s3://bucket/drive")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("s3://bucket/a/b/", Url("s3://bucket/a/b")),
        ("GS://bucket/a", Url("gs://bucket/a")),
        ("caches/drive", Path("caches/drive")),
        ("file:///data/drive", Path("/data/drive")),
        ("C:/data", Path("C:/data")),
    ],
)
def test_urls_are_told_from_paths(text: str, expected: Url | Path) -> None:
    assert location(text) == expected


@pytest.mark.parametrize(
    ("text", "message"),
    [("s3://", "names no bucket"), ("ftp://me:secret@host/drive", "with a name or password in it")],
)
def test_urls_that_name_nothing_or_a_secret_are_refused(text: str, message: str) -> None:
    with pytest.raises(InputError, match=message) as told:
        location(text)
    assert "secret" not in str(told.value)


def test_a_wrong_value_in_the_environment_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HASKD_STORE_GIGABYTES", "many")
    with pytest.raises(InputError, match=r"HASKD_STORE_GIGABYTES='many' in the environment: "):
        files.local_file(Url("memory://bucket/drive/index.json"))
