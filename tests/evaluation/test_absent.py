"""Queries without a match, judged by plain loops over every pair."""

from __future__ import annotations

import math
from pathlib import Path
from statistics import fmean

import numpy as np
import pytest

from vopcli.errors import UsageError
from vopcli.evaluation.absent import auroc, measure_absent
from vopcli.evaluation.score_file import Similarities, write_similarities

VIDEOS, QUERIES, BANK = 130, 60, 50


def make(folder: Path, *, has_bank: bool = True, num_videos: int = VIDEOS) -> tuple[Path, Similarities]:
    """Scores in which hubs are near to all captions, and each query is nearer to its video."""
    random = np.random.default_rng(2)
    owner, val_owner = np.arange(QUERIES) * 7 % num_videos, np.arange(40) % 20
    hubs, val_hubs = random.normal(0, 0.1, num_videos), random.normal(0, 0.1, 20)
    scores, bank = (random.normal(0, 0.05, (rows, num_videos)) + hubs for rows in (QUERIES, BANK))
    val, val_bank = (random.normal(0, 0.05, (rows, 20)) + val_hubs for rows in (40, BANK))
    scores[np.arange(QUERIES), owner] += 0.15
    val[np.arange(40), val_owner] += 0.15
    none, few = np.empty((0, 0), np.float32), np.empty(0, np.int64)
    scores, bank, val, val_bank = (part.astype(np.float32) for part in (scores, bank, val, val_bank))
    parts = (bank, val, val_owner, val_bank) if has_bank else (bank[:0], none, few, none)
    content = Similarities({"logit_scale": 20.0, "val": "val" if has_bank else None}, scores, owner, *parts)
    write_similarities(folder / "s.h5", content, is_new=True)
    return folder / "s.h5", content


def deviation(values: list[float]) -> float:
    mean = sum(values) / len(values)
    return math.sqrt(sum((value - mean) ** 2 for value in values) / len(values))


def best_by_hand(saved: Similarities, query: int, gallery: list[int]) -> float:
    return max(float(saved.similarity[query, video]) for video in gallery)


def confidences_by_hand(saved: Similarities, gallery: list[int]) -> tuple[list[float], list[float]]:
    """The confidence of each query with its video in a gallery, and without."""

    def s_norm(scores: list[float], videos: list[int]) -> float:
        """The highest of the videos."""
        mean, spread = fmean(scores), deviation(scores)
        values = []
        for score, video in zip(scores, videos, strict=True):
            closest = sorted(map(float, saved.bank[:, video]), reverse=True)[: max(round(0.05 * BANK), 2)]
            values.append(((score - mean) / spread + (score - fmean(closest)) / deviation(closest)) / 2)
        return max(values)

    others = []
    for caption in saved.bank:
        first = max(gallery, key=lambda video: float(caption[video]))
        rest = [video for video in gallery if video != first]
        others.append(s_norm([float(caption[video]) for video in rest], rest))
    highest = max(fmean(map(float, caption[gallery])) for caption in saved.bank)
    found: tuple[list[float], list[float]] = ([], [])
    for query in range(QUERIES):
        for side, videos in enumerate(galleries(saved, query, gallery)):
            scores = [float(saved.similarity[query, video]) for video in videos]
            value = s_norm(scores, videos)
            found[side].append(fmean(other < value for other in others) if fmean(scores) <= highest else 0)
    return found


def galleries(saved: Similarities, query: int, part: list[int]) -> tuple[list[int], list[int]]:
    """The part with the video of the query, in place of the last unless it is in it; and without it."""
    own = int(saved.owner[query])
    present = part if own in part else [*part[:-1], own]
    return present, [video for video in present if video != own]


def test_all_metrics_are_those_of_plain_loops(tmp_path: Path) -> None:
    path, saved = make(tmp_path)
    found = {(one.rule, one.num_videos): one for one in measure_absent(path)}
    rules = ("cosine", "confidence")
    assert list(found) == [(rule, size) for rule in rules for size in (VIDEOS, 100)]
    order = np.random.default_rng(0).permutation(VIDEOS).tolist()
    for rule in rules:
        threshold = 0.95 if rule == "confidence" else None
        for size in (VIDEOS, 100):
            pairs = [galleries(saved, query, order[:size]) for query in range(QUERIES)]
            present, absent = (
                confidences_by_hand(saved, order[:size])
                if rule == "confidence"
                else tuple(
                    [best_by_hand(saved, query, pair[side]) for query, pair in enumerate(pairs)]
                    for side in (0, 1)
                )
            )
            wins = fmean(float(p > a) + 0.5 * (p == a) for p in present for a in absent)
            least = sorted(present)[math.floor(0.05 * (QUERIES - 1))]
            threshold = least if threshold is None else threshold
            one = found[rule, size]
            assert one.auroc == pytest.approx(wins, abs=1e-9)
            for value, values, limit in (
                (one.false_percent, absent, least),
                (one.found_percent, present, threshold),
                (one.kept_false_percent, absent, threshold),
            ):
                assert value == pytest.approx(100 * fmean(item >= limit - 1e-9 for item in values))
    assert found["confidence", VIDEOS].auroc > found["cosine", VIDEOS].auroc + 0.03  # it corrects for hubs


def test_without_a_bank_the_cosine_is_left(tmp_path: Path) -> None:
    path, saved = make(tmp_path, has_bank=False, num_videos=12)
    found = measure_absent(path)
    assert [(one.rule, one.num_videos) for one in found] == [("cosine", 12)]
    present = [float(row.max()) for row in saved.similarity]
    absent = [
        max(float(score) for video, score in enumerate(row) if video != own)
        for row, own in zip(saved.similarity, saved.owner.tolist(), strict=True)
    ]
    assert found[0].auroc == pytest.approx(
        fmean(float(p > a) + 0.5 * (p == a) for p in present for a in absent)
    )


def test_two_videos_are_too_few(tmp_path: Path) -> None:
    path, _ = make(tmp_path, has_bank=False, num_videos=2)
    with pytest.raises(UsageError, match="has 2 videos"):
        measure_absent(path)


def test_equal_values_count_half() -> None:
    assert auroc(np.array([1.0, 2.0]), np.array([1.0, 0.0])) == (0.5 + 1 + 1 + 1) / 4
    assert auroc(np.zeros(3), np.zeros(5)) == 0.5
