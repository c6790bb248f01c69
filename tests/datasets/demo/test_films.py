"""Films of the demo set: their clips and queries, and a search for the clip that each query describes."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from vopcli.config.schema import BackboneConfig, Config, DataConfig
from vopcli.datasets.demo.drawing import draw_video
from vopcli.datasets.demo.films import FILM_INDEX, FILMS, QUERIES, Film, plan_films, write_films
from vopcli.encoding.encode import encode
from vopcli.encoding.request import EncodeRequest
from vopcli.progress import SilentProgress
from vopcli.search.search import Index
from vopcli.video.sampling import parse_sampling
from vopcli.video.video import read_frames
from vopcli.video.video_file import TimeWindow


def test_only_one_clip_of_all_films_matches_a_query() -> None:
    films = plan_films(seed=0)
    assert plan_films(seed=0) == films != plan_films(seed=1)
    assert [len(film.clips) for film in films] == [100] * 12
    for film in films:
        matching = [
            (other.name, number)
            for other in films
            for number, clip in enumerate(other.clips)
            if f"a {clip.start.look}" == film.query
        ]
        assert matching == [(film.name, film.number)]


def test_films_are_written_once_with_their_queries(tmp_path: Path) -> None:
    films = plan_films(seed=0, num_films=2, num_clips=3)
    assert write_films(tmp_path, films, SilentProgress()) == 2
    assert write_films(tmp_path, films, SilentProgress()) == 0
    lines = [json.loads(line) for line in (tmp_path / QUERIES).read_text().splitlines()]
    for film, line in zip(films, lines, strict=True):
        start, end = film.window
        assert line == {
            "qid": films.index(film),
            "query": film.query,
            "duration": 9.0,
            "vid": film.name,
            "relevant_windows": [[start, end]],
        }
        sampled = read_frames(
            str(tmp_path / FILMS / film.name),
            parse_sampling("uniform:3"),
            size=96,
            window=TimeWindow(start, end),
        )
        expected = draw_video(film.clips[film.number])
        for frame, number in zip(sampled.frames, (5, 17, 29), strict=True):
            square = expected[number][:, 16:112].astype(float)
            assert np.abs(frame.astype(float) - square).mean() < 6


def test_films_of_another_seed_replace_the_films_and_their_index(tmp_path: Path) -> None:
    [film] = write_and_list(tmp_path, seed=0)
    before = film.read_bytes()
    (tmp_path / FILM_INDEX).touch()
    [film] = write_and_list(tmp_path, seed=1)
    assert film.read_bytes() != before
    assert not (tmp_path / FILM_INDEX).exists()


def write_and_list(folder: Path, *, seed: int) -> list[Path]:
    write_films(folder, plan_films(seed=seed, num_films=1, num_clips=3), SilentProgress(), overwrite=True)
    return list((folder / FILMS).iterdir())


@pytest.fixture(scope="module")
def films_of_a_minute(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[Film]]:
    folder = tmp_path_factory.mktemp("films")
    films = [
        film
        for film in plan_films(seed=0, num_clips=20)
        if film.query in {"a white triangle", "a blue square"}
    ]
    write_films(folder, films, SilentProgress())
    config = Config(BackboneConfig("demo-tiny", "cpu"), DataConfig(workers=0))
    encode(EncodeRequest([folder / FILMS], folder / "i.h5", config, cache=folder), SilentProgress())
    return folder, films


def test_a_search_finds_the_film_and_the_range(films_of_a_minute: tuple[Path, list[Film]]) -> None:
    folder, films = films_of_a_minute
    with Index(folder / "i.h5", cache=folder) as index:
        assert len(index) == 2
        assert index.rule == "best match"
        for film in films:
            hit = index.search(film.query)[0]
            start, end = film.window
            shared = min(hit.end, end) - max(hit.start, start)
            assert hit.path == film.name
            assert shared > 0.7 * (max(hit.end, end) - min(hit.start, start))
            assert hit.start <= hit.best < hit.end
            assert (hit.start, hit.end) == pytest.approx((start, end), abs=0.84)  # frames are 0.83 s apart


def test_moments_rank_ranges_of_all_videos(films_of_a_minute: tuple[Path, list[Film]]) -> None:
    folder, films = films_of_a_minute
    with Index(folder / "i.h5", cache=folder) as index:
        hits = index.search("a white triangle", moments=True, top=5)
        assert [hit.score for hit in hits] == sorted((hit.score for hit in hits), reverse=True)
        assert len(hits) == 5
        assert len(index.search("a white triangle", moments=True, per_video=1)) == 2
        best = next(film for film in films if film.query == "a white triangle")
        assert hits[0].path == best.name
        for one in hits:
            others = [hit for hit in hits if hit.path == one.path and hit != one]
            assert all(one.end <= other.start or other.end <= one.start for other in others)
