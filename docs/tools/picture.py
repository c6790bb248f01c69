"""Draw docs/assets/search.png: the first results of one query on the demo set, before and after tuning.

Usage, after `vop demo demo --run`: `.venv/bin/python -m docs.tools.picture demo`. Scores and frames are
those of the two indexes and the frame store in that folder.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

import vopcli
from vopcli.frames.store import FrameStore
from vopcli.search.hits import Hit

TARGET = Path(__file__).parents[1] / "assets/search.png"
QUERY = "a red circle goes to the right"
RIGHT = "red-circle-right"  # in the names of the videos that show it
ROWS = (("idx.h5", "CLIP, not tuned"), ("tuned.h5", "tuned with VoP's variant C"))
NUM_HITS, NUM_FRAMES, SIDE, GAP, MARGIN, LINE = 3, 4, 76, 18, 24, 24
WIDTH = 2 * MARGIN + NUM_HITS * (NUM_FRAMES * SIDE + GAP) - GAP
ROW = SIDE + 80
INK, GREY, GREEN, RED = "#1f2328", "#59636e", "#1a7f37", "#cf222e"


def main(folder: Path) -> None:
    """Search both indexes of a demo folder and draw what they find first."""
    picture = Image.new("RGB", (WIDTH, MARGIN + LINE + len(ROWS) * ROW), "white")
    draw = ImageDraw.Draw(picture)
    draw.text((MARGIN, MARGIN - 6), f'vop search "{QUERY}"', INK, _font(20))
    store = FrameStore.open(folder / "out.h5")
    for row, (index, title) in enumerate(ROWS):
        top = MARGIN + LINE + 12 + row * ROW
        draw.text((MARGIN, top), title, GREY, _font(16))
        for column, hit in enumerate(vopcli.open_index(folder / index).search(QUERY, top=NUM_HITS)):
            place = (MARGIN + column * (NUM_FRAMES * SIDE + GAP), top + LINE + 4)
            _draw_hit(picture, hit, _frames(store, hit.path), place)
    picture.quantize(128).save(TARGET, optimize=True)


def _frames(store: FrameStore, path: str) -> list[Image.Image]:
    (video,) = (video for video in store.videos if video.path == path)
    frames = store.read(video)  # (F, S, S, 3)
    chosen = np.linspace(0, len(frames) - 1, NUM_FRAMES).round().astype(int)
    return [Image.fromarray(frames[i]).resize((SIDE, SIDE), Image.Resampling.BICUBIC) for i in chosen]


def _draw_hit(picture: Image.Image, hit: Hit, frames: list[Image.Image], place: tuple[int, int]) -> None:
    left, top = place
    draw = ImageDraw.Draw(picture)
    for i, frame in enumerate(frames):
        picture.paste(frame, (left + i * SIDE, top))
    colour = GREEN if RIGHT in hit.path else RED
    draw.rectangle((left - 3, top - 3, left + NUM_FRAMES * SIDE + 2, top + SIDE + 2), outline=colour, width=3)
    draw.text((left, top + SIDE + 7), f"{hit.score:.3f}   {hit.path}", colour, _font(15))


def _font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(size)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
