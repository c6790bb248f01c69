"""Clips that are cut for the page."""

from pathlib import Path

import anyio
import pytest

from tests.support.videos import drawn_number, ffmpeg_frames
from tests.support.web import client_of, make_site
from vopcli.errors import UsageError
from vopcli.index.reader import VideoIndex
from vopcli.web.clips import ClipCache, parse_range
from vopcli.web.gate import Gate


def test_a_clip_has_the_frames_of_the_range(site_index: Path, tmp_path: Path) -> None:
    client = client_of(make_site(site_index)[0])
    hit = client.get("/api/search?q=x").json()["hits"][0]
    answer = client.get(hit["clip"])
    assert answer.headers["content-type"] == "video/mp4"
    (tmp_path / "clip.mp4").write_bytes(answer.content)
    numbers = [drawn_number(frame) for frame in ffmpeg_frames(tmp_path / "clip.mp4")]
    assert numbers == list(range(round(hit["start"] * 25), round(hit["end"] * 25)))


def test_a_clip_is_cut_once(site_index: Path, tmp_path: Path) -> None:
    video, found = VideoIndex(site_index).video(0), []

    async def ask(clips: ClipCache) -> None:
        found.append(await clips.cut(video, 0.4, 1.2))

    async def main() -> None:
        clips = ClipCache(tmp_path / "clips", Gate(running=1, waiting=0))  # a second cut would be refused
        async with anyio.create_task_group() as group:
            for _ in range(4):
                group.start_soon(ask, clips)

    anyio.run(main)
    assert len(found) == 4
    assert [*(tmp_path / "clips").iterdir()] == [found[0]]


@pytest.mark.parametrize(
    ("start", "end"),
    [("1", "1"), ("2", "1"), ("-1", "1"), ("0", "121"), ("nan", "1"), ("0", "inf"), ("x", "1")],
)
def test_a_wrong_range_is_refused(start: str, end: str) -> None:
    assert parse_range({"start": "1.5", "end": "2"}) == (1.5, 2.0)
    with pytest.raises(UsageError, match="a clip"):
        parse_range({"start": start, "end": end})
    with pytest.raises(UsageError, match="needs start and end"):
        parse_range({})
