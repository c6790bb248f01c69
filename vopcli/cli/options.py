"""Options that several commands share, and the options that settings get from ``config/schema.py``."""

import functools
import inspect
import types
import typing
from collections.abc import Callable, Iterable
from dataclasses import Field
from enum import Enum
from pathlib import Path
from typing import Annotated, Any

import typer

from vopcli.config.schema import SETTINGS, Config
from vopcli.errors import UsageError
from vopcli.files.s3 import is_remote, named_path, require_boto3
from vopcli.resources import set_threads

Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace existing files.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Only print warnings and failures.")]
Json = Annotated[bool, typer.Option("--json", help="Print the result as one JSON document.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Print the plan without writing anything.")]
RetryFailed = Annotated[
    bool, typer.Option("--retry-failed", help="Retry videos that failed in an earlier run.")
]
Splits = Annotated[
    str | None, typer.Option("--split", metavar="NAME,...", help="Splits of the benchmark. [default: all]")
]
Html = Annotated[
    Path | None,
    typer.Option(metavar="PAGE.html", help="Write tables, plots and top results to an HTML page."),
]
Figures = Annotated[
    Path | None, typer.Option(metavar="DIR", help="Write each plot to a folder as an SVG file.")
]
NUM_QUERIES = 8
NumQueries = Annotated[
    int,
    typer.Option("--queries", min=0, metavar="N", help="Most different and worst captions to show, N each."),
]
ConfigFile = Annotated[
    Path | None,
    typer.Option(
        "--config",
        metavar="FILE",
        help="Settings file. [default: vop.yaml here or in the nearest parent folder]",
    ),
]
Preset = Annotated[
    str | None,
    typer.Option(metavar="NAME", help="Preset with a benchmark's published settings; vop.yaml overrides it."),
]
Assignments = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="A.B=C", help="Override a setting of vop.yaml, such as data.size=64."),
]
_Command = Callable[..., None]


def settings(*names: str, preset: bool = False) -> Callable[[_Command], _Command]:
    """Give a command options for settings, in place of its parameter ``config``.

    The command gets the resolved `Config` as ``config``. Its options are those of the settings, --config and
    --set; None, their default, leaves a setting to the file.

    Args:
        names: settings such as ``training.epochs``, or sections for all of their settings.
        preset: add --preset.
    """
    chosen = [name for wanted in names for name in SETTINGS if wanted in (name, name.partition(".")[0])]
    annotations = {"preset": Preset} if preset else {}
    annotations |= {SETTINGS[name].name: _annotation(name) for name in chosen}
    annotations |= {"config_file": ConfigFile, "assignments": Assignments}
    added = [
        inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=annotation)
        for name, annotation in annotations.items()
    ]

    def decorate(command: _Command) -> _Command:
        @functools.wraps(command)
        def run(**given: Any) -> None:
            from vopcli.config.load import load_config

            values = {name: given.pop(name) for name in annotations}
            options = {name: values[SETTINGS[name].name] for name in chosen}
            config = load_config(
                values["config_file"],
                preset=values.get("preset"),
                assignments=values["assignments"] or (),
                options=options,
            )
            if "backbone.threads" in chosen:
                set_threads(config.backbone.threads)
            command(**given, config=config)

        signature = inspect.signature(command)
        parameters = [
            new
            for old in signature.parameters.values()
            for new in (added if old.annotation is Config else [old])
        ]
        run.__signature__ = signature.replace(parameters=parameters)  # type: ignore[attr-defined]
        run.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
        return run

    return decorate


def option(name: str, *flags: str, several: bool = False) -> Any:
    """Return the option of a setting.

    Args:
        name: the setting, such as ``training.epochs``.
        flags: names of the option; derived from the setting's unless given.
        several: take several values, separated by commas.
    """
    item, kind = SETTINGS[name], _value_type(name)
    dashed = item.name.replace("_", "-")
    metavar = item.metadata["metavar"] or _metavar(kind)
    text = item.metadata["help"]
    facts = [f"default: {shown}"] if (shown := _format_default(item)) else []
    facts += [f"env: {item.metadata['envvar']}"] if item.metadata["envvar"] else []
    return typer.Option(
        *(flags or [f"--{dashed}/--no-{dashed}" if kind is bool else f"--{dashed}"]),
        *([item.metadata["short"]] if item.metadata["short"] else []),
        help=f"{text} [{'; '.join(facts)}]" if facts else text,
        metavar=f"{metavar},..." if several else metavar,
        envvar=item.metadata["envvar"],
        show_envvar=False,
    )


