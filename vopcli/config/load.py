"""Resolve settings: defaults < preset < ``vop.yaml`` < variables < ``--set`` < options.

All problems are reported at once.
"""

from __future__ import annotations

import dataclasses
import logging
import math
import os
import types
import typing
from collections.abc import Mapping, Sequence
from dataclasses import Field, fields, is_dataclass
from enum import Enum
from pathlib import Path
from typing import Any, Final, TypeVar

from vopcli.config.schema import SETTINGS, Config, DataConfig
from vopcli.errors import ConfigError, format_name, format_value, nearest
from vopcli.resources import user_path

ConfigT = TypeVar("ConfigT")
DEFAULT_FILE: Final = "vop.yaml"
SettingProblems = list[tuple[str, str]]  # name of a setting, and its problem in words
_PRESETS: Final = Path(__file__).parent / "presets"
_TYPE_NAMES: Final = {str: "text", int: "a whole number", float: "a number", bool: "true or false"}
_MOST_PROBLEMS: Final = 20  # shown in a message
# An option for one of them replaces the other of the file: the two exclude each other.
_EXCLUDED: Final = {"data.dataset": "captions", "data.captions": "dataset"}
_PATH_ENDINGS: Final = ("FILE", "PATH", "DIR", ".h5")  # of the placeholders of settings that name a file
_LOG: Final = logging.getLogger(__name__)
_NO_OPTIONS: Final[Mapping[str, Any]] = types.MappingProxyType({})


def load_config(
    path: Path | None = None,
    *,
    preset: str | None = None,
    assignments: Sequence[str] = (),
    options: Mapping[str, Any] = _NO_OPTIONS,
) -> Config:
    """Resolve the settings of a command.

    File names in a settings file that was found are relative to its folder, all others to the current one.

    Args:
        path: the settings file; None: ``vop.yaml`` of the current folder or the nearest parent that has one.
        preset: name of a preset; the settings file overrides it.
        assignments: texts such as ``training.warmup=0.2``; they override the file.
        options: values by setting, such as ``training.epochs``; they override all else. None: not given.

    Raises:
        FileError: `path` cannot be read.
        ConfigError: `path` is not valid YAML, a setting is unknown or has a wrong type or value, the preset
            is unknown, or the file is for a benchmark other than the preset's.
    """
    return explain_config(path, preset=preset, assignments=assignments, options=options)[0]


def explain_config(
    path: Path | None = None,
    *,
    preset: str | None = None,
    assignments: Sequence[str] = (),
    options: Mapping[str, Any] = _NO_OPTIONS,
) -> tuple[Config, dict[str, str]]:
    """Resolve settings like `load_config`; return them, and the origin of each that is not a default."""
    layers = [(f"preset {preset}", _read_preset(preset))] if preset else []
    if file := path or find_settings():
        _LOG.debug("settings file: %s", file)
        layers.append((str(file), _read_settings(file, is_found=path is None)))
    else:
        _LOG.debug("no settings file: %s is neither here nor in a parent folder", DEFAULT_FILE)
    if preset and file:
        _check_dataset(file, layers[1][1], layers[0][1])
    document: Any = {}
    origins: dict[str, str] = {}
    for origin, layer in layers:
        document = _stack(document, layer)
        origins |= dict.fromkeys(_setting_names(layer), origin)
    values: dict[str, Any] = {}
    labels: dict[str, str] = {}
    for name, item in SETTINGS.items():
        variable = item.metadata["envvar"]
        if variable and (value := os.environ.get(variable)):
            values[name], labels[name] = value, variable
    if assignments:
        from vopcli.config.yaml_file import parse_assignment

        assigned = dict(map(parse_assignment, assignments))
        values |= assigned
        sections = {name: name.partition(".")[0] for name in assigned}
        labels |= {
            section: f"--set {name}" for name, section in sections.items() if not hasattr(Config, section)
        }
        labels |= {name: f"--set {name}" for name in assigned}
    given = {name: value for name, value in options.items() if value is not None}
    labels |= {name: "--" + name.partition(".")[2].replace("_", "-") for name in given}
    source = ", ".join(origin for origin, _ in reversed(layers))
    config = build_config(Config, _merge(document, values | given), source=source, labels=labels)
    _LOG.debug("settings from options: %s", ", ".join(labels.values()) or "none")
    return config, origins | labels


