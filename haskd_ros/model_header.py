"""The schema of a model file's header: everything about a model but its weights."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Annotated, Any

from pydantic import Field, JsonValue, TypeAdapter, ValidationError
from pydantic.dataclasses import dataclass

from haskd_ros import json_text
from haskd_ros.channels import CHANNELS, SWEEP_AGE, ChannelName
from haskd_ros.errors import InputError
from haskd_ros.models import check_arguments
from haskd_ros.models.input_limits import InputLimits
from haskd_ros.taxonomy import Taxonomy
from haskd_ros.text import listed, quoted
from haskd_ros.validation import STRICT, first_problem

FORMAT = 2

MAX_RANGE_M = 1000.0
"""With the smallest voxels, about as far as their keys reach."""

Bound = Annotated[float, Field(ge=-1e9, le=1e9)]
"""Of a measured quantity: what any sensor gives, and float32 holds with a margin added."""

MOST_SWEEPS = 16

Count = Annotated[int, Field(ge=0)]

FullReturn = Annotated[float, Field(ge=1e-3, le=1e10)]
"""Intensity of a full return in the unit of some sensor."""


@dataclass(frozen=True, config=STRICT)
class Intensity:
    """How a cloud's intensity becomes the network's input.

    Attributes:
        scale: raw value that stands for 1.0 (255 for most sensors).
        mean: of the training clouds, 0..1; stands in where a cloud has no intensity.
        required: refuse clouds without intensity instead.
    """

    scale: FullReturn
    mean: Annotated[float, Field(ge=-1e3, le=1e3)]
    required: bool = False


@dataclass(frozen=True, config=STRICT)
class Extent:
    """Least and largest value of a quantity."""

    min: Bound
    max: Bound

    def __post_init__(self) -> None:
        if self.min > self.max:
            raise InputError(f"min ({self.min}) is above max ({self.max})")


@dataclass(frozen=True, config=STRICT)
class InputRange:
    """The values that the network has seen in training, of the inputs that a cloud determines
    freely; single outliers left out.

    Attributes:
        height: z in the sensor frame, m.
        intensity: in units of a full return: 0..1 but for retroreflectors.
    """

    height: Extent
    intensity: Extent


@dataclass(frozen=True, config=STRICT)
class ChannelInput:
    """How a channel of a cloud becomes D of the network's inputs, see `clouds.channels`.

    Attributes:
        name: of the channel.
        scale: raw value that stands for 1.0.
        mean: [D] of the training clouds' inputs; stands in where a cloud does not have it.
        range: [D] of the inputs that training saw.
        required: refuse clouds without it instead.
    """

    name: ChannelName
    scale: FullReturn
    mean: tuple[Bound, ...]
    range: tuple[Extent, ...]
    required: bool = False

    def __post_init__(self) -> None:
        width = CHANNELS[self.name].width
        if not len(self.mean) == len(self.range) == width:
            raise InputError(f"channel {self.name} needs {width} means and ranges")

    @property
    def width(self) -> int:
        """Inputs D that it becomes."""
        return len(self.mean)


def channel_columns(channels: Sequence[ChannelInput]) -> Iterator[tuple[ChannelInput, slice]]:
    """Each channel with its columns of the points [N, 4 + E] that a network reads."""
    first = 4
    for channel in channels:
        yield channel, slice(first, first + channel.width)
        first += channel.width


def extra_inputs(channels: Sequence[ChannelInput]) -> int:
    """E of the network that reads these channels."""
    return sum(channel.width for channel in channels)


@dataclass(frozen=True, config=STRICT)
class Percentiles:
    """5th, 50th and 95th percentile of a quantity, and its mean where that is known."""

    p5: float
    median: float
    p95: float
    mean: float | None = None

    def __post_init__(self) -> None:
        if not self.p5 <= self.median <= self.p95:
            raise InputError(f"percentiles {self.p5}, {self.median}, {self.p95} don't ascend")


@dataclass(frozen=True, config=STRICT)
class SensorStatistics:
    """Of the training clouds; None where it isn't known.

    Attributes:
        points_per_sweep: over all sweeps.
        range_m, height_m: distance from the sensor and z in its frame, m.
        intensity: in units of a full return.
        elevation_deg: 1st and 99th percentile, degrees above the horizontal.
        class_counts, class_scans: labelled points, and sweeps with at least one, by class id.
        entropy: mean over the points that the model was calibrated on, nats.
    """

    points_per_sweep: Percentiles | None = None
    range_m: Percentiles | None = None
    height_m: Percentiles | None = None
    intensity: Percentiles | None = None
    elevation_deg: Extent | None = None
    class_counts: tuple[Count, ...] = ()
    class_scans: tuple[Count, ...] = ()
    entropy: Annotated[float, Field(ge=0)] | None = None


@dataclass(frozen=True, config=STRICT)
class ShippedStudent:
    """Why a run handed out this of its students.

    Attributes:
        student: its name.
        validation_miou: of all students by name, 0..1; empty where there was nothing to compare on.
        validation_sweeps: that they were compared on.
    """

    student: str
    validation_miou: dict[str, float]
    validation_sweeps: Count


@dataclass(frozen=True, config=STRICT)
class Provenance:
    """Where a model comes from; None where it isn't known.

    Attributes:
        trained: date of the training, UTC.
        haskd_ros, torch: versions that it was trained with.
        machine: architecture of the CPU.
        recordings: names of those that it was trained on.
        sweeps: how many of them.
        config: the training's settings.
        attribution: whom the licence of the data wants credited.
        image_labels: of a model that learned from labels that images gave: by which networks and
            image classes they were made, and how sure they had to be.
        initial: of a model whose training started from another one: which, and what that had
            learned from.
        distillation: settings and sources of the distillation.
        shipped: of a run's result.
    """

    trained: str | None = None
    haskd_ros: str | None = None
    torch: str | None = None
    machine: str | None = None
    recordings: tuple[str, ...] = ()
    sweeps: Count | None = None
    config: dict[str, JsonValue] = Field(default_factory=dict)
    attribution: str | None = None
    image_labels: dict[str, JsonValue] | None = None
    initial: dict[str, JsonValue] | None = None
    distillation: dict[str, JsonValue] | None = None
    shipped: ShippedStudent | None = None


@dataclass(frozen=True, config=STRICT)
class ModelMetadata:
    """Everything about a model but its weights.

    Attributes:
        architecture: of `models.ARCHITECTURES`, or one that an installed package adds.
        arguments: of the architecture, without `classes`, see `models.arguments`.
        taxonomy: class names and colours; a class's index is its column of the scores.
        intensity: input normalisation.
        channels: what else the network reads of each point, in the order of its inputs.
        sweeps: clouds that it takes at once: the newest one, whose points it labels, and those
            before, see `clouds.sweeps`. Of more than one it reads the age, which it requires: a
            caller that stacks no sweeps is refused.
        max_range: m; points further from the sensor were not trained on and get no label.
        input_range: what the training's inputs were; inputs far beyond are no inputs to a network.
        temperature: divides the logits before the softmax.
        sensor: statistics of the training clouds.
        provenance: what the model was trained on, with what, and whom to credit.

    Raises:
        ValueError: a value that makes no sense.
    """

    architecture: str
    arguments: dict[str, Any]
    taxonomy: Taxonomy
    intensity: Intensity
    max_range: Annotated[float, Field(gt=0, le=MAX_RANGE_M)]
    input_range: InputRange
    channels: tuple[ChannelInput, ...] = ()
    sweeps: Annotated[int, Field(ge=1, le=MOST_SWEEPS)] = 1
    temperature: Annotated[float, Field(ge=1e-3, le=1e3)] = 1.0
    sensor: SensorStatistics = SensorStatistics()
    provenance: Provenance = Provenance()

    def __post_init__(self) -> None:
        arguments = check_arguments(self.architecture, self.arguments)
        names = [channel.name for channel in self.channels]
        if len(set(names)) < len(names):
            raise InputError(f"a channel stands twice among {listed(names)}")
        inputs = extra_inputs(self.channels)
        if inputs != (taken := arguments.get("extra_inputs", 0)):
            raise InputError(f"channels give {inputs} inputs, the network takes {taken}")
        age = next((channel for channel in self.channels if channel.name == SWEEP_AGE), None)
        if (self.sweeps > 1) != (age is not None and age.required):
            raise InputError(
                f"sweeps is {self.sweeps}; a channel {SWEEP_AGE}, required, belongs to 2 or more"
            )

    @property
    def input_limits(self) -> InputLimits:
        """To which the inputs of the network are cut off, in training and afterwards."""
        height, intensity = self.input_range.height, self.input_range.intensity
        return InputLimits.around(
            height=(height.min, height.max),
            intensity=(intensity.min, intensity.max),
            channels=[(seen.min, seen.max) for each in self.channels for seen in each.range],
        )

    def to_json(self) -> str:
        """The header's text.

        Raises:
            InputError: longer than a header may be.
        """
        text = json.dumps(self.to_document(), sort_keys=True)
        if len(text) > json_text.MAX_CHARACTERS:
            raise InputError(
                f"a model's header of {len(text):,} characters, allowed are "
                f"{json_text.MAX_CHARACTERS:,}"
            )
        return text

    def to_document(self) -> dict[str, Any]:
        """As JSON values."""
        document: dict[str, Any] = _METADATA.dump_python(self, mode="json")
        if self.sweeps == 1:  # what takes one cloud needs no reader that knows of several
            del document["sweeps"]
        return document | {"format": FORMAT}

    @classmethod
    def from_json(cls, text: str) -> ModelMetadata:
        """The inverse of `to_json`.

        Raises:
            InputError: the text is not what `to_json` writes, or of another format.
        """
        return cls.from_document(json_text.parse(text))

    @classmethod
    def from_document(cls, document: Any) -> ModelMetadata:
        """The inverse of `to_document`; raises as `from_json`."""
        if not isinstance(document, dict):
            raise InputError("model header: not an object")
        check_format(document)
        values = {name: value for name, value in document.items() if name != "format"}
        try:
            return _METADATA.validate_json(json.dumps(values), strict=True)
        except ValidationError as error:
            raise InputError(f"model header: {first_problem(error)}") from error


def check_format(document: Mapping[str, Any]) -> None:
    """Refuse a header of another format.

    Raises:
        InputError: it says which, and what to do.
    """
    if (version := document.get("format")) != FORMAT:
        raise InputError(
            f"model format {quoted(version)}, this version reads format {FORMAT}: train the model "
            "again, or use the release of haskd_ros that wrote it"
        )


_METADATA = TypeAdapter(ModelMetadata)
