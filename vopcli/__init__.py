"""Search videos by text with CLIP, and tune it on your own with VoP's co-operative prompts."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from vopcli.resources import __version__

if TYPE_CHECKING:
    from vopcli.methods.encoder import Model, load_model
    from vopcli.search.search import Index, open_index

__all__ = ["Index", "Model", "__version__", "load_model", "open_index"]

_HOMES = {
    "Index": "vopcli.search.search",
    "Model": "vopcli.methods.encoder",
    "load_model": "vopcli.methods.encoder",
    "open_index": "vopcli.search.search",
}


def __getattr__(name: str) -> Any:
    """Import a public name when it is first used: ``import vopcli`` itself loads neither torch nor NumPy.

    Raises:
        AttributeError: no such public name.
    """
    if name not in _HOMES:
        raise AttributeError(f"module 'vopcli' has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(_HOMES[name]), name)
