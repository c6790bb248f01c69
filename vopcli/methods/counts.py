"""List the variants with their parameter counts, taken from models without weights."""

from __future__ import annotations

from dataclasses import dataclass

from vopcli.clip.model import Clip
from vopcli.config.choices import Activation
from vopcli.config.schema import TuningConfig
from vopcli.errors import UsageError
from vopcli.methods.model import VideoTextModel
from vopcli.methods.registry import METHODS
from vopcli.resources import cache_folder
from vopcli.weights.build import shapes_only
from vopcli.weights.reader import read_shape


@dataclass(frozen=True)
class MethodCount:
    """A variant with its parameter counts.

    Attributes:
        variant: its name.
        trains: the parameters it trains, in words.
        num_trained: number of trained parameters.
        published: their number in the paper, such as "0.1 M"; empty if it is not published.
    """

    variant: str
    trains: str
    num_trained: int
    published: str


def list_methods(weights: str, *, num_frames: int, activation: Activation | None = None) -> list[MethodCount]:
    """Return the name, description, and actual and published parameter counts of each variant.

    Raises:
        UsageError: the model has a single layer, too few for F.
        FileError: the weights do not exist.
        WeightsError: the weights are damaged.
    """
    shape = read_shape(weights, cache=cache_folder(), activation=activation)
    split = min(TuningConfig.split_layer, max(shape.vision_layers - 1, 0))
    if not split:
        raise UsageError(f"{weights} has a single layer: F needs two", hint="pass another model")
    found = []
    for variant, method in METHODS.items():
        with shapes_only():
            tuning = TuningConfig(variant=variant, split_layer=split)
            model = VideoTextModel(Clip(shape), tuning, num_frames=num_frames)
        published = _format_millions(method.published_millions)
        found.append(MethodCount(variant.value, method.trains, model.num_trained, published))
    return found


def _format_millions(millions: float | None) -> str:
    """Format a count in millions; empty if nothing is published."""
    if millions is None:
        return ""
    return f"{millions} M" if millions else "0"
