"""The plan of the demo set: balanced, unambiguous, and reproducible from its seed."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

from vopcli.datasets.demo.scenes import COLOURS, OPPOSITES, SHAPES, plan_demo

PAIRS = list(plan_demo(seed=0))
VIDEOS = [video for pair in PAIRS for video in pair]


def test_the_splits_hold_every_colour_shape_and_change_equally_often() -> None:
    for split, copies in (("train", 3), ("test", 1)):
        found = Counter((v.start.colour, v.start.shape, v.change) for v in VIDEOS if v.split == split)
        assert found == {(c, s, w): copies for c in COLOURS for s in SHAPES for w in OPPOSITES}
    assert Counter(video.split for video in VIDEOS) == {"train": 432, "test": 144}
    assert len({Path(video.name).stem for video in VIDEOS}) == len(VIDEOS)


def test_captions_of_a_pair_differ_in_the_deciding_word_alone() -> None:
    for forwards, backwards in PAIRS:
        assert OPPOSITES[forwards.change] == backwards.change
        assert len(forwards.captions) == len(backwards.captions) == (2 if forwards.split == "train" else 1)
        for one, other in zip(forwards.captions, backwards.captions, strict=True):
            different = [pair for pair in zip(one.split(), other.split(), strict=True) if len(set(pair)) > 1]
            assert different == [(forwards.change, backwards.change)]
            assert one.split()[1:3] == [forwards.start.colour, forwards.start.shape]


def test_test_captions_name_one_video_each() -> None:
    captions = [caption for video in VIDEOS if video.split == "test" for caption in video.captions]
    assert len(set(captions)) == len(captions) == 144


def test_no_two_films_start_alike_and_the_seed_changes_them_all() -> None:
    assert len({(pair[0].start, pair[0].end) for pair in PAIRS}) == len(PAIRS)
    others = [pair[0] for pair in plan_demo(seed=1)]
    assert [video.name for video in others] == [pair[0].name for pair in PAIRS]
    assert all(other.start != pair[0].start for other, pair in zip(others, PAIRS, strict=True))
    assert list(plan_demo(seed=0)) == PAIRS
