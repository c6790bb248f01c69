"""Parse settings files: a SafeLoader that rejects duplicate keys and understands 1e-3."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, Final

import yaml

from vopcli.errors import ConfigError, FileError, format_value

_MAX_BYTES: Final = 1 << 16  # a larger file is not a settings file
_MAX_NODES: Final = 2000  # keys and values; all settings together are a tenth of it
_MAX_DEPTH: Final = 20
_PARSE_ERRORS: Final = (yaml.YAMLError, ValueError, OverflowError)


class _RefusedError(yaml.MarkedYAMLError):
    def __init__(self, problem: str, place: Any) -> None:  # an event or a node
        super().__init__(problem=problem, problem_mark=place.start_mark)


class _Loader(yaml.SafeLoader):
    """Build plain values of bounded number and depth only, and reject duplicate keys."""

    def __init__(self, stream: bytes | str) -> None:
        super().__init__(stream)
        self.num_nodes = self.depth = 0
        self.sizes: dict[yaml.Node, int] = {}

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        """Compose a node; an alias counts as many nodes as its target.

        Raises:
            _RefusedError: the document is too large or too deep, has tags, or an alias contains itself.
        """
        event: Any = self.peek_event()  # type: ignore[no-untyped-call]
        before = self.num_nodes
        self.num_nodes += 1
        self.depth += 1
        if self.depth > _MAX_DEPTH:
            raise _RefusedError(f"nested more than {_MAX_DEPTH} levels deep", event)
        if getattr(event, "tag", None) is not None:  # such as !!int: constructors fail on any other text
            raise _RefusedError(f"the tag {format_value(event.tag)} is not supported", event)
        node = super().compose_node(parent, index)
        if isinstance(event, yaml.AliasEvent):
            if node not in self.sizes:
                raise _RefusedError(f"the alias {format_value(event.anchor)} contains itself", event)
            self.num_nodes += self.sizes[node]
        elif node is not None:
            self.sizes[node] = self.num_nodes - before
        if self.num_nodes > _MAX_NODES:
            raise _RefusedError(f"more than {_MAX_NODES} keys and values, those of aliases included", event)
        self.depth -= 1
        return node

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> Any:  # noqa: FBT001, FBT002
        seen = set()
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode):
                if key.value in seen:
                    raise _RefusedError(f"duplicate key {format_value(key.value)}", key)
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
        raise ConfigError(f"{path} is larger than 64 KiB", hint="check that it is a settings file")
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
