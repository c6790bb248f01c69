"""How answers that share their score with others are ranked; standard library only, for help to list."""

from __future__ import annotations

from enum import Enum


class TieRule(str, Enum):
    """Which rank the right answer gets among candidates of exactly the same score.

    With a candidates scored higher and t of the same score, the right one included, it is on one of the
    places a + 1 to a + t. There is no rule that takes the first of them: a model that embeds everything
    alike would look perfect.
    """

    AVERAGE = "average"  # the middle of these places
    PESSIMISTIC = "pessimistic"  # the last
    CLIP4CLIP = "clip4clip"  # each of them, so that there are more ranks than queries
    XPOOL = "xpool"  # by position in the gallery, as a stable sort leaves them
