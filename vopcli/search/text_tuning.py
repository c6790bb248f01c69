"""Text side of an index's model, read from the metadata of the index."""

from __future__ import annotations

from vopcli.clip.shape import ClipShape, TextTuning
from vopcli.config.load import build_config
from vopcli.config.schema import TuningConfig
from vopcli.index.meta import IndexMeta
from vopcli.methods.registry import METHODS


def text_tuning(meta: IndexMeta, shape: ClipShape) -> TextTuning:
    """Return the changes that the index's adapter makes to the text tower; none without an adapter."""
    if not meta.adapter:
        return TextTuning()
    tuning = build_config(TuningConfig, meta.adapter["tuning"], source="the index")
    return METHODS[tuning.variant].text(tuning, shape)
