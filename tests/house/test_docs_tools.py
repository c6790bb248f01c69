"""The generated parts of the documentation, compared with the code by other means."""

import ast
import html
import re
from pathlib import Path
from xml.etree import ElementTree

import markdown
import pytest
from typer.main import get_command

from docs.tools import generate
from docs.tools.rooms import BASE, Room, direct_imports, draw, read_layers, read_rooms
from vopcli.cli.app import app

ROOT = Path(__file__).parents[2]


def room(name: str, *imports: str) -> Room:
    return Room(name, "", 0, 0, frozenset(imports))


def test_an_import_that_others_imply_is_not_drawn() -> None:
    chain = {"a": room("a", "b", "c", "d"), "b": room("b", "c"), "c": room("c"), "d": room("d", "c")}
    assert direct_imports(chain) == [("a", "b"), ("a", "d"), ("b", "c"), ("d", "c")]


def test_the_import_graph_is_that_of_the_import_statements() -> None:
    found = read_rooms()
    assert set(found) == {
        path.stem
        for path in (ROOT / "vopcli").iterdir()
        if path.suffix in {"", ".py"} and path.stem[0] != "_"
    }
    for name, item in found.items():
        files = sorted((ROOT / "vopcli" / name).rglob("*.py")) or [ROOT / f"vopcli/{name}.py"]
        nodes = [node for file in files for node in ast.walk(ast.parse(file.read_text(encoding="utf-8")))]
        imported = [node.module for node in nodes if isinstance(node, ast.ImportFrom) and node.module]
        imported += [
            f"vopcli.{alias.name}"
            for node in nodes
            if isinstance(node, ast.ImportFrom) and node.module == "vopcli"
            for alias in node.names
        ]
        tops = {module.split(".")[1] for module in imported if module.startswith("vopcli.")}
        assert item.imports == (tops & set(found)) - {name}, name
        assert item.sentence.endswith("."), f"{name}: its docstring is the sentence of the page"


def test_the_drawing_has_a_box_for_each_room_and_every_line_points_down() -> None:
    drawing = ElementTree.fromstring(draw())  # noqa: S314  (our own text)
    assert [text.text for text in drawing.iter("text")] == [name for layer in read_layers() for name in layer]
    boxes = [(float(box.get("x", "")), float(box.get("y", ""))) for box in drawing.iter("rect")]
    assert len(set(boxes)) == len(boxes)
    assert min(x for x, _ in boxes) >= 0
    paths = [path.get("d", "") for path in drawing.iter("path")]
    assert len(paths) == sum(lower not in BASE for _, lower in direct_imports(read_rooms()))
    for path in paths:
        numbers = [float(number) for number in re.findall(r"[\d.]+", path)]
        assert numbers[1] < numbers[-1]


def visible(page: str) -> str:
    """The text of a page as a reader sees it, its white space normalised."""
    rendered = markdown.markdown(page, extensions=["tables", "attr_list", "pymdownx.superfences"])
    return " ".join(html.unescape(re.sub(r"<[^>]+>", "", rendered)).split())


def test_help_texts_come_through_markdown_unchanged() -> None:
    page = visible(generate.commands())
    commands = {"": get_command(app), **dict(generate.walk_commands())}
    for name, command in commands.items():
        shown_options = [one for one in command.params if not getattr(one, "hidden", False)]
        help_texts = [command.help, *(parameter.help for parameter in shown_options)]
        for text in help_texts:
            shown = " ".join(text.replace("`", "").split())
            assert shown in page, name


def test_a_cell_shows_its_text() -> None:
    text = "a `b|c` | <list[str]> * d*e `x<y>` [default: 1] ``f``"
    page = visible("\n".join(generate.table(("head",), [(text,)])))
    assert page == "head " + text.replace("`", "")


def test_a_page_is_filled_in_where_it_is_marked() -> None:
    page = generate.fill("# Title\n\n<!-- generated: example -->\n\nEnd `<!-- generated: settings -->`\n")
    assert page.startswith("# Title\n\n```python\nimport vopcli\n")
    assert page.endswith("End `<!-- generated: settings -->`\n")


@pytest.mark.parametrize("name", generate.PARTS)
def test_every_part_can_be_generated(name: str) -> None:
    assert generate.PARTS[name]().strip()


def test_every_benchmark_result_is_on_the_page() -> None:
    files = {file.stem for file in (ROOT / "benchmarks/results").glob("*.md")}
    assert files == set(generate.TOPICS)
    assert generate.results().count("\n## ") == len(files) - 1
