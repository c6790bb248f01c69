"""The command line: commands by name, and the conversion of errors to exit codes."""

import functools
import os
import re
import sys
from collections.abc import Iterator, Mapping, MutableMapping
from importlib import import_module
from pathlib import Path
from typing import Annotated, Any, Final, cast

import typer
from typer.core import TyperGroup
from typer.exceptions import TyperException
from typer.main import get_command, get_group

from vopcli.cli import console
from vopcli.errors import (
    EXIT_INTERRUPTED,
    FileError,
    OutOfMemoryError,
    UsageError,
    VopError,
    is_out_of_memory,
    nearest,
)

_COMMANDS: Final = {  # name -> module of this package, and the function or group in it
    "extract-frames": ("extract_frames", "extract_frames"),
    "train": ("train", "train"),
    "eval": ("evaluate", "evaluate"),
    "compare": ("compare", "compare"),
    "moments": ("moments", "moments"),
    "rescore": ("rescore", "rescore"),
    "report": ("report", "report"),
    "card": ("card", "card"),
    "push": ("push", "push"),
    "encode": ("encode", "encode"),
    "search": ("search", "search"),
    "serve": ("serve", "serve"),
    "methods": ("methods", "methods"),
    "info": ("info", "info"),
    "index": ("index", "app"),
    "demo": ("demo", "demo"),
    "data": ("data", "app"),
    "weights": ("weights", "app"),
    "config": ("config", "app"),
}
# What the same command finds again after Ctrl-C; the others start anew.
_KEPT: Final = {
    "extract-frames": "Finished videos are kept",
    "encode": "Finished videos are kept",
    "demo": "Finished videos are kept",
    "search": "Videos that were indexed are kept",
    "get": "What was downloaded is kept",
}


def _show_log(value: bool) -> None:  # noqa: FBT001
    if value:
        console.show_log()


def _write_log(path: Path | None) -> None:
    if path:
        console.write_log(path)


_Verbose = Annotated[
    bool,
    typer.Option(
        "--verbose", "-v", callback=_show_log, help="Print a debug log to stderr; valid for every command."
    ),
]
_LogFile = Annotated[
    Path | None,
    typer.Option(
        callback=_write_log,
        metavar="FILE",
        help="Append messages and debug log to FILE; valid for every command.",
    ),
]


class _LazyCommands(Mapping[str, Any]):
    """Commands by name; a module is imported with its first use, all of them for `vop --help`."""

    def __getitem__(self, name: str) -> Any:
        return self._built(name)

    @staticmethod
    @functools.cache
    def _built(name: str) -> Any:
        """Build a command once: the help of `vop` asks for each twice.

        Raises:
            KeyError: there is none of this name.
        """
        file, attribute = _COMMANDS[name]
        module = import_module(f"vopcli.cli.{file}")
        found = getattr(module, attribute)
        holder = typer.Typer(rich_markup_mode=None)
        if isinstance(found, typer.Typer):
            holder.add_typer(found, name=name)
        else:
            holder.command(name, cls=getattr(module, "SearchCommand", None))(found)
        command: Any = get_group(holder).commands[name]
        for one in getattr(command, "commands", {"": command}).values():
            one.params += _log_options()
        return command

    def __iter__(self) -> Iterator[str]:
        return iter(_COMMANDS)

    def __len__(self) -> int:
        return len(_COMMANDS)


def _log_options() -> list[Any]:
    """Return the options for logs, which every command takes; the help of `vop` alone shows them."""
    holder = typer.Typer(add_completion=False)

    @holder.command()
    def _(*, verbose: _Verbose = False, log_file: _LogFile = None) -> None: ...

    parser: Any = get_command(holder)
    added: list[Any] = [one for one in parser.params if one.name in {"verbose", "log_file"}]
    for one in added:
        one.hidden, one.expose_value = True, False
    return added


