"""Settings of ``vop.yaml`` and the command line: the only place for their names, defaults, help, ranges."""

from __future__ import annotations

from dataclasses import Field, dataclass, field, fields
from typing import Any, Final

from vopcli.config.choices import (
    Activation,
    Codec,
    ContextModule,
    DatasetName,
    DecodeRule,
    Fit,
    NormRule,
    Precision,
    QueryUnit,
    Resize,
    Sides,
    TieRule,
    Variant,
)
from vopcli.errors import ConfigError, format_value

DEFAULT_WEIGHTS: Final = "ViT-B/32"
DEFAULT_SAMPLING_RULE: Final = "uniform"
DEFAULT_NUM_FRAMES: Final = 12
DEFAULT_SIZE_PX: Final = 224
DEFAULT_MAX_PIXELS: Final = 8192 * 8192
DEFAULT_BANK_BETA: Final = 20.0  # the value of QB-Norm's authors
_MAX_DIGITS: Final = 9  # of a layer number


def setting(
    default: Any = None,
    *,
    text: str,
    between: tuple[float, float] | None = None,
    metavar: str | None = None,
    unset: object = None,
    envvar: str | None = None,
    short: str | None = None,
) -> Any:
    """Declare a setting.

    Args:
        default: its value unless given.
        text: its help, at most 80 characters.
        between: smallest and largest number allowed.
        metavar: placeholder of its option in help; derived from the type unless given.
        unset: for a default of None, the value or rule that then applies, to be shown in help.
        envvar: environment variable that sets it.
        short: short name of its option, such as ``-k``.
    """
    metadata = {"help": text, "between": between, "metavar": metavar, "unset": unset, "envvar": envvar}
    return field(default=default, metadata=metadata | {"short": short})


@dataclass(frozen=True)
class BackboneConfig:
    """The frozen CLIP model."""

    weights: str | None = setting(
        None,
        text="CLIP weights: a name of `vop weights list` or a file.",
        metavar="NAME|PATH",
        unset=DEFAULT_WEIGHTS,
        envvar="VOP_WEIGHTS",
    )
    device: str = setting(
        "auto", text="Device to run the model on.", metavar="auto|cpu|cuda[:N]|mps", envvar="VOP_DEVICE"
    )
    threads: int | None = setting(
        None, text="CPU threads of the model.", between=(1, 1024), unset="one per usable core"
    )
    activation: Activation | None = setting(
        None,
        text="Activation if the weights name none: quick_gelu (OpenAI) or gelu (most others).",
        unset="that of the file",
    )

    @property
    def model(self) -> str:
        """Name or path of the weights, the default unless given."""
        return self.weights or DEFAULT_WEIGHTS


