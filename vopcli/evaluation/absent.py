"""Queries without a match: whether scores tell that the video of a query is missing from the gallery.

Each query is judged with its video in the gallery, and with it removed. Its value is the best of the
gallery, with s the cosine of the query and a video:

    cosine      s
    z-score     (s - m_q) / d_q, mean and deviation of the query's cosines with the gallery
    s-norm      ((s - m_q) / d_q + (s - m_v) / d_v) / 2, mean and deviation of the 5 % of the bank's captions
                closest to the video: symmetric normalisation of speaker verification
    sigmoid     logistic regression of s, m_v and d_v of the video of highest s, fitted on validation
    confidence  that of the video of highest s, as in a search: see `vopcli/search/confidence.py`

The last three need a bank of training captions.

Axes: Q captions, G videos, B captions of the bank, V captions and W videos of the validation split.
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
from vopcli.search.confidence import LEAST_DEVIATION, Doubles, WithoutMatch, closest_captions
from vopcli.search.similarity import Ints, iter_blocks

SIZES: Final = (100, 1_000, 10_000)
CONFIDENCE: Final = "confidence"
_FOUND: Final = 0.95
_RIDGE: Final = 1e-2
_STEPS: Final = 50

# cosines (n, G), is in the gallery -> value (n,), or several (n, K)
Rule = Callable[[Doubles, NDArray[np.bool_]], Doubles]


@dataclass(frozen=True)
class AbsentMetrics:
    """How well a rule tells queries with a match from those without, in a gallery of a size.

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
    rules: dict[str, Callable[[Ints], Rule]] = {
        "cosine": lambda _: _best,
        "z-score": lambda _: _prominence,
    }
    if saved.has_bank:
        mean, deviation = closest_captions(np.asarray(saved.bank))
        sigmoid = _fit_sigmoid(saved)

        def s_norm(cosines: Doubles, is_in: NDArray[np.bool_]) -> Doubles:
            return _best((_by_query(cosines, is_in) + (cosines - mean) / deviation) / 2, is_in)

        def both(cosines: Doubles, is_in: NDArray[np.bool_]) -> Doubles:
            score, means, deviations = _features(cosines, is_in, mean, deviation).T
            return np.stack([(score - means) / deviations, _prominence(cosines, is_in)], axis=1)

        def confidence(gallery: Ints) -> Rule:
            _, absent = _judge(saved.bank, _closest_videos(saved.bank, gallery), both, gallery)
            others = WithoutMatch(*absent.T)
            return lambda *given: others.confidence(*both(*given).T)

        rules["s-norm"] = lambda _: s_norm
        rules["sigmoid"] = lambda _: (
            lambda cosines, is_in: sigmoid(_features(cosines, is_in, mean, deviation))
        )
        rules[CONFIDENCE] = confidence
    return rules


def _closest_videos(bank: Any, gallery: Ints) -> Ints:
    """Return the video of highest cosine (B,) of each caption of the bank."""
    return np.concatenate(
        [gallery[bank[rows][:, gallery].argmax(axis=1)] for rows in iter_blocks(bank.shape, None)]
    )


def _best(values: Doubles, is_in: NDArray[np.bool_]) -> Doubles:
    return np.asarray(np.where(is_in, values, -np.inf).max(axis=1))


def _prominence(cosines: Doubles, is_in: NDArray[np.bool_]) -> Doubles:
    return _best(_by_query(cosines, is_in), is_in)


def _by_query(cosines: Doubles, is_in: NDArray[np.bool_]) -> Doubles:
    mean = cosines.mean(axis=1, where=is_in, keepdims=True)
    deviation = cosines.std(axis=1, where=is_in, keepdims=True)
    return np.asarray((cosines - mean) / np.maximum(deviation, LEAST_DEVIATION))


def _features(cosines: Doubles, is_in: NDArray[np.bool_], mean: Doubles, deviation: Doubles) -> Doubles:
    """Return cosine, mean and deviation (n, 3) of the video of highest cosine of each query."""
    best = np.where(is_in, cosines, -np.inf).argmax(axis=1)
    return np.stack([cosines[np.arange(len(best)), best], mean[best], deviation[best]], axis=1)


def _fit_sigmoid(saved: Similarities) -> Callable[[Doubles], Doubles]:
    """Fit a logistic regression on the validation split; return its logits by features (n, 3)."""
    mean, deviation = closest_captions(np.asarray(saved.val_bank))
    everything = np.arange(saved.val_similarity.shape[1])
    present, absent = _judge(
        saved.val_similarity,
        saved.val_owner,
        lambda cosines, is_in: _features(cosines, is_in, mean, deviation),
        everything,
    )
    features = np.concatenate([present, absent])
    labels = np.repeat([1.0, 0.0], len(present))
    centre, scale = features.mean(axis=0), np.maximum(features.std(axis=0), LEAST_DEVIATION)
    weights = fit_logistic((features - centre) / scale, labels)
    return lambda given: np.asarray((given - centre) / scale @ weights[:-1] + weights[-1])


def fit_logistic(features: Doubles, labels: Doubles) -> Doubles:
    """Return the weights and bias (K + 1,) of least log loss, with a small ridge, by Newton's method."""
    design = np.concatenate([features, np.ones((len(features), 1))], axis=1)
    weights = np.zeros(design.shape[1])
    for _ in range(_STEPS):
        probable = 1 / (1 + np.exp(-design @ weights))
        slope = design.T @ (probable - labels) / len(labels) + _RIDGE * weights
        curvature = (design.T * (probable * (1 - probable))) @ design / len(labels)
        weights -= np.linalg.solve(curvature + _RIDGE * np.eye(len(weights)), slope)
    return weights
