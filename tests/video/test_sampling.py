from __future__ import annotations

import itertools
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vopcli.errors import UsageError
from vopcli.video.sampling import (
    Kept,
    Sampling,
    clip4clip_indices,
    fps_indices,
    parse_sampling,
    uniform_indices,
    xpool_indices,
)
from vopcli.video.video_file import TimeWindow

# The lists of benchmarks.md, section 2.1: X-Pool's own, for 12 frames.
XPOOL_GOLDENS = pytest.mark.parametrize(
    ("num_presentable", "expected"),
    [
        (325, [13, 40, 67, 94, 121, 148, 175, 202, 229, 256, 283, 310]),
        (300, [12, 37, 62, 87, 112, 137, 162, 187, 212, 237, 262, 287]),
        (100, [3, 11, 20, 28, 36, 45, 53, 61, 70, 78, 86, 95]),
        (25, [0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 23]),
        (24, list(range(0, 24, 2))),
        (13, list(range(12))),
        (12, list(range(12))),
        (7, list(range(7))),
        (1, [0]),
        (0, []),
    ],
)


def xpool_bounds(num_frames: int, num_presentable: int) -> list[int]:
    """X-Pool's segments in X-Pool's own words."""
    return [int(b) for b in np.linspace(0, num_presentable, min(num_frames, num_presentable) + 1).astype(int)]


@XPOOL_GOLDENS
def test_uniform_takes_the_middles_that_xpool_takes(num_presentable: int, expected: list[int]) -> None:
    assert uniform_indices(12, num_presentable) == expected


@XPOOL_GOLDENS
def test_xpool_takes_what_xpool_takes(num_presentable: int, expected: list[int]) -> None:
    assert xpool_indices(12, num_presentable) == expected


