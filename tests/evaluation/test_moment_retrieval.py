"""Ranges found in an index of films, against a plain search of each video."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from vopcli.config.schema import BackboneConfig, Config, DataConfig
from vopcli.datasets.demo.films import FILMS, QUERIES, plan_films, write_films
from vopcli.encoding.encode import encode
from vopcli.encoding.request import EncodeRequest
from vopcli.errors import DataError
from vopcli.evaluation.moment_retrieval import evaluate_moments
from vopcli.progress import SilentProgress
from vopcli.search.search import Index


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("films")
    films = [film for film in plan_films(seed=0, num_clips=15) if "white triangle" in film.query]
    films += [film for film in plan_films(seed=0, num_clips=15) if "blue square" in film.query]
    write_films(folder, films, SilentProgress())
    config = Config(BackboneConfig("demo-tiny", "cpu"), DataConfig(workers=0))
    encode(EncodeRequest([folder / FILMS], folder / "i.h5", config, cache=folder), SilentProgress())
    return folder


def queries_of(folder: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in (folder / QUERIES).read_text(encoding="utf-8").splitlines()]


def test_ranges_are_those_of_a_search(folder: Path) -> None:
    saved = folder / "predicted.jsonl"
    result = evaluate_moments(folder / "i.h5", folder / QUERIES, SilentProgress(), predictions=saved)
    assert (result.num_queries, result.num_videos, result.num_missing) == (2, 2, 0)

    predicted = [json.loads(line) for line in saved.read_text(encoding="utf-8").splitlines()]
    overlaps, right = [], 0
    with Index(folder / "i.h5") as index:
        for query, line in zip(queries_of(folder), predicted, strict=True):
            assert (line["qid"], line["vid"]) == (query["qid"], query["vid"])
            scores = [score for _, _, score in line["pred_relevant_windows"]]
            assert 1 <= len(scores) <= 10
            assert scores == sorted(scores, reverse=True)
            hits = index.search(str(query["query"]), top=2)
            own = next(hit for hit in hits if hit.path == query["vid"])
            assert line["pred_relevant_windows"][0][:2] == pytest.approx([own.start, own.end])
            right += hits[0] == own
            [[start, end]] = query["relevant_windows"]  # type: ignore[misc]
            shared = max(min(own.end, end) - max(own.start, start), 0.0)
            overlaps.append(shared / (own.end - own.start + end - start - shared))
    assert result.within.mean_iou == pytest.approx(50 * sum(overlaps))
    assert result.within.mean_iou > 30
    assert result.video_first == 50 * right


def test_videos_are_found_by_stem_and_missing_ones_are_named(folder: Path, tmp_path: Path) -> None:
    first, second = queries_of(folder)
    by_stem, other = first | {"vid": str(first["vid"])[:-4]}, second | {"vid": "other"}
    path = tmp_path / "q.jsonl"
    path.write_text(f"{json.dumps(by_stem)}\n{json.dumps(other)}\n", encoding="utf-8")
    with pytest.raises(DataError, match=r"1 videos of .* are not in .*, such as other"):
        evaluate_moments(folder / "i.h5", path, SilentProgress())
    result = evaluate_moments(folder / "i.h5", path, SilentProgress(), allow_missing=True)
    assert (result.num_queries, result.num_missing) == (1, 1)
    path.write_text(f"{json.dumps(other)}\n", encoding="utf-8")
    with pytest.raises(DataError, match="are not in"):
        evaluate_moments(folder / "i.h5", path, SilentProgress(), allow_missing=True)
