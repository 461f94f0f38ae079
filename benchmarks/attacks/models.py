"""Model files: flipped bits, truncations, hostile headers, lying tensors, values without sense.

Whatever loads has to be of use: it labels a cloud, is compared with a sensor and is shown.
"""

from __future__ import annotations

import copy
import json
import math
import random
import resource
import string
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import torch
from safetensors.torch import load as tensors_of
from safetensors.torch import save as save_tensors

from attacks.outcome import Attack, Outcome

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "test" / "support"))

from forged_models import NONSENSE, resealed, with_document, with_header, with_tensor, with_text

from haskd_ros import model_file
from haskd_ros.clouds.legend import legend_lines
from haskd_ros.clouds.sensor_match import mismatches
from haskd_ros.errors import InputError
from haskd_ros.model_header import ModelMetadata
from haskd_ros.models import build
from haskd_ros.models.network import SegmentationNetwork
from haskd_ros.segmentation import DEFAULT_MODEL
from haskd_ros.segmenter import Segmenter
from haskd_training.distillation.fusion import FusionTeacher, load_teacher, save_teacher
from haskd_training.robot.views.view import model_table

SECONDS = 2.0
"""Most CPU time that a file of 3 MB may take until it is refused or in use."""

MEGABYTES = 256
"""Most memory that a file of 3 MB may ask for."""

CLOUD = np.random.default_rng(0).normal(0, (15, 15, 1, 0.2), (2000, 4)).astype(np.float32)

Load = Callable[[bytes], object]


