"""Options of settings: one place for help, default and range, and the order in which sources override."""

import ast
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, get_type_hints

import pytest
import typer
from typer.testing import CliRunner

from docs.tools.generate import walk_commands
from vopcli.cli import options
from vopcli.config.schema import SETTINGS, Config
from vopcli.errors import ConfigError

CLI = Path(options.__file__).parent
KEYS = {item.name for item in SETTINGS.values()}
# Options that share the name of a setting and mean something else.
OTHERS = {
    ("compare", "seed"),  # of the bootstrap
    ("demo", "seed"),  # of the videos
    ("report", "frames"),  # only to show results on the page
    ("search", "thumbnails"),  # printed on the terminal
    ("search", "weights"),  # only to check the model that the index names
    ("serve", "weights"),  # the same
}
SECTIONS = tuple(Config.__dataclass_fields__)


def written_options() -> list[tuple[str, str, str]]:
    """Return command, parameter and annotation of each option that is written out in a command."""
    found = []
    for path in CLI.glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.FunctionDef):
                arguments = [*node.args.args, *node.args.kwonlyargs]
                found += [
                    (node.name, one.arg, ast.unparse(one.annotation)) for one in arguments if one.annotation
                ]
    return [(command, name, text) for command, name, text in found if "option" in text.lower()]


def test_no_command_writes_out_the_option_of_a_setting() -> None:
    written = written_options()
    assert len(written) > 20
    repeated = {
        (command, name) for command, name, text in written if name in KEYS and "options.option" not in text
    }
    assert repeated == OTHERS


def test_no_help_text_of_a_setting_is_repeated() -> None:
    helps = {item.metadata["help"] for item in SETTINGS.values()}
    strings = [
        node.value
        for path in CLI.glob("*.py")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Constant) and isinstance(node.value, str)
    ]
    assert [text for text in strings if text in helps] == []


def test_options_have_the_help_and_default_of_their_setting() -> None:
    helps = {item.name: [] for item in SETTINGS.values()}
    for item in SETTINGS.values():
        helps[item.name].append(item.metadata["help"])
    num_found = 0
    for command, parser in walk_commands():
        for parameter in parser.params:
            is_option = parameter.param_type_name == "option"
            if is_option and parameter.name in KEYS and (command, parameter.name) not in OTHERS:
                assert any(parameter.help.startswith(text) for text in helps[parameter.name]), parameter.name
                assert parameter.default is None
                num_found += 1
    assert num_found > 50


@pytest.mark.parametrize(
    ("command", "option", "facts"),
    [
        ("train", "epochs", "[default: 5]"),
        ("train", "variants", "[default: P+F]"),
        ("train", "lr", "[default: by variant]"),
        ("extract-frames", "num_frames", "[default: 12]"),
        ("extract-frames", "codec", "[default: raw]"),
        ("encode", "device", "[default: auto; env: VOP_DEVICE]"),
        ("search", "index", "[env: VOP_INDEX]"),
        ("train", "augment", "left and right."),
    ],
)
def test_defaults_are_shown(command: str, option: str, facts: str) -> None:
    (found,) = [one for one in dict(walk_commands())[command].params if one.name == option]
    assert found.help.endswith(facts)


def test_help_texts_are_at_most_80_characters() -> None:
    texts = [parameter.help for _, parser in walk_commands() for parameter in parser.params]
    assert [text for text in texts if len(re.sub(r" \[.*\]$", "", text)) > 80] == []


def run(section: str, *arguments: str, preset: bool = False, env: Mapping[str, str] | None = None) -> Config:
    """Return the settings of a command with the options of a section."""
    app = typer.Typer()
    seen: list[Config] = []

    @app.command()
    @options.settings(section, preset=preset)
    def command(*, config: Config) -> None:
        seen.append(config)

    result = CliRunner().invoke(app, arguments, env=env)
    if isinstance(result.exception, ConfigError):
        raise result.exception
    assert result.exit_code == 0, result.output
    return seen[0]


