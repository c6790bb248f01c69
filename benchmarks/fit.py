"""Find objects near the left and right edge of wide videos by each way of making frames square.

Run: python benchmarks/fit.py
"""

from __future__ import annotations

import dataclasses
import tempfile
from pathlib import Path

import numpy as np
from side_by_side import markdown_table, write_results

import vopcli
from vopcli.config.choices import Fit
from vopcli.datasets.demo.drawing import draw_background, draw_scene, write_video
from vopcli.datasets.demo.scenes import COLOURS, SHAPES, random_scene

HEIGHT, WIDTH = 180, 320
FRAMES = 24
RADII = (0.3, 0.4, 0.5)  # in half heights
TO_EDGE = 1.35  # radii from a shape's centre to the edge of the frame, so that it is whole


def main() -> None:
    """Draw the videos, encode them, search for each look, and write the table."""
    rows = []
    for radius in RADII:
        with tempfile.TemporaryDirectory() as folder:
            write_videos(Path(folder) / "videos", radius)
            found = [f"{found_first(Path(folder), fit):.1f}" for fit in Fit]
        rows.append([f"{radius / 2:.0%} of the height", *found])
    write_results("fit", report(rows))


def write_videos(folder: Path, radius: float) -> None:
    """Write a video of each colour and shape at each side, moving from the top to the bottom."""
    folder.mkdir()
    for number, (colour, shape, side) in enumerate(
        (colour, shape, side) for colour in COLOURS for shape in SHAPES for side in (-1, 1)
    ):
        scene = random_scene(np.random.default_rng(number), colour=colour, shape=shape)
        ground = draw_background(scene, height=HEIGHT, width=WIDTH)
        x = side * (WIDTH / HEIGHT - TO_EDGE * radius)
        scenes = [
            dataclasses.replace(scene, x=x, y=y, radius=radius)
            for y in np.linspace(-0.3, 0.3, FRAMES).tolist()
        ]
        name = f"{scene.look} {'left' if side < 0 else 'right'}.mp4"
        write_video(folder / name, (draw_scene(moment, ground) for moment in scenes))


def found_first(folder: Path, fit: Fit) -> float:
    """Return the percentage of colours and shapes of which a video is found first."""
    index = folder / f"{fit.value}.h5"
    vopcli.encode(folder / "videos", index, {"backbone.weights": "demo-tiny", "data.fit": fit.value})
    looks = [f"{colour} {shape}" for colour in COLOURS for shape in SHAPES]
    with vopcli.open_index(index) as opened:
        hits = opened.search([f"a {look}" for look in looks], top=1)
    found = [hit.path.startswith(look) for look, [hit] in zip(looks, hits, strict=True)]
    return 100 * sum(found) / len(found)


def report(rows: list[list[str]]) -> str:
    """Return the page."""
    table = markdown_table(["radius of the object", *(fit.value for fit in Fit)], rows)
    return (
        "# Objects at the edge of wide frames\n\n"
        f"{2 * len(COLOURS) * len(SHAPES)} videos of {WIDTH} x {HEIGHT} pixels, each with an object of the "
        "demo set that touches the left or right edge and whose centre lies in the outer 22 % of the width, "
        f"which the central square leaves out. Percentage of {len(COLOURS) * len(SHAPES)} queries such as "
        '"a red circle" that find such an object first, '
        "demo-tiny zero-shot with frames of 48 pixels.\n\n" + table
    )


if __name__ == "__main__":
    main()
