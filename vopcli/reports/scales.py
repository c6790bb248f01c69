"""Axes of a chart: from values to pixels, with ticks at round values."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

_MOST_TICKS: Final = 7
_SAME: Final = 1e-9
_ROUND: Final = (1.0, 2.0, 5.0, 10.0)


@dataclass(frozen=True)
class Scale:
    """Map of values in ``low`` to ``high`` to pixels in ``start`` to ``end``.

    Attributes:
        low: the lowest value; above zero on a log scale.
        high: the highest value, above ``low``.
        start: pixels at ``low``.
        end: pixels at ``high``.
        ticks: round values, ascending.
        is_log: the scale is logarithmic.
    """

    low: float
    high: float
    start: float
    end: float
    ticks: tuple[float, ...]
    is_log: bool = False

    def position(self, value: float) -> float:
        """Return the pixel of a value, rounded to a tenth."""
        bend = math.log10 if self.is_log else float
        fraction = (bend(value) - bend(self.low)) / (bend(self.high) - bend(self.low))
        return round(self.start + fraction * (self.end - self.start), 1)


def linear_scale(values: Sequence[float], start: float, end: float) -> Scale:
    """Return a scale that covers ``values`` and ends at round values."""
    low, high = min(values, default=0.0), max(values, default=1.0)
    if high - low <= _SAME * max(abs(low), abs(high)):  # the ticks would have equal texts
        pad = abs(low) / 10 or 1.0
        low, high = low - pad, high + pad
    rough = (high - low) / (_MOST_TICKS - 2)
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(factor * power for factor in _ROUND if factor * power >= rough * (1 - 1e-9))
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    ticks = tuple(float(f"{number * step:.12g}") for number in range(first, last + 1))
    return Scale(ticks[0], ticks[-1], start, end, ticks)


def log_scale(values: Sequence[float], start: float, end: float) -> Scale:
    """Return a log scale that covers ``values``, all above zero, and ends at 1, 2 or 5 times a power of ten.

    If these are many, only the powers of ten are ticks.
    """
    lowest, highest = min(values, default=1.0), max(values, default=1.0)
    powers = range(math.floor(math.log10(lowest)) - 1, math.ceil(math.log10(highest)) + 2)
    every = [float(f"{factor}e{power}") for power in powers for factor in _ROUND[:3]]
    first = max(i for i, value in enumerate(every[:-1]) if value <= lowest)
    last = max(min(i for i, value in enumerate(every) if value >= highest), first + 1)
    step = 1 if last - first < _MOST_TICKS else 3  # every third is a power of ten
    ticks = tuple(value for i, value in enumerate(every) if first <= i <= last and i % step == 0)
    return Scale(every[first], every[last], start, end, ticks, is_log=True)


def short_number(value: float) -> str:
    """Format a value with at most four digits, such as 20, 1.5k or 10M."""
    for size, letter in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if abs(value) >= size:
            return f"{value / size:.4g}{letter}"
    return f"{value:.4g}"
