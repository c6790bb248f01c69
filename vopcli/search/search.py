"""Search an index by text, and find the best moment of each video found; loads no torch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import overload

import numpy as np
from numpy.typing import NDArray

from vopcli.config.choices import MEAN, NormRule, Pooling
from vopcli.errors import UsageError
from vopcli.index.reader import VideoIndex
from vopcli.progress import Progress
from vopcli.search.engine import Engine
from vopcli.search.exact import Part, search_exact
from vopcli.search.text_tower import TextEncoder


@dataclass(frozen=True)
class Hit:
    """A video found.

    Attributes:
        score: cosine of query and video; by another pooling than the mean, a mean of cosines with its frames;
            by QB-Norm, a cosine less the video's number where the gate is open.
        seconds: presentation time of the frame that fits the query best.
        path: the video's name, relative to the folder it was found in.
        file: where the video was when it was encoded, absolute.
    """

    score: float
    seconds: float
    path: str
    file: Path


class Index:
    """An index to be searched; what a query needs is loaded by the first one.

    Attributes:
        path: the file.
        pooling: how the frames of a video are scored.
        norm: what is done about videos that are near to every text.
    """

    def __init__(
        self,
        path: Path,
        *,
        weights: str | None = None,
        fallbacks: Sequence[str] = (),
        cache: Path | None = None,
        progress: Progress | None = None,
        pooling: Pooling = MEAN,
        norm: NormRule = NormRule.NONE,
    ) -> None:
        """Open an index.

        Args:
            path: the file.
            weights: name or path of the model it was made with, to be checked; None to find it.
            fallbacks: more places to look for it.
            cache: folder of derived weights; the user's unless given.
            progress: told what takes long.
            pooling: how the frames of a video are scored; all but the mean read all frames for each search.
            norm: ``qb``: rank by QB-Norm with the index's query bank; scores are then no cosines.

        Raises:
            UsageError: ``norm`` with another pooling than the mean.
            DataError: missing, not an index, of another version, damaged, or without the query bank it needs.
            BusyError: being written by another process.
        """
        self.path, self.pooling, self.norm = path, pooling, norm
        self._videos = VideoIndex(path)
        self._rank = choose_engine(self._videos, pooling, norm)
        self._encoder = TextEncoder(
            self._videos, weights=weights, fallbacks=fallbacks, cache=cache, progress=progress
        )

    def __len__(self) -> int:
        """Return the number of videos."""
        return len(self._videos)

    @overload
    def search(self, query: str, *, top: int = 10, min_score: float | None = None) -> list[Hit]: ...
    @overload
    def search(
        self, query: list[str] | tuple[str, ...], *, top: int = 10, min_score: float | None = None
    ) -> list[list[Hit]]: ...

    def search(
        self, query: str | list[str] | tuple[str, ...], *, top: int = 10, min_score: float | None = None
    ) -> list[Hit] | list[list[Hit]]:
        """Rank the videos by their cosine with a text, or by the rule that the index was opened with.

        Args:
            query: a text, or a list of them.
            top: at most so many videos a query.
            min_score: leave out what scores less.

        Returns:
            Hits in order of falling score, then path: a list, or a list for each text of a list.

        Raises:
            UsageError: a query is empty, or ``top`` is less than 1.
            WeightsError: the text tower of the index's model is not there.
            DataError: the index is damaged.
        """
        if top < 1:
            raise UsageError(f"cannot return {top} videos", hint="give 1 or more")
        texts = [query] if isinstance(query, str) else list(query)
        for text in texts:
            if not text.strip():
                raise UsageError(
                    "the query is empty", hint='say what to look for, such as "a dog on a beach"'
                )
        answers = self._answers(texts, top, min_score) if texts and len(self) else [[] for _ in texts]
        return answers[0] if isinstance(query, str) else answers

    def _answers(self, texts: Sequence[str], top: int, min_score: float | None) -> list[list[Hit]]:
        queries = self.encode(texts)
        return [
            [
                self._hit(row, score, query)
                for row, score in zip(found.rows.tolist(), found.scores.tolist(), strict=True)
                if min_score is None or score >= min_score
            ]
            for found, query in zip(self._rank(queries, top=top), queries, strict=True)
        ]

    def encode(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Encode texts to (Q, E) float32, L2-normalised; long texts are truncated, with one warning.

        Raises:
            WeightsError: the text tower of the index's model is missing.
            DataError: the text tower is damaged, or does not fit the index.
        """
        return self._encoder.encode(texts)

    def _hit(self, row: int, score: float, query: NDArray[np.float32]) -> Hit:
        video = self._videos.video(row)
        frames, seconds = self._videos.frames_of(row)
        best = int((frames[: video.num_real].astype(np.float32) @ query).argmax())
        return Hit(score=score, seconds=float(seconds[best]), path=video.path, file=Path(video.file))


def choose_engine(videos: VideoIndex, pooling: Pooling, norm: NormRule) -> Engine:
    """Return the engine that ranks the videos of an index by a rule.

    Raises:
        UsageError: QB-Norm with a pooling other than the mean.
        DataError: QB-Norm, and the index has no query bank or an outdated or damaged one.
    """
    if norm is NormRule.QB and pooling != MEAN:
        raise UsageError(
            f"QB-Norm is of videos' means, not of frames pooled by {pooling}", hint="use one of the two"
        )
    if norm is NormRule.QB:
        from vopcli.search.query_bank import current_bank, search_normalised

        return partial(search_normalised, videos, current_bank(videos))
    if pooling != MEAN:
        from vopcli.search.pooled import search_pooled

        return partial(search_pooled, videos, pooling=pooling)
    parts = [Part(*part) for part in zip(videos.embeddings, videos.done, strict=True)]
    return partial(search_exact, parts, path_of=videos.path_of)


def open_index(path: str | Path) -> Index:
    """Open an index to be searched.

    Raises:
        DataError: missing, not an index, of another version, or damaged.
        BusyError: being written by another process.
    """
    return Index(Path(path))
