"""The command line: commands by name, and the conversion of errors to exit codes."""

import os
import sys
from collections.abc import Iterator, Mapping, MutableMapping
from importlib import import_module
from typing import Annotated, Any, Final, cast

import typer
from typer.core import TyperGroup
from typer.exceptions import TyperException
from typer.main import get_group

from vopcli.cli import console
from vopcli.errors import EXIT_INTERRUPTED, OutOfMemoryError, VopError, is_out_of_memory

_COMMANDS: Final = {  # name -> module of this package, and the function or group in it
    "extract-frames": ("extract_frames", "extract_frames"),
    "train": ("train", "train"),
    "eval": ("evaluate", "evaluate"),
    "compare": ("compare", "compare"),
    "rescore": ("rescore", "rescore"),
    "report": ("report", "report"),
    "encode": ("encode", "encode"),
    "search": ("search", "search"),
    "methods": ("methods", "methods"),
    "info": ("info", "info"),
    "demo": ("demo", "demo"),
    "data": ("data", "app"),
    "weights": ("weights", "app"),
}


class _LazyCommands(Mapping[str, Any]):
    """Commands by name; a module is imported with its first use, all of them for `vop --help`."""

    def __getitem__(self, name: str) -> Any:
        module, attribute = _COMMANDS[name]
        found = getattr(import_module(f"vopcli.cli.{module}"), attribute)
        holder = typer.Typer(rich_markup_mode=None)
        if isinstance(found, typer.Typer):
            holder.add_typer(found, name=name)
        else:
            holder.command(name)(found)
        return get_group(holder).commands[name]

    def __iter__(self) -> Iterator[str]:
        return iter(_COMMANDS)

    def __len__(self) -> int:
        return len(_COMMANDS)


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
            console.say_error(str(error), error.hint)
            code = error.exit_code
        except TyperException as error:
            _say_usage_error(error)
            code = error.exit_code
        except typer.Exit as error:
            code = error.exit_code
        except (RuntimeError, MemoryError) as error:  # such as a model that does not fit the device
            if not is_out_of_memory(error):
                raise
            console.say_error(f"out of memory: {error}", "use --device cpu, or close other programs")
            code = OutOfMemoryError.exit_code
        sys.exit(code if isinstance(code, int) else 0)

    def invoke(self, ctx: Any) -> Any:
        """Run the command; report an interruption by Ctrl-C."""
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt:
            console.say("Interrupted. Finished work is kept; run the same command to continue.")
            raise typer.Exit(EXIT_INTERRUPTED) from None


def _say_usage_error(error: TyperException) -> None:
    problem = error.format_message()
    if problem.startswith("Usage:"):  # no command given: print the list of commands
        sys.stderr.write(problem + "\n")
        return
    context = getattr(error, "ctx", None)
    command = context.command_path if context else "vop"
    console.say_error(problem, f"see `{command} --help`")


app = typer.Typer(
    cls=Commands,
    help="Search videos by text with CLIP.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,  # plain help loads nothing and is the same on a terminal and in the README
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)


@app.callback(invoke_without_command=True)
def _version(
    *,
    version: Annotated[bool, typer.Option("--version", help="Print the version and exit.")] = False,
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
