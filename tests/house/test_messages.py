"""Values in messages go through the formatters of `vopcli.errors`, which bound and escape them."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SOURCES = sorted((ROOT / "vopcli").rglob("*.py"))


def improper(source: str) -> list[str]:
    """List the values in f-strings that are quoted by repr or cut by hand."""
    values = [node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.FormattedValue)]
    return [
        f"line {value.lineno}: {ast.unparse(value.value)}"
        for value in values
        if value.conversion == ord("r") or any(is_cut_text(node) for node in ast.walk(value.value))
    ]


def is_cut_text(node: ast.AST) -> bool:
    """Whether an expression is ``str(x)[:9]`` or ``repr(x)[:9]``."""
    return (
        isinstance(node, ast.Subscript)
        and isinstance(node.slice, ast.Slice)
        and isinstance(node.value, ast.Call)
        and getattr(node.value.func, "id", "") in {"str", "repr"}
    )


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_values_in_messages_are_formatted_by_one_function(path: Path) -> None:
    assert improper(path.read_text(encoding="utf-8")) == []


def test_the_check_finds_other_ways() -> None:
    assert improper('f"{name!r} is unknown"') == ["line 1: name"]
    assert improper('f"not {str(value)[:80]}"') == ["line 1: str(value)[:80]"]
    assert improper('f"{format_value(name)} of {path}"') == []
