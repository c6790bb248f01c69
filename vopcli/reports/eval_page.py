"""The page of `vop eval`: its table, recall against parameters, training curves, and first results."""

from __future__ import annotations

import errno
import os
from collections.abc import Sequence
from pathlib import Path

from vopcli.errors import DataError, FileError, UsageError
from vopcli.evaluation.results import EvalResult
from vopcli.evaluation.runs import is_run, read_run
from vopcli.files.atomic import atomic_path
from vopcli.frames.store import FrameStore
from vopcli.reports.answers import NOTES, Query, choose_queries, frame_uris, show_queries
from vopcli.reports.curves import training_curves
from vopcli.reports.html import Page, render
from vopcli.reports.paper import recall_scatter
from vopcli.reports.plots import Point
from vopcli.reports.tables import name_results, results_table
from vopcli.resources import __version__


def check_place(path: Path, *, overwrite: bool) -> None:
    """Refuse before the work begins what could not be written after it.

    Raises:
        UsageError: the file has not the name of a page: it may be one of another kind, and is not replaced.
        DataError: the file is there, or a folder in its place.
        FileError: its folder cannot be written or made.
    """
    if path.is_dir():
        raise DataError(f"{path} is a folder", hint="name a file, such as page.html")
    if path.suffix.lower() not in {".html", ".htm"}:
        raise UsageError(f"{path} is no name of a page", hint="one ends in .html")
    if path.exists() and not overwrite:
        raise DataError(f"{path} exists already", hint="name another file or use --overwrite")
    folder = next(parent for parent in path.absolute().parents if parent.exists())
    if not folder.is_dir():
        raise FileError(path, OSError(errno.ENOTDIR, "not a folder"))
    if not os.access(folder, os.W_OK):
        raise FileError(path, OSError(errno.EACCES, "permission denied"))


def write_page(path: Path, page: Page) -> None:
    """Write the page; half of a character, as a file name may hold, is shown escaped.

    Raises:
        FileError: the file cannot be written.
    """
    with atomic_path(path) as aside:
        aside.write_bytes(render(page, version=__version__).encode("utf-8", "backslashreplace"))


def eval_page(results: Sequence[EvalResult], store: Path, *, num_queries: int) -> Page:
    """Build the page of what was measured together.

    Args:
        results: of `evaluate`.
        store: the frames of the videos that were found.
        num_queries: captions whose first results are shown.

    Raises:
        DataError: a run folder or the frame store is damaged.
    """
    names = name_results(results)
    points = [
        Point(result.num_trained, result.metrics.t2v.recall_percent[1], name, series=number)
        for number, (name, result) in enumerate(zip(names, results, strict=True))
    ]
    split = results[0].split
    figures = [recall_scatter(f"On the split {split}", points)]
    logs = {
        series: (name, read_run(folder).log)
        for series, (name, result) in enumerate(zip(names, results, strict=True))
        if is_run(folder := Path(result.target))
    }
    if curves := training_curves(logs):
        figures.append(curves)
    queries = show_first_results(results, names, store, num_queries)
    return Page(f"Text-video retrieval: split {split}", [results_table(results)], figures, queries, NOTES)


def show_first_results(
    results: Sequence[EvalResult], names: Sequence[str], store: Path, count: int
) -> list[Query]:
    """Choose ``count`` captions and show what each model found first, with frames of the store.

    Raises:
        DataError: the store is damaged, or does not hold a video that was found.
    """
    if not count:
        return []
    opened = FrameStore.open(store)
    videos = {video.path: video for video in opened.videos}

    def frames_of(path: str) -> list[str]:
        if path not in videos:
            raise DataError(f"{store} does not hold {path}", hint="name the frame store that was measured on")
        return frame_uris(opened.read(videos[path]))

    return show_queries(results, names, choose_queries(results, count), frames_of)
