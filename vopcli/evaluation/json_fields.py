"""Typed access to the fields of JSON documents that a user may have edited."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, TypeVar

from vopcli.errors import format_value

_LIMIT: Final = 1 << 53  # larger integers have no exact float

ValueT = TypeVar("ValueT")


def get_text(document: Any, key: str) -> str:
    """Return a field that holds text.

    Raises:
        TypeError: the field is of another type.
    """
    value = document[key]
    if not isinstance(value, str):
        raise TypeError(f"{key} is {format_value(value)}, not text")
    return value


def get_texts(document: Any, key: str) -> tuple[str, ...]:
    """Return a field that holds a list of texts.

    Raises:
        TypeError: the field is of another type.
    """
    values = document[key]
    if not isinstance(values, list) or not all(isinstance(value, str) for value in values):
        raise TypeError(f"{key} is {format_value(values)}, not a list of texts")
    return tuple(values)


def get_number(document: Any, key: str, *, low: float = 0, high: float = _LIMIT) -> float:
    """Return a field that holds a finite number in ``[low, high]``.

    Raises:
        ValueError: the field is not a number, or out of range.
    """
    value = document[key]
    if type(value) not in {int, float} or not low <= value <= high:  # a bool is an int, but not a number here
        raise ValueError(f"{key} is {format_value(value)}, not a number from {low} to {high}")
    return value


def get_count(document: Any, key: str) -> int:
    """Return a field that holds an integer of at least 0.

    Raises:
        ValueError: the field is not an integer, or out of range.
    """
    value = get_number(document, key)
    if not isinstance(value, int):
        raise ValueError(f"{key} is {format_value(value)}, not an integer")  # noqa: TRY004  (one error for all numbers)
    return value


def get_optional(document: Any, key: str, get: Callable[[Any, str], ValueT]) -> ValueT | None:
    """Return a field read by ``get``; None if it is null.

    Raises:
        ValueError: from ``get``.
        TypeError: from ``get``.
    """
    return None if document[key] is None else get(document, key)
