"""A public name has one meaning in the package, and private names stay in their modules."""

import ast
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import pytest

from docs.tools.generate import walk_commands

ROOT = Path(__file__).parents[2]
# A command has the name of the function that it calls, here and in the Python API.
COMMANDS = {name.replace("-", "_") for name, _ in walk_commands()} | {"evaluate"}
# Modules with a common interface define the same names, by folder.
INTERFACES = {
    "vopcli/cli": {"app"},
    "vopcli/datasets/benchmarks": {"DGL_SKIPPED", "SPLITS", "candidates", "read"},
    "vopcli/methods": {"build"},
}


def parse(file: Path) -> ast.Module:
    return ast.parse(file.read_text(encoding="utf-8"))


def definitions(module: ast.Module) -> Iterator[tuple[str, str]]:
    """Public top-level names of a module, each with its definition."""
    for node in module.body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            yield node.name, ast.unparse(node)
        elif isinstance(node, ast.Assign | ast.AnnAssign) and node.value:
            for target in node.targets if isinstance(node, ast.Assign) else [node.target]:
                if isinstance(target, ast.Name) and not target.id.startswith("_"):
                    yield target.id, ast.unparse(node.value)


def meanings(folder: Path) -> dict[str, dict[str, set[str]]]:
    """By public name and definition, the modules below a folder that define it so."""
    found: dict[str, dict[str, set[str]]] = defaultdict(lambda: defaultdict(set))
    for file in sorted((folder / "vopcli").rglob("*.py")):
        parent = file.parent.relative_to(folder).as_posix()
        for name, text in definitions(parse(file)):
            if not name.startswith("_") and name not in COMMANDS | INTERFACES.get(parent, set()):
                found[name][text].add(file.relative_to(folder).as_posix())
    return found


def ambiguous(folder: Path) -> dict[str, list[str]]:
    found = meanings(folder).items()
    return {name: sorted(set().union(*texts.values())) for name, texts in found if len(texts) > 1}


def borrowed(file: Path) -> list[str]:
    """Private names that a file takes from modules of the package."""
    nodes = list(ast.walk(parse(file)))
    aliases = [
        (node.module, alias)
        for node in nodes
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("vopcli")
        for alias in node.names
    ]
    modules = {
        alias.asname or alias.name
        for module, alias in aliases
        if (ROOT / module.replace(".", "/") / f"{alias.name}.py").exists()
    }
    found = {alias.name for _, alias in aliases if is_private(alias.name)}
    for node in nodes:
        if isinstance(node, ast.Attribute):
            parts = [ast.unparse(node.value), node.attr]
        elif isinstance(node, ast.Call) and ast.unparse(node.func).endswith("setattr"):
            parts = [ast.unparse(part).strip("'") for part in node.args[:2]]
        else:
            continue
        if parts[0] in modules and is_private(parts[1]):
            found.add(".".join(parts))
    return sorted(found)


def is_private(name: str) -> bool:
    return name.startswith("_") and not name.startswith("__")


def test_a_public_name_has_one_meaning() -> None:
    assert ambiguous(ROOT) == {}


@pytest.mark.parametrize("folder", ["vopcli", "tests", "benchmarks", "docs"])
def test_private_names_stay_in_their_modules(folder: str) -> None:
    files = sorted((ROOT / folder).rglob("*.py"))
    assert {str(file.relative_to(ROOT)): names for file in files if (names := borrowed(file))} == {}


def test_the_two_rules_can_fail(tmp_path: Path) -> None:
    for room, value in (("search", 1), ("video", 2)):
        (tmp_path / "vopcli" / room).mkdir(parents=True)
        (tmp_path / "vopcli" / room / "one.py").write_text(f"LIMIT: int = {value}\nSAME = 3\n_OWN = {value}")
    assert ambiguous(tmp_path) == {"LIMIT": ["vopcli/search/one.py", "vopcli/video/one.py"]}
    (tmp_path / "test.py").write_text(
        "from vopcli.files.journal import _lock\nfrom vopcli.files import journal as j\n"
        "j._apply()\npatch.setattr(j, '_pages', None)\n"
    )
    assert borrowed(tmp_path / "test.py") == ["_lock", "j._apply", "j._pages"]
