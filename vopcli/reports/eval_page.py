"""Page of `vop eval`, and the sections that it shares with the page of `vop report`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from vopcli.errors import DataError
from vopcli.evaluation.results import EvalResult
from vopcli.evaluation.runs import is_run, read_run
from vopcli.frames.store import FrameStore
from vopcli.reports.answers import DIFFERENT, WORST, choose_different, choose_worst, frame_uris, show_queries
from vopcli.reports.curves import rank_histograms, training_curves
from vopcli.reports.groups import group_runs
from vopcli.reports.html import Page, Section
from vopcli.reports.paper import recall_figure
from vopcli.reports.sources import from_result, from_run
from vopcli.reports.tables import name_results, results_table


def eval_page(results: Sequence[EvalResult], store: Path, *, num_queries: int) -> Page:
    """Build the page of models that were evaluated together.

    Args:
        results: of `evaluate`.
        store: frames of the videos.
        num_queries: captions of each kind whose top results are shown.

    Raises:
        DataError: a run folder or the frame store is damaged.
    """
    measured = [from_result(result) for result in results]
    folders = [folder for result in results if is_run(folder := Path(result.target))]
    groups = group_runs(measured)
    table = results_table(results, [item.intervals for item in measured])
    sections = [
        Section("Results", tables=[table]),
        recall_figure(groups, measured[0].dataset),
        rank_histograms(groups),
        training_curves(group_runs([from_run(read_run(folder)) for folder in folders])),
        *query_sections(results, store, num_queries),
    ]
    first = results[0]
    data = first.dataset.value if first.dataset else "own captions"
    t2v, v2t = first.metrics.t2v, first.metrics.v2t
    sizes = f"{t2v.num_queries:,} captions, {t2v.gallery_size:,} videos"
    if v2t.num_queries != t2v.gallery_size:
        sizes += f", {v2t.num_queries:,} of them with captions"
    facts = [("Data", f"{data}, split {first.split}: {sizes}"), ("Weights", first.weights)]
    title = f"Text-video retrieval: {data}, {first.split}"
    return Page(title, facts, [section for section in sections if section])


def query_sections(results: Sequence[EvalResult], store: Path, count: int) -> list[Section]:
    """Show ``count`` captions on which the models differ, and those that they rank worst.

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

    kinds = [("Worst queries", choose_worst, WORST)]
    if len(results) > 1:
        kinds.insert(0, ("Where the models differ", choose_different, DIFFERENT))
    names = name_results(results)
    return [
        Section(title, queries=show_queries(results, names, choose(results, count), frames_of), notes=[rule])
        for title, choose, rule in kinds
    ]