def test_uniform_is_exact_where_float_bounds_are_off_by_one() -> None:
    # 122 * 7 / 14 is 61 exactly; linspace gives 60.99999999999999 and X-Pool's truncation makes that 60.
    bounds = [122 * k // 14 for k in range(15)]
    assert (bounds[7], xpool_bounds(14, 122)[7]) == (61, 60)
    assert uniform_indices(14, 122) == [(a + b - 1) // 2 for a, b in itertools.pairwise(bounds)]
    exact, xpool = uniform_indices(14, 122), xpool_indices(14, 122)
    assert [(k, a, b) for k, (a, b) in enumerate(zip(exact, xpool, strict=True)) if a != b] == [(6, 56, 55)]


@given(st.integers(1, 100), st.integers(1, 20_000))
def test_xpool_is_numpys_linspace_to_the_bit(num_frames: int, num_presentable: int) -> None:
    bounds = xpool_bounds(num_frames, num_presentable)
    assert xpool_indices(num_frames, num_presentable) == [
        (a + b - 1) // 2 for a, b in itertools.pairwise(bounds)
    ]


@pytest.mark.slow
def test_how_often_xpool_differs_from_uniform() -> None:
    # As often as benchmarks.md, section 2.1, says of X-Pool's own bounds and whole ones.
    pairs = [(frames, count) for frames in range(1, 65) for count in range(1, 2000)]
    other = [
        (frames, count)
        for frames, count in pairs
        if xpool_indices(frames, count) != uniform_indices(frames, count)
    ]
    assert (other[0], len(other)) == ((14, 122), 1305)
    assert not [count for frames, count in other if frames == 12]


@given(st.integers(12, 2**44) | st.integers(1, 2**40).map(lambda part: 4 * part))
def test_of_12_segments_xpools_are_the_uniform_ones(num_presentable: int) -> None:
    assert xpool_indices(12, num_presentable, 3) == uniform_indices(12, num_presentable, 3)


def test_the_plainest_name_of_a_sampling() -> None:
    named = {
        text: str(parse_sampling(text).plain) for text in ("xpool:12", "xpool:12x3", "xpool:14", "fps:1")
    }
    assert named == {
        "xpool:12": "uniform:12",
        "xpool:12x3": "uniform:12x3",
        "xpool:14": "xpool:14",
        "fps:1": "fps:1",
    }


# The ranges that X-Pool draws from, of which it leaves out the last frame (benchmarks.md, section 2.1).
def test_candidates_lie_in_the_ranges_that_xpool_draws_from() -> None:
    bounds = xpool_bounds(12, 325)
    assert (bounds[:3], bounds[-3:]) == ([0, 27, 54], [270, 297, 325])
    kept = xpool_indices(12, 325, 3)
    for k, (start, end) in enumerate(itertools.pairwise(bounds)):
        assert all(index in range(start, end - 1) for index in kept[3 * k : 3 * k + 3])
    assert kept[:6] == [4, 13, 22, 31, 40, 49]


@given(st.integers(1, 70), st.integers(0, 3000), st.sampled_from([1, 3, 5, 7]), st.booleans())
def test_candidates_surround_the_middle(
    num_frames: int, num_presentable: int, candidates: int, is_xpool: bool
) -> None:
    rule = xpool_indices if is_xpool else uniform_indices
    middles = rule(num_frames, num_presentable)
    kept = rule(num_frames, num_presentable, candidates)
    assert kept[candidates // 2 :: candidates] == middles
    assert kept == sorted(kept)
    assert len(kept) == candidates * min(num_frames, num_presentable)
    bounds = xpool_bounds(num_frames, num_presentable) if is_xpool else None
    for k in range(len(middles)):
        each = kept[k * candidates : (k + 1) * candidates]
        if bounds:
            length = bounds[k + 1] - bounds[k]
            assert all(bounds[k] <= index < bounds[k + 1] for index in each)
            assert len(set(each)) == min(length, candidates)
            gaps = {b - a for a, b in itertools.pairwise(each)}
            assert not gaps or max(gaps) - min(gaps) <= 1


@given(st.integers(1, 23))
def test_candidates_of_videos_that_are_too_short_for_xpools_draw(num_presentable: int) -> None:
    kept = xpool_indices(12, num_presentable, 3)
    assert len(kept) == 3 * min(12, num_presentable)
    assert set(kept) <= set(range(num_presentable))


# The lists of benchmarks.md, section 2.2: CLIP4Clip's own, one frame a second.
@pytest.mark.parametrize(
    ("num_presentable", "fps", "kept", "expected"),
    [
        (325, 29.97, "uniform", [0, 29, 58, 87, 116, 145, 174, 203, 232, 261, 290, 319]),
        (325, 25, "uniform", [0, 25, 50, 75, 100, 125, 150, 175, 200, 225, 250, 300]),
        (325, 25, "head", list(range(0, 276, 25))),
        (325, 25, "tail", list(range(25, 301, 25))),
        (900, 30, "uniform", [0, 60, 150, 210, 300, 390, 450, 540, 630, 690, 780, 870]),
        (7, 25, "uniform", [0]),
        (12, 25, "uniform", [0]),
        (1, 25, "uniform", [0]),
        (45, 3, "uniform", [0, 3, 6, 9, 15, 18, 21, 24, 30, 33, 36, 42]),
        (24, 23.976, "uniform", [0, 23]),
        (10, 0.4, "uniform", list(range(10))),  # where CLIP4Clip divides by zero
    ],
)
def test_clip4clip_takes_what_clip4clip_takes(
    num_presentable: int, fps: float, kept: Kept, expected: list[int]
) -> None:
    assert clip4clip_indices(12, num_presentable, Fraction(fps), kept=kept) == expected


def test_clip4clip_takes_as_many_as_there_are_below_the_limit() -> None:
    assert len(clip4clip_indices(99, 325, Fraction(25))) == 13
    assert len(clip4clip_indices(99, 900, Fraction(30))) == 30
    assert len(clip4clip_indices(99, 45, Fraction(3))) == 15
    assert clip4clip_indices(1, 900, Fraction(30)) == [0]
    assert clip4clip_indices(1, 900, Fraction(30), kept="tail") == [870]


def test_clip4clip_takes_the_second_at_which_the_window_ends() -> None:
    didemo = TimeWindow(0.0, 31.0)
    assert clip4clip_indices(64, 2000, Fraction(30), window=didemo) == list(range(0, 931, 30))
    assert clip4clip_indices(64, 200, Fraction(30), window=didemo) == [0, 30, 60, 90, 120, 150, 180]
    assert clip4clip_indices(64, 2000, Fraction(30), window=TimeWindow(2.5, 4.5)) == [60, 90, 120, 150]
    assert clip4clip_indices(64, 200, Fraction(30), window=TimeWindow(31.0, 62.0)) == []


@given(
    st.integers(1, 64),
    st.integers(1, 3000),
    st.fractions(1, 120, max_denominator=1001),
    st.sampled_from(["uniform", "head", "tail"]),
)
def test_clip4clip_agrees_with_its_formula(
    num_frames: int, num_presentable: int, rate: Fraction, kept: Kept
) -> None:
    fps = int(rate)
    seconds = range((num_presentable + fps - 1) // fps + 1)
    read = np.array([second * fps for second in seconds if second * fps < num_presentable])
    if num_frames < len(read):
        spread = np.linspace(0, len(read) - 1, num=num_frames, dtype=int)
        read = {"head": read[:num_frames], "tail": read[-num_frames:], "uniform": read[spread]}[kept]
    assert clip4clip_indices(num_frames, num_presentable, rate, kept=kept) == read.tolist()


@given(st.integers(1, 100), st.integers(0, 5000))
def test_uniform_indices_rise_and_stay_in_range(num_frames: int, num_presentable: int) -> None:
    indices = uniform_indices(num_frames, num_presentable)
    assert len(indices) == min(num_frames, num_presentable)
    assert indices == sorted(set(indices))
    assert all(0 <= index < num_presentable for index in indices)


def test_fps_takes_what_is_on_the_screen() -> None:
    seconds = [Fraction(k, 30) for k in range(100)]
    assert fps_indices(seconds, 1) == [0, 30, 60, 90]
    assert fps_indices(seconds, Fraction(1, 2)) == [0, 60]
    assert fps_indices(seconds, 1, cap=2) == [0, 60]
    assert fps_indices([0.0, 0.9, 1.0, 5.0], 1) == [0, 2, 3]
    assert fps_indices([], 1) == []


def test_fps_above_the_video_takes_each_frame_once() -> None:
    assert fps_indices([Fraction(k, 10) for k in range(5)], 1000) == [0, 1, 2, 3, 4]


@given(
    st.lists(st.fractions(0, 3, max_denominator=30), max_size=25),
    st.fractions(Fraction(1, 4), 30, max_denominator=9),
)
def test_fps_agrees_with_looking_at_every_instant(gaps: list[Fraction], fps: Fraction) -> None:
    seconds = [Fraction(0)]
    for gap in gaps:
        seconds.append(seconds[-1] + gap + Fraction(1, 1000))
    looked = {
        max(index for index, time in enumerate(seconds) if time <= instant / fps)
        for instant in range(int(seconds[-1] * fps) + 1)
    }
    assert fps_indices(seconds, fps) == sorted(looked)


@pytest.mark.parametrize(
    ("text", "num_frames", "expected", "canonical"),
    [
        ("uniform", None, Sampling("uniform", 12), "uniform:12"),
        ("uniform", 8, Sampling("uniform", 8), "uniform:8"),
        (" Uniform:16", None, Sampling("uniform", 16), "uniform:16"),
        ("uniform:16", 16, Sampling("uniform", 16), "uniform:16"),
        ("uniform:12x3", None, Sampling("uniform", 12, candidates=3), "uniform:12x3"),
        ("uniform:12x1", None, Sampling("uniform", 12), "uniform:12"),
        ("xpool", None, Sampling("xpool", 12), "xpool:12"),
        ("XPool:14x5", 14, Sampling("xpool", 14, candidates=5), "xpool:14x5"),
        ("clip4clip", None, Sampling("clip4clip", 12), "clip4clip:12"),
        ("clip4clip:64:uniform", None, Sampling("clip4clip", 64), "clip4clip:64"),
        ("clip4clip:head", 8, Sampling("clip4clip", 8, kept="head"), "clip4clip:8:head"),
        ("clip4clip:64:tail", None, Sampling("clip4clip", 64, kept="tail"), "clip4clip:64:tail"),
        ("fps:1", None, Sampling("fps", None, Fraction(1)), "fps:1"),
        ("fps:0.5", None, Sampling("fps", None, Fraction(1, 2)), "fps:0.5"),
        ("fps:30000/1001", 5, Sampling("fps", 5, Fraction(30000, 1001)), "fps:30000/1001:max=5"),
        ("fps:1:max=64", None, Sampling("fps", 64, Fraction(1)), "fps:1:max=64"),
    ],
)
def test_sampling_is_read_and_written(
    text: str, num_frames: int | None, expected: Sampling, canonical: str
) -> None:
    sampling = parse_sampling(text, num_frames)
    assert sampling == expected
    assert str(sampling) == canonical
    assert parse_sampling(canonical) == sampling


@pytest.mark.parametrize(
    ("text", "num_frames", "problem"),
    [
        ("often", None, "unknown sampling 'often'"),
        ("", None, "unknown sampling ''"),
        ("fps:", None, "unknown sampling 'fps:'"),
        ("fps:-1", None, "unknown sampling 'fps:-1'"),
        ("fps:0", None, "is out of range"),
        ("fps:1/0", None, "is out of range"),
        ("fps:5000", None, "is out of range"),
        ("uniform:0", None, "contains the number 0"),
        ("fps:1:max=0", None, "contains the number 0"),
        ("uniform", 0, "cannot take 0 frames"),
        ("uniform:8", 9, "contradicts 9 frames"),
        ("xpool:0", None, "contains the number 0"),
        ("uniform:8x0", None, "contains the number 0"),
        ("uniform:8x4", None, "the number of candidates, 4, is even"),
        ("uniformx3", None, "unknown sampling"),
        ("clip4clip:middle", None, "unknown sampling"),
        ("clip4clip:12x3", None, "unknown sampling"),
    ],
)
def test_bad_sampling_is_named(text: str, num_frames: int | None, problem: str) -> None:
    with pytest.raises(UsageError, match=problem) as error:
        parse_sampling(text, num_frames)
    assert error.value.hint


@pytest.mark.parametrize(
    ("rule", "num_frames", "fps"),
    [
        ("uniform", None, None),
        ("uniform", 12, Fraction(1)),
        ("fps", None, None),
        ("fps", None, Fraction(0)),
        ("uniform", 0, None),
        ("xpool", None, None),
        ("clip4clip", 12, Fraction(1)),
    ],
)
def test_impossible_sampling_cannot_be_made(rule: str, num_frames: int | None, fps: Fraction | None) -> None:
    with pytest.raises(ValueError, match="sampling takes"):
        Sampling(rule, num_frames, fps)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("rule", "more"),
    [("fps", {"candidates": 3}), ("uniform", {"candidates": 2}), ("xpool", {"kept": "head"})],
)
def test_what_goes_with_no_such_rule(rule: str, more: dict[str, object]) -> None:
    number, fps = (None, Fraction(1)) if rule == "fps" else (12, None)
    with pytest.raises(ValueError, match="sampling takes"):
        Sampling(rule, number, fps, **more)  # type: ignore[arg-type]


def test_candidates_may_be_asked_for_beside_the_text() -> None:
    assert str(parse_sampling("xpool", 4, 3)) == "xpool:4x3"
    assert str(parse_sampling("uniform:4x3", None, 3)) == "uniform:4x3"
    assert parse_sampling("fps:1", candidates=1) == parse_sampling("fps:1")
    for text, candidates, problem in (
        ("uniform:4x3", 5, "contradicts 5 candidates"),
        ("uniform", 2, "the number of candidates, 2, is even"),
        ("fps:1", 3, "has no segments, so it cannot keep 3 candidates"),
        ("clip4clip", 3, "has no segments, so it cannot keep 3 candidates"),
    ):
        with pytest.raises(UsageError, match=problem) as error:
            parse_sampling(text, candidates=candidates)
        assert error.value.hint


def test_what_is_stored_and_what_is_measured() -> None:
    sampling = parse_sampling("uniform:12x3")
    assert (sampling.num_stored, sampling.middle.num_stored, str(sampling.middle)) == (36, 12, "uniform:12")
    assert parse_sampling("clip4clip:7:tail").num_stored == 7
    assert parse_sampling("fps:1:max=9").num_stored is None
