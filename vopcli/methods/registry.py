"""The variants, one record each.

A new variant needs a member of `Variant`, a record here, and a module with its builder. The builder is named
rather than imported: the command line, search and reports use this module without loading torch or NumPy.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Final

from vopcli.clip.shape import ClipShape, TextTuning
from vopcli.config.choices import Sides, Variant
from vopcli.config.schema import TuningConfig
from vopcli.methods import trainable


def untuned_text(tuning: TuningConfig, shape: ClipShape) -> TextTuning:
    """Add nothing to the text tower; its own tensors may be trained."""
    return TextTuning()


def prompted_text(tuning: TuningConfig, shape: ClipShape) -> TextTuning:
    """Put text prompts in the text tower, unless only the vision tower gets prompts."""
    if tuning.sides is Sides.VISUAL:
        return TextTuning()
    return TextTuning(
        prefix=tuning.prompt_length - tuning.text_suffix,
        suffix=tuning.text_suffix,
        layers=tuple(tuning.prompted_layers(shape.text_layers)),
    )


def adapted_text(sublayer: str, tuning: TuningConfig, shape: ClipShape) -> TextTuning:
    """Put adapters beside ``sublayer`` ("attn" or "mlp") of each layer of the text tower."""
    return TextTuning(sublayer=sublayer, scale=tuning.adapter_scale)


def changed_text(tuning: TuningConfig, shape: ClipShape) -> TextTuning:
    """Add low-rank matrices to the attention of each layer of the text tower."""
    return TextTuning(sublayer="in_proj")


@dataclass(frozen=True)
class Method:
    """Everything that is specific to one variant.

    Attributes:
        trains: the parameters it trains, in words.
        lr: default peak learning rate; 0 if and only if it trains nothing.
        selects: whether the backbone's tensor of this (OpenAI) name is trained; None: none is.
        builder: "module:function" that builds its prompts or adapters (`variants.Builder`); "" for none.
        settings: fields of `TuningConfig` that it uses, apart from ``variant``. With ``specific_length`` some
            prompts differ from frame to frame; from ``split_layer`` on, layers attend over all frames.
        text: its text side for `NumpyTextTower`.
        published_millions: trained parameters in millions in Table 1 of the paper; None: not in the paper.
    """

    trains: str
    lr: float
    selects: Callable[[str, ClipShape], bool] | None = None
    builder: str = ""
    settings: frozenset[str] = frozenset()
    text: Callable[[TuningConfig, ClipShape], TextTuning] = untuned_text
    published_millions: float | None = None

    def __post_init__(self) -> None:
        if bool(self.lr) == self.is_idle:
            raise ValueError(f"a variant has a learning rate if and only if it trains something: {self}")

    @property
    def is_idle(self) -> bool:
        """Whether it trains nothing."""
        return not (self.selects or self.builder)


_ADAPTER: Final = frozenset({"adapter_width", "adapter_scale"})
_PROMPTS: Final = frozenset({"prompt_length", "sides", "layers", "text_suffix"})
_SPECIFIC: Final = _PROMPTS | {"specific_length"}
_GENERIC_BUILDER: Final = "vopcli.methods.prompts:build_generic"
_POSITION_BUILDER: Final = "vopcli.methods.position_prompts:build"
_CONTEXT_BUILDER: Final = "vopcli.methods.context_prompts:build"

# Learning rates: the paper searched within 1e-6..1e-2 for each method and printed none. Those of prompts and
# adapters are searched on the demo set (benchmarks/learning_rates.py). Those of the backbone's own tensors
# depend on the backbone, and demo-tiny's (benchmarks/study.py) would harm OpenAI's: full has X-Pool's, the
# other three are not searched.
# Published counts: the paper leaves raw parameters out, such as attention's input projections, so
# `vop methods` counts more for full, bias, partial and F.
METHODS: Final[Mapping[Variant, Method]] = {
    Variant.ZERO_SHOT: Method("nothing", lr=0.0, published_millions=0.0),
    Variant.FULL: Method("everything", lr=1e-6, selects=trainable.is_any, published_millions=119.8),
    Variant.BIAS: Method(
        "every bias of both towers", lr=1e-3, selects=trainable.is_bias, published_millions=0.1
    ),
    Variant.PROJ: Method(
        "the last linear projection of both towers",
        lr=1e-3,
        selects=trainable.is_projection,
        published_millions=0.7,
    ),
    Variant.PARTIAL: Method(
        "the last layer of both towers", lr=1e-4, selects=trainable.is_last_layer, published_millions=7.7
    ),
    Variant.ADAPTER_ATTN: Method(
        "bottlenecks beside each self-attention",
        lr=1e-2,
        builder="vopcli.methods.adapters:build_beside_attention",
        settings=_ADAPTER,
        text=partial(adapted_text, "attn"),
        published_millions=2.0,
    ),
    Variant.ADAPTER_FFN: Method(
        "bottlenecks beside each feed-forward network",
        lr=1e-2,
        builder="vopcli.methods.adapters:build_beside_feed_forward",
        settings=_ADAPTER,
        text=partial(adapted_text, "mlp"),
        published_millions=2.0,
    ),
    Variant.VOP: Method(
        "prompts in every layer of both towers",
        lr=1e-2,
        builder=_GENERIC_BUILDER,
        settings=_PROMPTS,
        text=prompted_text,
        published_millions=0.1,
    ),
    Variant.P: Method(
        "VoP, video prompts by the frame's position",
        lr=1e-2,
        builder=_POSITION_BUILDER,
        settings=_SPECIFIC,
        text=prompted_text,
        published_millions=0.5,
    ),
    Variant.C: Method(
        "VoP, video prompts generated from the frames",
        lr=1e-3,
        builder=_CONTEXT_BUILDER,
        settings=_SPECIFIC | {"context_module"},
        text=prompted_text,
        published_millions=14.3,
    ),
    Variant.F: Method(
        "VoP, deep layers attend over all frames",
        lr=1e-2,
        builder=_GENERIC_BUILDER,
        settings=_PROMPTS | {"split_layer"},
        text=prompted_text,
        published_millions=0.1,
    ),
    Variant.P_F: Method(
        "P in the shallow layers, F in the deep ones",
        lr=1e-2,
        builder=_POSITION_BUILDER,
        settings=_SPECIFIC | {"split_layer"},
        text=prompted_text,
        published_millions=0.4,
    ),
    Variant.C_F: Method(
        "C in the shallow layers, F in the deep ones",
        lr=1e-3,
        builder=_CONTEXT_BUILDER,
        settings=_SPECIFIC | {"split_layer", "context_module"},
        text=prompted_text,
        published_millions=14.1,
    ),
    Variant.LORA_P: Method(
        "low-rank changes of both towers, prompts by the frame's position",
        lr=1e-2,
        builder="vopcli.methods.lora:build",
        settings=frozenset({"layers"}),
        text=changed_text,
    ),
}

# A variant without a record would be a run that trains nothing.
if list(METHODS) != list(Variant):
    missing = ", ".join(variant for variant in Variant if variant not in METHODS) or "none"
    raise TypeError(f"METHODS must have the variants in the order of Variant; without a record: {missing}")
