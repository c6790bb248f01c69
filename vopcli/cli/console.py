"""Output: results to stdout; progress, notes, warnings and errors to stderr."""

import errno
import io
import json
import os
import re
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TextIO

import typer

from vopcli.errors import FileError
from vopcli.progress import Progress, SilentProgress, Task

if TYPE_CHECKING:
    import logging

_PLAIN_SECONDS = 10.0  # between progress lines without a terminal
_RATED_SECONDS = 1.0  # a rate of less time is noise
_UNRATED = {"compare", "count frames"}  # steps before the work, whose rate tells nothing of it
_STDOUT, _STDERR = 1, 2  # descriptors
_LOGS: "Final[list[logging.Handler]]" = []  # open ones; without any, logging need not be imported


class _Stream(io.FileIO):
    """Standard output or error; after a failure, which only output raises, writing has no effect."""

    def write(self, data: Any) -> int | None:  # type: ignore[override]
        """Write to the descriptor.

        Raises:
            FileError: standard output is full or closed.
            typer.Exit: the reader of standard output, such as `head`, has closed the pipe.
        """
        try:
            return super().write(data)
        except OSError as error:
            os.dup2(os.open(os.devnull, os.O_WRONLY), self.fileno())  # Python flushes once more at exit
            if self.fileno() == _STDERR:
                return len(data)
            if error.errno == errno.EPIPE:
                raise typer.Exit from None
            raise FileError("standard output", error) from error


def open_streams() -> None:
    """Replace `sys.stdout` and `sys.stderr`, so that a failure to print is reported once, as an error."""
    for descriptor in range(3):
        try:
            os.fstat(descriptor)
        except OSError:  # closed: reserve the number, which the next opened file would get
            os.open(os.devnull, os.O_RDONLY)
    sys.stdin = sys.stdin or open(0, closefd=False)  # noqa: SIM115  open as long as the process
    if sys.stdout is sys.__stdout__:  # else another program has redirected its output, and calls this one
        sys.stdout = _open_stream(_STDOUT, sys.stdout)
    if sys.stderr is sys.__stderr__:
        sys.stderr = _open_stream(_STDERR, sys.stderr)


def _open_stream(descriptor: int, given: TextIO | None) -> io.TextIOWrapper:
    raw = _Stream(descriptor, "w", closefd=False)
    return io.TextIOWrapper(
        io.BufferedWriter(raw),
        encoding=given.encoding if given else None,
        errors="backslashreplace",  # for terminals without UTF-8
        line_buffering=descriptor == _STDERR or raw.isatty(),
    )


def printable(text: str) -> str:
    r"""Escape control characters, which could affect a terminal, and bytes that are not UTF-8 as \xNN."""
    if text.isprintable():
        return text
    return "".join(character if character.isprintable() else _escape(character) for character in text)


def _escape(character: str) -> str:
    code = ord(character)
    if 0xDC80 <= code <= 0xDCFF:  # a byte of a file name that is not UTF-8, as os.fsdecode keeps it
        return f"\\x{code - 0xDC00:02x}"
    return character.encode("unicode_escape").decode("ascii")


def print_json(document: Any) -> None:
    """Print one JSON document: on one line when piped, indented on a terminal."""
    print_line(json.dumps(document, indent=2 if sys.stdout.isatty() else None, allow_nan=False))


def print_line(line: str) -> None:
    """Print one line of results and flush it."""
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def print_path(path: str, *, end: bytes) -> None:
    """Print a file name as the bytes of the file system."""
    sys.stdout.flush()
    sys.stdout.buffer.write(os.fsencode(path) + end)
    sys.stdout.buffer.flush()


def print_table(
    columns: Sequence[str],
    rows: Sequence[Sequence[str]],
    *,
    num_keys: int = 1,
    links: Sequence[str] = (),
) -> None:
    """Print a table on a terminal, tab-separated values without a header otherwise.

    The first ``num_keys`` columns name the row: a table that is too wide repeats them in each of its parts.
    On a terminal the last column links to the URLs ``links``, one per row, if there are any.
    """
    cells = [[printable(cell) for cell in row] for row in rows]
    if sys.stdout.isatty():
        from vopcli.cli.tables import draw_table

        draw_table(columns, cells, num_keys=num_keys, links=links)
        return
    for row in cells:
        print_line("\t".join(row))


def say(message: str) -> None:
    """Print one line to stderr."""
    if _LOGS:
        import logging

        logging.getLogger(__name__).info("%s", message)
    sys.stderr.write(printable(message) + "\n")
    sys.stderr.flush()


def _documented(found: re.Match[str]) -> str:
    return found[1] if "..." in found[1] else found[1] + (found[2] or "")


def say_error(problem: str, hint: str, *, usage: str = "") -> None:
    """Print a problem, the usage line of the command if it was called wrongly, and a hint, one per line."""
    say(f"Error: {problem}")
    if usage:  # with the names as they are documented: Typer puts braces around them
        say(" ".join(re.sub(r"\{(.*?)\}(\.{3})?", _documented, usage).split()))
    if hint:
        say(f"Hint: {hint}")


def show_log() -> None:
    """Print the debug log to stderr, without the messages that are printed there anyway."""
    import logging

    handler = logging.StreamHandler(sys.stderr)
    handler.addFilter(lambda record: record.name != __name__)
    _open_log(handler, "%(name)s: %(message)s")


