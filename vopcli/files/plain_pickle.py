"""Read a pickle that holds dictionaries, lists and texts, and run nothing that it asks for."""

from __future__ import annotations

import io
import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from vopcli.errors import DataError, format_value
from vopcli.files.atomic import read_bytes

_DEPTH: Final = 3  # a dictionary of lists of lists of words
_MEND: Final = "get the file again, and only from where you trust"


def read_plain_pickle(path: Path) -> Any:
    """Read plain containers and texts; bytes, the texts of old Pythons, become text as Latin-1.

    Raises:
        FileError: the file cannot be read.
        DataError: it is damaged, or holds anything else; then nothing of it was run.
    """
    data = read_bytes(path)
    try:
        return _as_text(_PlainUnpickler(io.BytesIO(data), encoding="latin-1").load())
    except _RefusedError as error:
        raise DataError(f"{path} holds Python objects ({error}): refused", hint=_MEND) from error
    # A damaged pickle makes its reader raise nearly anything: none of it is a fault of ours.
    except Exception as error:
        raise DataError(f"{path} is no pickle of captions: {str(error)[:100]}", hint=_MEND) from error


class _RefusedError(pickle.UnpicklingError):
    """The pickle names something that could run code."""


class _StandIn:
    """A harmless thing to call in place of what the pickle names; having no slots, it cannot be changed."""

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


# What pickles of plain data do name.
_STAND_INS: Final[Mapping[tuple[str, str], _StandIn]] = {
    ("collections", "OrderedDict"): _MakeDict(),
    ("collections", "defaultdict"): _MakeDict(),
    ("__builtin__", "list"): _MakeList(),
    ("builtins", "list"): _MakeList(),
    ("_codecs", "encode"): _MakeText(),  # how Python 3 writes bytes for Python 2
}


class _PlainUnpickler(pickle.Unpickler):  # noqa: S301 - it is the unpickler that makes the pickle safe
    """An unpickler that finds no class and no function."""

    def find_class(self, module: str, name: str) -> Any:
        """Return a stand-in.

        Raises:
            _RefusedError: there is none.
        """
        stand_in = _STAND_INS.get((module, name))
        if stand_in is None:
            raise _RefusedError(format_value(f"{module}.{name}"))
        return stand_in

    def persistent_load(self, _: object) -> Any:
        """Refuse.

        Raises:
            _RefusedError: always.
        """
        raise _RefusedError("a reference to something outside the file")


def _as_text(value: Any, depth: int = _DEPTH) -> Any:
    """Turn bytes into text, and tuples into lists, in a dictionary of lists of lists."""
    if isinstance(value, bytes):
        return value.decode("latin-1")
    if depth and isinstance(value, dict):
        return {_as_text(key, 0): _as_text(item, depth - 1) for key, item in value.items()}
    if depth and isinstance(value, (list, tuple)):
        return [_as_text(item, depth - 1) for item in value]
    return value
