"""What the paper reports (VoP, section 4), to stand beside one's own figures; standard library only.

All of it is by the authors, with CLIP ViT-B/32 and 12 frames a video; nothing of it was measured here.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from vopcli.config.choices import Variant

# Table 1, in millions. The paper leaves raw parameters out of its count, such as attention's input
# projections, so `vop methods` counts more for full, bias, partial and F.
TRAINED_MILLIONS: Final[Mapping[Variant, float]] = {
    Variant.FULL: 119.8,
    Variant.BIAS: 0.1,
    Variant.PROJ: 0.7,
    Variant.PARTIAL: 7.7,
    Variant.ADAPTER_ATTN: 2.0,
    Variant.ADAPTER_FFN: 2.0,
    Variant.VOP: 0.1,
    Variant.P: 0.5,
    Variant.C: 14.3,
    Variant.F: 0.1,
    Variant.P_F: 0.4,
    Variant.C_F: 14.1,
}


_PROMPTS: Final = frozenset({"prompt_length", "sides", "layers", "text_suffix"})


_SPECIFIC: Final = _PROMPTS | {"specific_length"}


_ADAPTER: Final = frozenset({"adapter_width", "adapter_scale"})


# of the section tuning, what each variant looks at besides its name
USED_SETTINGS: Final[Mapping[Variant, frozenset[str]]] = {
    Variant.ADAPTER_ATTN: _ADAPTER,
    Variant.ADAPTER_FFN: _ADAPTER,
    Variant.VOP: _PROMPTS,
    Variant.P: _SPECIFIC,
    Variant.C: _SPECIFIC | {"context_module"},
    Variant.F: _PROMPTS | {"split_layer"},
    Variant.P_F: _SPECIFIC | {"split_layer"},
    Variant.C_F: _SPECIFIC | {"split_layer", "context_module"},
}


# Peak learning rates. The paper searched within 1e-6..1e-2 for each method and printed none. Those of what
# is added to the backbone are searched on the demo set (benchmarks/learning_rates.py). Those of the
# backbone's own tensors depend on the backbone, and demo-tiny's (benchmarks/study.py) would harm
# OpenAI's: full has X-Pool's, the other three are not searched for it.
LEARNING_RATES: dict[Variant, float] = {
    Variant.FULL: 1e-6,
    Variant.BIAS: 1e-3,
    Variant.PROJ: 1e-3,
    Variant.PARTIAL: 1e-4,
    Variant.ADAPTER_ATTN: 1e-2,
    Variant.ADAPTER_FFN: 1e-2,
    Variant.VOP: 1e-2,
    Variant.P: 1e-2,
    Variant.C: 1e-3,
    Variant.F: 1e-2,
    Variant.P_F: 1e-2,
    Variant.C_F: 1e-3,
}


# variant -> what trains, and the paper's figure in its Table 1
DESCRIPTIONS: Final[dict[Variant, tuple[str, str]]] = {
    Variant.ZERO_SHOT: ("nothing", "0"),
    Variant.FULL: ("everything", "119.8 M"),
    Variant.BIAS: ("every bias of both towers", "0.1 M"),
    Variant.PROJ: ("the last linear projection of both towers", "0.7 M"),
    Variant.PARTIAL: ("the last layer of both towers", "7.7 M"),
    Variant.ADAPTER_ATTN: ("bottlenecks beside each self-attention", "2.0 M"),
    Variant.ADAPTER_FFN: ("bottlenecks beside each feed-forward network", "2.0 M"),
    Variant.VOP: ("prompts in every layer of both towers", "0.1 M"),
    Variant.P: ("VoP, video prompts by the frame's position", "0.5 M"),
    Variant.C: ("VoP, video prompts generated from the frames", "14.3 M"),
    Variant.F: ("VoP, deep layers attend over all frames", "0.1 M"),
    Variant.P_F: ("P in the shallow layers, F in the deep ones", "0.4 M"),
    Variant.C_F: ("C in the shallow layers, F in the deep ones", "14.1 M"),
}
