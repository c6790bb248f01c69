"""Page of `vop eval`: table, recall against trained parameters, training curves, and first results."""

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
from vopcli.reports.answers import NOTES, ShownQuery, choose_queries, frame_uris, show_queries
from vopcli.reports.curves import training_curves
from vopcli.reports.html import Page, render
from vopcli.reports.paper import recall_scatter
from vopcli.reports.plots import Point
from vopcli.reports.tables import name_results, results_table
from vopcli.resources import __version__


def check_page_path(path: Path, *, overwrite: bool) -> None:
    """Check that a page can be written to ``path``, before the work begins.

    Raises:
        UsageError: `path` does not have the extension of a page; files of other kinds are not overwritten.
        DataError: `path` is a folder, or exists and is not to be overwritten.
        FileError: the folder of `path` cannot be written or created.
    """
    if path.is_dir():
        raise DataError(f"{path} is a folder", hint="name a file, such as page.html")
    if path.suffix.lower() not in {".html", ".htm"}:
        raise UsageError(f"{path} is not the name of a page", hint="use the extension .html")
    if path.exists() and not overwrite:
        raise DataError(f"{path} exists already", hint="name another file or use --overwrite")
    folder = next(parent for parent in path.absolute().parents if parent.exists())
    if not folder.is_dir():
        raise FileError(path, OSError(errno.ENOTDIR, "not a folder"))
    if not os.access(folder, os.W_OK):
        raise FileError(path, OSError(errno.EACCES, "permission denied"))


def write_page(path: Path, page: Page) -> None:
    """Write the page; characters that are not valid Unicode, as in some file names, are escaped.

    Raises:
        FileError: `path` cannot be written.
    """
    with atomic_path(path) as aside:
        aside.write_bytes(render(page, version=__version__).encode("utf-8", "backslashreplace"))


def eval_page(results: Sequence[EvalResult], store: Path, *, num_queries: int) -> Page:
    """Build the page of models that were evaluated together.

    Args:
        results: of `evaluate`.
        store: frames of the videos.
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
) -> list[ShownQuery]:
    """Choose ``count`` captions and return the top-ranked videos of each model, with frames of the store.

    Raises:
        DataError: the store is damaged, or lacks a video.
    """
    if not count:
        return []
    opened = FrameStore.open(store)

    def frames_of(name: str) -> list[str]:
        if name not in opened.items:
            raise DataError(f"{store} does not hold {name}", hint="name the frame store of the evaluation")
        return frame_uris(opened.read(opened.items[name]))

    return show_queries(results, names, choose_queries(results, count), frames_of)
