"""README, documentation, changelog, settings and commands stay in step with each other."""

import dataclasses
import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from typer.exceptions import TyperException
from typer.main import get_command

import vopcli
from docs.tools.generate import PARTS, walk_commands
from vopcli.cli.app import app
from vopcli.config.load import build_config
from vopcli.config.schema import Config
from vopcli.datasets.demo.folder import COMMANDS as DEMO_COMMANDS

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")
PAGES = {
    str(path.relative_to(ROOT)): path.read_text(encoding="utf-8")
    for path in sorted(
        [*ROOT.glob("[A-Z]*.md"), *(ROOT / "docs").rglob("*.md"), *(ROOT / "assets").rglob("*.md")]
    )
}
COMMANDS = get_command(app).commands
_FENCE = re.compile(r"^ *```(\w+)[^\n]*\n(.*?)^ *```", re.MULTILINE | re.DOTALL)
_LINK = re.compile(r"\]\(([^)\s]+)\)")
_MODULE = re.compile(r"`((?:vopcli/)?[a-z_]+/[a-z_/]+\.(?:py|yaml))`")
_INLINE = re.compile(r"`(vop [a-z][^`]*)`")


def test_the_readme_is_short() -> None:
    assert len(README.splitlines()) <= 250


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_help_and_stands_in_the_readme(name: str) -> None:
    assert COMMANDS[name].help
    assert f"vop {name}" in README


@pytest.mark.parametrize("name", COMMANDS)
def test_every_option_has_help(name: str) -> None:
    commands = getattr(COMMANDS[name], "commands", {name: COMMANDS[name]})
    missing = [
        f"{command}: {parameter.name}"
        for command, item in commands.items()
        for parameter in item.params
        if not parameter.help
    ]
    assert not missing


def test_every_setting_has_help_and_stands_in_the_reference() -> None:
    sections = [(field.name, field.default) for field in dataclasses.fields(Config)]
    assert all(item.metadata["help"] for _, section in sections for item in dataclasses.fields(section))
    page = PARTS["settings"]()
    names = [f"{name}.{item.name}" for name, section in sections for item in dataclasses.fields(section)]
    assert [name for name in names if page.count(f"| `{name}` |") != 1] == []


def test_the_reference_has_every_option_of_every_command() -> None:
    sections = dict(re.findall(r"^## vop (.*?)\n(.*?)(?=^## |\Z)", PARTS["commands"](), re.M | re.S))
    assert list(sections) == [name for name, _ in walk_commands()]
    missing = [
        f"{name} {option}"
        for name, command in walk_commands()
        for parameter in command.params
        if not getattr(parameter, "hidden", False)  # those for logs stand in the help of vop alone
        for option in parameter.opts
        if option.startswith("-") and option not in sections[name]
    ]
    assert not missing


def test_the_readme_shows_the_commands_of_the_demo() -> None:
    lines = README.splitlines()
    assert [command for command in DEMO_COMMANDS if command not in lines] == []


@pytest.mark.parametrize("page", PAGES)
def test_every_relative_link_resolves(page: str) -> None:
    here = (ROOT / page).parent
    links = [link.partition("#")[0] for link in _LINK.findall(PAGES[page])]
    relative = [link for link in links if link and not re.match(r"[a-z]+:", link)]
    assert [link for link in relative if not (here / link).exists()] == []


@pytest.mark.parametrize("page", PAGES)
def test_every_module_that_a_page_names_exists(page: str) -> None:
    names = [name.removeprefix("vopcli/") for name in _MODULE.findall(PAGES[page])]
    assert [name for name in names if not ((ROOT / "vopcli" / name).exists() or (ROOT / name).exists())] == []


def commands_of(text: str) -> Iterator[str]:
    """The commands of vop in the shell blocks and the code spans of a page."""
    blocks = [block for language, block in _FENCE.findall(text) if language in {"sh", "console", "bash"}]
    for line in "\n".join(blocks).splitlines():
        if line.strip().startswith("vop "):
            yield line.strip()
    yield from (span for span in _INLINE.findall(text) if " --help" not in span)


def misuse(command: str) -> str:
    """Parse one command line as vop would; return the problem, "" for none."""
    words = shlex.split(command, comments=True)[1:]
    for end in ("|", "<", ">"):
        words = words[: words.index(end)] if end in words else words
    names = dict(walk_commands())
    size = 2 if hasattr(COMMANDS.get(words[0]), "commands") else 1
    item = names.get(" ".join(words[:size]))
    if item is None and words not in [[name] for name in COMMANDS]:
        return f"{command}: no such command"
    if item is None or len(words) == size:  # a command that a sentence names
        return ""
    try:
        item.make_context("vop", words[size:])
    except TyperException as error:
        return f"{command}: {error.format_message()}"
    return ""


@pytest.mark.parametrize("page", [page for page in PAGES if page != "CHANGELOG.md"])
def test_every_command_of_a_page_parses(page: str) -> None:
    assert [problem for command in commands_of(PAGES[page]) if (problem := misuse(command))] == []


@pytest.mark.parametrize(
    "command",
    [
        "vop find x",
        "vop search x --frobnicate",
        "vop search x --top many",
        "vop weights got x",
        "vop train --sides up",
    ],
)
def test_a_wrong_command_is_found(command: str) -> None:
    assert misuse(command)


@pytest.mark.parametrize("page", PAGES)
def test_every_settings_example_loads(page: str) -> None:
    blocks = [block for language, block in _FENCE.findall(PAGES[page]) if language == "yaml"]
    for block in blocks:
        build_config(Config, yaml.safe_load(block), source=page)


@pytest.mark.parametrize("page", PAGES)
def test_every_generated_part_is_known(page: str) -> None:
    assert [name for name in re.findall(r"<!-- generated: (.*?) -->", PAGES[page]) if name not in PARTS] == []


def test_the_version_has_a_section_in_the_changelog_and_is_the_one_to_cite() -> None:
    sections = re.findall(
        r"^## \[?([^\]\s]+)", (ROOT / "CHANGELOG.md").read_text(encoding="utf-8"), re.MULTILINE
    )
    assert sections[0] == "Unreleased"
    assert vopcli.__version__ in sections
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert str(citation["version"]) == vopcli.__version__