def write_log(path: Path) -> None:
    """Append the debug log and all messages to a file.

    Raises:
        FileError: the file cannot be written.
    """
    import logging

    try:
        handler = logging.FileHandler(path, encoding="utf-8", errors="backslashreplace")
    except OSError as error:
        raise FileError(path, error) from error
    _open_log(handler, "%(asctime)s %(name)s: %(message)s")
    logging.getLogger(__name__).info("%s", " ".join(sys.argv))


def _open_log(handler: "logging.Handler", form: str) -> None:
    import logging

    handler.setFormatter(logging.Formatter(form))
    handler.addFilter(_escape_message)
    logger = logging.getLogger("vopcli")
    logger.addHandler(handler)
    logger.setLevel(logging.DEBUG)
    _LOGS.append(handler)


def _escape_message(record: "logging.LogRecord") -> bool:
    """Escape control characters: names of files are logged."""
    record.msg, record.args = printable(record.getMessage()), None
    return True


def close_log() -> None:
    """End the logs of `show_log` and `write_log`."""
    if _LOGS:
        import logging

        for handler in _LOGS:
            logging.getLogger("vopcli").removeHandler(handler)
            handler.close()
        _LOGS.clear()


def progress(*, quiet: bool) -> Progress:
    """Return the progress display of a command; ``quiet`` only prints warnings and failures."""
    return QuietProgress() if quiet else TerminalProgress()


class QuietProgress(SilentProgress):
    """Only print warnings and failures."""

    def warn(self, message: str) -> None:
        """Print a warning."""
        say(f"Warning: {message}")

    def fail(self, item: str, reason: str) -> None:
        """Print a failure."""
        say(f"Failed: {item}: {reason}")


class TerminalProgress:
    """Draw bars on a terminal, else print a line every few seconds."""

    def task(self, title: str, *, total: int | None, unit: str) -> Task:
        """Start a bar, or a series of lines."""
        return BarTask(title, total, unit) if sys.stderr.isatty() else PlainTask(title, total, unit)

    def note(self, message: str) -> None:
        """Print a note."""
        say(message)

    def warn(self, message: str) -> None:
        """Print a warning."""
        say(f"Warning: {message}")


class BarTask:
    """Progress bar of rich: fraction, rate, failures and time left."""

    def __init__(self, title: str, total: int | None, unit: str) -> None:
        from rich import progress as bars
        from rich.console import Console

        amount: bars.ProgressColumn = bars.MofNCompleteColumn()
        rate: bars.ProgressColumn = bars.TextColumn("{task.fields[rate]}")
        if unit == "B":
            amount, rate = bars.DownloadColumn(), bars.TransferSpeedColumn()
        failures = bars.TextColumn("[red]{task.fields[failures]}")
        columns = [bars.TextColumn("{task.description}"), bars.BarColumn(), amount, rate, failures]
        self._bars = bars.Progress(*columns, bars.TimeRemainingColumn(), console=Console(file=sys.stderr))
        self._id = self._bars.add_task(printable(title), total=total, rate="", failures="")
        self._title, self._unit, self._failed = title, unit, 0

    def advance(self, amount: int = 1) -> None:
        """Advance the bar."""
        self._bars.update(self._id, advance=amount)
        task = self._bars.tasks[0]
        self._bars.update(self._id, rate=_rate(self._title, task.completed, task.elapsed or 0.0, self._unit))

    def fail(self, item: str, reason: str) -> None:
        """Count a failure and print it above the bar."""
        self._failed += 1
        self._bars.console.print(
            f"Failed: {printable(item)}: {printable(reason)}", markup=False, highlight=False
        )
        self._bars.update(self._id, advance=1, failures=f"{self._failed} failed")

    def __enter__(self) -> Task:
        self._bars.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._bars.stop()


def _rate(title: str, done: float, seconds: float, unit: str) -> str:
    """Format the rate of a step; empty if it has run too short or does no work of its own."""
    is_rated = seconds >= _RATED_SECONDS and title not in _UNRATED
    return f"{done / seconds:.1f} {unit}/s" if is_rated else ""


class PlainTask:
    """Progress for logs: one line every few seconds, and one at the end."""

    def __init__(self, title: str, total: int | None, unit: str) -> None:
        self._title, self._total, self._unit = title, total, unit
        self._done = self._failed = 0
        self._began = self._said = time.monotonic()

    def advance(self, amount: int = 1) -> None:
        """Count, and print a line if the last one is old enough."""
        self._done += amount
        if time.monotonic() - self._said >= _PLAIN_SECONDS:
            self._said = time.monotonic()
            self._say()

    def fail(self, item: str, reason: str) -> None:
        """Print a failure at once."""
        say(f"Failed: {item}: {reason}")
        self._failed += 1
        self.advance()

    def __enter__(self) -> Task:
        return self

    def __exit__(self, *exception: object) -> None:
        self._say()

    def _say(self) -> None:
        seconds = time.monotonic() - self._began
        rate = self._done / seconds if seconds > 0 else 0.0
        scale, unit = (1e-6, "MB") if self._unit == "B" else (1.0, self._unit)
        amount = f"{self._done * scale:.0f}"
        if self._total is not None:
            amount += f"/{self._total * scale:.0f}"
        parts = [f"{self._title}: {amount} {unit}"]
        if text := _rate(self._title, self._done * scale, seconds, unit):
            parts.append(text)
        if self._failed:
            parts.append(f"{self._failed} failed")
        if self._total is not None and 0 < self._done < self._total:
            parts.append(f"{(self._total - self._done) / rate:.0f} s left")
        say(", ".join(parts))
