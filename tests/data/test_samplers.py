from __future__ import annotations

import itertools
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vopcli.data.samplers import Sampling, fps_indices, parse_sampling, uniform_indices
from vopcli.errors import UsageError


@pytest.mark.parametrize(
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
def test_uniform_takes_the_middles_that_xpool_takes(num_presentable: int, expected: list[int]) -> None:
    assert uniform_indices(12, num_presentable) == expected


def test_uniform_is_exact_where_float_bounds_are_off_by_one() -> None:
    # 122 * 7 / 14 is 61 exactly; linspace gives 60.99999999999999 and X-Pool's truncation makes that 60.
    bounds = [122 * k // 14 for k in range(15)]
    assert bounds[7] == 61
    assert uniform_indices(14, 122) == [(a + b - 1) // 2 for a, b in itertools.pairwise(bounds)]


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
        ("fps:0", None, "no usable rate"),
        ("fps:1/0", None, "no usable rate"),
        ("fps:5000", None, "no usable rate"),
        ("uniform:0", None, "takes no frame"),
        ("fps:1:max=0", None, "takes no frame"),
        ("uniform", 0, "cannot take 0 frames"),
        ("uniform:8", 9, "contradicts 9 frames"),
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
    ],
)
def test_impossible_sampling_cannot_be_made(rule: str, num_frames: int | None, fps: Fraction | None) -> None:
    with pytest.raises(ValueError, match="sampling takes"):
        Sampling(rule, num_frames, fps)  # type: ignore[arg-type]
