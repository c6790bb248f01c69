"""Content of the demo set: coloured shapes that move, grow or shrink, and their captions.

Captions follow two rules, without which the order of frames could not be learned from frozen features: the
word that tells two changes apart ("right", "large") also occurs in captions of still images, and it is the
only word that differs. Positions are in units of half the image height from the centre, x to the right and y
down, so that the middle square is -1 to 1; radii have the same unit.
"""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np

COLOURS: Final[dict[str, tuple[int, int, int]]] = {
    "red": (218, 44, 40),
    "green": (44, 176, 62),
    "blue": (48, 92, 232),
    "yellow": (240, 212, 48),
    "purple": (168, 62, 208),
    "white": (238, 238, 238),
}
SHAPES: Final = ("circle", "square", "triangle", "star")

OPPOSITES: Final[dict[str, str]] = {
    "right": "left",
    "left": "right",
    "top": "bottom",
    "bottom": "top",
    "large": "small",
    "small": "large",
}
"""The opposite of each change, which is the same video backwards."""

SPLIT_TAKES: Final[dict[str, tuple[int, ...]]] = {"train": (1, 2, 3), "test": (4,)}
"""Takes of each colour, shape and change by split."""

SMALL_RADII: Final = (0.24, 0.30)
LARGE_RADII: Final = (0.42, 0.50)
_MEDIUM_RADII: Final = (0.26, 0.34)
# Videos grow beyond the radii of the still images. With those radii "large" and "small" would differ by 0.18
# in cosine (without haze), "right" and "left" by 0.27. That was too little for F: its text prompts merged the
# two words before its video prompts could tell the videos apart.
_SMALLEST_RADII: Final = (0.16, 0.21)
_LARGEST_RADII: Final = (0.50, 0.60)
_FAR: Final = (0.45, 0.54)  # distance of the first and last position from the centre, within the image
_PHRASES: Final = {
    False: ("a {look} goes to the {word}", "the {look} moves to the {word}"),
    True: ("a {look} becomes {word}", "the {look} is now {word}"),
}


@dataclass(frozen=True)
class Background:
    """A dark background: mean RGB (0..255), and the standard deviation of its soft random texture."""

    rgb: tuple[float, float, float]
    texture: float
    seed: int


@dataclass(frozen=True)
class Scene:
    """A coloured shape on a background; ``x``, ``y`` and ``radius`` in half heights, ``rgb`` in 0..255."""

    colour: str
    shape: str
    x: float
    y: float
    radius: float
    tilt_degrees: float
    rgb: tuple[float, float, float]
    background: Background

    @property
    def look(self) -> str:
        """Colour and shape, as in captions."""
        return f"{self.colour} {self.shape}"


@dataclass(frozen=True)
class DemoVideo:
    """A video that changes one scene into another, with its captions."""

    split: str
    change: str
    take: int
    start: Scene
    end: Scene

    @property
    def name(self) -> str:
        """Path below the folder of videos; it is for people, search does not use it."""
        return f"{self.split}/{self.start.colour}-{self.start.shape}-{self.change}-{self.take:02d}.mp4"

    @property
    def captions(self) -> tuple[str, ...]:
        """One caption of a test video, two of a training video."""
        phrases = _PHRASES[self.change in {"large", "small"}]
        texts = tuple(phrase.format(look=self.start.look, word=self.change) for phrase in phrases)
        return texts if self.split == "train" else texts[:1]

    def scene_at(self, moment: float) -> Scene:
        """Return the scene at a time in [0, 1]; the reversed video has exactly the same scenes."""
        fraction = moment * moment * (3.0 - 2.0 * moment)  # smooth start and end, symmetric in time
        between = {
            name: getattr(self.start, name) * (1.0 - fraction) + getattr(self.end, name) * fraction
            for name in ("x", "y", "radius")
        }
        return dataclasses.replace(self.start, **between)

    def backwards(self) -> DemoVideo:
        """Return the reversed video, which shows the opposite change."""
        return DemoVideo(self.split, OPPOSITES[self.change], self.take, self.end, self.start)


def plan_demo(
    *, seed: int, takes_of: Mapping[str, Iterable[int]] = SPLIT_TAKES
) -> Iterator[tuple[DemoVideo, DemoVideo]]:
    """Yield each video of the demo set with its reverse: 432 videos for training and 144 for testing.

    A video depends only on the seed and its own name, so that each can be drawn again without the others.
    More takes per split make a larger set.
    """
    pairs = ("right", "top", "large")
    for split_index, (split, takes) in enumerate(takes_of.items()):
        grid = itertools.product(takes, enumerate(SHAPES), enumerate(COLOURS), enumerate(pairs))
        for take, (shape_index, shape), (colour_index, colour), (pair_index, change) in grid:
            key = [seed, split_index, take, shape_index, colour_index, pair_index]
            start, end = _draw_change(np.random.default_rng(key), colour, shape, change)
            forwards = DemoVideo(split, change, take, start, end)
            yield forwards, forwards.backwards()


def random_scene(rng: np.random.Generator, *, colour: str, shape: str) -> Scene:
    """Return a centred scene with a random background, tilt and shade of its colour."""
    shade = rng.normal(0.0, 7.0, 3) + rng.uniform(-14.0, 8.0)
    red, green, blue = np.clip(np.asarray(COLOURS[colour]) + shade, 0.0, 255.0).tolist()
    grey = rng.uniform(28.0, 105.0)
    ground = np.clip(grey + rng.normal(0.0, 6.0, 3), 0.0, 255.0).tolist()
    texture = rng.uniform(4.0, 16.0) if rng.random() < 0.6 else 0.0
    background = Background((ground[0], ground[1], ground[2]), texture, int(rng.integers(2**31)))
    return Scene(colour, shape, 0.0, 0.0, 0.3, rng.uniform(-5.0, 5.0), (red, green, blue), background)


def _draw_change(rng: np.random.Generator, colour: str, shape: str, change: str) -> tuple[Scene, Scene]:
    """Return the random first and last scene of a change to the right, to the top, or to large."""
    scene = random_scene(rng, colour=colour, shape=shape)
    if change == "large":
        x, y = rng.uniform(-0.2, 0.2, 2).tolist()
        small, large = rng.uniform(*_SMALLEST_RADII), rng.uniform(*_LARGEST_RADII)
        return (
            dataclasses.replace(scene, x=x, y=y, radius=small),
            dataclasses.replace(scene, x=x, y=y, radius=large),
        )
    radius, across = rng.uniform(*_MEDIUM_RADII), rng.uniform(-0.5, 0.5)
    start, end = -rng.uniform(*_FAR), rng.uniform(*_FAR)
    if change == "right":
        return (
            dataclasses.replace(scene, x=start, y=across, radius=radius),
            dataclasses.replace(scene, x=end, y=across, radius=radius),
        )
    return (  # to the top: y points down
        dataclasses.replace(scene, x=across, y=end, radius=radius),
        dataclasses.replace(scene, x=across, y=start, radius=radius),
    )
