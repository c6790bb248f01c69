"""What ``vop.yaml`` may say: the only place that names a setting, its default, its help and its check."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Final

from vopcli.config.choices import ContextModule, DatasetName, Precision, Resize, Sides, Variant
from vopcli.errors import ConfigError

DEFAULT_WEIGHTS: Final = "ViT-B/32"
DEFAULT_NUM_FRAMES: Final = 12
DEFAULT_SIZE_PX: Final = 224
_MOST_DIGITS: Final = 9  # of a layer's number
DEFAULT_BANK_BETA: Final = 20.0  # what the authors of QB-Norm set


def setting(default: Any = None, *, text: str, low: float | None = None, high: float | None = None) -> Any:
    """Declare a setting: its default, its help ``text``, and the inclusive range of a number."""
    return field(default=default, metadata={"help": text, "low": low, "high": high})


@dataclass(frozen=True)
class BackboneConfig:
    """The frozen CLIP model."""

    weights: str = setting(DEFAULT_WEIGHTS, text="CLIP weights: a name of `vop weights list`, or a file")


@dataclass(frozen=True)
class DataConfig:
    """Videos, their frames and their captions."""

    frames: str | None = setting(None, text="frame store made by `vop extract-frames`")
    captions: str | None = setting(
        None, text="captions of the videos: JSON Lines, or CSV with the same columns"
    )
    dataset: DatasetName | None = setting(
        None, text="a benchmark, instead of captions: " + ", ".join(name.value for name in DatasetName)
    )
    root: str | None = setting(None, text="folder of the benchmark's annotation files and, below it, videos")
    skip: str | None = setting(
        None,
        text="videos of the benchmark to leave out: dgl, x-pool or unbreakable, or a file with an id a line",
    )
    prefer: str | None = setting(
        None, text="suffixes of which the first counts where a video has several files, such as .mp4,.webm"
    )
    last_caption_only: bool = setting(
        default=False, text="of each video only the last caption, as X-Pool reads LSMDC"
    )
    allow_missing: bool = setting(
        default=False, text="train and measure although videos are missing; the results say how many"
    )
    max_tokens: int | None = setting(
        None, text="longest caption, ends included; as the model can, unless given", low=3, high=1024
    )
    sampling: str | None = setting(
        None, text="which frames are kept: uniform, xpool, clip4clip, or fps:N for N a second"
    )
    num_frames: int | None = setting(None, text="frames of a video", low=1, high=4096)
    candidates: int | None = setting(
        None, text="frames kept of each segment, for training to draw one; odd", low=1, high=99
    )
    size: int | None = setting(None, text="side of the square frames, in pixels", low=16, high=2048)
    resize: Resize | None = setting(
        None, text="bicubic with antialiasing, as CLIP's, or legacy-tensor without it, as X-Pool's"
    )

    def contradictions(self) -> list[str]:
        """Return what cannot be meant, a line each."""
        if self.captions and self.dataset:
            return [f"data.captions and data.dataset ({self.dataset.value}) are both given: leave one out"]
        return []


@dataclass(frozen=True)
class TuningConfig:
    """What is put into the frozen model to be trained (VoP, sections 3 and 4)."""

    variant: Variant = setting(Variant.P_F, text="tuning method, see `vop methods`")
    prompt_length: int = setting(8, text="prompts in each layer of a tower", low=1, high=64)
    specific_length: int = setting(4, text="of these, prompts of their own for P and C", low=1, high=63)
    split_layer: int = setting(8, text="layers before the frames attend to each other in F", low=0, high=1000)
    context_module: ContextModule = setting(ContextModule.BILSTM, text="what reads the frames in C")
    sides: Sides = setting(Sides.BOTH, text="towers that get prompts")
    layers: str = setting("all", text="layers that get prompts, counted from 1: all, or such as 1-6 or 1,3,5")
    text_suffix: int = setting(
        0, text="of the text prompts, those at the end; ModelScope has 4", low=0, high=63
    )
    adapter_width: int = setting(64, text="width of an adapter", low=1, high=4096)
    adapter_scale: float = setting(0.1, text="factor on an adapter's output", low=0.0, high=100.0)

    def prompted_layers(self, depth: int) -> list[int]:
        """Return the layers of a tower of ``depth`` layers that get prompts, counted from 0.

        Raises:
            ConfigError: ``layers`` is no list of layers, or names one that the tower does not have.
        """
        if self.layers == "all":
            return list(range(depth))
        found: list[int] = []
        for part in self.layers.split(","):
            first, _, last = part.strip().partition("-")
            if not (first.isdecimal() and (last or first).isdecimal()):
                raise ConfigError(
                    f"tuning.layers {self.layers[:80]!r} is no list of layers", hint="such as 1-6 or 1,3,5"
                )
            ends = [int(end) if len(end) < _MOST_DIGITS else 0 for end in (first, last or first)]
            if not 1 <= ends[0] <= ends[1] <= depth:
                raise ConfigError(
                    f"tuning.layers {self.layers[:80]!r} does not lie within 1-{depth}, a tower's layers",
                    hint="count from 1; where the towers differ, --sides names the one that gets prompts",
                )
            found += range(ends[0], ends[1] + 1)
        return [layer - 1 for layer in sorted(set(found))]


@dataclass(frozen=True)
class TrainingConfig:
    """How it is trained; the defaults are the paper's (VoP, section 4.1), or X-Pool's where it is silent."""

    epochs: int = setting(5, text="passes over the training captions", low=1, high=100_000)
    batch_size: int = setting(32, text="videos, and so negatives, of a step", low=2, high=65_536)
    micro_batch: int | None = setting(
        None, text="videos on the device at a time; negatives stay all", low=1, high=65_536
    )
    auto_batch: bool = setting(
        default=False,
        text="halve the videos on the device at a time where memory gives out; negatives stay all",
    )
    lr: float | None = setting(None, text="peak learning rate; each variant has its own", low=0.0, high=10.0)
    weight_decay: float = setting(0.2, text="of matrices and prompts, not of vectors", low=0.0, high=10.0)
    warmup: float = setting(0.1, text="share of the steps in which the rate rises", low=0.0, high=0.99)
    clip_norm: float = setting(1.0, text="largest norm of the gradient", low=1e-6, high=1e6)
    augment: bool = setting(
        default=False, text="random crops and flips; they turn left into right, so off by default"
    )
    precision: Precision = setting(
        Precision.AUTO, text="number format of the frozen weights and the products"
    )
    compile: bool = setting(
        default=False, text="torch.compile the towers: slow to start, then faster on a GPU"
    )
    checkpointing: bool = setting(
        default=False, text="recompute layers in the backward pass: less memory, more time"
    )
    val_share: float = setting(
        0.1, text="of the training videos, held out if there is no split val", low=0.01, high=0.9
    )
    seed: int = setting(
        0, text="of the prompts, the order of the videos and the crops", low=0, high=2**31 - 1
    )
    output: str = setting("runs", text="folder of the run folders")


@dataclass(frozen=True)
class SearchConfig:
    """Searching."""

    index: str | None = setting(None, text="index made by `vop encode`")


@dataclass(frozen=True)
class Config:
    """All settings, a section each."""

    backbone: BackboneConfig = BackboneConfig()
    data: DataConfig = DataConfig()
    tuning: TuningConfig = TuningConfig()
    training: TrainingConfig = TrainingConfig()
    search: SearchConfig = SearchConfig()
