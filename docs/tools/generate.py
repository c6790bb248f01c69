"""Parts of the documentation that are generated from the code, so that no fact is written by hand twice.

A line such as ``<!-- generated: settings -->`` in a page stands for the text that `PARTS` has for that name.
"""

from __future__ import annotations

import dataclasses
import re
import typing
from collections.abc import Callable, Iterator, Sequence
from enum import Enum
from pathlib import Path
from typing import Any

import numpy as np
import typer
from typer.main import get_command

import vopcli
from docs.tools import rooms
from vopcli.cli.app import app
from vopcli.config.load import preset_names
from vopcli.config.schema import DEFAULT_NUM_FRAMES, DEFAULT_WEIGHTS, Config
from vopcli.evaluation.published import RESULTS
from vopcli.evaluation.score_file import SCORE_FORMAT
from vopcli.files.hdf5 import FileFormat
from vopcli.frames.rows import FRAME_FORMAT
from vopcli.index.reader import INDEX_FORMAT
from vopcli.methods.counts import list_methods
from vopcli.methods.registry import METHODS

ROOT = Path(__file__).parents[2]
TOPICS = (
    "study",
    "learning_rates",
    "train",
    "decode",
    "store",
    "encode",
    "search",
    "films",
    "confidence",
    "milvus_index",
    "long",
    "cluster",
    "ranks",
    "serve",
    "queries",
    "fit",
    "cold_start",
)
FORMATS: dict[str, FileFormat] = {
    "Frame store": FRAME_FORMAT,
    "Index": INDEX_FORMAT,
    "Saved scores": SCORE_FORMAT,
}
_MARK = re.compile(r"^<!-- generated: ([a-z]+) -->$", re.MULTILINE)
_UNBOUNDED = 1e6


def fill(page: str) -> str:
    """Replace the marks of a page by the generated parts.

    Raises:
        KeyError: a mark names no part.
    """
    return _MARK.sub(lambda mark: PARTS[mark[1]](), page)


def commands() -> str:
    """Describe `vop` and every command by the help of the parser."""
    group: Any = get_command(app)
    parent = typer.Context(group, info_name="vop", **group.context_settings)
    lines = _describe("vop", parent)
    for name, command in walk_commands():
        lines += _describe(f"vop {name}", typer.Context(command, info_name=name, parent=parent))
    return "\n".join(lines)


def _describe(name: str, context: typer.Context) -> list[str]:
    command: Any = context.command
    usage = command.get_usage(context).removeprefix("Usage: ")
    lines = [f"## {name}", "", _markdown(command.help or ""), "", "```text", usage, "```", ""]
    for kind, title in (("argument", "Argument"), ("option", "Option")):
        records = [
            record
            for parameter in command.get_params(context)
            if parameter.param_type_name == kind and (record := parameter.get_help_record(context))
        ]
        if records:
            lines += table((title, "Meaning"), [(_code(text), help_text) for text, help_text in records])
    return lines


def walk_commands() -> Iterator[tuple[str, Any]]:
    """Yield the name, such as "weights list", and the parser of every command that can be run."""
    group: Any = get_command(app)
    for name, command in group.commands.items():
        below = getattr(command, "commands", None)
        if below is None:
            yield name, command
        else:
            yield from ((f"{name} {inner}", item) for inner, item in below.items())


def settings() -> str:
    """Describe every setting by its declaration in the schema."""
    lines = []
    for section in dataclasses.fields(Config):
        content: Any = section.default
        lines += [f"## {section.name}", "", _markdown((content.__doc__ or "").strip()), ""]
        kinds = typing.get_type_hints(type(content))
        rows = [_setting(section.name, item, kinds[item.name]) for item in dataclasses.fields(content)]
        lines += table(("Setting", "Type", "Default", "Meaning"), rows)
    return "\n".join(lines)


def _setting(section: str, item: dataclasses.Field[Any], kind: Any) -> tuple[str, str, str, str]:
    kind = next((one for one in typing.get_args(kind) if one is not type(None)), kind)
    kind_text = kind.__name__
    if issubclass(kind, Enum):
        kind_text = ", ".join(_code(member.value) for member in kind)
    if between := item.metadata["between"]:
        low, high = between
        kind_text += f", at least {low:g}" if high >= _UNBOUNDED else f", {low:g} to {high:g}"
    default = item.default.value if isinstance(item.default, Enum) else item.default
    if isinstance(default, bool):
        default = str(default).lower()
    shown = str(item.metadata.get("unset") or "") if default is None else _code(default)
    return _code(f"{section}.{item.name}"), kind_text, shown, item.metadata["help"]


def formats() -> str:
    """List the datasets of each HDF5 format with their dtypes."""
    lines = []
    for title, file_format in FORMATS.items():
        rows = []
        for name, dtype in {**file_format.columns, **file_format.optional}.items():
            fields = "<br>".join(f"{part}: {_dtype(dtype[part])}" for part in dtype.names or ())
            rows.append((_code(name), fields or str(dtype)))
        lines += [f"{title}: format `{file_format.name}`, version {file_format.version}", ""]
        lines += table(("Dataset", "dtype"), rows)
    return "\n".join(lines)