@contextmanager
def memory_limit() -> Iterator[None]:
    """As a container or a small robot has it."""
    before = resource.getrlimit(resource.RLIMIT_AS)
    limit = psutil.Process().memory_info().vms + (MEGABYTES << 20)
    resource.setrlimit(resource.RLIMIT_AS, (limit, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, before)


class Judge:
    """Counts attacks and notes what harm they did."""

    def __init__(self, load: Load, use: Callable[[Any], object] | None = None) -> None:
        """load: of a file's bytes. use: of what was loaded; None: nothing may be loaded."""
        self.outcome = Outcome()
        self._load, self._use = load, use
        self._slowest = 0.0

    def attack(self, content: bytes, what: str) -> None:
        self.outcome.tried += 1
        started = time.process_time()
        fault = self._fault(content)
        taken = time.process_time() - started
        self._slowest = max(self._slowest, taken)
        self.outcome.remark = f"the slowest took {1e3 * self._slowest:.0f} ms"
        if fault is None and taken > SECONDS:
            fault = f"took {taken:.1f} s"
        if fault is not None:
            self.outcome.faults.append(f"{what}: {fault}"[:300])

    def _fault(self, content: bytes) -> str | None:
        try:
            with memory_limit():
                loaded = self._load(content)
        except InputError as error:
            line = str(error)
            if "\n" in line or not line.isprintable() or len(line) > 1000:
                return f"refused in {line[:200]!r}, {len(line)} characters"
            return None
        except BaseException as error:
            return f"{type(error).__name__} at loading: {str(error)[:100]}"
        if self._use is None:
            return "loaded as if nothing were"
        try:
            self._use(loaded)
        except BaseException as error:
            return f"loaded, and then {type(error).__name__}: {str(error)[:150]}"
        return None


def use_model(loaded: Any) -> None:
    """What the node and the commands do with a model."""
    network, metadata = loaded
    segmenter = Segmenter(network, metadata, device="cpu")
    labels = segmenter(CLOUD, intensity_scale=1.0)
    near = np.linalg.norm(CLOUD[:, :3], axis=1) < metadata.max_range
    if (labels.class_id[near] == 255).any():
        raise ValueError("it leaves points within its range without a label")
    mismatches(CLOUD, 1.0, metadata)
    entropy = metadata.sensor.entropy
    if entropy is not None:
        math.log(entropy + 1)
    for name in metadata.taxonomy.names:
        name.encode()
    legend_lines(metadata.taxonomy)
    metadata.taxonomy.color_table()
    metadata.to_json().encode()


def load_model(content: bytes) -> object:
    return model_file.decode(content, "attacked.safetensors")


def small_model(scratch: Path) -> bytes:
    """A file of the bundled model's classes with few weights."""
    network, metadata = small_network()
    path = scratch / "small.safetensors"
    model_file.save(path, network, metadata)
    return path.read_bytes()


def small_network() -> tuple[SegmentationNetwork, ModelMetadata]:
    metadata = model_file.load(DEFAULT_MODEL)[1]
    arguments = {"voxel_size": 0.5, "channels": [4, 8]}
    torch.manual_seed(0)
    network = build("sparse_unet", classes=len(metadata.taxonomy), **arguments)
    return network, replace(metadata, arguments=arguments)


def header_length(content: bytes) -> int:
    return 8 + int.from_bytes(content[:8], "little")


def flipped(content: bytes, draw: random.Random) -> tuple[bytes, str]:
    """One bit, in each region of the file equally often."""
    end = header_length(content)
    low, high = draw.choice([(0, 8), (8, end), (end, len(content))])
    place, bit = draw.randrange(low, high), draw.randrange(8)
    damaged = bytearray(content)
    damaged[place] ^= 1 << bit
    return bytes(damaged), f"bit {bit} of byte {place} flipped"


def flips(load: Load, content: bytes, seconds: float) -> Outcome:
    judge, draw = Judge(load), random.Random(0)
    ends = time.perf_counter() + seconds
    while time.perf_counter() < ends:
        judge.attack(*flipped(content, draw))
    return judge.outcome


def flipped_bits(scratch: Path, seconds: float) -> Outcome:
    return flips(load_model, DEFAULT_MODEL.read_bytes(), seconds)


def flipped_bits_of_a_teacher(scratch: Path, seconds: float) -> Outcome:
    path = scratch / "teacher.safetensors"
    trunk, metadata = small_network()
    save_teacher(path, FusionTeacher(trunk, 12, 8), metadata)

    def load(content: bytes) -> object:
        path.write_bytes(content)
        return load_teacher(path)

    return flips(load, path.read_bytes(), seconds)


def truncated(scratch: Path, seconds: float) -> Outcome:
    """At every length up to the tensors, and at some in them; prolonged; emptied by a power cut."""
    judge = Judge(load_model)
    content = small_model(scratch)
    end = header_length(content)
    for length in [*range(0, end, 7), *range(end, len(content), max(1, len(content) // 200))]:
        judge.attack(content[:length], f"cut off after {length} bytes")
        judge.attack(content[:length].ljust(len(content), b"\0"), f"zeros from byte {length}")
    for more in (b"\0", b"\n", content):
        judge.attack(content + more, f"{len(more)} bytes more")
    for swapped in (content[8:], content[::-1], b"\xff" * len(content), b"\0" * len(content)):
        judge.attack(swapped, "other bytes")
    return judge.outcome


TEXTS = {
    "deep lists": "[" * 500_000,
    "deep objects": '{"a":' * 100_000,
    "lists in lists": "[" * 900 + "]" * 900,
    "many small lists": "[" + "[]," * 300_000 + "[]]",
    "many keys": json.dumps({str(i): i for i in range(60_000)}),
    "one key, many times": "{" + '"a":1,' * 150_000 + '"a":1}',
    "5,000 digits": '{"format": ' + "9" * 5000 + "}",
    "a million digits": "1" * 1_000_000,
    "1e400": '{"format": 2, "max_range": 1e400}',
    "NaN": '{"format": NaN}',
    "infinity": '{"format": 2, "temperature": Infinity}',
    "a lone surrogate": '{"format": "\\ud800"}',
    "a mark of byte order": "\ufeff{}",
    "nothing": "",
    "null": "null",
    "a string": '"model"',
    "a huge string": json.dumps({"format": "a" * 1_000_000}),
}


def hostile_text(scratch: Path, seconds: float) -> Outcome:
    """In the place of the model's document, and of the whole header."""
    judge = Judge(load_model)
    content = small_model(scratch)
    for name, text in TEXTS.items():
        judge.attack(with_text(content, text), f"{name} for a document")
        octets = text.encode("utf-8", "surrogatepass")
        judge.attack(len(octets).to_bytes(8, "little") + octets, f"{name} for a header")
        wrapped = b'{"__metadata__":' + octets + b"}"
        judge.attack(len(wrapped).to_bytes(8, "little") + wrapped, f"{name} for the metadata")
    for length in (0, 1, 7, 8, len(content), 1 << 31, 1 << 40, (1 << 63) + 1, (1 << 64) - 1):
        judge.attack(length.to_bytes(8, "little") + content[8:], f"a header of {length} bytes")
    for size in (2, 20, 90):
        padded = b"{" + b" " * (size << 20) + b"}"
        judge.attack(len(padded).to_bytes(8, "little") + padded, f"{size} MB of spaces")
    return judge.outcome


def nonsense(scratch: Path, seconds: float) -> Outcome:
    """Headers whose every key is there and that say what can't be."""
    judge = Judge(load_model)
    content = small_model(scratch)
    for name, (change, _) in NONSENSE.items():
        judge.attack(with_document(content, change), name)
    return judge.outcome


POOL: tuple[Any, ...] = (
    None, True, False, 0, -1, 1, 2, 255, 256, 1 << 31, 1 << 63, 1 << 64, 10**400, -0.0, 1e-300,
    1e300, -1e300, 0.5, 3.4e38, 5e-324, "", " ", "a", "1", "nan", "\x00", "\x1b[31m", "\ud800",
    "\u202e", "a" * 10_000, "$x$", "[red]", "<script>", [], [[]], [0], [1] * 10_000, ["a"], {},
    {"a": 1}, {"": None}, [None] * 3, {"min": 1, "max": 0}, [1e300] * 3,
)  # fmt: skip


def mutated(document: Any, draw: random.Random) -> str:
    """Change one value somewhere in a document, in place; says which."""
    way, holder, key = [], document, None
    while isinstance(holder, (dict, list)) and holder:
        key = (
            draw.choice(sorted(holder)) if isinstance(holder, dict) else draw.randrange(len(holder))
        )
        way.append(str(key))
        if not isinstance(holder[key], (dict, list)) or not holder[key] or draw.random() < 0.3:
            break
        holder = holder[key]
    action = draw.choice(["replace", "replace", "remove", "add", "repeat"])
    value = draw.choice(POOL)
    if action == "replace":
        holder[key] = copy.deepcopy(value)
    elif action == "remove":
        del holder[key]
    elif isinstance(holder, list):
        holder.extend([value] if action == "add" else holder * draw.choice([1, 100]))
    else:
        holder["".join(draw.choices(string.ascii_lowercase, k=3))] = value
    return f"{'.'.join(way)}: {action} {str(value)[:40]!r}"


def generated_headers(scratch: Path, seconds: float) -> Outcome:
    judge, draw = Judge(load_model, use_model), random.Random(1)
    content = small_model(scratch)
    ends = time.perf_counter() + seconds
    while time.perf_counter() < ends:
        said: list[str] = []

        def change(document: dict[str, Any], said: list[str] = said) -> None:
            for _ in range(draw.choice([1, 1, 1, 2, 5])):
                said.append(mutated(document, draw))

        try:
            forged = with_document(content, change)
        except (ValueError, TypeError, KeyError):  # what JSON itself can't say
            continue
        judge.attack(forged, "; ".join(said))
    return judge.outcome


def lying_tensors(scratch: Path, seconds: float) -> Outcome:
    """Descriptions of tensors that don't fit them: types, shapes, offsets, names."""
    judge = Judge(load_model)
    content = small_model(scratch)
    lies: dict[str, Any] = {
        "an int8": {"dtype": "I8"},
        "a bool": {"dtype": "BOOL"},
        "a float64": {"dtype": "F64"},
        "a type that is none": {"dtype": "F31"},
        "a type that is a list": {"dtype": []},
        "four bits": {"dtype": "F4"},
        "no shape": {"shape": None},
        "an empty shape": {"shape": []},
        "a negative shape": {"shape": [-1, 8]},
        "a shape beyond 64 bits": {"shape": [1 << 40, 1 << 40]},
        "a shape of a million sizes": {"shape": [1] * 100_000},
        "a shape in words": {"shape": ["4", "8"]},
        "offsets beyond the end": {"data_offsets": [0, 1 << 40]},
        "offsets that go back": {"data_offsets": [100, 4]},
        "offsets of another": {"data_offsets": [0, 16]},
        "negative offsets": {"data_offsets": [-16, 0]},
        "no offsets": {"data_offsets": []},
        "a key more": {"device": "cuda"},
    }
    for name in ("classifier.weight", "point_encoder.0.norm.running_var", "scale.running_mean"):
        for what, lie in lies.items():
            judge.attack(
                with_header(content, lambda header, n=name, lie=lie: header[n].update(lie)),
                f"{name}: {what}",
            )
        for value in (None, [], 7, "F32", {}):
            judge.attack(
                with_header(content, lambda header, n=name, v=value: header.update({n: v})),
                f"{name} is {value}",
            )
        judge.attack(with_header(content, lambda header, n=name: header.pop(n)), f"no {name}")
    judge.attack(
        with_header(
            content,
            lambda header: header.update(
                {str(i): {"dtype": "F32", "shape": [0], "data_offsets": [0, 0]}
                 for i in range(10_000)}
            ),
        ),
        "10,000 tensors more",
    )  # fmt: skip
    return judge.outcome


def values(scratch: Path, seconds: float) -> Outcome:
    """Weights of another type, of values that no network has, and networks of gigabytes."""
    judge = Judge(load_model)
    content = small_model(scratch)
    tensors = tensors_of(content)
    by_kind = {name.rpartition(".")[2]: name for name in tensors if "tracked" not in name}
    floats = [*by_kind.values(), "scale.running_mean", "scale.running_var", "classifier.bias"]
    edits: dict[str, Callable[[torch.Tensor], torch.Tensor]] = {
        "NaN": lambda v: v * torch.nan,
        "infinite": lambda v: v + torch.inf,
        "3e38": lambda v: v * 0 + 3e38,
        "-1e30": lambda v: v * 0 - 1e30,
        "int8": lambda v: v.to(torch.int8),
        "bool": lambda v: v > 0,
        "float64": lambda v: v.double(),
        "float16": lambda v: v.half(),
        "bfloat16": lambda v: v.bfloat16(),
        "complex": lambda v: v.to(torch.complex64),
        "int64": lambda v: v.to(torch.int64),
        "flat": lambda v: v.flatten()[:-1],
    }
    for name in floats:
        for what, edit in edits.items():
            judge.attack(with_tensor(content, name, edit(tensors[name])), f"{name} {what}")
        if name.endswith("running_var"):
            lowered = tensors[name] - 10
            judge.attack(with_tensor(content, name, lowered), f"{name} negative")
    for channels in ([20_000] * 4, [4096] * 8, [1 << 60, 8], [4, 8] * 2000, [4, 20_000]):
        judge.attack(
            with_document(content, lambda d, c=channels: d["arguments"].update(channels=c)),
            f"channels {str(channels)[:40]}",
        )
    judge.attack(
        with_document(
            content,
            lambda d: d.update(
                architecture="range_view", arguments={"channels": [8, 8], "rows": 1 << 30}
            ),
        ),
        "a range image of a billion rows",
    )
    foreign = save_tensors({"weight": torch.zeros(3)}, {"format": "pt"})
    judge.attack(foreign, "a foreign file")
    judge.attack(resealed(save_tensors({}, {"haskd_ros": "{}"})), "no tensor at all")
    return judge.outcome


def shown_metadata(scratch: Path, seconds: float) -> Outcome:
    """Whatever a file says of itself, `haskd view` of it shows or refuses."""
    path = scratch / "shown.safetensors"

    def load(content: bytes) -> object:
        path.write_bytes(content)
        return model_table(path)

    judge, draw = Judge(load, lambda table: table), random.Random(2)
    content = small_model(scratch)
    ends = time.perf_counter() + seconds / 2
    while time.perf_counter() < ends:
        said: list[str] = []
        try:
            forged = with_document(content, lambda d, said=said: said.append(mutated(d, draw)))
        except (ValueError, TypeError, KeyError):
            continue
        judge.attack(forged, "; ".join(said))
    return judge.outcome


ATTACKS: dict[str, Attack] = {
    "flipped bits": flipped_bits,
    "flipped bits of a teacher": flipped_bits_of_a_teacher,
    "cut off": truncated,
    "hostile text": hostile_text,
    "headers without sense": nonsense,
    "generated headers": generated_headers,
    "shown": shown_metadata,
    "lying tensors": lying_tensors,
    "values": values,
}
