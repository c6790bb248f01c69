"""How the text tower of an index is tuned, read from the index's metadata."""

from __future__ import annotations

from vopcli.clip.shape import ClipShape
from vopcli.clip.text_numpy import TextTuning
from vopcli.config.choices import Sides, Variant
from vopcli.config.load import build_config
from vopcli.config.schema import TuningConfig
from vopcli.index.meta import IndexMeta


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
