"""The command line: its commands, and the one border where errors become exit codes."""

import os
import sys
from typing import Annotated, Any

import typer
from typer.core import TyperGroup
from typer.exceptions import TyperException

from vopcli.cli import console
from vopcli.cli.compare import compare
from vopcli.cli.data import app as data
from vopcli.cli.demo import demo
from vopcli.cli.encode import encode
from vopcli.cli.evaluate import evaluate
from vopcli.cli.extract_frames import extract_frames
from vopcli.cli.info import info
from vopcli.cli.methods import methods
from vopcli.cli.report import report
from vopcli.cli.rescore import rescore
from vopcli.cli.search import search
from vopcli.cli.train import train
from vopcli.cli.weights import app as weights
from vopcli.errors import EXIT_INTERRUPTED, OutOfMemoryError, VopError, is_out_of_memory


class Commands(TyperGroup):
    """Print what a user can cause as an error and a hint on stderr; let bugs through with their traceback."""

    def main(self, *args: Any, **extra: Any) -> Any:
        """Run a command inside the border, and end the process with its exit code."""
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
        except BrokenPipeError:
            code = _end_output()
        except (RuntimeError, MemoryError) as error:  # such as a model that does not fit the device
            if not is_out_of_memory(error):
                raise
            console.say_error(f"out of memory: {error}", "use --device cpu, or close other programs")
            code = OutOfMemoryError.exit_code
        sys.exit(code if isinstance(code, int) else 0)

    def invoke(self, ctx: Any) -> Any:
        """Run the command; Ctrl-C says that what is finished is kept."""
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt:
            console.say("Interrupted. What was finished is kept; the same command goes on from there.")
            raise typer.Exit(EXIT_INTERRUPTED) from None
        except BrokenPipeError:  # caught here as well: Typer's own main would make it exit code 1
            raise typer.Exit(_end_output()) from None


def _end_output() -> int:
    """Send what is still buffered nowhere: the reader, such as `head`, has seen enough. Return 0."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return 0


def _say_usage_error(error: TyperException) -> None:
    problem = error.format_message()
    if problem.startswith("Usage:"):  # no command was named: what there is
        sys.stderr.write(problem + "\n")
        return
    context = getattr(error, "ctx", None)
    command = context.command_path if context else "vop"
    console.say_error(problem, f"`{command} --help` shows how it is used")


app = typer.Typer(
    cls=Commands,
    help="Search videos by text with CLIP.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,  # plain help loads nothing and is the same on a terminal and in the README
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
app.command("extract-frames")(extract_frames)
app.command()(train)
app.command("eval")(evaluate)
app.command()(compare)
app.command()(rescore)
app.command()(report)
app.command()(encode)
app.command()(search)
app.command()(methods)
app.command()(info)
app.command()(demo)
app.add_typer(data, name="data")
app.add_typer(weights, name="weights")


@app.callback(invoke_without_command=True)
def _version(
    *,
    version: Annotated[bool, typer.Option("--version", help="Print the version and leave.")] = False,
) -> None:
    if version:
        from vopcli.resources import __version__

        console.print_line(__version__)
        raise typer.Exit


def main() -> None:
    """Run ``vop``."""
    # Typer checks arguments with pydantic, which would look for plugins in every installed package
    os.environ.setdefault("PYDANTIC_DISABLE_PLUGINS", "__all__")
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(
                errors="backslashreplace"
            )  # a terminal that knows no UTF-8 still gets every line
    app(prog_name="vop")
