"""The rules that rank an index, by name, and the engine of each."""

from __future__ import annotations

from functools import partial

from vopcli.config.choices import MEAN, NormRule, Pooling
from vopcli.errors import UsageError, format_value
from vopcli.index.reader import VideoIndex
from vopcli.search.engine import Engine
from vopcli.search.exact import Part, search_exact
from vopcli.search.ranges import MATCHED_FRAMES
from vopcli.search.stores import EngineIndex


def parse_norm(name: str) -> NormRule:
    """Parse a hubness correction.

    Raises:
        UsageError: `name` is unknown.
    """
    try:
        return NormRule(name)
    except ValueError:
        known = ", ".join(rule.value for rule in NormRule)
        raise UsageError(
            f"unknown hubness correction {format_value(name)}", hint=f"choose one of {known}"
        ) from None


def choose_engine(
    videos: VideoIndex, pooling: Pooling | None, norm: NormRule, matched: int = MATCHED_FRAMES
) -> Engine:
    """Return the engine that ranks the videos of an index by a rule; None: the default of the index.

    Args:
        videos: the index.
        pooling: the rule.
        norm: hubness correction.
        matched: number of successive frames of the best match, the default of an index with windows.

    Raises:
        UsageError: QB-Norm with a pooling other than the mean.
        DataError: the query bank for QB-Norm is missing, outdated or damaged.
    """
    if norm is NormRule.QB and pooling not in {None, MEAN}:
        raise UsageError(f"QB-Norm requires mean pooling, not {pooling}", hint="omit --norm or --pooling")
    if norm is NormRule.QB:
        from vopcli.search.filters import PartIndex
        from vopcli.search.query_bank import current_bank, search_normalised

        whole = videos.whole if isinstance(videos, PartIndex | EngineIndex) else videos
        return partial(search_normalised, whole, current_bank(whole), chosen=videos.done)
    if pooling not in {None, MEAN}:
        from vopcli.search.pooled import search_pooled

        return partial(search_pooled, videos, pooling=pooling)
    nearest: Engine
    if isinstance(videos, EngineIndex):
        nearest = videos.nearest
    else:
        parts = [Part(*part) for part in zip(videos.embeddings, videos.done, strict=True)]
        nearest = partial(search_exact, parts, path_of=videos.path_of)
    if pooling is None and videos.has_windows:
        from vopcli.search.matches import search_matches

        return partial(search_matches, videos, nearest, matched=matched)
    return nearest
