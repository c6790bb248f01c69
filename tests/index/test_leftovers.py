"""Rows without embeddings: failures are remembered until they are replaced, unfinished videos are counted."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from tests.support.indexes import META, NAMES, contents, encoded_video, expected, make_index, new_videos
from vopcli.index.check import describe_index, verify_index
from vopcli.index.leftovers import failures_of, unfinished_files
from vopcli.index.reader import VideoIndex
from vopcli.index.writer import IndexWriter, create_index
from vopcli.progress import SilentProgress
from vopcli.video.video_file import WHOLE, TimeWindow, VideoFile, is_same_file

BAD = [(VideoFile("/videos", NAMES[3], 7, 10**18), "no video: ü"), (VideoFile("/v", "x.mp4", 0, 1), "")]


def failures(path: Path) -> dict[str, str]:
    return {name: video.reason for name, video in failures_of(VideoIndex(path)).items()}


def test_failures_are_no_videos_and_outlive_a_rewriting(tmp_path: Path) -> None:
    path = tmp_path / "i.h5"
    kept = expected(NAMES[:2], make_index(path, NAMES[:2]))
    with IndexWriter(path) as writer:
        writer.note_failures(BAD)
    for _ in range(2):
        found = failures_of(VideoIndex(path))
        assert failures(path) == {NAMES[3]: "no video: ü", "x.mp4": ""}
        assert all(is_same_file(found[video.path], video) for video, _ in BAD)
        assert contents(path) == kept
        assert (describe_index(path)["videos"], describe_index(path)["failed"]) == (2, 2)
        assert verify_index(path, SilentProgress()) == []
        with IndexWriter(path) as writer:
            writer.rewrite(list(writer.index.rows()))
    with IndexWriter(path) as writer:
        writer.remove([failures_of(writer.index)["x.mp4"].row])
    assert failures(path) == {NAMES[3]: "no video: ü"}


def test_a_video_is_unfinished_until_it_is_encoded_or_fails_or_is_deleted(tmp_path: Path) -> None:
    path, names = tmp_path / "i.h5", ["a.mp4", "b.mp4", "c.mp4", "d.mp4"]
    for name in names[:3]:
        (tmp_path / name).touch()
    create_index(path, META)
    videos = new_videos(names, root=str(tmp_path))
    with IndexWriter(path) as writer:
        writer.lay_out(videos)
        writer.add([encoded_video(0)])
    assert unfinished_files(VideoIndex(path)) == [str(tmp_path / name) for name in ("b.mp4", "c.mp4")]
    with IndexWriter(path) as writer:
        writer.note_failures([(videos[1], "not a video")])
    assert unfinished_files(VideoIndex(path)) == [str(tmp_path / "c.mp4")]
    with IndexWriter(path) as writer:
        writer.lay_out(videos[2:3])
        writer.add([encoded_video(0)])
    assert unfinished_files(VideoIndex(path)) == []


def test_windows_are_not_counted_as_unfinished_videos(tmp_path: Path) -> None:
    (tmp_path / "film.mp4").touch()
    create_index(tmp_path / "i.h5", META)
    film = replace(
        new_videos(["film.mp4"], root=str(tmp_path))[0], window=TimeWindow(0.0, 10.0), is_part=True
    )
    with IndexWriter(tmp_path / "i.h5") as writer:
        writer.lay_out([film, replace(film, window=WHOLE, is_part=False)])
        writer.add([encoded_video(1)])  # the film itself, and not its window
    assert unfinished_files(VideoIndex(tmp_path / "i.h5")) == []