def find_settings() -> Path | None:
    """Return ``vop.yaml`` of the current folder or the nearest parent; None if none of them has one."""
    here = Path.cwd()
    for folder in (here, *here.parents):
        if os.path.isfile(folder / DEFAULT_FILE):  # noqa: PTH113  False where a folder may not be read
            return Path(os.path.relpath(folder / DEFAULT_FILE, here))
    return None


def _read_settings(file: Path, *, is_found: bool) -> Any:
    from vopcli.config.yaml_file import read_yaml

    document = read_yaml(file)
    folder = file.parent
    if not is_found or folder == Path() or not isinstance(document, dict):
        return document
    for name in _setting_names(document):
        section, _, key = name.partition(".")
        value = document[section][key]
        shown = (SETTINGS[name].metadata["metavar"] if name in SETTINGS else None) or ""
        if not (shown.endswith(_PATH_ENDINGS) and isinstance(value, str)):
            continue
        place = folder / user_path(value)
        if not shown.startswith("NAME|") or place.exists():
            document[section][key] = str(place)
    return document


def _setting_names(document: Any) -> list[str]:
    """Return the settings of a document, such as ``training.epochs``."""
    sections = document.items() if isinstance(document, dict) else ()
    return [f"{section}.{key}" for section, values in sections if isinstance(values, dict) for key in values]


def override(config: Config, values: Mapping[str, Any], *, labels: Mapping[str, str] = _NO_OPTIONS) -> Config:
    """Replace settings, given by names such as ``training.epochs``; for ``labels`` see `build_config`.

    Raises:
        ConfigError: a setting is unknown or has a wrong type or value.
    """
    document = _merge(dataclasses.asdict(config), values)
    return build_config(Config, document, labels={name: name for name in values} | dict(labels))


def preset_names() -> list[str]:
    """Return the names of all presets."""
    return sorted(path.stem for path in _PRESETS.glob("*.yaml"))


def _read_preset(preset: str) -> dict[str, Any]:
    """Read a preset.

    Raises:
        ConfigError: the preset is unknown.
    """
    if preset not in preset_names():
        near = _nearest(preset, preset_names())
        raise ConfigError(
            f"unknown preset {format_value(preset)}{near}", hint="presets are named after benchmarks"
        )
    from vopcli.config.yaml_file import read_yaml

    document: dict[str, Any] = read_yaml(_PRESETS / f"{preset}.yaml")
    return document


def _check_dataset(file: Path, document: Any, of_preset: dict[str, Any]) -> None:
    """Refuse a settings file for a benchmark other than the preset's.

    Raises:
        ConfigError: it is.
    """
    data = document.get("data") if isinstance(document, dict) else None
    dataset = of_preset["data"]["dataset"]
    other = data.get("dataset", dataset) if isinstance(data, dict) else dataset
    if other != dataset:
        raise ConfigError(
            f"{file} is for {_format_key(other)}, the preset for {dataset}",
            hint="remove data.dataset from the file",
        )


def _stack(below: Any, above: Any) -> Any:
    """Return a document overridden by another; one that is not a mapping is returned unchanged."""
    if not isinstance(below, dict) or not isinstance(above, dict):
        return above if isinstance(below, dict) else below
    merged = dict(below)
    for section, values in above.items():
        if isinstance(values, dict):
            merged[section] = {**(merged.get(section) or {}), **values}
        elif values is not None or section not in merged:
            merged[section] = values
    return merged


def _merge(document: Any, values: Mapping[str, Any]) -> Any:
    """Return the document with values by ``section.name`` replaced; one that is not a mapping unchanged."""
    if not isinstance(document, dict):
        return document
    merged = dict(document)
    for name, value in values.items():
        section, _, key = name.partition(".")
        if isinstance(merged.get(section) or {}, dict):
            merged[section] = {**(merged.get(section) or {}), key: value}
            other = _EXCLUDED.get(name)
            if value is not None and other and f"{section}.{other}" not in values:
                merged[section].pop(other, None)
    return merged


