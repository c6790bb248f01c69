"""Retrieval metrics by sorting and looping, one query after the other; shares nothing with the library."""

from __future__ import annotations

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
