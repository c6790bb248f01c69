"""Read pickles of dictionaries, lists and strings without executing any code."""

from __future__ import annotations

import io
import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from vopcli.errors import DataError, format_name, format_value
from vopcli.files.atomic import read_bytes

_DEPTH: Final = 3  # dictionary -> lists -> lists of words
_HINT: Final = "download the file again, from a source you trust"


def read_plain_pickle(path: Path) -> Any:
    """Read plain containers and strings; bytes, the strings of Python 2, are decoded as Latin-1.

    Raises:
        FileError: ``path`` cannot be read.
        DataError: ``path`` is damaged, or holds other Python objects, which are not executed.
    """
    data = read_bytes(path)
    try:
        return _as_text(_PlainUnpickler(io.BytesIO(data), encoding="latin-1").load())
    except _RefusedError as error:
        raise DataError(f"{path} holds Python objects ({error}): refused", hint=_HINT) from error
    # A damaged pickle can raise nearly any exception.
    except Exception as error:
        raise DataError(
            f"{path} is not a pickle of captions: {format_name(str(error))}", hint=_HINT
        ) from error


class _RefusedError(pickle.UnpicklingError):
    """The pickle names a class or function that is not known to be harmless."""


class _StandIn:
    """A harmless callable that replaces a class of the pickle; without slots, it cannot be modified."""

    __slots__ = ()


class _MakeDict(_StandIn):
    __slots__ = ()

    def __call__(self, *_: object) -> dict[Any, Any]:
        return {}


class _MakeList(_StandIn):
    __slots__ = ()

    def __call__(self, items: object = ()) -> list[Any]:
        return list(items) if isinstance(items, (list, tuple)) else []


class _MakeText(_StandIn):
    __slots__ = ()

    def __call__(self, text: object = "", _encoding: object = None) -> object:
        return text if isinstance(text, str) else None


# The classes and functions that pickles of plain data name.
_STAND_INS: Final[Mapping[tuple[str, str], _StandIn]] = {
    ("collections", "OrderedDict"): _MakeDict(),
    ("collections", "defaultdict"): _MakeDict(),
    ("__builtin__", "list"): _MakeList(),
    ("builtins", "list"): _MakeList(),
    ("_codecs", "encode"): _MakeText(),  # how Python 3 writes bytes for Python 2
}


class _PlainUnpickler(pickle.Unpickler):  # noqa: S301 - it is the unpickler that makes the pickle safe
    """An unpickler that looks up no classes or functions."""

    def find_class(self, module: str, name: str) -> Any:
        """Return the stand-in of a class or function.

        Raises:
            _RefusedError: it has no stand-in.
        """
        stand_in = _STAND_INS.get((module, name))
        if stand_in is None:
            raise _RefusedError(format_value(f"{module}.{name}"))
        return stand_in

    def persistent_load(self, _: object) -> Any:
        """Refuse references to objects outside of the pickle.

        Raises:
            _RefusedError: always.
        """
        raise _RefusedError("a reference to something outside the file")


def _as_text(value: Any, depth: int = _DEPTH) -> Any:
    """Convert bytes to str and tuples to lists, in a dictionary of lists of lists."""
    if isinstance(value, bytes):
        return value.decode("latin-1")
    if depth and isinstance(value, dict):
        return {_as_text(key, 0): _as_text(item, depth - 1) for key, item in value.items()}
    if depth and isinstance(value, (list, tuple)):
        return [_as_text(item, depth - 1) for item in value]
    return value
