"""docs/settings.md, written from the settings' own models.

`python -m haskd_training.commands.settings_page > docs/settings.md`
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from annotated_types import Ge, Gt, Le, Lt, MinLen
from pydantic import BaseModel
from pydantic.fields import FieldInfo

from haskd_training.core.storage.settings import PREFIX, StoreSettings
from haskd_training.data.preparing.inputs import PrepareConfig
from haskd_training.data.readers.all_readers import READERS
from haskd_training.experiments.ablation_rows import AblationConfig
from haskd_training.experiments.demo import SETTINGS as DEMO_SETTINGS
from haskd_training.experiments.demo import SIMULATION
from haskd_training.experiments.drives import DriveBenchmarkConfig
from haskd_training.experiments.indoor_demo import FLAT, KEYFRAMES
from haskd_training.experiments.indoor_demo import SETTINGS as INDOOR_SETTINGS
from haskd_training.experiments.label_images import LabelImagesConfig
from haskd_training.experiments.run import RunConfig
from haskd_training.images.candidates import SelectionConfig
from haskd_training.learning.student import StudentConfig
from haskd_training.simulation import SimulationConfig
from haskd_training.simulation.indoor import FlatConfig
from haskd_training.suggestions.config import SuggestConfig

READER_SETTINGS: dict[str, type[BaseModel]] = {
    f"prepare --reader {name}": reader.settings.model
    for name, reader in READERS.items()
    if reader.settings is not None
}

COMMANDS: dict[str, type[BaseModel]] = {
    "run": RunConfig,
    "demo": RunConfig,
    "prepare": PrepareConfig,
    **READER_SETTINGS,
    "baseline": StudentConfig,
    "select": SelectionConfig,
    "suggest": SuggestConfig,
    "ablate": AblationConfig,
    "benchmark-drives": DriveBenchmarkConfig,
    "label-images": LabelImagesConfig,
    "simulate": SimulationConfig,
    "simulate --indoor": FlatConfig,
}
"""The settings that each command takes by --config and --set."""

INTRODUCTION = """\
# Settings

Written by `python -m haskd_training.commands.settings_page > docs/settings.md`.

Every setting can be given in a YAML file (`--config settings.yaml`), where dots are levels, or one
by one (`--set student.loop.epochs=12`, again for more). `--set` overrides the file, the file
overrides the defaults. Values are YAML: `--set "seeds=[0,1]"`, `--set teacher.size=null`. A wrong
name or value ends with exit code 2 and the names or values there are.

```yaml
student:
  voxel_size: 0.1
  loop: {epochs: 24, seed: 1}
prepare:
  points_topic: /lidar_top/points
  cameras:
    front: {image: /camera/front/image_raw, info: /camera/front/camera_info}
```

| command | its settings |
| --- | --- |
| `haskd run` | all of the first part |
| `haskd demo` | the same, with other defaults (below) where no `--config` is given |
| `haskd prepare` | those of `prepare`, without that prefix: `points_topic` |
| `haskd prepare --reader rgbd`, `--reader scannet` | their own |
| `haskd baseline` | those of `student`, without that prefix: `loop.epochs` |
| `haskd select` | those of `selection`, without that prefix: `window_s` |
| `haskd ablate` | its own, and under `method.` those of `haskd run` but `prepare`: \
`method.student.loop.epochs` |
| `haskd benchmark-drives` | those of `haskd ablate`, and its own |
| `haskd label-images` | its own, and under `prepare.` those of `haskd prepare` |
| `haskd suggest` | its own |
| `haskd simulate` | its own; with `--indoor` others |

`haskd segment --set` takes [parameters of the node](parameters.md) instead.