def _dtype(dtype: np.dtype[Any]) -> str:
    return f"{dtype.base}{list(dtype.shape)}" if dtype.shape else str(dtype)


def python() -> str:
    """List the public functions and classes; mkdocstrings puts in their signatures and docstrings."""
    names = [name for name in vopcli.__all__ if not name.startswith("__") and name != "errors"]
    names.sort(key=lambda name: not name.islower())
    return "\n".join(f"::: vopcli.{name}\n" for name in names)


def errors() -> str:
    """List the classes of `vopcli.errors`."""
    classes = [one for one in vars(vopcli.errors).values() if isinstance(one, type)]
    rows = [
        (
            _code(one.__name__),
            _code(one.__mro__[1].__name__),
            str(one.exit_code),
            (one.__doc__ or "").partition("\n")[0],
        )
        for one in classes
        if issubclass(one, vopcli.errors.VopError)
    ]
    return "\n".join(table(("Class", "Derives from", "Exit code", "Meaning"), rows))


def methods() -> str:
    """List the variants with their parameter counts, for the default backbone."""
    rows = [
        (
            _code(item.variant),
            item.trains,
            f"{item.num_trained:,}",
            item.published,
            f"{method.lr:g}" if method.lr else "",
        )
        for item, method in zip(
            list_methods(DEFAULT_WEIGHTS, num_frames=DEFAULT_NUM_FRAMES), METHODS.values(), strict=True
        )
    ]
    head = ("Variant", "Trains", "Parameters", "Published", "Learning rate")
    return "\n".join(table(head, rows, right=3))


def published() -> str:
    """List the published results."""
    names = ("R@1", "R@5", "R@10", "MnR", "MdR")
    rows = [
        (
            _code(dataset.value),
            _code(variant.value),
            direction,
            *(f"{row[name]:g}" if name in row else "" for name in names),
        )
        for (dataset, variant), figures in RESULTS.items()
        for direction, row in figures.items()
    ]
    return "\n".join(table(("Benchmark", "Variant", "", *names), rows, right=5))


def example() -> str:
    """Return the Python example of the README."""
    return re.findall(r"^```python\n.*?^```$", (ROOT / "README.md").read_text("utf-8"), re.M | re.S)[0]


def variant() -> str:
    """Show the module of one variant."""
    return f"```python\n{(ROOT / 'vopcli/methods/position_prompts.py').read_text('utf-8')}```\n"


def presets() -> str:
    """Show the preset files."""
    folder = ROOT / "vopcli/config/presets"
    texts = [(name, (folder / f"{name}.yaml").read_text(encoding="utf-8")) for name in preset_names()]
    return "\n".join(f"## {name}\n\n```yaml\n{text.strip()}\n```\n" for name, text in texts)


def results() -> str:
    """Put the measured results together, each below a heading."""
    files = [ROOT / "benchmarks/results" / f"{topic}.md" for topic in TOPICS]
    return "\n".join(f"#{file.read_text(encoding='utf-8').strip()}\n" for file in files if file.exists())


def changelog() -> str:
    """Return the changelog without its title."""
    return (ROOT / "CHANGELOG.md").read_text(encoding="utf-8").partition("\n")[2]


PARTS: dict[str, Callable[[], str]] = {
    "commands": commands,
    "settings": settings,
    "formats": formats,
    "python": python,
    "errors": errors,
    "example": example,
    "variant": variant,
    "methods": methods,
    "published": published,
    "presets": presets,
    "results": results,
    "changelog": changelog,
    "rooms": rooms.draw,
    "roomlist": lambda: "\n".join(table(("Room", "", "Modules", "Lines"), rooms.list_rooms(), right=2)),
}


def table(head: tuple[str, ...], rows: Sequence[tuple[str, ...]], *, right: int = 0) -> list[str]:
    """Return the lines of a Markdown table, and an empty one; the last ``right`` columns hold numbers."""
    rules = ["---"] * (len(head) - right) + ["---:"] * right
    return [f"| {' | '.join(cells)} |" for cells in (head, rules, *(map(_cell, row) for row in rows))] + [""]


def _cell(text: str) -> str:
    return " ".join(_markdown(text, special="*[|").split())


def _code(text: object) -> str:
    return f"`{text}`"


def _markdown(text: str, *, special: str = "*[") -> str:
    """Escape the ``special`` characters of a docstring or a help text for Markdown, except in code."""
    parts = re.split(r"(`[^`]*`|<br>)", text.replace("``", "`"))
    escaped = re.compile(f"([{re.escape(special)}])")
    parts[::2] = [escaped.sub(r"\\\1", part).replace("<", "&lt;") for part in parts[::2]]
    return "".join(parts)
