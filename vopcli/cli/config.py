"""``vop config``: show the settings and where they come from."""

import typer

from vopcli.cli import console, options
from vopcli.config.schema import SETTINGS, Config

app = typer.Typer(help="Show the settings of vop.yaml, presets and options.", no_args_is_help=True)


@app.callback()
def _group() -> None:
    """Keep `show` a subcommand: Typer would merge a single command with its group."""


@app.command("show")
def show_config(
    *,
    preset: options.Preset = None,
    config_file: options.ConfigFile = None,
    assignments: options.Assignments = None,
    as_json: options.Json = False,
) -> None:
    """Print all settings as YAML, each with the file, preset or option that it comes from.

    The output is a valid settings file.
    """
    from vopcli.config.load import explain_config, to_dict

    config, origins = explain_config(config_file, preset=preset, assignments=assignments or ())
    _check_rules(config)
    values = to_dict(config)
    rows = []
    for name in SETTINGS:
        section, _, key = name.partition(".")
        rows.append((section, key, values[section][key], origins.get(name, "default")))
    if as_json:
        documents = {
            f"{section}.{key}": {"value": value, "from": origin} for section, key, value, origin in rows
        }
        console.print_json(documents)
        return
    import yaml

    lines = [
        (section, yaml.safe_dump({key: value}, width=10**6, allow_unicode=True).rstrip("\n"), origin)
        for section, key, value, origin in rows
    ]
    width = max(len(text) for _, text, _ in lines)
    last = ""
    for section, text, origin in lines:
        if section != last:
            console.print_line(f"{section}:")
            last = section
        console.print_line(f"  {text:{width}}  # {console.printable(origin)}")


def _check_rules(config: Config) -> None:
    """Check settings that hold a rule as text, which the commands that use them parse.

    Raises:
        UsageError: one is wrong.
    """
    from vopcli.config.choices import parse_pooling
    from vopcli.video.sampling import requested_sampling
    from vopcli.video.windows import parse_windows

    requested_sampling(config.data)
    if config.data.windows:
        parse_windows(config.data.windows)
    if config.search.pooling:
        parse_pooling(config.search.pooling)
