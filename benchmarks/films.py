"""Find films and ranges in the films of the demo set, with windows and without, and write the table.

Run: python benchmarks/films.py DIR. Films of `vop demo DIR --films` and indexes in DIR are kept.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from side_by_side import markdown_table, write_results

import vopcli
from vopcli.datasets.demo.films import FILMS, NUM_CLIPS, NUM_FILMS, QUERIES, plan_films, write_films
from vopcli.evaluation.moment_retrieval import MomentResult, evaluate_moments
from vopcli.progress import SilentProgress


def main() -> None:
    """Write the films, encode them, search, and write the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    folder: Path = parser.parse_args().folder
    write_films(folder, plan_films(seed=0), SilentProgress())
    rows = []
    for windows in ("whole", "auto"):
        index = folder / f"{windows}.h5"
        settings = {"backbone.weights": "demo-tiny", "data.windows": windows}
        vopcli.encode(folder / FILMS, index, settings)
        result = evaluate_moments(index, folder / QUERIES, SilentProgress())
        rows += rows_of(windows, result)
    write_results("films", report(rows))


def rows_of(windows: str, result: MomentResult) -> list[list[str]]:
    """Return the line of a search, and after the last search that of the floor."""
    within = vars(result.within).values()
    overall = (result.video_first, result.r1_at_50, result.r1_at_70)
    rows = [[f"windows {windows}", *(f"{value:.1f}" for value in (*overall, *within))]]
    if windows == "auto":
        floor = vars(result.constant).values()
        rows.append(["best constant range", "", "", "", *(f"{value:.1f}" for value in floor)])
    return rows


def report(rows: list[list[str]]) -> str:
    """Return the page."""
    columns = (
        "",
        "right film first",
        "R1@0.5",
        "R1@0.7",
        "R1@0.5 in it",
        "R1@0.7 in it",
        "mAP in it",
        "mIoU in it",
    )
    return (
        "# Films of the demo set\n\n"
        f"{NUM_FILMS} films of {NUM_CLIPS} clips of 3 seconds; in each one clip shows a colour and shape "
        "that no other film has, and its query names both. Percentages of a search over all films, and of "
        "one within the right film; demo-tiny zero-shot, frames of 48 pixels.\n\n"
        + markdown_table(columns, rows)
    )


if __name__ == "__main__":
    main()
