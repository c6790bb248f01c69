"""Read ``vop.yaml`` into the dataclasses of ``schema.py``; every problem in the file is reported at once."""

from __future__ import annotations

import dataclasses
import difflib
import re
import types
import typing
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import Field, fields, is_dataclass
from enum import Enum
from pathlib import Path
from typing import Any, Final, TypeVar

import yaml

from vopcli.config.schema import Config, DataConfig
from vopcli.errors import ConfigError, FileError, format_value

ConfigT = TypeVar("ConfigT")
DEFAULT_FILE: Final = "vop.yaml"
_PRESETS: Final = Path(__file__).parent / "presets"
_MOST_BYTES: Final = 1 << 20  # a settings file is small; a larger one is another file
_TYPE_NAMES: Final = {str: "text", int: "a whole number", float: "a number", bool: "true or false"}


class _Loader(yaml.SafeLoader):
    """SafeLoader builds plain values only; this one refuses a key that stands twice."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> Any:  # noqa: FBT001, FBT002
        keys = [key.value for key, _ in node.value]
        for key in keys:
            if keys.count(key) > 1:
                raise yaml.constructor.ConstructorError(None, None, f"{key!r} stands twice", node.start_mark)
        return super().construct_mapping(node, deep)


# YAML 1.1 takes 1e-3 for text, since it lacks a dot; nobody means that
_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float", re.compile(r"[-+]?\d+(\.\d*)?[eE][-+]?\d+\Z"), list("-+0123456789")
)


def load_config(path: Path | None = None, *, preset: str | None = None) -> Config:
    """Read the settings in ``path``, by default ``vop.yaml`` of the current folder, else the defaults.

    File names in the settings are, like those on the command line, relative to the current folder.

    Args:
        path: the file.
        preset: name of published settings, which the file's own replace one by one.

    Raises:
        FileError: ``path`` was named and cannot be read.
        ConfigError: the file is no YAML, or holds unknown keys, wrong types or values out of range; or there
            is no such preset, or the file is for another benchmark.
    """
    named = path or Path(DEFAULT_FILE)
    document = {} if path is None and not named.is_file() else _parse(named)
    if preset is None:
        return build_config(Config, document, source=str(named))
    return build_config(Config, _on_preset(preset, document, named), source=f"{named}, preset {preset}")


def preset_names() -> list[str]:
    """Return the published settings there are."""
    return sorted(path.stem for path in _PRESETS.glob("*.yaml"))


def _on_preset(preset: str, document: Any, named: Path) -> Any:
    if preset not in preset_names():
        near = _nearest(preset, preset_names())
        raise ConfigError(
            f"there is no preset {preset!r}{near}", hint="a preset is named after its benchmark"
        )
    merged = _parse(_PRESETS / f"{preset}.yaml")
    dataset = merged["data"]["dataset"]
    if not isinstance(document, dict):
        return document  # no settings: `build_config` says so
    for section, values in document.items():
        if isinstance(values, dict):
            merged[section] = {**merged.get(section, {}), **values}
        elif values is not None:
            merged[section] = values
    named_data = merged["data"] if isinstance(merged["data"], dict) else {}
    if (other := named_data.get("dataset", dataset)) != dataset:
        raise ConfigError(
            f"{named} is for {_plain_text(other)}, the preset for {dataset}",
            hint="leave data.dataset out of the file",
        )
    return merged


def build_config(kind: type[ConfigT], document: Any, *, source: str) -> ConfigT:
    """Build the dataclass ``kind`` from plain values, such as YAML or JSON give them.

    Raises:
        ConfigError: unknown keys, wrong types or values out of range in ``source``, all of them named.
    """
    problems: list[str] = []
    config: ConfigT = _build(kind, document, "", problems)
    if problems:
        listed = "; ".join(problems)
        raise ConfigError(f"{source}: {listed}", hint="mend it; the README lists what settings there are")
    return config


def override(
    config: Config, given: Mapping[str, Mapping[str, Any]], assignments: Sequence[str] = ()
) -> Config:
    """Replace settings by those given on the command line.

    Args:
        config: the settings so far.
        given: by section, what options say; None is not given.
        assignments: such as ``training.warmup=0.2``, weaker than options.

    Raises:
        ConfigError: an unknown key, wrong types or values out of range, all of them named.
    """
    document: dict[str, dict[str, Any]] = {
        section.name: {
            item.name: getattr(getattr(config, section.name), item.name)
            for item in fields(getattr(config, section.name))
        }
        for section in fields(config)
    }
    for assignment in assignments:
        section, name, value = _assigned(assignment)
        document.setdefault(section, {})[name] = value
    for section, values in given.items():
        document[section] |= {name: value for name, value in values.items() if value is not None}
    return build_config(Config, document, source="the options")


def _assigned(text: str) -> tuple[str, str, Any]:
    """Return section, name and value of ``section.name=value``.

    Raises:
        ConfigError: it is not written so.
    """
    name, sign, value = text.partition("=")
    section, dot, key = name.strip().partition(".")
    try:
        if sign and dot:
            return section, key, yaml.load(value, _Loader)  # noqa: S506  (a SafeLoader)
    except (yaml.YAMLError, RecursionError, ValueError):
        pass
    raise ConfigError(f"--set {text!r} sets nothing", hint="such as --set training.warmup=0.2")


def _parse(path: Path) -> Any:
    try:
        with path.open("rb") as file:
            data = file.read(_MOST_BYTES + 1)
    except OSError as error:
        raise FileError(path, error) from error
    if len(data) > _MOST_BYTES:
        raise ConfigError(f"{path} is larger than 1 MiB", hint="is it a settings file?")
    try:
        document = yaml.load(data, _Loader)  # noqa: S506  (a SafeLoader)
    except (yaml.YAMLError, UnicodeDecodeError, RecursionError, ValueError) as error:
        mark = getattr(error, "problem_mark", None)
        where = f" at line {mark.line + 1}" if mark else ""
        reason = getattr(error, "problem", None) or str(error).splitlines()[0]
        raise ConfigError(
            f"{path} is not valid YAML{where}: {reason}", hint="mend the settings file"
        ) from error
    return {} if document is None else document


def _build(kind: Any, document: Any, prefix: str, problems: list[str]) -> Any:
    if not isinstance(document, dict):
        problems.append(
            f"{prefix.rstrip('.') or 'the file'} must be a list of `key: value`, not {format_value(document)}"
        )
        return kind()
    known = {item.name: item for item in fields(kind)}
    hints = typing.get_type_hints(kind)
    values = {}
    for key, value in document.items():
        if key not in known:
            problems.append(f"unknown key {prefix}{_plain_text(key)}{_nearest(key, list(known))}")
        elif is_dataclass(hints[key]):
            values[key] = _build(hints[key], {} if value is None else value, f"{prefix}{key}.", problems)
        else:
            values[key] = _checked(known[key], hints[key], value, f"{prefix}{key}", problems)
    built = kind(**values)
    problems.extend(built.contradictions() if isinstance(built, DataConfig) else ())
    return built


def _plain_text(value: Any) -> str:
    return value[:80] if isinstance(value, str) else format_value(value)


def _nearest(key: Any, known: list[str]) -> str:
    near = difflib.get_close_matches(_plain_text(key), known, 2)
    return f" (did you mean {' or '.join(near)}?)" if near else f" (known: {', '.join(known)})"


def _checked(item: Field[Any], hint: Any, value: Any, name: str, problems: list[str]) -> Any:
    allowed = typing.get_args(hint) if isinstance(hint, types.UnionType) else (hint,)
    if issubclass(allowed[0], Enum) and not (value is None and types.NoneType in allowed):
        return _chosen(item, allowed[0], value, name, problems)
    problem = "".join(_problems(item, allowed, value))
    if problem:
        problems.append(f"{name} {problem}")
        return item.default
    return value


def _chosen(item: Field[Any], kind: type[Enum], value: Any, name: str, problems: list[str]) -> Any:
    try:
        # Enum prints any value in its error, and aliases make a few bytes of YAML a value of gigabytes
        return kind(value if isinstance(value, str) else "")
    except ValueError:
        problems.append(
            f"{name} cannot be {format_value(value)}{_nearest(value, [str(one.value) for one in kind])}"
        )
        return item.default


def _problems(item: Field[Any], allowed: tuple[type, ...], value: Any) -> Iterator[str]:
    kinds = (*allowed, int) if float in allowed else allowed
    if (isinstance(value, bool) and bool not in allowed) or not isinstance(value, kinds):
        names = " or ".join(_TYPE_NAMES[kind] for kind in allowed if kind is not types.NoneType)
        yield f"must be {names}, not {format_value(value)}"
        return
    low, high = item.metadata["low"], item.metadata["high"]
    if value is not None and low is not None and not low <= value <= high:
        yield f"must be from {low} to {high}, not {format_value(value)}"


def plain(config: Any) -> dict[str, Any]:
    """Return a configuration as values that JSON and YAML know."""
    values = dataclasses.asdict(config)
    return _plain(values)


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    return value.value if isinstance(value, Enum) else value
