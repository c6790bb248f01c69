"""Queries without a match: whether scores tell that the video of a query is missing from the gallery.

Each query is judged with its video in the gallery, and with it removed. Its value is the highest cosine, or
the highest confidence, as in a search: see `vopcli/search/confidence.py`. The latter needs a bank of training
captions.

Axes: Q captions, G videos, B captions of the bank.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from vopcli.errors import UsageError
from vopcli.evaluation.score_file import Similarities, read_similarities
from vopcli.search.confidence import Doubles, WithoutMatch, closest_captions, s_norms_of
from vopcli.search.similarity import Ints, iter_blocks

SIZES: Final = (100, 1_000, 10_000)
CONFIDENCE: Final = "confidence"
_FOUND: Final = 0.95

# cosines (n, G), is in the gallery -> value (n,), or several (n, K)
Rule = Callable[[Doubles, NDArray[np.bool_]], Doubles]


@dataclass(frozen=True)
class AbsentMetrics:
    """How well a rule tells queries with a match from those without, in a gallery of one size.

    Attributes:
        rule: its name.
        num_videos: of the gallery; queries without a match have one less.
        auroc: probability that a query with its video has a higher value than one without.
        false_percent: of the queries without a match, those answered if 95 % of the others are.
        found_percent: of the queries with a match, those above the threshold of the whole gallery; for the
            confidence, those of 0.95 or more.
        kept_false_percent: of the queries without a match, those above the same threshold.
    """

    rule: str
    num_videos: int
    auroc: float
    false_percent: float
    found_percent: float
    kept_false_percent: float

    def to_json(self) -> dict[str, Any]:
        """Return a JSON document."""
        return asdict(self)


def measure_absent(path: Path) -> list[AbsentMetrics]:
    """Judge each query of saved scores with and without its video, in the whole gallery and in random parts.

    A part holds the video of the query and others, the same for all queries.

    Args:
        path: a file of ``vop eval --save-sims``.

    Raises:
        DataError: `path` is missing or damaged.
        UsageError: `path` has fewer than three videos.
    """
    saved = read_similarities(path)
    num_videos = saved.similarity.shape[1]
    if num_videos < 3:
        raise UsageError(f"{path} has {num_videos} videos", hint="save the scores of at least three")
    order = np.random.default_rng(0).permutation(num_videos)
    found = []
    rules = _rules(saved)
    for name in rules:
        threshold = _FOUND if name == CONFIDENCE else None
        for size in (num_videos, *(size for size in SIZES[::-1] if size < num_videos)):
            gallery = order[:size]
            rule = rules[name](gallery)
            present, absent = _judge(saved.similarity, saved.owner, rule, gallery)
            least = float(np.quantile(present, 1 - _FOUND, method="lower"))
            threshold = least if threshold is None else threshold
            rates = [
                100 * float(np.mean(one))
                for one in (absent >= least, present >= threshold, absent >= threshold)
            ]
            found.append(AbsentMetrics(name, size, auroc(present, absent), *rates))
    return found


def auroc(present: Doubles, absent: Doubles) -> float:
    """Return the probability that a value of ``present`` exceeds one of ``absent``; equal ones count half."""
    below = np.sort(absent)
    wins = np.searchsorted(below, present, "left") + np.searchsorted(below, present, "right")
    return float(wins.mean() / 2 / len(below))


def _judge(similarity: Any, owner: Ints, rule: Rule, gallery: Ints) -> tuple[Doubles, Doubles]:
    """Return the value of each query (Q,) with its video in the gallery, and with it removed."""
    present, absent = [], []
    for rows in iter_blocks(similarity.shape, None):
        cosines = np.asarray(similarity[rows], np.float64)
        own = np.arange(len(cosines)), owner[rows]
        is_in = np.zeros(cosines.shape, np.bool_)
        is_in[:, gallery] = True
        has_own = is_in[own]
        is_in[own] = True
        is_in[np.flatnonzero(~has_own), gallery[-1]] = False  # in its place
        present.append(rule(cosines, is_in))
        is_in[own] = False
        absent.append(rule(cosines, is_in))
    return np.concatenate(present), np.concatenate(absent)


def _rules(saved: Similarities) -> dict[str, Callable[[Ints], Rule]]:
    """Return the rules that the file has data for, by name, as functions of the gallery (G,)."""
    rules: dict[str, Callable[[Ints], Rule]] = {"cosine": lambda _: _best}
    if saved.has_bank:
        mean, deviation = closest_captions(np.asarray(saved.bank))

        def judged(cosines: Doubles, is_in: NDArray[np.bool_]) -> Doubles:
            s_norms = s_norms_of(cosines, cosines, mean, deviation, is_in=is_in)
            return np.stack([_best(s_norms, is_in), cosines.mean(axis=1, where=is_in)], axis=1)

        def confidence(gallery: Ints) -> Rule:
            means = np.asarray(saved.bank)[:, gallery].mean(axis=1, dtype=np.float64)
            _, absent = _judge(saved.bank, _closest_videos(saved.bank, gallery), judged, gallery)
            others = WithoutMatch(absent[:, 0], float(means.max()))
            return lambda *given: others.confidence(*judged(*given).T)

        rules[CONFIDENCE] = confidence
    return rules


def _closest_videos(bank: Any, gallery: Ints) -> Ints:
    """Return the video of highest cosine (B,) of each caption of the bank."""
    return np.concatenate(
        [gallery[bank[rows][:, gallery].argmax(axis=1)] for rows in iter_blocks(bank.shape, None)]
    )


def _best(values: Doubles, is_in: NDArray[np.bool_]) -> Doubles:
    return np.asarray(values.max(axis=1, where=is_in, initial=-np.inf))
