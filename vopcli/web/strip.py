"""The frames that stand for a hit on the page."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from vopcli.index.reader import VideoIndex
from vopcli.index.thumbnails import has_thumbnails
from vopcli.search.hits import Hit
from vopcli.web.served import row_tag

_NUM_FRAMES: Final = 5


@dataclass(frozen=True)
class StripFrame:
    """A sampled frame of a video.

    Attributes:
        row: its row in the index.
        tag: of the row, see `row_tag`.
        number: its position among the frames of that row.
        seconds: its time.
        is_inside: whether it lies in the range of the hit.
        is_best: whether it is the frame most similar to the query.
        is_square: whether the index has a thumbnail of it, which is the square that the model sees.
    """

    row: int
    tag: str
    number: int
    seconds: float
    is_inside: bool
    is_best: bool
    is_square: bool


def strip_of(videos: VideoIndex, hit: Hit) -> list[StripFrame]:
    """Return frames across the range of a hit, with the frames beside it if the range has few.

    Raises:
        DataError: the index is damaged.
    """
    rows = [
        row
        for row in videos.windows_of(hit.row)
        if (span := videos.span_of(row))[0] <= hit.end and span[1] >= hit.start
    ]
    times: list[tuple[float, int, int]] = []
    for row, (_, seconds, num_real) in zip(rows, videos.frames_of_rows(rows), strict=True):
        times += [(time, row, number) for number, time in enumerate(seconds[:num_real].tolist())]
    times.sort()
    inside = {place for place, (time, _, _) in enumerate(times) if hit.start <= time <= hit.end}
    best = min(range(len(times)), key=lambda place: abs(times[place][0] - hit.best))
    places = choose_places(len(times), sorted(inside | {best}), best)
    is_square = has_thumbnails(videos, hit.row)
    return [
        StripFrame(row, row_tag(videos, row), number, time, place in inside, place == best, is_square)
        for place in places
        for time, row, number in [times[place]]
    ]


def choose_places(count: int, inside: list[int], best: int, most: int = _NUM_FRAMES) -> list[int]:
    """Return at most ``most`` increasing positions among ``count`` frames, the best one among them.

    Args:
        count: number of frames.
        inside: successive positions of the frames of a range.
        best: one of them.
        most: maximum number of positions.
    """
    if len(inside) > most:
        steps = [inside[round(step * (len(inside) - 1) / (most - 1))] for step in range(most)]
        nearest = min(range(most), key=lambda step: abs(steps[step] - best))
        return sorted({*steps[:nearest], best, *steps[nearest + 1 :]})
    low, high = inside[0], inside[-1]
    while high - low + 1 < min(most, count):  # one frame before the range, one after it, and so on
        if low > 0 and (high == count - 1 or inside[0] - low <= high - inside[-1]):
            low -= 1
        else:
            high += 1
    return list(range(low, high + 1))
