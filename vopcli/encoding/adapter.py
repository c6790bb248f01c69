"""The adapter of an index: metadata, text-side tensors, and compatibility checks."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from vopcli.config.load import to_dict
from vopcli.encoding.request import EncodeRequest
from vopcli.errors import DataError
from vopcli.frames.recipe import other_frames, recorded_sampling
from vopcli.index.meta import IndexMeta
from vopcli.progress import Progress

if TYPE_CHECKING:
    from vopcli.methods.adapter_file import Adapter

_BACKBONE = "clip."
_TEXT_PARTS = ("text_prompts.", "text_adapters.")


def adapter_meta(adapter: Adapter | None) -> dict[str, Any]:
    """Return the metadata of an adapter for an index; empty without an adapter."""
    if adapter is None:
        return {}
    return {
        "path": str(Path(adapter.source).absolute()),
        "sha256": adapter.sha256,
        "tuning": to_dict(adapter.tuning),
        "num_frames": adapter.num_frames,
    }


def given_adapter(request: EncodeRequest, progress: Progress) -> Adapter | None:
    """Read the adapter of a request; None if it names none.

    Raises:
        DataError: the file is missing, damaged, or not an adapter.
    """
    if request.adapter is None:
        return None
    from vopcli.methods.modelscope import read_any_adapter  # takes time to load

    return read_any_adapter(request.adapter, progress)


def text_side(adapter: Adapter) -> dict[str, NDArray[np.float32]]:
    """Return the tensors that change the text tower; those of the backbone have OpenAI's names."""
    own = {
        name.removeprefix(_BACKBONE): tensor
        for name, tensor in adapter.tensors.items()
        if name.startswith(_TEXT_PARTS)
        or (
            name.startswith(_BACKBONE)
            and not name.startswith((f"{_BACKBONE}visual.", f"{_BACKBONE}logit_scale"))
        )
    }
    return {name: np.asarray(tensor, np.float32) for name, tensor in own.items()}


def check_adapter(
    request: EncodeRequest,
    adapter: Adapter | None,
    meta: IndexMeta,
    earlier: IndexMeta | None,
    progress: Progress,
) -> None:
    """Check that the adapter is that of the index; warn if the frames differ from those it was tuned on.

    Raises:
        DataError: the index was made with another adapter, or the adapter on another backbone or another
            number of frames.
    """
    if earlier and earlier.adapter.get("sha256") != meta.adapter.get("sha256"):
        article = "another" if adapter else "an"
        held = f"with {article} adapter ({earlier.variant})" if earlier.adapter else "without an adapter"
        raise DataError(
            f"{request.index} was made {held}",
            hint="use the same --adapter, another index, or --overwrite",
        )
    if adapter is None:
        return
    from vopcli.methods.adapter_file import check_backbone

    check_backbone(adapter, meta.fingerprint, meta.weights)
    num_frames = recorded_sampling(meta.recipe).num_stored
    if num_frames not in {None, adapter.num_frames}:
        raise DataError(
            f"{request.adapter} was tuned on {adapter.num_frames} frames per video, these have {num_frames}",
            hint=f"use --num-frames {adapter.num_frames}, or another adapter",
        )
    if adapter.assumption:
        progress.warn(adapter.assumption)
    if differences := other_frames(adapter.recipe, meta.recipe):
        progress.warn(
            f"the frames differ from those {request.adapter} was tuned on: {'; '.join(differences)}"
        )