@dataclass(frozen=True)
class DataConfig:
    """Videos, their frames and their captions."""

    frames: str | None = setting(
        None, text="Frame store written by `vop extract-frames`.", metavar="STORE.h5"
    )
    captions: str | None = setting(
        None, text="Captions of the videos: JSON Lines, or CSV with the same columns.", metavar="FILE"
    )
    dataset: DatasetName | None = setting(None, text="Use a benchmark instead of a captions file.")
    root: str | None = setting(
        None, text="Folder with the annotation files and the videos of the benchmark.", metavar="DIR"
    )
    skip: str | None = setting(
        None,
        text="Leave out videos of the benchmark: dgl, x-pool, unbreakable, or a file of ids.",
        metavar="NAME|FILE",
    )
    prefer: str | None = setting(
        None,
        text="Prefer the first of these suffixes if a video has several files.",
        metavar=".mp4,.webm,...",
    )
    last_caption_only: bool = setting(
        default=False, text="Use only the last caption of each video, as X-Pool does for LSMDC."
    )
    queries: QueryUnit = setting(
        QueryUnit.CAPTIONS,
        text="Queries: captions, paragraphs in DiDeMo and ActivityNet; or single sentences.",
    )
    allow_missing: bool = setting(
        default=False, text="Continue if videos are missing; the results report how many."
    )
    max_tokens: int | None = setting(
        None,
        text="Maximum caption length in tokens, start and end included.",
        between=(3, 1024),
        unset="the model's",
    )
    sampling: str | None = setting(
        None,
        text="Sampling rule: uniform, xpool, clip4clip[:head|:tail], or fps:N (per second).",
        metavar="RULE",
        unset=DEFAULT_SAMPLING_RULE,
    )
    num_frames: int | None = setting(
        None,
        text="Frames per video; the maximum if fps is used.",
        between=(1, 4096),
        unset=DEFAULT_NUM_FRAMES,
    )
    windows: str | None = setting(
        None,
        text="Split long videos into windows: auto (of 10 s), whole (no split), or seconds.",
        metavar="auto|whole|SECONDS",
        unset="auto, whole for a benchmark",
    )
    decode: DecodeRule | None = setting(
        None,
        text="Decode exact frames, or the nearest key frames: faster, and less precise.",
        unset=DecodeRule.EXACT.value,
    )
    candidates: int | None = setting(
        None, text="Frames to keep per segment, odd; training draws one at random.", between=(1, 99), unset=1
    )
    size: int | None = setting(
        None, text="Side of the square frames in pixels.", between=(16, 2048), unset=DEFAULT_SIZE_PX
    )
    resize: Resize | None = setting(
        None,
        text="Resampling filter; legacy-tensor is X-Pool's, without antialiasing.",
        unset="the model's, else bicubic",
    )
    fit: Fit | None = setting(
        None,
        text="Make frames square: crop the middle, squash the frame, or pad with grey.",
        unset="the model's, else crop",
    )
    codec: Codec | None = setting(
        None,
        text="Frame format: raw reads fastest, jpeg (quality 95) takes a seventh of the space.",
        unset=Codec.RAW.value,
    )
    max_pixels: int = setting(
        DEFAULT_MAX_PIXELS, text="Refuse videos with more pixels per frame than this.", between=(1, 1 << 30)
    )
    workers: int | None = setting(
        None,
        text="Number of decoding processes; 0 decodes in the process of the command.",
        between=(0, 1024),
        unset="one per usable core",
    )
    ray: str | None = setting(
        None,
        text="Decode on Ray: the running cluster, this machine alone, or a head node.",
        metavar="auto|local|HOST:PORT",
        unset="without Ray",
    )

    def contradictions(self) -> list[tuple[str, str]]:
        """Return the name of each setting that another one excludes, and the problem."""
        found = []
        if self.captions and self.dataset:
            found.append(
                ("data.captions", f"and data.dataset ({self.dataset.value}) are both given: omit one")
            )
        if self.ray and self.workers == 0:
            found.append(("data.ray", "needs decoding processes, and data.workers is 0: omit one"))
        return found


@dataclass(frozen=True)
class TuningConfig:
    """The trainable parts added to the frozen model (VoP, sections 3 and 4)."""

    variant: Variant = setting(Variant.P_F, text="Variant to train, see `vop methods`.", metavar="NAME")
    prompt_length: int = setting(8, text="Prompts per layer of a tower.", between=(1, 64))
    specific_length: int = setting(
        4, text="How many of these prompts differ by frame, in P and C.", between=(1, 63)
    )
    split_layer: int = setting(8, text="Layers that attend within one frame only, in F.", between=(0, 1000))
    context_module: ContextModule = setting(
        ContextModule.BILSTM, text="Network that summarises the frames, in C."
    )
    sides: Sides = setting(Sides.BOTH, text="Towers that get prompts.")
    layers: str = setting("all", text="Layers that get prompts, counted from 1.", metavar="all|1-6|1,3,5")
    text_suffix: int = setting(
        0, text="Text prompts placed after the words instead of before; ModelScope: 4.", between=(0, 63)
    )
    adapter_width: int = setting(64, text="Hidden width of an adapter.", between=(1, 4096))
    adapter_scale: float = setting(0.1, text="Factor applied to an adapter's output.", between=(0.0, 100.0))

    def prompted_layers(self, depth: int) -> list[int]:
        """Return the layers that get prompts, counted from 0, of a tower with ``depth`` layers.

        Raises:
            ConfigError: ``layers`` is not a list of layers, or names a layer that the tower does not have.
        """
        if self.layers == "all":
            return list(range(depth))
        found: list[int] = []
        for part in self.layers.split(","):
            first, _, last = part.strip().partition("-")
            if not (first.isdecimal() and (last or first).isdecimal()):
                raise ConfigError(
                    f"tuning.layers {format_value(self.layers)} is not a list of layers",
                    hint="write it like 1-6 or 1,3,5",
                )
            ends = [int(end) if len(end) < _MAX_DIGITS else 0 for end in (first, last or first)]
            if not 1 <= ends[0] <= ends[1] <= depth:
                raise ConfigError(
                    f"tuning.layers {format_value(self.layers)} is not within 1-{depth}, a tower's layers",
                    hint="count from 1; if the towers differ, choose the prompted one with --sides",
                )
            found += range(ends[0], ends[1] + 1)
        return [layer - 1 for layer in sorted(set(found))]


