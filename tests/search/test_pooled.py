"""Search by the frames of each video against plain loops."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests.support.indexes import META, WIDTH, encoded_video, make_index, new_videos, unit_rows
from tests.support.ranking import plain_score
from vopcli.config.choices import parse_pooling
from vopcli.errors import DataError
from vopcli.index.reader import VideoIndex
from vopcli.index.writer import IndexWriter, create_index
from vopcli.search.pooled import search_pooled

RULES = ["mean-raw", "max", "top-1", "top-2", "top-99", "attention:0.05", "attention"]


@pytest.mark.parametrize("rule", RULES)
def test_a_search_finds_what_a_plain_loop_finds(tmp_path: Path, rule: str) -> None:
    names = [f"{i:03}.mp4" for i in range(30)]
    made = make_index(tmp_path / "i.h5", names)
    with IndexWriter(tmp_path / "i.h5") as writer:  # videos of another length, one in place of an older one
        writer.lay_out(new_videos(["long.mp4", "007.mp4"], num_frames=9))
        longer = [encoded_video(slot, num_frames=5 + slot, seed=4) for slot in range(2)]
        writer.add(longer)
    frames = {name: video.frames for name, video in zip(names, made, strict=True)}
    frames |= {"long.mp4": longer[0].frames, "007.mp4": longer[1].frames}
    queries = unit_rows(3, seed=5)
    index = VideoIndex(tmp_path / "i.h5")
    for query, found in zip(queries, search_pooled(index, queries, parse_pooling(rule), top=6), strict=True):
        scores = {
            name: plain_score(query.tolist(), part.astype(np.float64).tolist(), rule)
            for name, part in frames.items()
        }
        expected = sorted(scores, key=lambda name: (-scores[name], name))[:6]
        assert [index.path_of(row) for row in found.rows.tolist()] == expected
        np.testing.assert_allclose(found.scores, [scores[name] for name in expected], atol=1e-6)
        longest = search_pooled(index, query[None], parse_pooling(rule), top=100)[0]
        assert len(longest.rows) == 31
        np.testing.assert_array_equal(longest.scores[:6], found.scores)


def test_equal_videos_come_in_the_order_of_their_paths_and_damage_is_told(tmp_path: Path) -> None:
    path = tmp_path / "i.h5"
    create_index(path, META)
    names = [f"{(7 * i) % 40:02}.mp4" for i in range(40)]
    videos = [encoded_video(0) for _ in names]
    same = [type(videos[0])(**{**vars(video), "slot": slot}) for slot, video in enumerate(videos)]
    with IndexWriter(path) as writer:
        writer.lay_out(new_videos(names))
        writer.add(same)
    index = VideoIndex(path)
    found = search_pooled(index, unit_rows(1, seed=3), parse_pooling("top-2"), top=5)[0]
    assert [index.path_of(row) for row in found.rows.tolist()] == sorted(names)[:5]
    segment = index.segments[0]
    with IndexWriter(path) as writer:
        writer._file.write(segment, "frame_embeddings", 4, np.full((1, WIDTH), np.nan, np.float16))
    with pytest.raises(DataError, match="NaN or infinite"):
        search_pooled(VideoIndex(path), unit_rows(1), parse_pooling("max"), top=5)
