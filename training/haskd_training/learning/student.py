"""The student's settings, network, losses and score, shared by all of its trainings."""

from __future__ import annotations

import logging
import platform
import time
from collections.abc import Callable, Collection, Sequence
from typing import TYPE_CHECKING, Annotated, Any, Literal

import torch
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator
from torch import Tensor, nn

import haskd_ros
from haskd_ros.channels import RecordedChannel
from haskd_ros.model_header import (
    MOST_SWEEPS,
    Intensity,
    ModelMetadata,
    Provenance,
    SensorStatistics,
    extra_inputs,
)
from haskd_ros.models import SIZES, build, of_size, size_names
from haskd_ros.models.network import SegmentationNetwork
from haskd_training.core.exchange import sum_over_processes
from haskd_training.core.file_digests import file_digest
from haskd_training.core.processes import own
from haskd_training.data.sensor_statistics import input_range
from haskd_training.data.splits import Split, SplitConfig
from haskd_training.data.sweep_ref import SweepRef
from haskd_training.learning.augmentation import AugmentationConfig
from haskd_training.learning.batches import Extras, SweepDataset
from haskd_training.learning.inference import predict
from haskd_training.learning.initial_weights import (
    FRESH,
    fitting_model,
    initial_digest,
    known_recordings,
    start_from,
)
from haskd_training.learning.loop import LoopConfig
from haskd_training.learning.losses import (
    class_weights,
    lovasz_softmax,
    resolved,
    set_cross_entropy,
    soften,
    wrong_label_loss,
)
from haskd_training.metrics.confusion import evaluate, mean_iou

log = logging.getLogger(__name__)

if TYPE_CHECKING:  # takes two seconds
    from lightning_fabric import Fabric


def _known_size(size: str) -> str:
    if size not in SIZES and size not in (known := size_names()):
        raise ValueError(f"no network of that size; there are {', '.join(known)}")
    return size


NetworkSize = Annotated[str, AfterValidator(_known_size)]
"""A key of `models.SIZES`, or a size that an installed package adds."""


INIT = (
    "weights to start from: fresh; shipped, those of the package's model; auto, the same where "
    "that has the size, the voxels and a class of the student, else fresh; or a model file. "
    "Classes are matched by name. By default auto in a run, fresh where trainings are compared"
)