def build_config(
    kind: type[ConfigT], document: Any, *, source: str = "", labels: Mapping[str, str] = _NO_OPTIONS
) -> ConfigT:
    """Build the dataclass ``kind`` from plain values, such as those of YAML or JSON.

    Args:
        kind: `Config` or one of its sections.
        document: a mapping of values.
        source: where they come from, for messages.
        labels: other names for settings in messages, such as the option that set them.

    Raises:
        ConfigError: unknown keys, wrong types or values out of range; all are listed.
    """
    problems: SettingProblems = []
    config: ConfigT = _build(kind, document, "", problems)
    if problems:
        more = len(problems) - _MOST_PROBLEMS
        rest = [f"and {more} more problems"] if more > 0 else []
        del problems[_MOST_PROBLEMS:]
        of_source = "; ".join(f"{name} {text}" for name, text in problems if name not in labels)
        listed = [f"{source}: {of_source}"] if of_source else []
        listed += [f"{labels[name]} {text}" for name, text in problems if name in labels]
        raise ConfigError("; ".join([*listed, *rest]))
    return config


def _build(kind: Any, document: Any, prefix: str, problems: SettingProblems) -> Any:
    if not isinstance(document, dict):
        name = prefix.rstrip(".") or "the file"
        problems.append((name, f"must be a mapping of `key: value`, not {format_value(document)}"))
        return kind()
    known = {item.name: item for item in fields(kind)}
    hints = typing.get_type_hints(kind)
    values = {}
    for key, value in document.items():
        name = f"{prefix}{_format_key(key)}"
        if key not in known:
            problems.append((name, f"is unknown{_nearest(key, list(known))}"))
        elif is_dataclass(hints[key]):
            values[key] = _build(hints[key], {} if value is None else value, f"{name}.", problems)
        else:
            values[key] = _checked(known[key], hints[key], value, name, problems)
    built = kind(**values)
    problems.extend(built.contradictions() if isinstance(built, DataConfig) else ())
    return built


def _format_key(value: Any) -> str:
    return format_name(value) if isinstance(value, str) else format_value(value)


def _nearest(key: Any, known: list[str]) -> str:
    near = nearest(_format_key(key), known)
    return f" ({near})" if near else f" (known: {', '.join(known)})"


def _checked(item: Field[Any], hint: Any, value: Any, name: str, problems: SettingProblems) -> Any:
    """Return a value of the setting's type; its default after adding to ``problems``."""
    allowed = typing.get_args(hint) if isinstance(hint, types.UnionType) else (hint,)
    if value is None and types.NoneType in allowed:
        return None
    kind = allowed[0]
    if issubclass(kind, Enum):
        try:
            # Enum prints any value in its error, and aliases make a few bytes of YAML a value of gigabytes
            return kind(value if isinstance(value, str) else "")
        except ValueError:
            near = _nearest(value, [str(one.value) for one in kind])
            problems.append((name, f"cannot be {format_value(value)}{near}"))
            return item.default
    if problem := _problem(item, kind, value):
        problems.append((name, f"must be {problem}, not {format_value(value)}"))
        return item.default
    return value


def _problem(item: Field[Any], kind: Any, value: Any) -> str:
    """Return the condition that a value does not meet; "" if it is valid."""
    if isinstance(value, bool) is not (kind is bool) or not isinstance(
        value, (kind, int) if kind is float else kind
    ):
        return _TYPE_NAMES[kind]
    if kind is float and not math.isfinite(value):
        return "a finite number"
    between = item.metadata["between"]
    return f"from {between[0]} to {between[1]}" if between and not between[0] <= value <= between[1] else ""


def to_dict(config: Any) -> dict[str, Any]:
    """Return a configuration as values that JSON and YAML can hold."""

    def plain(items: list[tuple[str, Any]]) -> dict[str, Any]:
        return {name: value.value if isinstance(value, Enum) else value for name, value in items}

    return dataclasses.asdict(config, dict_factory=plain)
