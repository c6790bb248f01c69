"""Errors that are reported to the user, each with the exit code of the command.

VopError                 1   an unexpected failure
  UsageError             2   an invalid argument, option or setting
    ConfigError          2   one or more invalid settings in vop.yaml, all listed
  DataError              3   a file or folder is missing, damaged or of another version
    WeightsError         3   model weights are missing, damaged or do not match
      UnknownActivationError 3   a file of weights does not name its activation
    VideoError           3   a video cannot be decoded; commands that decode many count it instead
    BusyError            3   a file is in use by another process
    FileError            3   the system failed to read or write a file
    StorageError         3   S3-compatible storage does not answer, or refuses all requests
    DivergedError        3   a model computes infinity or NaN, such as after too high a learning rate
  OutOfMemoryError       3   the device, or the machine, does not have enough memory

Further exit codes: 4 completed, but some items failed; 5 no video scored high enough; 130 interrupted.
"""

from __future__ import annotations

import errno
import os
import re
import reprlib
from collections.abc import Iterable
from itertools import islice
from typing import ClassVar, Final

EXIT_SOME_FAILED: Final = 4
EXIT_NOTHING_FOUND: Final = 5
EXIT_INTERRUPTED: Final = 130

_MAX_MESSAGE: Final = 6000  # characters; the longest messages list ten problems of a settings file
# Control characters, and those that change the direction of text: a name must not act on the terminal.
_CONTROL: Final = re.compile("[\x00-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069]")


class VopError(Exception):
    """A message that names the file or value that is wrong, and a hint on how to fix it.

    Both are one line of bounded length, whatever the names and values in them.
    """

    exit_code: ClassVar[int] = 1
    usage: str = ""  # of the command, if its arguments are wrong

    def __init__(self, problem: str, *, hint: str = "") -> None:
        super().__init__(format_name(problem, _MAX_MESSAGE))
        self.hint = format_name(hint, _MAX_MESSAGE)


class UsageError(VopError):
    """An invalid argument, option or setting."""

    exit_code = 2


class ConfigError(UsageError):
    """A configuration file with one or more problems, all listed in the message."""


class DataError(VopError):
    """A file or folder is missing, damaged or of another version."""

    exit_code = 3


class WeightsError(DataError):
    """Model weights are missing, damaged or do not match."""


class UnknownActivationError(WeightsError):
    """A file of weights does not name its activation."""


class VideoError(DataError):
    """A video cannot be decoded."""

    def reason(self, path: str) -> str:
        """Return the message without the name of the file, for a list of failures."""
        path = format_name(path, _MAX_MESSAGE)
        return str(self).removeprefix(f"{path}: ").removeprefix(f"{path} ")


class BusyError(DataError):
    """A file is being written by another process."""


class StorageError(DataError):
    """S3-compatible storage does not answer, or refuses."""


class DivergedError(DataError):
    """A model computes infinity or NaN."""


class OutOfMemoryError(VopError):
    """The device, or the machine, does not have enough memory."""

    exit_code = 3


_OUT_OF_MEMORY: Final = ("out of memory", "can't allocate memory", "not enough memory", "alloc_failed")


def is_out_of_memory(error: BaseException) -> bool:
    """Whether ``error`` means out of memory; torch has no error type for the memory of the host."""
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":  # CUDA's, without torch
        return True
    if isinstance(error, OSError):  # such as that of a memory map
        return error.errno == errno.ENOMEM
    return isinstance(error, RuntimeError) and any(sign in str(error).lower() for sign in _OUT_OF_MEMORY)


_MAX_NEIGHBOURS: Final = 2000  # files of a folder that a missing one is compared with

_REASONS = {
    errno.ENOENT: ("does not exist", "check the path"),
    errno.EACCES: (
        "may not be opened: permission denied",
        "check the permissions of the file and its folder",
    ),
    errno.EPERM: ("may not be changed: not permitted", "check the permissions of the file and its folder"),
    errno.EISDIR: ("is a folder, not a file", "name a file"),
    errno.ENOTDIR: ("lies below something that is not a folder", "check the path"),
    errno.EEXIST: ("exists already", "name another file or use --overwrite"),
    errno.ENOSPC: ("cannot be written: the disk is full", "free some space and run the command again"),
    errno.EDQUOT: (
        "cannot be written: the disk quota is used up",
        "free some space and run the command again",
    ),
    errno.EROFS: ("cannot be written: the disk is read-only", "name a place that can be written"),
    errno.EBADF: ("is closed", "keep it open, or redirect it to a file"),
    errno.ENAMETOOLONG: ("has too long a name", "use a shorter name"),
}


class FileError(DataError):
    """The system failed to read or write a file."""

    def __init__(self, path: str | os.PathLike[str], error: OSError) -> None:
        problem, hint = _REASONS.get(
            error.errno or 0, (f"cannot be used: {error.strerror or error}", "check the file and its disk")
        )
        if error.errno == errno.ENOENT:
            hint = _find_alternative(os.fspath(path)) or hint
        super().__init__(f"{os.fspath(path)} {problem}", hint=hint)


def _find_alternative(path: str) -> str:
    """Return a hint for the name of a file that does not exist; "" if there is none."""
    folder, name = os.path.split(path)
    try:
        with os.scandir(folder or ".") as entries:
            names = [entry.name for entry in islice(entries, _MAX_NEIGHBOURS)]
    except FileNotFoundError:
        return f"the folder {folder} does not exist"
    except OSError:
        return ""
    return nearest(name, names)


def format_value(value: object, most: int = 80) -> str:
    """Format a value for a message: one line of at most ``most`` characters, control characters escaped.

    Aliases let a few bytes of YAML stand for a value of any size: only two levels are printed.
    """
    short = reprlib.Repr()
    short.maxlevel, short.maxstring, short.maxother = 2, most, most
    try:
        text = short.repr(value)
    except ValueError:  # Python refuses to print an integer of more than 4300 digits
        text = f"a very long {type(value).__name__}"
    return _shorten(text, most)


def format_name(name: str, most: int = 80) -> str:
    """Format a name like `format_value`, without quotes."""
    escaped = _CONTROL.sub(lambda found: repr(found[0])[1:-1], _shorten(name, most))
    return _shorten(escaped, most)


def _shorten(text: str, most: int) -> str:
    """Replace the middle of a text of more than ``most`` characters by an ellipsis."""
    end = most // 3
    return text if len(text) <= most else f"{text[: most - end - 3]}...{text[len(text) - end :]}"


def nearest(name: str, known: Iterable[str]) -> str:
    """Return a question such as "did you mean train?"; "" if no known name is similar. Ignores case."""
    import difflib  # most commands end without an error

    by_lower = {one.lower(): one for one in known}
    near = [by_lower[one] for one in difflib.get_close_matches(name[:80].lower(), by_lower, 2)]
    return f"did you mean {' or '.join(near)}?" if near else ""
