"""The frames that are shown of a hit."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.indexes import META, add_film
from vopcli.index.reader import VideoIndex
from vopcli.index.writer import create_index
from vopcli.search.hits import Hit
from vopcli.web.strip import choose_places, strip_of


@pytest.mark.parametrize(
    ("count", "inside", "best", "places"),
    [
        (12, [4, 5, 6], 5, [3, 4, 5, 6, 7]),
        (12, [0, 1], 1, [0, 1, 2, 3, 4]),
        (12, [11], 11, [7, 8, 9, 10, 11]),
        (3, [1], 1, [0, 1, 2]),
        (100, list(range(10, 51)), 22, [10, 22, 30, 40, 50]),
        (100, list(range(10, 51)), 50, [10, 20, 30, 40, 50]),
    ],
)
def test_examples(count: int, inside: list[int], best: int, places: list[int]) -> None:
    assert choose_places(count, inside, best) == places


@given(st.data())
def test_frames_are_distinct_in_order_and_hold_the_best(data: st.DataObject) -> None:
    count = data.draw(st.integers(1, 40))
    first = data.draw(st.integers(0, count - 1))
    last = data.draw(st.integers(first, count - 1))
    best = data.draw(st.integers(first, last))
    places = choose_places(count, list(range(first, last + 1)), best)
    assert len(places) == min(5, count)
    assert places == sorted(set(places))
    assert best in places
    assert 0 <= places[0] <= places[-1] < count


def test_a_strip_goes_on_in_the_next_window(tmp_path) -> None:
    create_index(tmp_path / "i.h5", META)
    add_film(tmp_path / "i.h5", matching=1, windows=range(4), is_whole=True)
    videos = VideoIndex(tmp_path / "i.h5")
    hit = Hit(1, 0.5, tmp_path, "film.mp4", 19.0, 21.0, 20.4, 40.0, row=1)
    strip = strip_of(videos, hit)
    # twelve frames in each window of ten seconds: the last ones of window 1, the first ones of window 2
    assert [(frame.row, frame.number) for frame in strip] == [(1, 9), (1, 10), (1, 11), (2, 0), (2, 1)]
    assert [frame.is_inside for frame in strip] == [False, False, True, True, False]
    assert [frame.is_best for frame in strip] == [False, False, False, True, False]