class Commands(TyperGroup):
    """Print errors that a user can cause with a hint on stderr; show bugs with their traceback."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.commands = cast("MutableMapping[str, Any]", _LazyCommands())

    def main(self, *args: Any, **extra: Any) -> Any:
        """Run a command, print its error if any, and exit with its code."""
        extra["standalone_mode"] = False
        try:
            code = super().main(*args, **extra)
            sys.stdout.flush()
        except VopError as error:
            console.say_error(str(error), error.hint, usage=error.usage)
            code = error.exit_code
        except TyperException as error:
            _say_usage_error(error)
            code = error.exit_code
        except typer.Exit as error:
            code = error.exit_code
        except (RuntimeError, MemoryError, OSError) as error:  # such as a model that does not fit the device
            failure = _failure(error)
            if failure is None:
                raise
            console.say_error(str(failure), failure.hint)
            code = failure.exit_code
        finally:
            console.close_log()
        sys.exit(code if isinstance(code, int) else 0)

    def invoke(self, ctx: Any) -> Any:
        """Run the command; report an interruption by Ctrl-C, and refer to the command's help in an error."""
        rest = ctx.args  # the context loses them while the command runs
        try:
            return super().invoke(ctx)
        except (UsageError, TyperException) as error:
            words, failed = " ".join(["vop", *self._names(ctx, rest)]), cast("Any", error)
            failed.hint = getattr(error, "hint", "") or f"see `{words} --help`"
            raise
        except KeyboardInterrupt:
            kept = next((_KEPT[name] for name in self._names(ctx, rest) if name in _KEPT), "")
            console.say(f"Interrupted. {kept}; run the same command to continue." if kept else "Interrupted.")
            raise typer.Exit(EXIT_INTERRUPTED) from None

    def _names(self, ctx: Any, rest: list[str]) -> list[str]:
        """Return the name of the command, after that of its group if it is in one."""
        name = ctx.invoked_subcommand
        below = getattr(self.commands[name], "commands", {}) if name else {}
        return [*filter(None, [name]), *(word for word in rest[:1] if word in below)]


def _failure(error: Exception) -> VopError | None:
    """Return the error to report for an exception that no command translates; None for a bug."""
    if is_out_of_memory(error):
        return OutOfMemoryError(f"out of memory: {error}", hint="use --device cpu, or close other programs")
    if isinstance(error, OSError) and isinstance(error.filename, str):  # a path that was only looked up
        return FileError(error.filename, error)
    return None


def _say_usage_error(error: Any) -> None:
    problem = _INVALID.sub(r"\1: ", error.format_message().replace("Value error, ", "").removesuffix("."))
    if problem.startswith("Usage:"):  # no command given: print the list of commands
        sys.stderr.write(problem + "\n")
        return
    hint = getattr(error, "hint", "see `vop --help`")
    if found := _EXTRA.search(problem):
        problem = f"too many arguments: {found[1]}"
        hint = f"quote names with spaces; {hint}"
    elif found := _NUMBER.search(problem):
        problem = f"{found[1]} must be {_condition(error.param.type, found[3])}, not {found[2]}"
    elif (found := _CHOICE.search(problem)) and (near := nearest(found[1], found[2].split("', '"))):
        hint = near
    context = getattr(error, "ctx", None)
    console.say_error(problem, hint, usage=context.get_usage() if context else "")


def _condition(kind: Any, wrong_type: str | None) -> str:
    """Return the condition that a number of an option does not meet, worded as for a setting."""
    if wrong_type:
        return "a whole number" if wrong_type == "int" else "a number"
    return f"at least {kind.min}" if kind.max is None else f"from {kind.min} to {kind.max}"


_EXTRA: Final = re.compile(r"^Got unexpected extra argument\(?s?\)? \((.*)\)$", re.DOTALL)
_CHOICE: Final = re.compile(r"'([^']*)' is not one of '(.*)'")
_INVALID: Final = re.compile(r"^Invalid value for '(--[^']*)'(?: / '-.')?: ")
_NUMBER: Final = re.compile(r"^(--\S*): (.*) is not (?:a valid (int|float)|in the range)", re.DOTALL)


app = typer.Typer(
    name="vop",
    cls=Commands,
    help="Search videos by text with CLIP.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,  # plain help loads nothing and is the same on a terminal and in the README
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)


@app.callback(invoke_without_command=True)
def _root(
    *,
    version: Annotated[bool, typer.Option("--version", "-V", help="Print the version and exit.")] = False,
    verbose: _Verbose = False,
    log_file: _LogFile = None,
) -> None:
    if version:
        from vopcli.resources import __version__

        console.print_line(__version__)
        raise typer.Exit


def main() -> None:
    """Run ``vop``."""
    # Typer checks arguments with pydantic, which would search every installed package for plugins
    os.environ.setdefault("PYDANTIC_DISABLE_PLUGINS", "__all__")
    console.open_streams()
    app(prog_name="vop")