class StudentConfig(BaseModel):
    """The student's network, its split of the data, and its training."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    size: NetworkSize = Field(
        "S",
        description="network: S, M (larger), L (as large as MinkUNet34), P (point transformer), "
        "R (2D range view), or a size that an installed package adds",
    )
    init: str = Field(FRESH, description=INIT)
    voxel_size: float = Field(0.2, ge=0.01, le=10, description="m")
    max_range: float = Field(120.0, gt=0, le=1000, description="m; points beyond are not labelled")
    intensity_required: bool = Field(
        False, description="reject clouds without intensity instead of filling in the mean"
    )
    channels: tuple[RecordedChannel, ...] = Field(
        (),
        description="what the network reads of each point beside place and intensity: rgb, normal, "
        "reflectivity, echo; the training's mean stands in where a cloud has none",
    )
    channels_required: bool = Field(
        False, description="reject clouds without these channels instead"
    )
    sweeps: int = Field(
        1,
        ge=1,
        le=MOST_SWEEPS,
        description="clouds that the network takes at once: the newest, which it labels, and those "
        "before it, moved into its frame by the recording's poses; needs poses on the robot too",
    )
    lovasz: float = Field(
        1.0, ge=0, le=100, description="weight of the Lovasz loss beside cross-entropy"
    )
    open_labels: Literal["likeliest", "sum"] = Field(
        "likeliest",
        description="a label from images that is a set of classes: likeliest: is taken for its "
        "likeliest one; sum: is asked for their sum alone",
    )
    label_noise: Literal["none", "symmetric", "bootstrap"] = Field(
        "none",
        description="loss for labels that may be wrong, beside cross-entropy: symmetric: the "
        "reverse cross-entropy; bootstrap: the network's own opinion",
    )
    by_hand: float = Field(
        0.5,
        ge=0,
        lt=1,
        description="where images label sweeps too: least share of a training's sweeps that are "
        "labelled by hand; fewer are shown several times an epoch",
    )
    snapshots: int = Field(
        5,
        ge=1,
        le=50,
        description="models saved during the training on labels, as experts",
    )
    split: SplitConfig = SplitConfig()
    loop: LoopConfig = LoopConfig()
    augmentation: AugmentationConfig = AugmentationConfig()

    def of_training(self) -> dict[str, Any]:
        """What a training depends on besides its split, in JSON values: all settings but the shares
        that the split was made by."""
        return self.model_dump(mode="json", exclude={"split"})

    @model_validator(mode="after")
    def _stacks_can_be_augmented(self) -> StudentConfig:
        if self.sweeps == 1:
            return self
        if self.augmentation.beams:
            raise ValueError(
                f"sweeps={self.sweeps}: augmentation.beams must be 0: fewer beams are told by "
                "elevation, and those of sweeps before were measured from elsewhere"
            )
        mixing = self.augmentation.mixing
        if mixing.share and "things" in mixing.ways:
            raise ValueError(
                f"sweeps={self.sweeps}: augmentation.mixing.ways can't have things: the sweeps "
                "before have no labels to find movable things by; sectors, bands and union work"
            )
        return self

    @model_validator(mode="after")
    def _one_snapshot_per_cycle(self) -> StudentConfig:
        if self.loop.schedule == "cyclic":
            self.check_cycles()
        return self

    def check_cycles(self) -> None:
        """Check that a cyclic schedule gives enough snapshots.

        Raises:
            ValueError: it doesn't.
        """
        if self.snapshots > self.loop.cycles:
            raise ValueError(
                f"a cyclic schedule gives one snapshot per cycle: snapshots ({self.snapshots}) may "
                f"not exceed loop.cycles ({self.loop.cycles})"
            )

    def in_cycles(self) -> StudentConfig:
        """The same with a cyclic learning rate."""
        return self.model_copy(update={"loop": self.loop.model_copy(update={"schedule": "cyclic"})})


def make_network(
    split: Split, config: StudentConfig, attribution: str | None
) -> tuple[SegmentationNetwork, ModelMetadata]:
    """A network with initial weights, a function of `config.loop.seed` and `config.init` alone, and
    the header of its model file."""
    # The model is for the sensor of the first cache: it has its scale and statistics.
    sensor = split.caches[0]
    if sensor.together != config.sweeps:
        raise ValueError(f"sweeps is {config.sweeps}, the split has {sensor.together} together")
    architecture, arguments = of_size(
        config.size, config.voxel_size, elevation_span(split), extra_inputs(sensor.channels)
    )
    torch.manual_seed(config.loop.seed)
    network = build(architecture, classes=len(split.taxonomy), **arguments)
    initial = None
    start = fitting_model(
        config.init, architecture, arguments, split.taxonomy, sensor.channels, tell=True
    )
    if start is not None:
        start_from(start, network, split.taxonomy)
        initial = start.metadata
        _warn_of_known_sweeps(split, initial)
    trained_on = [
        split.caches[i] for i in sorted({ref.cache for ref in split.train_and_unlabelled})
    ]
    rows = (split.row(ref) for ref in split.train_and_unlabelled)
    # A cache may be given several times, to be seen more often.
    learned = {(row.recording, row.stamp_ns, row.points) for row in rows}
    metadata = ModelMetadata(
        architecture=architecture,
        arguments=arguments,
        taxonomy=sensor.taxonomy,
        intensity=Intensity(
            scale=sensor.intensity_scale,
            mean=sensor.missing_intensity,
            required=config.intensity_required,
        ),
        channels=sensor.channels,
        sweeps=sensor.together,
        max_range=config.max_range,
        input_range=input_range(trained_on, config.max_range),
        sensor=SensorStatistics(**sensor.statistics),
        provenance=Provenance(
            trained=time.strftime("%Y-%m-%d", time.gmtime()),
            haskd_ros=haskd_ros.__version__,
            torch=str(torch.__version__),
            machine=platform.machine(),
            recordings=tuple(sorted({recording for recording, _, _ in learned})),
            sweeps=len(learned),
            config=config.model_dump(mode="json"),
            attribution=_with_credit(attribution, initial),
            image_labels=split.image_labels_origin,
            initial=None if initial is None else _origin(config.init, initial),
        ),
    )
    network.limit_inputs(metadata.input_limits)
    return network, metadata


def _warn_of_known_sweeps(split: Split, initial: ModelMetadata) -> None:
    """Warn where the weights that a training starts from know what it is judged on."""
    judged = {split.row(ref).recording for ref in split.calibration + split.validation + split.test}
    if known := judged.intersection(known_recordings(initial)):
        log.warning(
            "the weights that training starts from have learned from %s, on which the model is "
            "judged: its scores there flatter; student.init=fresh knows nothing",
            ", ".join(sorted(known)),
        )


def _origin(init: str, initial: ModelMetadata) -> dict[str, Any]:
    """What the weights that a training starts from have learned."""
    return {
        "init": init,
        "sha256": initial_digest(init),
        "recordings": sorted(known_recordings(initial)),
    }


def _with_credit(attribution: str | None, initial: ModelMetadata | None) -> str | None:
    """Whom to credit: for the data of the training, and of what it starts from."""
    owed = [attribution, None if initial is None else initial.provenance.attribution]
    return " And: ".join(dict.fromkeys(filter(None, owed))) or None


def training_dataset(
    split: Split,
    sweeps: Sequence[SweepRef],
    config: StudentConfig,
    *,
    extras: Extras | None = None,
    unlabelled: Collection[SweepRef] = (),
) -> SweepDataset:
    """Sweeps of a split with the range, augmentation and seed of a student's training; other
    arguments as of `SweepDataset`."""
    return SweepDataset(
        split.caches,
        split.repeated(sweeps, config.by_hand),
        max_range=config.max_range,
        augmentation=config.augmentation,
        seed=config.loop.seed,
        extras=extras,
        unlabelled=unlabelled,
        open_labels=config.open_labels == "sum",
    )


def elevation_span(split: Split) -> tuple[float, float]:
    """Lowest and highest elevation in degrees of the training's sensors: the range that holds 98 %
    of the points, extended by a tenth at either end."""
    spans = [
        split.caches[cache].statistics["elevation_deg"]
        for cache in {ref.cache for ref in split.train}
    ]
    low, high = min(span["min"] for span in spans), max(span["max"] for span in spans)
    # A planar scanner's span is zero.
    margin = max(0.1 * (high - low), 0.5)
    return max(low - margin, -90.0), min(high + margin, 90.0)


def training_class_weights(split: Split) -> Tensor:
    """[C] inverse root frequencies of the training sweeps' classes."""
    return class_weights(torch.from_numpy(split.class_counts(split.train)))