The settings that are worth knowing first are listed in
[training.md](training.md#settings-worth-knowing).
"""


def page() -> str:
    """The whole page as Markdown."""
    parts = [INTRODUCTION, "## `haskd run`\n", *_sections(RunConfig, "")]
    parts += ["## `haskd demo`\n", _demo()]
    for command, model in READER_SETTINGS.items():
        parts += [f"## `haskd {command}`\n", *_sections(model, "")]
    parts += ["## `haskd ablate`\n", *_sections(AblationConfig, "", skip="method")]
    drives = _sections(DriveBenchmarkConfig, "", skip="method")
    parts += ["## `haskd benchmark-drives`\n", *drives]
    parts += ["## `haskd label-images`\n", *_sections(LabelImagesConfig, "", skip="prepare")]
    parts += ["## `haskd suggest`\n", *_sections(SuggestConfig, "")]
    parts += ["## `haskd simulate`\n", *_sections(SimulationConfig, "")]
    parts += ["## `haskd simulate --indoor`\n", *_sections(FlatConfig, "")]
    parts += [f"## Object stores\n\n{_environment()}"]
    return "\n".join(parts)


def names(model: type[BaseModel], prefix: str = "") -> Iterator[str]:
    """Full names of all settings of a model, those of its parts included."""
    for name, field in model.model_fields.items():
        part = _part(field)
        if part is None:
            yield prefix + name
        else:
            yield from names(part, f"{prefix}{name}.")


def _part(field: FieldInfo) -> type[BaseModel] | None:
    """The model of a setting that only holds other settings."""
    kind = field.annotation
    return kind if isinstance(kind, type) and issubclass(kind, BaseModel) else None


def _sections(model: type[BaseModel], prefix: str, skip: str = "") -> Iterator[str]:
    """A table of the model's own settings, then those of its parts."""
    own = [(name, field) for name, field in model.model_fields.items() if _part(field) is None]
    if own:
        title = f"### `{prefix.removesuffix('.')}`\n\n" if prefix else ""
        lines = ["| setting | default | allowed | meaning |", "| --- | --- | --- | --- |"]
        lines += [_row(prefix + name, field) for name, field in own]
        yield f"{title}{_summary(model)}\n\n" + "\n".join(lines) + "\n"
    for name, field in model.model_fields.items():
        part = _part(field)
        if part is not None and name != skip:
            yield from _sections(part, f"{prefix}{name}.")


def _summary(model: type[BaseModel]) -> str:
    """The first paragraph of the model's docstring."""
    return " ".join((model.__doc__ or "").partition("\n\n")[0].split())


def _row(name: str, field: FieldInfo) -> str:
    allowed = _allowed(field.annotation, field.metadata)
    cells = (f"`{name}`", _default(field), allowed, field.description or "")
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def _default(field: FieldInfo) -> str:
    value = field.default
    if isinstance(value, dict) and value:
        return "the table of the ablation"
    return f"`{_yaml(value)}`"


def _yaml(value: Any) -> str:
    """A value as `--set` takes it."""
    if isinstance(value, tuple):
        return f"[{', '.join(map(_yaml, value))}]"
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    if isinstance(value, str) and "," in value:
        return f'"{value}"'
    return str(value)


def _allowed(kind: Any, bounds: list[Any]) -> str:
    """Type and bounds in words."""
    origin, arguments = get_origin(kind), get_args(kind)
    if origin is Annotated:
        own = [
            bound
            for about in arguments[1:]
            for bound in (about.metadata if isinstance(about, FieldInfo) else [about])
        ]
        return _allowed(arguments[0], own)
    if origin in (Union, UnionType):
        return " or ".join(
            "null" if option is NoneType else _allowed(option, bounds) for option in arguments
        )
    if origin is Literal:
        return ", ".join(f"`{option}`" for option in arguments)
    if origin is tuple:
        several = arguments[-1] is Ellipsis
        items = _allowed(arguments[0], []).replace("number", "numbers")
        empty = "" if any(isinstance(bound, MinLen) for bound in bounds) else ", may be empty"
        return f"list of: {items}{empty}" if several else f"{len(arguments)} of {items}"
    if origin is dict:
        value = arguments[1]
        if isinstance(value, type) and issubclass(value, BaseModel):
            inner = ", ".join(f"{name}: ..." for name in value.model_fields)
            return f"name: {{{inner}}}"
        return "name: settings"
    return ", ".join((_TYPES[kind], *_limits(bounds)))


_TYPES = {
    float: "number",
    int: "whole number",
    bool: "`true`, `false`",
    str: "text",
    Path: "path",
}


def _limits(bounds: list[Any]) -> Iterator[str]:
    for bound in bounds:
        match bound:
            case Ge(ge=limit):
                yield f">= {limit}"
            case Gt(gt=limit):
                yield f"> {limit}"
            case Le(le=limit):
                yield f"<= {limit}"
            case Lt(lt=limit):
                yield f"< {limit}"


def _environment() -> str:
    """What is set in the environment."""
    lines = ["| variable | default | allowed | meaning |", "| --- | --- | --- | --- |"]
    fields = StoreSettings.model_fields.items()
    lines += [_row(PREFIX + name.upper(), field) for name, field in fields]
    return f"{_summary(StoreSettings)}\n\n" + "\n".join(lines) + "\n"


def _demo() -> str:
    return (
        "A run of a few minutes that shows that all works. What differs from `haskd run`, unless "
        f"`--config` is given:\n\n{_list(DEMO_SETTINGS)}\n\nThe simulated drive is `haskd "
        f"simulate`'s with `duration_s={SIMULATION.duration_s:g}`.\n\n"
        f"With `--indoor` it is these instead:\n\n{_list(INDOOR_SETTINGS)}\n\nThe flats are `haskd "
        f"simulate --indoor`'s with {_changed(FLAT)}, their keyframes `haskd prepare --reader "
        f"rgbd`'s with {_changed(KEYFRAMES)}.\n"
    )


def _list(settings: Iterable[str]) -> str:
    return "\n".join(f"- `{setting}`" for setting in settings)


def _changed(config: BaseModel) -> str:
    """What differs from the defaults."""
    changes = config.model_dump(mode="json", exclude_defaults=True)
    return ", ".join(f"`{name}={value}`" for name, value in changes.items())


if __name__ == "__main__":
    sys.stdout.write(page())
