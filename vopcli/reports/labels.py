"""Put the names of points where they cover neither each other nor a point."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

FONT_PX: Final = 12
_CHARACTER_PX: Final = 7.0  # a wide guess for a proportional font: what is really drawn is narrower
_POINT_PX: Final = 6
_NEAR_PX: Final = 20
_DISTANCES_PX: Final = (9, 20, 32, 46, 62, 80, 100, 124, 150, 180)
_DIRECTIONS: Final = ((1, 0), (-1, 0), (0, -1), (0, 1), (1, -1), (1, 1), (-1, -1), (-1, 1))


@dataclass(frozen=True)
class Box:
    """A rectangle in pixels, from the top left corner of the chart."""

    left: float
    top: float
    right: float
    bottom: float

    def overlaps(self, other: Box) -> bool:
        """Whether the two share any area."""
        across = self.left < other.right and other.left < self.right
        return across and self.top < other.bottom and other.top < self.bottom

    def lies_in(self, other: Box) -> bool:
        """Whether nothing of it is outside ``other``."""
        across = other.left <= self.left and self.right <= other.right
        return across and other.top <= self.top and self.bottom <= other.bottom


@dataclass(frozen=True)
class Label:
    """A name beside a point.

    Attributes:
        text: the name.
        x: where its ``anchor`` stands.
        y: its baseline.
        anchor: "start", "middle" or "end" of the text.
        box: what it covers at most.
        is_far: so far from its point that a line must lead there.
    """

    text: str
    x: float
    y: float
    anchor: str
    box: Box
    is_far: bool


def place_labels(
    points: Sequence[tuple[float, float, str]], area: Box, *, wall: float | None = None
) -> list[Label | None]:
    """Return the label of each point (x, y, name); None where there is no room within ``area``.

    No label crosses ``wall``, the x of a vertical line.
    """
    taken = [Box(x - _POINT_PX, y - _POINT_PX, x + _POINT_PX, y + _POINT_PX) for x, y, _ in points]
    if wall is not None:
        taken.append(Box(wall - 1, area.top, wall + 1, area.bottom))
    labels: list[Label | None] = []
    for x, y, text in points:
        free = (
            label
            for label in _candidates(x, y, text)
            if label.box.lies_in(area) and not any(label.box.overlaps(box) for box in taken)
        )
        label = next(free, None)
        if label:
            taken.append(label.box)
        labels.append(label)
    return labels


def _candidates(x: float, y: float, text: str) -> Iterator[Label]:
    width, height = len(text) * _CHARACTER_PX, FONT_PX + 2
    for distance in _DISTANCES_PX:
        for across, down in _DIRECTIONS:
            at = round(x + across * distance, 1)
            anchor, left = {1: ("start", at), 0: ("middle", at - width / 2), -1: ("end", at - width)}[across]
            top = round(y + down * distance - height / 2, 1)
            box = Box(left, top, left + width, top + height)
            yield Label(text, at, top + height - 4, anchor, box, distance > _NEAR_PX)