@dataclass(frozen=True)
class TrainingConfig:
    """Training; the defaults are the paper's (VoP, section 4.1), or X-Pool's if the paper gives none."""

    epochs: int = setting(5, text="Passes over the training captions.", between=(1, 100_000))
    batch_size: int = setting(
        32, text="Videos per step; the other videos are the negatives.", between=(2, 65_536)
    )
    micro_batch: int | None = setting(
        None,
        text="Micro-batch size; all videos of the batch remain negatives.",
        between=(1, 65_536),
        unset="the whole batch",
    )
    auto_batch: bool = setting(default=False, text="Halve the micro-batch size on out-of-memory errors.")
    lr: float | None = setting(None, text="Peak learning rate.", between=(0.0, 10.0), unset="by variant")
    weight_decay: float = setting(
        0.2, text="Weight decay of matrices and prompts; vectors have none.", between=(0.0, 10.0)
    )
    warmup: float = setting(0.1, text="Fraction of the steps for learning-rate warm-up.", between=(0.0, 0.99))
    clip_norm: float = setting(1.0, text="Maximum gradient norm.", between=(1e-6, 1e6))
    augment: bool = setting(
        default=False, text="Random crops and flips; unsuitable if captions mention left and right."
    )
    precision: Precision = setting(
        Precision.AUTO, text="Precision of the frozen weights and matrix products."
    )
    compile: bool = setting(
        default=False, text="Compile the towers with torch.compile: slow start, faster steps on a GPU."
    )
    checkpointing: bool = setting(
        default=False, text="Recompute layers in the backward pass: less memory, more time."
    )
    val_share: float = setting(
        0.1, text="Fraction of training videos held out if there is no split val.", between=(0.01, 0.9)
    )
    seed: int = setting(
        0, text="Random seed of initial prompts, video order and crops.", between=(0, 2**31 - 1), metavar="N"
    )
    output: str = setting("runs", text="Folder for the run folders.", metavar="DIR")


@dataclass(frozen=True)
class EncodingConfig:
    """Encoding of videos into an index."""

    precision: Precision = setting(Precision.AUTO, text="Precision of the model when encoding.")
    batch_size: int | None = setting(
        None, text="Frames per forward pass.", between=(1, 65_536), unset="by device"
    )
    thumbnails: bool = setting(
        default=True, text="Store a picture of each frame in the index, 4 KB each, for `vop serve`."
    )
    beta: float | None = setting(
        None,
        text="QB-Norm's beta; `vop rescore` reports the best one on validation.",
        between=(1e-6, 1e6),
        unset=f"{DEFAULT_BANK_BETA:g} for a new bank",
    )


@dataclass(frozen=True)
class EvaluationConfig:
    """Retrieval metrics."""

    ties: TieRule = setting(TieRule.AVERAGE, text="Rank of the target among equal scores.")
    bank: int = setting(
        10_000, text="Training captions to save for QB-Norm, at most; 0 saves none.", between=(0, 10**9)
    )
    gate_top: int = setting(
        1,
        text="Apply QB-Norm to queries whose best video is in the top N of a bank caption.",
        between=(1, 10**9),
    )


@dataclass(frozen=True)
class SearchConfig:
    """Search in an index, and the scores that `vop eval` ranks by."""

    index: str | None = setting(
        None, text="Index written by `vop encode`.", metavar="INDEX.h5", envvar="VOP_INDEX"
    )
    top: int = setting(10, text="Maximum number of hits.", between=(1, 10**9), short="-k")
    min_score: float | None = setting(None, text="Minimum score; exit with 5 if no hit reaches it.")
    pooling: str | None = setting(
        None,
        text="How frame scores are pooled: mean, mean-raw, max, top-K or attention[:T].",
        metavar="RULE",
        unset="mean; best match in an index with windows",
    )
    max_false: float | None = setting(
        None,
        text="Maximum fraction of texts without a match to answer; exit 5 if no hit is left.",
        metavar="FRACTION",
        between=(0.0, 1.0),
    )
    player: str | None = setting(
        None,
        text="Player of --open: a command with {file}, {start} and {end} (seconds).",
        metavar="COMMAND",
        unset="mpv, vlc or the system's",
    )
    norm: NormRule = setting(
        NormRule.NONE, text="Hubness correction: qb uses the index's query bank (scores are not cosines)."
    )


@dataclass(frozen=True)
class Config:
    """All settings by section."""

    backbone: BackboneConfig = BackboneConfig()
    data: DataConfig = DataConfig()
    tuning: TuningConfig = TuningConfig()
    training: TrainingConfig = TrainingConfig()
    encoding: EncodingConfig = EncodingConfig()
    evaluation: EvaluationConfig = EvaluationConfig()
    search: SearchConfig = SearchConfig()


SETTINGS: Final[dict[str, Field[Any]]] = {
    f"{section.name}.{item.name}": item
    for section in fields(Config)
    for item in fields(getattr(Config, section.name))
}
