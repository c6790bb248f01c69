"""Search for frames between the sampled ones, as they are and re-compressed, and write the table.

Run: python benchmarks/queries.py DIR. Films of demo clips, each clip in one film only, and their index in DIR
are kept.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

import numpy as np
from PIL import Image
from side_by_side import markdown_table, write_results

import vopcli
from vopcli.datasets.demo.drawing import FRAME_RATE, NUM_FRAMES, draw_video, write_video
from vopcli.datasets.demo.scenes import DemoVideo, plan_demo
from vopcli.search.hits import join_frames
from vopcli.video.chosen import read_stills

NUM_FILMS = 12
NUM_QUERIES = 1000
QUALITY = 50
SIZE = (128, 96)


@dataclass(frozen=True)
class Frame:
    """A frame of a film."""

    film: str
    seconds: float


def main() -> None:
    """Write and encode the films, search, and write the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    folder: Path = parser.parse_args().folder
    films = plan()
    for name, clips in films.items():
        if not (folder / "joined" / name).exists():
            (folder / "joined").mkdir(parents=True, exist_ok=True)
            write_video(folder / "joined" / name, chain.from_iterable(map(draw_video, clips)))
    vopcli.encode(folder / "joined", folder / "joined.h5", {"backbone.weights": "demo-tiny"})
    with vopcli.open_index(folder / "joined.h5") as index:
        held, between, step = frames_of(index)
        rows = [
            [f"{name}, {form}", *measure(index, folder, choose(frames), step, is_small=is_small)]
            for name, frames in (("held by the index", held), ("between those", between))
            for form, is_small in (("as decoded", False), (f"JPEG q{QUALITY}, half size", True))
        ]
    write_results("queries", report(rows, step, len(films), len(next(iter(films.values())))))


def plan() -> dict[str, list[DemoVideo]]:
    """Deal the clips of the demo set to films, those run backwards left out: they have the same frames."""
    clips = [pair[0] for pair in plan_demo(seed=0)]
    order = np.random.default_rng(0).permutation(len(clips)).tolist()
    return {
        f"joined-{number:02d}.mp4": [clips[k] for k in chosen]
        for number, chosen in enumerate(np.array_split(order, NUM_FILMS), 1)
    }


def frames_of(index: vopcli.Index) -> tuple[list[Frame], list[Frame], float]:
    """Return the frames that the index holds, those between them, and the largest step in seconds."""
    videos, held, between, step = index.videos, [], [], 0.0
    for video in videos.videos():
        _, seconds = join_frames(videos, videos.windows_of(video.row))
        step = max(step, float(np.diff(seconds).max()))
        numbers = set(np.rint(seconds * FRAME_RATE).astype(int).tolist())
        for number in range(round(video.duration_seconds * FRAME_RATE)):
            (held if number in numbers else between).append(Frame(video.path, number / FRAME_RATE))
    return held, between, step


def choose(frames: list[Frame]) -> list[Frame]:
    """Choose frames at random."""
    places = np.random.default_rng(1).choice(len(frames), NUM_QUERIES, replace=False)
    return [frames[place] for place in np.sort(places).tolist()]


def measure(
    index: vopcli.Index, folder: Path, wanted: list[Frame], step: float, *, is_small: bool
) -> list[str]:
    """Return the percentages of frames with the right film first, and with the right time as well."""
    films, times = 0, 0
    for film in sorted({one.film for one in wanted}):
        seconds = [one.seconds for one in wanted if one.film == film]
        for second, frame in zip(
            seconds, read_stills(str(folder / "joined" / film), seconds, SIZE), strict=True
        ):
            picture, file = Image.fromarray(frame), folder / ("query.jpg" if is_small else "query.png")
            if is_small:
                picture = picture.resize((picture.width // 2, picture.height // 2), Image.Resampling.LANCZOS)
            picture.save(file, quality=QUALITY)
            [hit] = index.search(vopcli.Query.parse(f"image:{file}"), top=1)
            films += hit.path == film
            times += hit.path == film and abs(hit.best - second) <= step
    return [f"{100 * count / len(wanted):.1f}" for count in (films, times)]


def report(rows: list[list[str]], step: float, num_films: int, num_clips: int) -> str:
    """Return the page."""
    clip = f"{NUM_FRAMES / FRAME_RATE:g} seconds"
    return (
        "# Pictures as queries\n\n"
        f"{NUM_QUERIES:,} random frames of {num_films} films, which the index holds or which lie between "
        f"those that it holds, as queries. A film is {num_clips} demo clips of {clip}, each clip in one film "
        "only; the index has windows of about ten seconds with 12 frames, at most "
        f"{step:.2f} s apart. Percentages of the queries whose film is the first hit, and of those whose "
        "time is, besides, at most one such step from that of the hit's best frame. demo-tiny zero-shot, "
        "frames of 48 pixels.\n\n" + markdown_table(("query", "right film first", "right time"), rows)
    )


if __name__ == "__main__":
    main()