def _annotation(name: str) -> Any:
    return Annotated[_value_type(name) | None, option(name)]


def _value_type(name: str) -> type:
    """Return the type of a setting, without None."""
    section, _, key = name.partition(".")
    hint = _hints(section)[key]
    return typing.get_args(hint)[0] if isinstance(hint, types.UnionType) else hint


@functools.cache
def _hints(section: str) -> dict[str, Any]:
    return typing.get_type_hints(type(getattr(Config, section)))


def _metavar(kind: type) -> str | None:
    if issubclass(kind, Enum):
        return "|".join(str(item.value) for item in kind)
    return {int: "N", float: "X", str: "TEXT"}.get(kind)


def _format_default(item: Field[Any]) -> str:
    value = item.metadata["unset"] if item.default is None else item.default
    if value is None or value is False:
        return ""
    return str(value.value if isinstance(value, Enum) else value)


def split_names(listed: str | None) -> list[str] | None:
    """Return the names between commas; None if not given."""
    return [name.strip() for name in listed.split(",") if name.strip()] if listed else None


def split_paths(
    context: typer.Context, paths: list[Path], *, kind: str, needs_sources: bool = True
) -> tuple[list[Path], Path]:
    """Return the videos that were named, and the file to write, the last of the paths.

    Args:
        context: of the command.
        paths: one or more paths.
        kind: what the file is, for messages: "index" or "frame store".
        needs_sources: whether a file without videos is an error.

    Raises:
        UsageError: the last path cannot be the file, or no videos are named; or S3 needs boto3.
        FileError: the last path cannot be read.
    """
    *sources, target = map(named_path, paths)
    problem = f"no videos are named, only the {kind} {target}" if needs_sources and not sources else ""
    hint = f"name them before the {kind}: {context.command_path} SRC... {target}"
    if what := _other_kind(target, is_alone=needs_sources and not sources):
        problem = f"no {kind} is named: {target}, the last name, is {what}"
        named = [str(path) for path in (*sources, target)][:2]
        example = "idx.h5" if kind == "index" else "out.h5"
        hint = f"name the {kind} last: {context.command_path} {' '.join(named)} {example}"
    if problem:
        error = UsageError(problem, hint=hint)
        error.usage = context.get_usage()
        raise error
    if any(map(is_remote, sources)):
        require_boto3()
    return sources, target


def check_local(sources: Iterable[Path]) -> None:
    """Check that no source is on S3, of a command that keeps an index of its own.

    Raises:
        UsageError: one is.
    """
    for source in filter(is_remote, sources):
        name = named_path(source)
        raise UsageError(
            f"{name} is on S3, and is encoded by `vop encode` only",
            hint=f"run `vop encode {name} idx.h5`, then name the index idx.h5",
        )


def _other_kind(path: Path, *, is_alone: bool) -> str:
    """Return the kind of a path that cannot be a file to write, such as "a folder"; "" if it can."""
    from vopcli.files.hdf5 import is_hdf5
    from vopcli.search.stores import is_in_engine
    from vopcli.video.find_videos import VIDEO_SUFFIXES

    if is_in_engine(path):
        return ""
    if is_remote(path):
        return "on S3"
    if path.is_dir():
        return "a folder"
    if path.suffix.lower() in VIDEO_SUFFIXES:
        return "a video"
    if path.exists():
        return "" if is_hdf5(path) else "another file"
    return "not the name of an HDF5 file" if is_alone and path.suffix.lower() not in {".h5", ".hdf5"} else ""


def is_given(context: typer.Context, name: str) -> bool:
    """Whether an option is on the command line, not only in the environment or a settings file."""
    source = context.get_parameter_source(name)
    return source is not None and source.name == "COMMANDLINE"
