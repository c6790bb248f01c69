"""The model that encodes: that of an existing index unless another is named, read only when needed."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple, TypeVar

from vopcli.clip.shape import ClipShape
from vopcli.encoding.request import EncodeRequest
from vopcli.errors import DataError, format_name
from vopcli.index.meta import IndexMeta
from vopcli.progress import Progress, interrupts_deferred
from vopcli.resources import cache_folder, user_path
from vopcli.weights.catalog import find_model

if TYPE_CHECKING:
    import torch

    from vopcli.config.choices import Precision
    from vopcli.weights.reader import Weights

CheckedT = TypeVar("CheckedT")


class Backbone(NamedTuple):
    """Weights and their fingerprint."""

    weights: Weights
    fingerprint: str


def keeps_model(request: EncodeRequest, stored: IndexMeta) -> bool:
    """Whether the request names no model other than that of the index, whose recipe has its sizes."""
    asked = request.config.backbone
    is_same = asked.weights is None or absolute_name(asked.weights) == stored.weights
    return is_same and asked.activation is None and isinstance(stored.recipe.get("size"), int)


def chosen_name(request: EncodeRequest, stored: IndexMeta | None) -> str:
    """Return the name or path of the weights: by default those of the index."""
    asked = request.config.backbone
    return stored.weights if stored and asked.weights is None else asked.model


def absolute_name(weights: str) -> str:
    """Make a path of weights absolute: a search may run in another folder."""
    if find_model(weights) is not None:
        return weights
    path = user_path(weights)
    return str(path.absolute()) if path.exists() else weights


def read_backbone(
    request: EncodeRequest,
    stored: IndexMeta | None,
    check: Callable[[ClipShape], CheckedT],
    progress: Progress,
) -> tuple[Backbone, CheckedT]:
    """Read weights and their fingerprint; call ``check`` with their sizes, before a download.

    Raises:
        DataError: the index was made with other weights.
    """
    from vopcli.weights.reader import read_checked  # takes time to load

    name = chosen_name(request, stored)
    weights, checked = read_checked(
        name,
        check,
        cache=request.cache or cache_folder(),
        progress=progress,
        activation=request.config.backbone.activation,
        fingerprint=stored.fingerprint if stored else "",
    )
    fingerprint = weights.fingerprint()
    if stored and stored.fingerprint != fingerprint:
        raise DataError(
            f"{request.index} was made with another model ({format_name(stored.weights)})",
            hint=f"use --weights {format_name(stored.weights)}, another index, or --overwrite",
        )
    return Backbone(weights, fingerprint), checked


def choose_place(request: EncodeRequest) -> tuple[torch.device, Precision]:
    """Return device and precision; loads torch.

    Raises:
        UsageError: the device is unknown or missing.
    """
    with interrupts_deferred():
        from vopcli.clip.device import choose_device, choose_precision

    device = choose_device(request.config.backbone.device)
    return device, choose_precision(request.config.encoding.precision, device)
