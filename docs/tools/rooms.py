"""The rooms of the package: a drawing of their import graph, and a table with a sentence for each."""

from __future__ import annotations

import ast
import functools
from dataclasses import dataclass
from pathlib import Path

import grimp
from importlinter.api import read_configuration

ROOT = Path(__file__).parents[2]
PACKAGE = "vopcli"
BASE = {"config", "files", "errors", "progress", "resources"}  # imported nearly everywhere: no lines to them
# Columns in which the lines to rooms further down pass beside the boxes; any other room goes to the next one.
_COLUMNS = {
    "cli": 2.6,
    "training": 2.6,
    "reports": 3.6,
    "web": 4.6,
    "integrations": 3.6,
    "encoding": 1,
    "evaluation": 2.5,
    "search": 4,
    "datasets": 2,
    "methods": 3,
    "frames": 1,
    "weights": 3.4,
    "clip": 3.2,
    "index": 4.2,
    "video": 2.2,
    "config": 2.5,
    "files": 2.5,
    "errors": 1.5,
    "progress": 2.5,
    "resources": 3.5,
}
_COLUMN, _ROW, _BOX_WIDTH, _BOX_HEIGHT = 150, 70, 100, 36
_BEND = 0.9 * (_ROW - _BOX_HEIGHT)


@dataclass(frozen=True)
class Room:
    """One room of the package.

    Attributes:
        name: name of the package or module below `vopcli`.
        sentence: first line of its docstring.
        num_modules: modules in it, packages without code not counted.
        num_lines: lines of these.
        imports: other rooms that it imports directly.
    """

    name: str
    sentence: str
    num_modules: int
    num_lines: int
    imports: frozenset[str]


def read_layers() -> list[list[str]]:
    """Return the layers of the import contract in pyproject.toml, highest first."""
    contracts = read_configuration(str(ROOT / "pyproject.toml"))["contracts_options"]
    layers = next(contract["layers"] for contract in contracts if contract["type"] == "layers")
    return [[room.strip() for room in layer.split("|")] for layer in layers]


@functools.cache
def read_rooms() -> dict[str, Room]:
    """Read the import graph, and count the modules and lines of each room."""
    graph = grimp.build_graph(PACKAGE, cache_dir=None)
    rooms = {}
    for name in (room for layer in read_layers() for room in layer):
        package = f"{PACKAGE}.{name}"
        modules = {package} | graph.find_descendants(package)
        targets = {target for module in modules for target in graph.find_modules_directly_imported_by(module)}
        texts = [_source(module).read_text(encoding="utf-8") for module in modules]
        rooms[name] = Room(
            name,
            (ast.get_docstring(ast.parse(_source(package).read_text(encoding="utf-8"))) or "").split("\n")[0],
            num_modules=sum(len(ast.parse(text).body) > 1 for text in texts),
            num_lines=sum(text.count("\n") for text in texts),
            imports=frozenset(target.split(".")[1] for target in targets - modules if "." in target),
        )
    return rooms


def _source(module: str) -> Path:
    path = ROOT.joinpath(*module.split("."))
    return path / "__init__.py" if path.is_dir() else path.with_suffix(".py")


def direct_imports(rooms: dict[str, Room]) -> list[tuple[str, str]]:
    """Return the imports that no chain of other imports implies: the transitive reduction of the graph."""

    @functools.cache
    def below(name: str) -> frozenset[str]:
        imports = rooms[name].imports
        return imports.union(*map(below, imports))

    return [
        (name, target)
        for name, room in rooms.items()
        for target in sorted(room.imports)
        if not any(target in below(other) for other in room.imports - {target})
    ]


def list_rooms() -> list[tuple[str, ...]]:
    """Return a table row for each room: name, sentence, modules, lines."""
    return [
        (f"`{room.name}`{{#{room.name}}}", room.sentence, str(room.num_modules), f"{room.num_lines:,}")
        for room in read_rooms().values()
    ]


def draw() -> str:
    """Draw the rooms as SVG: a row for each layer, a line for each direct import."""
    layers = read_layers()
    corners = {
        name: (_COLUMNS.get(name, index + 1) * _COLUMN - _BOX_WIDTH, row * _ROW + 2)
        for row, layer in enumerate(layers)
        for index, name in enumerate(layer)
    }
    width = max(x for x, _ in corners.values()) + _BOX_WIDTH + 2
    height = len(layers) * _ROW - (_ROW - _BOX_HEIGHT) + 4
    lines = [
        _line(corners[upper], corners[lower])
        for upper, lower in direct_imports(read_rooms())
        if lower not in BASE
    ]
    boxes = [_box(name, *corner) for name, corner in corners.items()]
    head = f'<svg class="rooms" viewBox="0 0 {width:g} {height}" role="img" aria-label="Import graph">'
    return "\n".join([head, *lines, *boxes, "</svg>"])


def _line(upper: tuple[float, float], lower: tuple[float, float]) -> str:
    x1, y1 = upper[0] + _BOX_WIDTH / 2, upper[1] + _BOX_HEIGHT
    x2, y2 = lower[0] + _BOX_WIDTH / 2, lower[1]
    return f'<path d="M{x1:g} {y1:g}C{x1:g} {y1 + _BEND:g} {x2:g} {y2 - _BEND:g} {x2:g} {y2:g}"/>'


def _box(name: str, x: float, y: float) -> str:
    kind = ' class="base"' if name in BASE else ""
    size = f'width="{_BOX_WIDTH}" height="{_BOX_HEIGHT}" rx="6"'
    label = f'<text x="{x + _BOX_WIDTH / 2:g}" y="{y + 23:g}">{name}</text>'
    return f'<a href="#{name}"><rect{kind} x="{x:g}" y="{y:g}" {size}/>{label}</a>'