def supervised_loss(
    split: Split, config: StudentConfig
) -> Callable[[Tensor, Tensor], dict[str, Tensor]]:
    """(logits [N, C], label ids [N] of the split) -> the supervised loss terms: cross-entropy
    weighted by the training sweeps' inverse root frequencies, Lovasz, and what allows for wrong
    labels."""
    all_weights = training_class_weights(split)
    all_members = torch.from_numpy(split.label_sets.table)

    def terms(logits: Tensor, labels: Tensor) -> dict[str, Tensor]:
        log_p = soften(logits)
        weights, members = all_weights.to(logits.device), all_members.to(logits.device)
        classes = resolved(labels, members, log_p)
        result = {
            "cross_entropy": set_cross_entropy(log_p, labels, members, weights),
            "lovasz": config.lovasz * lovasz_softmax(log_p.exp(), classes),
        }
        if config.label_noise != "none":
            result["wrong_labels"] = wrong_label_loss(log_p, classes, weights, config.label_noise)
        return result

    return terms


def validator(
    split: Split, config: StudentConfig, fabric: Fabric
) -> Callable[[nn.Module], float] | None:
    """mIoU, 0..1, of a network on the validation sweeps, distributed over the processes; None where
    there are none."""
    if not split.validation:
        return None

    def validate(network: nn.Module) -> float:
        evaluation = evaluate(
            lambda sweep: predict(network, sweep, config.max_range, fabric.device),
            (split.sweep(ref) for ref in own(split.validation)),
            split.taxonomy,
        )
        return mean_iou(sum_over_processes(evaluation.counts))

    return validate


def stage_settings(split: Split, config: StudentConfig, **more: Any) -> dict[str, Any]:
    """What a stage's result depends on, for its `RunFolder`."""
    channels = split.caches[0].channels
    network = of_size(config.size, config.voxel_size, extra_inputs=extra_inputs(channels))
    start = fitting_model(config.init, *network, split.taxonomy, channels)
    # The file of weights may be replaced by another of the same name.
    initial = {} if start is None else {"initial": file_digest(start.path)}
    return {"config": config.of_training(), "split": split.fingerprint(), **initial, **more}
