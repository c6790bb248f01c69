"""Search the served indexes for a question."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vopcli.errors import UsageError
from vopcli.search.hits import Hit
from vopcli.search.search import Index
from vopcli.web.clips import MOST_SECONDS
from vopcli.web.question import Question
from vopcli.web.served import find_video, row_tag
from vopcli.web.strip import StripFrame, strip_of

Picture = Callable[[str], NDArray[np.uint8]]


@dataclass(frozen=True)
class ServedHit:
    """A hit with its place among the served indexes, and the frames to show.

    Attributes:
        index: number of the index.
        hit: the hit; its rank counts through all indexes.
        tag: of the row, see `row_tag`.
        strip: frames in order of time.
    """

    index: int
    hit: Hit
    tag: str
    strip: Sequence[StripFrame]

    @property
    def middle_frames(self) -> Sequence[StripFrame]:
        """Up to three successive frames around the best one, for narrow screens."""
        best = next(place for place, frame in enumerate(self.strip) if frame.is_best)
        first = max(min(best - 1, len(self.strip) - 3), 0)
        return self.strip[first : first + 3]

    @property
    def video_url(self) -> str:
        """Path of the video on the server."""
        return f"/video/{self.index}/{self.hit.row}?v={self.tag}"

    @property
    def clip_url(self) -> str:
        """Path of the moment as a file of its own on the server, the first two minutes of a longer one."""
        end = min(self.hit.end, self.hit.start + MOST_SECONDS)
        return f"/clip/{self.index}/{self.hit.row}?v={self.tag}&start={self.hit.start:.2f}&end={end:.2f}"

    def frame_url(self, frame: StripFrame) -> str:
        """Return the path of a picture of a frame; the others of the strip are decoded with it."""
        strip = "-".join(f"{other.row}.{other.number}" for other in self.strip)
        return f"/frame/{self.index}/{frame.row}/{frame.number}?v={frame.tag}&of={strip}"

    def like(self, frame: StripFrame) -> str:
        """Return the parameter of a search for videos with such a frame."""
        return f"{self.index}.{frame.row}.{frame.number}"

    def to_dict(self) -> dict[str, Any]:
        """Return the answer as JSON values, with the fields of `vop search --json`."""
        return {
            "confidence": None,
            **self.hit.to_dict(),
            "duration_seconds": self.hit.duration_seconds,
            "index": self.index,
            "row": self.hit.row,
            "video": self.video_url,
            "clip": self.clip_url,
            "frames": [
                {
                    "like": self.like(frame),
                    "seconds": frame.seconds,
                    "inside": frame.is_inside,
                    "picture": self.frame_url(frame),
                }
                for frame in self.strip
            ],
        }


def find_answers(indexes: Mapping[int, Index], question: Question, picture: Picture) -> list[ServedHit]:
    """Search all indexes.

    Hits of indexes of one model are ranked by score; scores of several models cannot be compared, and then
    the first hits of all indexes come first.

    Args:
        indexes: by number.
        question: one that is not empty.
        picture: returns an uploaded picture (height, width, 3) uint8.

    Raises:
        UsageError: the question cannot be answered, such as for a frame that is not in the index.
        DataError: an index or its model is damaged or missing.
    """
    models = {number: str(index.videos.meta.attributes()) for number, index in indexes.items()}
    queries: dict[str, NDArray[np.float32]] = {}  # by model
    found: list[tuple[int, Hit]] = []
    for number, index in indexes.items():
        if question.like and indexes[question.like[0]].videos.meta != index.videos.meta:
            continue  # a frame of another model
        if index.videos.is_empty and not question.like:
            continue  # its model need not be there
        if models[number] not in queries:
            queries[models[number]] = _query(indexes, index, question, picture)
        hits = index.search(
            queries[models[number]],
            top=question.top,
            moments=question.moments,
            dedupe=question.dedupe,
            where=question.where if question.is_filtered else None,
            max_false=question.max_false,
        )
        if question.has_examples:  # which the index cannot tell from texts
            hits = [replace(hit, confidence=None) for hit in hits]
        found += [(number, hit) for hit in hits]
    order: Callable[[tuple[int, Hit]], Any] = lambda one: (-one[1].score, one[1].path, one[1].start)  # noqa: E731
    if len({models[number] + index.rule for number, index in indexes.items()}) > 1:
        order = lambda one: (one[1].rank, one[0])  # noqa: E731
    best = enumerate(sorted(found, key=order)[: question.top], 1)
    return [
        ServedHit(number, replace(hit, rank=rank), row_tag(videos, hit.row), strip_of(videos, hit))
        for rank, (number, hit) in best
        for videos in [indexes[number].videos]
    ]


def _query(
    indexes: Mapping[int, Index], index: Index, question: Question, picture: Picture
) -> NDArray[np.float32]:
    """Return the sum (E,) of the embeddings of all parts."""
    parts = []
    if question.text:
        parts.append(index.encode([question.text])[0])
    if question.picture:
        parts.append(index.encode([picture(question.picture)])[0])
    if question.like:
        parts.append(_frame_vector(indexes, question.like))
    if question.minus:
        parts.append(-index.encode([question.minus])[0])
    return np.asarray(np.sum(parts, axis=0, dtype=np.float32))


def _frame_vector(indexes: Mapping[int, Index], like: tuple[int, int, int]) -> NDArray[np.float32]:
    number, row, frame = like
    videos = indexes[number].videos
    if find_video(videos, row, None) is None:
        raise UsageError("the frame is no longer in the index", hint="search again")
    frames, _ = videos.frames_of(row)
    if frame >= len(frames):
        raise UsageError("the video has fewer frames", hint="search again")
    vector = frames[frame].astype(np.float32)
    return np.asarray(vector / np.linalg.norm(vector))
