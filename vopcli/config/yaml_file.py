"""Parse settings files: a SafeLoader that rejects duplicate keys and understands 1e-3."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, Final

import yaml

from vopcli.errors import ConfigError, FileError, format_value

_MAX_BYTES: Final = 1 << 20  # a larger file is not a settings file
_PARSE_ERRORS: Final = (yaml.YAMLError, UnicodeDecodeError, RecursionError, ValueError)


class _Loader(yaml.SafeLoader):
    """Build plain values only, and reject duplicate keys."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> Any:  # noqa: FBT001, FBT002
        seen = set()
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode):
                if key.value in seen:
                    problem = f"duplicate key {format_value(key.value)}"
                    raise yaml.constructor.ConstructorError(None, None, problem, key.start_mark)
                seen.add(key.value)
        return super().construct_mapping(node, deep)


# YAML 1.1 reads 1e-3 as text because it has no dot
_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float", re.compile(r"[-+]?\d+(\.\d*)?[eE][-+]?\d+\Z"), list("-+0123456789")
)


def read_yaml(path: Path) -> Any:
    """Read a file; an empty one is an empty mapping.

    Raises:
        FileError: `path` cannot be read.
        ConfigError: `path` is too large or not valid YAML.
    """
    try:
        with path.open("rb") as file:
            data = file.read(_MAX_BYTES + 1)
    except OSError as error:
        raise FileError(path, error) from error
    if len(data) > _MAX_BYTES:
        raise ConfigError(f"{path} is larger than 1 MiB", hint="check that it is a settings file")
    try:
        document = yaml.load(data, _Loader)  # noqa: S506  (a SafeLoader)
    except _PARSE_ERRORS as error:
        mark = getattr(error, "problem_mark", None)
        where = f" at line {mark.line + 1}" if mark else ""
        reason = str(getattr(error, "problem", None) or error).splitlines()[0][:200]
        raise ConfigError(
            f"{path} is not valid YAML{where}: {reason}", hint="correct the settings file"
        ) from error
    return {} if document is None else document


def parse_assignment(text: str) -> tuple[str, Any]:
    """Parse ``section.name=value`` into the name of the setting and its value, in YAML.

    Raises:
        ConfigError: `text` has another form.
    """
    name, sign, value = text.partition("=")
    try:
        if sign and "." in name:
            return name.strip(), yaml.load(value, _Loader)  # noqa: S506  (a SafeLoader)
    except _PARSE_ERRORS:
        pass
    raise ConfigError(
        f"--set {format_value(text)} is not an assignment", hint="write it like --set training.warmup=0.2"
    )