def sample(name: str) -> tuple[list[str], Any]:
    """Return arguments that set the option of a setting to another value than its default, and that value."""
    item, flag = SETTINGS[name], "--" + SETTINGS[name].name.replace("_", "-")
    hint = get_type_hints(type(getattr(Config, name.partition(".")[0])))[item.name]
    kind = next(one for one in getattr(hint, "__args__", (hint,)) if one is not type(None))
    if kind is bool:
        return [flag.replace("--", "--no-", 1) if item.default else flag], not item.default
    if kind is str:
        return [flag, "1"], "1"
    if kind in {int, float}:
        value = kind((item.metadata["between"] or (0, 1))[1])
        return [flag, str(value)], value
    return [flag, list(kind)[-1].value], list(kind)[-1]


@pytest.mark.parametrize("name", SETTINGS)
def test_every_setting_has_an_option_and_can_be_set(name: str) -> None:
    section, _, key = name.partition(".")
    arguments, expected = sample(name)
    assert getattr(getattr(Config(), section), key) != expected
    assert getattr(getattr(run(section, *arguments), section), key) == expected
    text = str(getattr(expected, "value", expected))
    quoted = f"'{text}'" if isinstance(expected, str) else text.lower()
    assert getattr(getattr(run("search", "--set", f"{name}={quoted}"), section), key) == expected


def test_each_source_overrides_the_ones_before() -> None:
    Path("vop.yaml").write_text("training: {epochs: 2, seed: 2, warmup: 0.2}", encoding="utf-8")
    Path("other.yaml").write_text("training: {epochs: 3, seed: 3}", encoding="utf-8")
    preset = ("--preset", "msvd")
    found = run("training", *preset, preset=True).training
    assert (found.epochs, found.seed, found.output) == (2, 2, "runs/msvd")
    found = run(
        "training", *preset, "--config", "other.yaml", "--set", "training.seed=4", preset=True
    ).training
    assert (found.epochs, found.seed, found.warmup) == (3, 4, 0.1)
    found = run("training", "--seed", "5", "--set", "training.seed=4", "--set", "training.epochs=6").training
    assert (found.epochs, found.seed, found.warmup) == (6, 5, 0.2)


def test_a_switch_of_the_file_can_be_turned_off() -> None:
    Path("vop.yaml").write_text("training: {augment: true}", encoding="utf-8")
    assert run("training").training.augment
    assert not run("training", "--no-augment").training.augment


@pytest.mark.parametrize(
    ("variable", "name"),
    [("VOP_INDEX", "search.index"), ("VOP_WEIGHTS", "backbone.weights"), ("VOP_DEVICE", "backbone.device")],
)
def test_environment_variables_override_the_file(variable: str, name: str) -> None:
    section, _, key = name.partition(".")
    Path("vop.yaml").write_text(f"{section}: {{{key}: file}}", encoding="utf-8")
    assert getattr(getattr(run(section), section), key) == "file"
    environment = {variable: "environment"}
    assert getattr(getattr(run(section, env=environment), section), key) == "environment"
    assert getattr(getattr(run(section, f"--{key}", "option", env=environment), section), key) == "option"


def test_all_problems_are_reported_by_their_source() -> None:
    Path("vop.yaml").write_text("data: {size: 2}\ntrainig: 1", encoding="utf-8")
    with pytest.raises(ConfigError) as caught:
        run("training", "--epochs", "0", "--set", "training.sed=1")
    assert str(caught.value) == (
        "vop.yaml: data.size must be from 16 to 2048, not 2; "
        "trainig is unknown (did you mean training or tuning?); "
        "--set training.sed is unknown (did you mean seed?); --epochs must be from 1 to 100000, not 0"
    )


def test_names_are_split_at_commas() -> None:
    assert options.split_names("a, b,,c ") == ["a", "b", "c"]
    assert options.split_names(None) is None
