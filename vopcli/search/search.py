"""Search an index by text, vector or frame, and find the best frame of each hit; texts load no torch."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, overload

import numpy as np
from numpy.typing import NDArray

from vopcli.config.choices import MEAN, NormRule, Pooling, parse_pooling
from vopcli.errors import UsageError
from vopcli.files.s3 import named_path
from vopcli.index.reader import PENDING, VideoIndex
from vopcli.progress import Progress, SilentProgress
from vopcli.resources import cache_folder
from vopcli.search.engine import Engine
from vopcli.search.hits import Hit, Wanted, find_hits, num_ranked
from vopcli.search.query import Query, has_examples, is_picture
from vopcli.search.query_encoder import QueryEncoder
from vopcli.search.ranges import MATCHED_FRAMES
from vopcli.search.ranking import choose_engine, parse_norm
from vopcli.search.stores import EngineIndex, open_videos
from vopcli.search.text_tower import ModelSource

if TYPE_CHECKING:
    from vopcli.search.confidence import Confidence
    from vopcli.search.filters import VideoFilter

MOMENTS_PER_VIDEO: Final = 3

Vectors = NDArray[np.float32]
Images = NDArray[np.uint8]
_Rules = tuple[Pooling | None, NormRule]
_LOG: Final = logging.getLogger(__name__)


@dataclass(frozen=True)
class IndexRow:
    """A video of an index.

    Attributes:
        path: its path, relative to the folder that was encoded.
        file: its absolute path when it was encoded.
        duration_seconds: its duration.
        embedding: (E,) float32, L2-normalised.
        frames: (F, E) float16, the embeddings of its sampled frames.
        seconds: (F,) presentation times of the frames.
    """

    path: str
    file: Path
    duration_seconds: float
    embedding: NDArray[np.float32]
    frames: NDArray[np.float16]
    seconds: NDArray[np.float64]


class Index:
    """An index to search, and a context manager that releases it; the first text loads the text tower.

    Attributes:
        path: the file.
        pooling: how frame scores are pooled, unless a search chooses otherwise; None: by the best match in
            an index with windows, else the mean.
        norm: hubness correction, unless a search chooses otherwise.
    """

    def __init__(  # noqa: PLR0913  (options)
        self,
        path: Path,
        *,
        weights: str | None = None,
        fallbacks: Sequence[str] = (),
        adapter: Path | None = None,
        cache: Path | None = None,
        progress: Progress | None = None,
        pooling: Pooling | None = None,
        norm: NormRule = NormRule.NONE,
    ) -> None:
        """Open an index.

        Args:
            path: the file.
            weights: name or path of the index's model, which is verified; None to find it.
            fallbacks: more names or paths to try.
            adapter: path of the index's adapter, for pictures and videos; None: the recorded one.
            cache: folder of derived weights; None: the user's.
            progress: receives warnings and the progress of downloads.
            pooling: how frame scores are pooled; a rule other than the mean reads all frames per search.
                None: in an index with windows the best match of three successive frames, for a picture of
                one, else the mean.
            norm: ``qb`` ranks by QB-Norm with the query bank of the index; its scores are not cosines.

        Raises:
            UsageError: `norm` is set and `pooling` is not the mean.
            DataError: `path` is missing, not an index, of another version or damaged, or lacks a query bank.
            BusyError: another process keeps changing `path`.
        """
        self.path, self.pooling, self.norm = path, pooling, norm
        self._videos = open_videos(path)
        _LOG.debug("index: %s, %d videos, made with %s", path, len(self._videos), self._videos.meta.weights)
        self._cache = cache or cache_folder()
        self._engines: dict[tuple[Pooling | None, NormRule, int], Engine] = {}
        self._confidence: Confidence | None = None
        self._engine(pooling, norm)  # so that a missing query bank is reported before the first search
        self._progress: Progress = progress or SilentProgress()
        source = ModelSource(self._cache, self._progress, weights, fallbacks, adapter)
        self._encoder = QueryEncoder(self._videos, source)

    def __enter__(self) -> Index:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def close(self) -> None:
        """Release the file and the models; a closed index cannot be used.

        Examples:
            >>> with vopcli.open_index("idx.h5") as opened:
            ...     len(opened)
            20
        """
        self._engines.clear()
        self._confidence = None
        del self._videos, self._encoder

    @property
    def videos(self) -> VideoIndex:
        """The rows of the index."""
        return self._videos

    @property
    def rule(self) -> str:
        """Pooling that ranks the videos; without a choice "best match" in an index with windows."""
        is_best_match = self.pooling is None and self.norm is NormRule.NONE and self._videos.has_windows
        return "best match" if is_best_match else str(self.pooling or MEAN)

    def __len__(self) -> int:
        """Return the number of videos; windows of long videos do not count."""
        return len(self._videos)

    @property
    def num_unfinished(self) -> int:
        """Number of videos that an interrupted run did not reach, and whose files still exist."""
        if not self._videos.rows_with(PENDING):
            return 0
        from vopcli.index.leftovers import unfinished_files

        return len(unfinished_files(self._videos))

    def __iter__(self) -> Iterator[IndexRow]:
        """Yield all videos, in the order in which they were added."""
        for video in self._videos.videos():
            frames, seconds = self._videos.frames_of(video.row)
            embedding = np.array(self._videos.embedding_of(video.row))
            file, duration = named_path(video.file), video.duration_seconds
            yield IndexRow(video.path, file, duration, embedding, np.array(frames), np.array(seconds))

    @overload
    def search(
        self,
        query: str | Query | Vectors | Images,
        *,
        top: int = 10,
        min_score: float | None = None,
        pooling: Pooling | str | None = None,
        norm: NormRule | str | None = None,
        moments: bool = False,
        per_video: int | None = None,
        dedupe: float | None = None,
        max_false: float | None = None,
        where: VideoFilter | None = None,
    ) -> list[Hit]: ...
    @overload
    def search(
        self,
        query: list[Any] | tuple[Any, ...],
        *,
        top: int = 10,
        min_score: float | None = None,
        pooling: Pooling | str | None = None,
        norm: NormRule | str | None = None,
        moments: bool = False,
        per_video: int | None = None,
        dedupe: float | None = None,
        max_false: float | None = None,
        where: VideoFilter | None = None,
    ) -> list[list[Hit]]: ...

    def search(  # noqa: PLR0913  (options)
        self,
        query: str | Query | Vectors | Images | list[Any] | tuple[Any, ...],
        *,
        top: int = 10,
        min_score: float | None = None,
        pooling: Pooling | str | None = None,
        norm: NormRule | str | None = None,
        moments: bool = False,
        per_video: int | None = None,
        dedupe: float | None = None,
        max_false: float | None = None,
        where: VideoFilter | None = None,
    ) -> list[Hit] | list[list[Hit]]:
        """Rank the videos for a text, a vector, a frame, or a sum of texts, pictures and videos.

        Args:
            query: a text; an embedding (E,), which is L2-normalised; an RGB frame (H, W, 3) uint8, which
                loads the index's model; a `vopcli.Query`; or a list of these.
            top: maximum number of hits per query.
            min_score: leave out hits that score less.
            pooling: how frame scores are pooled, such as "max"; None: as the index was opened.
            norm: hubness correction, "none" or "qb"; None: as the index was opened.
            moments: rank the moments of the ``top`` best videos instead of the videos.
            per_video: maximum number of moments per video; None: 3.
            dedupe: leave out hits whose video or window, with ``moments`` whose best frame, has at least this
                cosine with that of a better hit; further hits replace them.
            max_false: leave out hits with less than ``1 - max_false`` confidence; texts only. None: keep all,
                with their confidence if the index is a file with a query bank of at least 500 captions.
            where: rank only the videos that pass this filter, as if the index held no others.

        Returns:
            Hits in order of falling score, then path, then time; for a list of queries, one list of hits per
            query.

        Raises:
            UsageError: a query is empty, zero or has a wrong shape, names a video that the index lacks, or
                ``top``, ``per_video``, ``dedupe`` or a rule is out of range.
            WeightsError: the index's model is missing.
            DataError: the index or a file of the query is damaged, or the query bank for "qb" is missing.

        Examples:
            >>> hit = index.search("a red circle", top=1)[0]
            >>> hit.path
            'train/red-circle-right-01.mp4'
            >>> index.search(next(iter(index)).embedding, top=1)[0].path == next(iter(index)).path
            True
            >>> query = vopcli.Query.parse("a red star", f"like:{hit.path}@0.5", minus=["0.5:a circle"])
            >>> index.search(query, top=1, dedupe=0.99)[0].rank
            1
        """
        _check_limits(top, per_video, dedupe, max_false)
        queries = list(query) if isinstance(query, (list, tuple)) else [query]
        pooling = self.pooling if pooling is None else parse_pooling(str(pooling))
        rules = pooling, self.norm if norm is None else parse_norm(norm)
        self._engine(*rules)  # refuses rules that the index cannot follow, even without videos
        videos = self._videos if where is None else where.choose(self._videos)
        answers: list[list[Hit]] = [[] for _ in queries]
        if not videos.is_empty:
            vectors = self._encoder.encode(queries)
            wanted = Wanted(top, min_score, (per_video or MOMENTS_PER_VIDEO) * moments, dedupe)
            answers = self._rank(videos, queries, vectors, rules, wanted)
            answers = self._keep_confident(answers, queries, vectors, max_false)
        return answers if isinstance(query, (list, tuple)) else answers[0]

    def _rank(
        self, videos: VideoIndex, queries: list[Any], vectors: Vectors, rules: _Rules, wanted: Wanted
    ) -> list[list[Hit]]:
        """Answer pictures by their best frame, and other queries by the best of several frames."""
        answers: list[list[Hit]] = [[] for _ in queries]
        is_still = np.array([is_picture(query) for query in queries], np.bool_)
        for places, matched in ((np.flatnonzero(is_still), 1), (np.flatnonzero(~is_still), MATCHED_FRAMES)):
            if not len(places):
                continue
            engine, how = self._engine(*rules, matched), replace(wanted, matched=matched)
            if videos is not self._videos:
                engine = choose_engine(videos, *rules, matched)
            ranked = engine(vectors[places], top=num_ranked(videos, wanted.top))
            for place, found in zip(places.tolist(), ranked, strict=True):
                answers[place] = find_hits(videos, engine, vectors[place], found, how)
        return answers

    def _keep_confident(
        self, answers: list[list[Hit]], queries: list[Any], vectors: Vectors, max_false: float | None
    ) -> list[list[Hit]]:
        """Return the hits with their confidence, if there is one; with ``max_false`` those with enough of it.

        Raises:
            UsageError: ``max_false`` is set for a picture or a video.
        """
        if max_false is not None and any(map(has_examples, queries)):
            raise UsageError(
                "only texts have a confidence", hint="omit max_false, or the pictures and videos"
            )
        judge = self._judge(is_asked=max_false is not None)
        if judge is None:
            return answers
        least = 0.0 if max_false is None else 1 - max_false
        return [
            hits if has_examples(query) else judge.keep(hits, vector, least)
            for query, hits, vector in zip(queries, answers, vectors, strict=True)
        ]

    def prepare_confidence(self) -> None:
        """Compute the values that confidences need, so that the first search with ``max_false`` need not.

        Raises:
            DataError: the index has too few captions in its query bank, or is damaged.

        Examples:
            >>> index.prepare_confidence()
            Traceback (most recent call last):
            ...
            vopcli.errors.DataError: idx.h5 has 0 captions in its query bank, too few for a confidence
        """
        self._judge(is_asked=True)

    def _judge(self, *, is_asked: bool) -> Confidence | None:
        """Return the judge of hits; None without enough captions, or in an engine, which would read all rows.

        Raises:
            DataError: it is asked for, and the index has too few captions.
        """
        if not is_asked and (isinstance(self._videos, EngineIndex) or not self._videos.bank_tensors):
            return None
        from vopcli.search.confidence import Confidence, has_captions

        if self._confidence is None and (is_asked or has_captions(self._videos)):
            self._confidence = Confidence(self._videos)
        return self._confidence

    def _engine(self, pooling: Pooling | None, norm: NormRule, matched: int = MATCHED_FRAMES) -> Engine:
        key = pooling, norm, matched
        if key not in self._engines:
            self._engines[key] = choose_engine(self._videos, *key)
            # the best match reads few frames, and compares them with their checksums
            self._videos.verify_once("embeddings" if pooling in {None, MEAN} else "frames", self._cache)
        return self._engines[key]

    def encode(self, queries: Sequence[str | Query | Vectors | Images]) -> NDArray[np.float32]:
        """Encode queries to (Q, E) float32, L2-normalised; long texts are truncated, with one warning.

        Args:
            queries: see `search`.

        Raises:
            UsageError: a query is empty, zero or has a wrong shape, or names a video that the index lacks.
            WeightsError: the index's model is missing.
            DataError: the model is damaged or does not fit the index; or a file of the query cannot be read.

        Examples:
            >>> index.encode(["a red circle"]).shape
            (1, 128)
        """
        return self._encoder.encode(queries)

    def export(self, target: str | Path) -> None:
        """Write the embeddings of all videos to a file, in the order of iteration.

        Args:
            target: ``.npy`` gets the embeddings alone, (N, E) float32; ``.parquet``, with the extra
                ``parquet``, also path, file and duration.

        Raises:
            UsageError: `target` has another suffix, or pyarrow is not installed.
            FileError: `target` cannot be written.

        Examples:
            >>> index.export("vectors.npy")
            >>> np.load("vectors.npy").shape
            (20, 128)
        """
        from vopcli.search.export import export_embeddings

        export_embeddings(self._videos, Path(target))


def _check_limits(top: int, per_video: int | None, dedupe: float | None, max_false: float | None) -> None:
    if top < 1 or (per_video is not None and per_video < 1):
        raise UsageError(f"cannot return {min(top, per_video or top)} videos", hint="use 1 or more")
    if dedupe is not None and not 0 < dedupe <= 1:
        raise UsageError(f"dedupe cannot be {dedupe:g}", hint="use a cosine above 0, up to 1")
    if max_false is not None and not 0 <= max_false <= 1:
        raise UsageError(f"max_false cannot be {max_false:g}", hint="use a fraction from 0 to 1")


def open_index(path: str | Path) -> Index:
    """Open an index for searching.

    Raises:
        DataError: `path` is missing, not an index, of another version, or damaged.
        BusyError: another process keeps changing `path`.

    Examples:
        >>> index = vopcli.open_index("idx.h5")
        >>> len(index)
        20
    """
    return Index(Path(path))
