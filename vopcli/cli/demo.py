"""``vop demo``."""

import shlex
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from vopcli.cli import console, options
from vopcli.progress import Progress

if TYPE_CHECKING:
    from vopcli.datasets.demo.folder import DemoSummary
    from vopcli.workflows.demo_run import Answer, DemoRun, TunedRun


def demo(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="Folder to make for the demo set.")],
    *,
    run: Annotated[
        bool, typer.Option("--run", help="Run the commands too, and count right answers.")
    ] = False,
    study: Annotated[
        bool,
        typer.Option("--study", help="Tune all variants with three seeds and compare them: about an hour."),
    ] = False,
    seed: Annotated[int, typer.Option(min=0, help="Decides what the videos look like.")] = 0,
    overwrite: options.Overwrite = False,
    as_json: options.Json = False,
    quiet: options.Quiet = False,
) -> None:
    """Write a small set of captioned videos, and name the commands to try.

    576 videos of coloured shapes that move, grow or shrink, with captions, in a train and a test split, and
    a vop.yaml that names demo-tiny, a tiny CLIP made for them: nothing is downloaded. What an interrupted
    run has written is kept when it is run again.
    """
    from vopcli.datasets.demo.folder import DemoRequest, make_demo

    progress = console.progress(quiet=quiet)
    summary = make_demo(DemoRequest(folder, seed=seed, overwrite=overwrite), progress=progress)
    if study:
        _run_study(folder, progress, as_json=as_json)
        return
    runs = None
    if run:
        from vopcli.workflows.demo_run import run_demo, run_tuning

        runs = run_demo(folder, progress=progress), run_tuning(folder, progress=progress)
    if as_json:
        console.print_json(_document(summary, runs))
        return
    if runs:
        _print_runs(*runs)
    name = console.printable(str(folder))
    console.print_line(f"{name} holds {summary.num_videos} videos with {summary.num_captions} captions. Try:")
    for command in (f"cd {shlex.quote(str(folder))}", *summary.commands):
        console.print_line(f"  {console.printable(command)}")


def _run_study(folder: Path, progress: Progress, *, as_json: bool) -> None:
    from vopcli.workflows.demo_run import extract_demo
    from vopcli.workflows.demo_study import COLUMNS, run_study

    extract_demo(folder, progress=progress)
    study = run_study(folder, progress=progress)
    if as_json:
        console.print_json(asdict(study))
    else:
        console.print_table(COLUMNS, [row.cells() for row in study.rows])


def _document(summary: "DemoSummary", runs: "tuple[DemoRun, TunedRun] | None") -> dict[str, Any]:
    document: dict[str, Any] = {**asdict(summary), "folder": str(summary.folder)}
    if runs:
        found, tuned = runs
        document["run"] = {**asdict(found), "answers": _answers(found.answers)}
        tuning = {**asdict(tuned.tuning), "run": str(tuned.tuning.run)}
        document["tuned"] = {**tuning, "answers": _answers(tuned.answers)}
    return document


def _answers(answers: "list[Answer]") -> list[dict[str, Any]]:
    return [
        {"query": answer.query, "hits": [{**asdict(hit), "file": str(hit.file)} for hit in answer.hits]}
        for answer in answers
    ]


def _print_runs(found: "DemoRun", tuned: "TunedRun") -> None:
    answers = found.answers + tuned.answers
    rows = [[answer.query, f"{hit.score:.4f}", hit.path] for answer in answers for hit in answer.hits]
    console.print_table(["query", "score", "video"], rows)
    console.print_line(
        f"Of {found.num_queries} queries such as {found.answers[0].query!r}, the first hit is right for "
        f"{found.num_right_first}, and among the test videos for {found.num_right_first_test}."
    )
    tuning = tuned.tuning
    for name, score in (("as it comes", tuning.before), (f"tuned with {tuning.variant}", tuning.after)):
        console.print_line(
            f"demo-tiny {name}: a caption of movement finds its video first in {score.t2v_recall:.0f} %, and "
            f"scores higher than the opposite movement in {score.mean_direction:.0f} % of the test videos."
        )
