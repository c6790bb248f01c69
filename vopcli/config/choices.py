"""Enumerations of the settings; standard library only, so that help loads fast."""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import Enum
from typing import Final

from vopcli.errors import UsageError, format_value

_DEFAULT_TEMPERATURE: Final = 0.1  # our choice: cosines of one text with frames differ by about as much


class Activation(str, Enum):
    """Activation function of the feed-forward networks in both towers."""

    QUICK_GELU = "quick_gelu"
    GELU = "gelu"


class Precision(str, Enum):
    """Precision of the model."""

    AUTO = "auto"
    FP32 = "fp32"
    BF16 = "bf16"
    FP16 = "fp16"


class Variant(str, Enum):
    """The variants, the paper's in its order; each has a record in `vopcli.methods.registry`."""

    ZERO_SHOT = "zero-shot"
    FULL = "full"
    BIAS = "bias"
    PROJ = "proj"
    PARTIAL = "partial"
    ADAPTER_ATTN = "adapter-attn"
    ADAPTER_FFN = "adapter-ffn"
    VOP = "VoP"
    P = "P"
    C = "C"
    F = "F"
    P_F = "P+F"
    C_F = "C+F"
    LORA_P = "LoRA+P"

    @classmethod
    def _missing_(cls, value: object) -> Variant | None:
        """Accept any case, any order of ``P+F``, and a leading ``vop-`` or ``VoP-`` of a combination."""
        if not isinstance(value, str):  # printing one from YAML with aliases can take gigabytes
            return None
        plain = {"+".join(sorted(item.value.lower().split("+"))): item for item in cls}
        word = value.strip().lower()
        for name in (word, word.removeprefix("vop").lstrip("-_ +:")):
            if found := plain.get("+".join(sorted(part.strip() for part in name.split("+")))):
                return found
        return None


class ContextModule(str, Enum):
    """Network that summarises the class tokens of a video's frames in the variants C and C+F."""

    BILSTM = "bilstm"
    LSTM = "lstm"
    TRANSFORMER = "transformer"


class Sides(str, Enum):
    """Towers that get prompts."""

    BOTH = "both"
    TEXT = "text"
    VISUAL = "visual"


class Resize(str, Enum):
    """Resampling of frames to the input size of the model."""

    BICUBIC = "bicubic"
    BILINEAR = "bilinear"
    LEGACY_TENSOR = "legacy-tensor"


class Fit(str, Enum):
    """How a frame becomes a square."""

    CROP = "crop"  # the central square, as in CLIP's own preprocessing
    SQUASH = "squash"
    PAD = "pad"  # with the mean colour of CLIP's training images


class DecodeRule(str, Enum):
    """Frames that are decoded."""

    EXACT = "exact"
    KEYFRAMES = "keyframes"


class DatasetName(str, Enum):
    """The public benchmarks; each has a record in `vopcli.datasets.benchmarks.registry`."""

    MSRVTT_9K = "msrvtt-9k"
    MSRVTT_7K = "msrvtt-7k"
    DIDEMO = "didemo"
    ACTIVITYNET = "activitynet"
    LSMDC = "lsmdc"
    MSVD = "msvd"
    VATEX = "vatex"


class QueryUnit(str, Enum):
    """Unit of text that is a query."""

    CAPTIONS = "captions"  # one paragraph per video in benchmarks of paragraphs
    SENTENCES = "sentences"  # each finds the whole video that it describes a part of


class PoolingRule(str, Enum):
    """Pooling of a video's frames into one score with a text."""

    MEAN = "mean"
    MEAN_RAW = "mean-raw"
    MAX = "max"
    TOP = "top"
    ATTENTION = "attention"


@dataclass(frozen=True)
class Pooling:
    """A pooling rule with its parameter.

    Attributes:
        rule: the rule.
        top: K of ``top-K``, at least 1.
        temperature: T of ``attention:T``, above 0, in units of the cosine.
    """

    rule: PoolingRule = PoolingRule.MEAN
    top: int = 1
    temperature: float = _DEFAULT_TEMPERATURE

    def __str__(self) -> str:
        if self.rule is PoolingRule.TOP:
            return f"top-{self.top}"
        return f"attention:{self.temperature:g}" if self.rule is PoolingRule.ATTENTION else self.rule.value


MEAN: Final = Pooling()


def parse_pooling(text: str) -> Pooling:
    """Parse a rule such as ``mean``, ``top-3`` or ``attention:0.05``.

    Raises:
        UsageError: the rule is unknown, or its parameter is out of range.
    """
    word = text.strip().lower()
    name, _, option = word.partition("-" if word.startswith(PoolingRule.TOP.value) else ":")
    try:
        rule = PoolingRule(name)
        if rule is PoolingRule.TOP and int(option) >= 1:
            return Pooling(rule, top=int(option))
        if rule is PoolingRule.ATTENTION and 0 < (scale := float(option or _DEFAULT_TEMPERATURE)) < math.inf:
            return Pooling(rule, temperature=scale)
        if rule not in {PoolingRule.TOP, PoolingRule.ATTENTION} and not option:
            return Pooling(rule)
    except ValueError:
        pass
    raise UsageError(
        f"unknown pooling {format_value(text)}",
        hint="use mean, mean-raw, max, top-K or attention:T, T above 0",
    )


class NormRule(str, Enum):
    """Correction of hubness, by which some videos are close to every text."""

    NONE = "none"
    QB = "qb"


class Ann(str, Enum):
    """Vector index of Milvus: exact, or approximate and faster."""

    FLAT = "flat"
    HNSW = "hnsw"
    IVF = "ivf"


class TableFormat(str, Enum):
    """Format of the tables of a report."""

    MD = "md"
    LATEX = "latex"
    CSV = "csv"


class Codec(str, Enum):
    """Format of the frames in a frame store."""

    RAW = "raw"
    JPEG = "jpeg"


class TieRule(str, Enum):
    """Rank of the target among candidates with exactly the same score.

    If A candidates score higher and T the same, the target included, its rank is between A + 1 and A + T. No
    rule takes A + 1: a model that embeds everything alike would look perfect.
    """

    AVERAGE = "average"  # the mean of these ranks
    PESSIMISTIC = "pessimistic"  # the last rank
    CLIP4CLIP = "clip4clip"  # every one of them, which gives more ranks than queries
    XPOOL = "xpool"  # by position in the gallery, like a stable sort
