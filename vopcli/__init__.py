"""Search videos by text with CLIP, and tune it on your own videos with VoP's co-operative prompts."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from vopcli import errors
from vopcli.progress import Progress
from vopcli.resources import __version__

if TYPE_CHECKING:
    from vopcli.api import encode, evaluate, extract_frames, train
    from vopcli.methods.encoder import Model, load_model
    from vopcli.search.query import Query
    from vopcli.search.search import Index, open_index

__all__ = [
    "Index",
    "Model",
    "Progress",
    "Query",
    "__version__",
    "encode",
    "errors",
    "evaluate",
    "extract_frames",
    "load_model",
    "open_index",
    "train",
]
_MODULES = {
    "Index": "vopcli.search.search",
    "Model": "vopcli.methods.encoder",
    "Query": "vopcli.search.query",
    "load_model": "vopcli.methods.encoder",
    "open_index": "vopcli.search.search",
}


def __getattr__(name: str) -> Any:
    """Import a public name on first use: ``import vopcli`` itself loads neither torch nor NumPy.

    Raises:
        AttributeError: ``name`` is not public.
    """
    if name not in __all__:
        raise AttributeError(f"module 'vopcli' has no attribute '{name}'")
    from importlib import import_module

    return getattr(import_module(_MODULES.get(name, "vopcli.api")), name)


def __dir__() -> list[str]:
    return sorted(__all__)
