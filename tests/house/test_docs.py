"""README, changelog, settings and commands stay in step with each other."""

import dataclasses
import re
from pathlib import Path

import pytest
from typer.main import get_command

import vopcli
from vopcli.cli.app import app
from vopcli.config.schema import Config

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")
COMMANDS = get_command(app).commands


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


def test_every_setting_has_help() -> None:
    sections = [(field.name, field.default) for field in dataclasses.fields(Config)]
    assert all(item.metadata["help"] for _, section in sections for item in dataclasses.fields(section))
    missing = [
        f"{name}.{item.name}"
        for name, section in sections
        for item in dataclasses.fields(section)
        if f"`{name}.{item.name}`" not in README
    ]
    assert not missing, "settings that the README does not name"


def test_the_version_has_a_section_in_the_changelog() -> None:
    sections = re.findall(
        r"^## \[?([^\]\s]+)", (ROOT / "CHANGELOG.md").read_text(encoding="utf-8"), re.MULTILINE
    )
    assert sections[0] == "Unreleased"
    assert vopcli.__version__ in sections


def test_every_public_name_is_there() -> None:
    assert set(vopcli.__all__) == {"Index", "Model", "__version__", "load_model", "open_index"}
    assert all(getattr(vopcli, name) is not None for name in vopcli.__all__)
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = vopcli.nothing
