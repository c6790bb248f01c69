"""What an index keeps of the adapter that its model was tuned with: enough to encode a query the same way."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from vopcli.clip.shape import ClipShape
from vopcli.clip.text_numpy import TextTuning
from vopcli.config.choices import Sides, Variant
from vopcli.config.load import build_config, plain
from vopcli.config.schema import TuningConfig
from vopcli.encoding.request import EncodeRequest
from vopcli.errors import DataError
from vopcli.frames.recipe import other_frames
from vopcli.index.meta import IndexMeta
from vopcli.methods.adapter_file import Adapter, check_backbone
from vopcli.progress import Progress
from vopcli.video.sampling import parse_sampling

_BACKBONE = "clip."
_TEXT_PARTS = ("text_prompts.", "text_adapters.")


def adapter_meta(adapter: Adapter | None) -> dict[str, Any]:
    """Return what an index says of its adapter; nothing of the plain backbone."""
    if adapter is None:
        return {}
    return {
        "sha256": adapter.sha256,
        "tuning": plain(adapter.tuning),
        "num_frames": adapter.num_frames,
    }


def text_side(adapter: Adapter) -> dict[str, NDArray[np.float32]]:
    """Return the tensors that change the text tower, the backbone's own by OpenAI's names."""
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


def text_tuning(meta: IndexMeta, shape: ClipShape) -> TextTuning:
    """Return how the text tower of an index's model works, as the index says it."""
    if not meta.adapter:
        return TextTuning()
    tuning = build_config(TuningConfig, meta.adapter["tuning"], source="the index")
    if tuning.variant in {Variant.ADAPTER_ATTN, Variant.ADAPTER_FFN}:
        sublayer = "attn" if tuning.variant is Variant.ADAPTER_ATTN else "mlp"
        return TextTuning(sublayer=sublayer, scale=tuning.adapter_scale)
    plain_text = {Variant.ZERO_SHOT, Variant.FULL, Variant.BIAS, Variant.PROJ, Variant.PARTIAL}
    if tuning.variant in plain_text or tuning.sides is Sides.VISUAL:
        return TextTuning()
    return TextTuning(
        prefix=tuning.prompt_length - tuning.text_suffix,
        suffix=tuning.text_suffix,
        layers=tuple(tuning.prompted_layers(shape.text_layers)),
    )


def check_adapter(
    request: EncodeRequest,
    adapter: Adapter | None,
    meta: IndexMeta,
    earlier: IndexMeta | None,
    progress: Progress,
) -> None:
    """Check that the adapter is the index's, and say where its frames were made in another way.

    Raises:
        DataError: the index was made with another adapter, or the adapter on another backbone or another
            number of frames.
    """
    if earlier and earlier.adapter.get("sha256") != meta.adapter.get("sha256"):
        held = f"with an adapter ({earlier.variant})" if earlier.adapter else "without an adapter"
        raise DataError(
            f"{request.index} was made {held}, which is not the one given",
            hint="use the same --adapter, another index, or --overwrite",
        )
    if adapter is None:
        return
    check_backbone(adapter, meta.fingerprint, request.weights)
    num_frames = parse_sampling(str(meta.recipe["sampling"])).num_stored
    if num_frames not in {None, adapter.num_frames}:
        raise DataError(
            f"{request.adapter} was tuned on {adapter.num_frames} frames a video, these have {num_frames}",
            hint=f"take as many frames, with --num-frames {adapter.num_frames}, or another adapter",
        )
    if differences := other_frames(adapter.recipe, meta.recipe):
        progress.warn(
            f"{request.index} gets other frames than {request.adapter} was tuned on: {'; '.join(differences)}"
        )
