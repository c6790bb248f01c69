"""``vop report``: the paper's table and figures for your own runs."""

from pathlib import Path
from typing import Annotated

import typer

from vopcli.cli import console, options
from vopcli.config.choices import DatasetName, TableFormat
from vopcli.errors import UsageError


def report(
    sources: Annotated[
        list[Path],
        typer.Argument(metavar="RUN|EVAL.json...", help="Run folders, or files of `vop eval --json`."),
    ],
    *,
    published: Annotated[
        DatasetName | None,
        typer.Option(help="Benchmark of the published results to show. [default: that of the runs]"),
    ] = None,
    table_format: Annotated[
        TableFormat | None, typer.Option("--format", help="Print the tables in this format.")
    ] = None,
    html: options.Html = None,
    figures: options.Figures = None,
    frames: Annotated[
        Path | None,
        typer.Option(metavar="STORE.h5", help="Frame store for pictures of top results on the page."),
    ] = None,
    num_queries: options.NumQueries = options.NUM_QUERIES,
    overwrite: options.Overwrite = False,
    quiet: options.Quiet = False,
    as_json: options.Json = False,
) -> None:
    """Write the VoP paper's Table 1 and figures 1, 3 and 7 for your runs, with its published results.

    Runs that differ only in the seed form one row with mean and standard deviation. Results of run folders
    are those on the validation set; results of `vop eval --json` for the same run replace them. Published
    results are marked.
    """
    from vopcli.reports.output import check_outputs, write_outputs
    from vopcli.reports.paper import data_notes, notes, text_table
    from vopcli.reports.report import ReportRequest, format_report, report_document, report_page
    from vopcli.reports.report import report as read

    if frames and not html:
        raise UsageError("--frames needs a page to show pictures on", hint="name the page with --html")
    if table_format and as_json:
        raise UsageError("--format and --json exclude each other", hint="omit one")
    check_outputs(html, figures, overwrite=overwrite)
    found = read(ReportRequest(sources, published, frames, num_queries))
    if html or figures:
        write_outputs(report_page(found), html, figures, console.progress(quiet=quiet))
    if table_format:
        console.print_line(format_report(found, table_format).rstrip("\n"))
        return
    if as_json:
        console.print_json(report_document(found))
        return
    for dataset, groups in found.by_dataset:
        console.print_table(*text_table(groups, dataset), num_keys=2)
        if not quiet:
            for note in [*data_notes(groups), *notes(groups, dataset)]:
                console.say(note)
