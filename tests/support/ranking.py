"""Retrieval metrics by sorting and looping, one query after the other; shares nothing with the library."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass

Matrix = Sequence[Sequence[float]]


@dataclass
class Expected:
    queries: list[int]
    ranks: list[float]  # from 1; under clip4clip there may be more than queries
    gallery_size: int

    def recall(self, depth: int) -> float:
        return 100 * sum(rank <= depth for rank in self.ranks) / len(self.ranks)

    def median(self) -> float:
        return statistics.median(self.ranks)

    def median_lower(self) -> float:
        return statistics.median_low(self.ranks)

    def mean(self) -> float:
        return statistics.fmean(self.ranks)


def rank_by_sorting(scores: Sequence[float], target: int, rule: str) -> list[float]:
    order = sorted(range(len(scores)), key=lambda item: -scores[item])
    places = [place for place, item in enumerate(order, 1) if scores[item] == scores[target]]
    if rule == "average":
        return [statistics.fmean(places)]
    if rule == "pessimistic":
        return [places[-1]]
    if rule == "xpool":
        return [order.index(target) + 1]
    return list(places)


def expected_t2v(similarity: Matrix, owner: Sequence[int], rule: str) -> Expected:
    if rule == "clip4clip" and len(set(owner)) < len(owner):
        rule = "xpool"  # that code ranks the captions of videos with several by a double argsort
    ranks = [
        rank
        for row, video in zip(similarity, owner, strict=True)
        for rank in rank_by_sorting(row, video, rule)
    ]
    return Expected(list(range(len(owner))), ranks, len(similarity[0]))


def expected_v2t(similarity: Matrix, owner: Sequence[int], rule: str) -> Expected:
    videos = sorted(set(owner))
    ranks: list[float] = []
    for video in videos:
        best = [
            max(row[video] for row, other in zip(similarity, owner, strict=True) if other == candidate)
            for candidate in videos
        ]
        ranks += rank_by_sorting(best, videos.index(video), rule)
    return Expected(videos, ranks, len(videos))


def dot(first: list[float], second: list[float]) -> float:
    return math.fsum(a * b for a, b in zip(first, second, strict=True))


def plain_score(query: list[float], frames: list[list[float]], rule: str) -> float:
    """The formulas of ``vopcli.search.pooling``, one number after the other."""
    cosines = sorted((dot(query, frame) for frame in frames), reverse=True)
    if rule.startswith("mean"):
        mean = [math.fsum(column) / len(frames) for column in zip(*frames, strict=True)]
        return dot(query, mean) / (math.sqrt(dot(mean, mean)) if rule == "mean" else 1.0)
    if rule.startswith("attention"):
        temperature = float(rule.partition(":")[2] or 0.1)
        weights = [math.exp(cosine / temperature) for cosine in cosines]
        return math.fsum(w * c for w, c in zip(weights, cosines, strict=True)) / math.fsum(weights)
    count = 1 if rule == "max" else int(rule[4:])
    return math.fsum(cosines[:count]) / len(cosines[:count])


def qb_norm_by_hand(cosine: Matrix, bank: Matrix, beta: float, top: int) -> list[list[float]]:
    """The formula of QB-Norm, one score after the other."""
    activated = set()
    for row in bank:
        activated.update(sorted(range(len(row)), key=lambda video: -row[video])[:top])
    rescored = []
    for row in cosine:
        if max(range(len(row)), key=row.__getitem__) not in activated:
            rescored.append([float(score) for score in row])
            continue
        sums = [math.fsum(math.exp(beta * b[video]) for b in bank) for video in range(len(row))]
        rescored.append([math.exp(beta * score) / total for score, total in zip(row, sums, strict=True)])
    return rescored
