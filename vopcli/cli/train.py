"""``vop train``: tune variants on captioned videos."""

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from vopcli.cli import console, options
from vopcli.config.choices import Variant
from vopcli.config.schema import Config
from vopcli.errors import EXIT_INTERRUPTED, ConfigError, DataError, DivergedError, UsageError, format_value
from vopcli.evaluation.published import format_published
from vopcli.progress import Progress

if TYPE_CHECKING:
    from vopcli.training.prepare import TrainRequest
    from vopcli.training.processes import Processes
    from vopcli.training.summary import TrainPlan, TrainSummary


@options.settings(
    *("data.frames", "data.captions", "data.dataset", "data.root", "data.allow_missing", "data.max_tokens"),
    *("training.output", "training.epochs", "training.batch_size", "training.micro_batch"),
    *("training.auto_batch", "training.lr", "training.augment", "training.checkpointing", "training.compile"),
    *("tuning.prompt_length", "tuning.specific_length", "tuning.split_layer", "tuning.context_module"),
    *("tuning.sides", "tuning.layers", "backbone", "training.precision"),
    preset=True,
)
def train(
    *,
    variants: Annotated[str | None, options.option("tuning.variant", several=True)] = None,
    seeds: Annotated[str | None, options.option("training.seed", "--seeds", "--seed", several=True)] = None,
    config: Config,
    search_lr: Annotated[
        str | None,
        typer.Option(
            metavar="LOW:HIGH", help="Train with 1 and 3 times each power of ten; keep a table of the rates."
        ),
    ] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Resume an interrupted run.")] = False,
    dry_run: options.DryRun = False,
    overwrite: options.Overwrite = False,
    quiet: options.Quiet = False,
    as_json: options.Json = False,
) -> None:
    """Tune CLIP on captioned videos with a variant of VoP.

    Options override --set, which overrides vop.yaml, which overrides the preset. Each run has its own folder,
    named after variant and seed, with the adapter of the epoch that is best on the validation set. Several
    variants or seeds give a table of means and standard deviations. --search-lr 1e-6:1e-2 trains once per
    learning rate and marks the best on the validation set.
    """
    runs = _runs(config, variants, seeds)
    if search_lr is not None:
        runs = _searched(runs, search_lr)
    from vopcli.training.prepare import TrainRequest
    from vopcli.training.processes import LostProcessError, joined
    from vopcli.training.train import follow

    table = None if search_lr is None else Path(config.training.output)
    requests = [TrainRequest(run, resume=resume, overwrite=overwrite) for run in runs]
    with joined() as processes:
        if processes.is_first:
            progress = console.progress(quiet=quiet)
            if dry_run:
                _show_plans(requests, progress, processes, as_json=as_json)
            else:
                _do(requests, progress, processes, table=table, as_json=as_json)
        else:
            try:
                for request in requests:
                    follow(request, processes, dry_run=dry_run)
            except KeyboardInterrupt:  # the first process tells
                raise typer.Exit(EXIT_INTERRUPTED) from None
            except LostProcessError as error:  # likewise
                raise typer.Exit(error.exit_code) from None


def _do(
    requests: "list[TrainRequest]",
    progress: Progress,
    processes: "Processes",
    *,
    table: Path | None,
    as_json: bool,
) -> None:
    from vopcli.reports.groups import mean_table
    from vopcli.training.prepare import check_requests
    from vopcli.training.search_lr import write_table

    check_requests(requests, progress)
    runs: list[TrainSummary] = []
    for request in requests:
        try:
            runs.append(_run(request, progress, processes))
        except DivergedError as error:
            is_last = request is requests[-1]
            if not table or processes.size > 1 or (is_last and not runs):  # the other processes have ended
                raise
            progress.warn(f"{request.folder}: {error}")
            continue
        if table:
            write_table(table, runs)
        if not as_json:
            _show_summary(runs[-1])
    if as_json:
        _print_documents([run.to_json() for run in runs])
    elif table:
        _show_rates(requests, runs)
    elif len(runs) > 1:
        measured = [(run.plan.variant, run.plan.num_trained, run.selected.metrics) for run in runs]
        console.print_table(*mean_table(measured))


def _show_rates(requests: "list[TrainRequest]", runs: "list[TrainSummary]") -> None:
    from vopcli.training.search_lr import note_ends, rate_table

    console.print_table(*rate_table(runs))
    for note in note_ends(runs, [request.config.training.lr or 0.0 for request in requests]):
        console.say(note)


def _show_plans(
    requests: "list[TrainRequest]", progress: Progress, processes: "Processes", *, as_json: bool
) -> None:
    plans = []
    for request in requests:
        plans.append(_plan(request, progress, processes))
        if not as_json:
            _show_plan(plans[-1])
    if as_json:
        _print_documents([dataclasses.asdict(plan) for plan in plans])


def _print_documents(documents: list[dict[str, Any]]) -> None:
    console.print_json(documents if len(documents) > 1 else documents[0])


def _searched(runs: list[Config], search_lr: str) -> list[Config]:
    """Return the settings of one run per learning rate.

    Raises:
        UsageError: the range is invalid, a rate is set, or a variant trains nothing.
    """
    from vopcli.methods.registry import METHODS
    from vopcli.training.search_lr import parse_rates, with_rates

    rates = parse_rates(search_lr)
    idle = {run.tuning.variant for run in runs if METHODS[run.tuning.variant].is_idle}
    if idle:
        raise UsageError(f"--search-lr with {', '.join(idle)}, which trains nothing", hint="omit it")
    if runs[0].training.lr is not None:
        raise UsageError(
            f"training.lr {runs[0].training.lr:g} and --search-lr are both given", hint="omit one"
        )
    return [each for run in runs for each in with_rates(run, rates)]


def _plan(request: "TrainRequest", progress: Progress, processes: "Processes") -> "TrainPlan":
    from vopcli.training.prepare import check_requests, plan, prepare

    try:
        check_requests([request], progress)
    except DataError as error:  # the run folder exists: print the plan all the same
        progress.warn(str(error))
    return plan(prepare(request, progress, processes))


def _run(request: "TrainRequest", progress: Progress, processes: "Processes") -> "TrainSummary":
    from vopcli.training.prepare import prepare
    from vopcli.training.train import run

    try:
        return run(prepare(request, progress, processes), progress)
    except KeyboardInterrupt:
        how = "" if request.overwrite else " with --resume"
        console.say(f"Interrupted. Finished epochs are kept; run the same command{how} to continue.")
        raise typer.Exit(EXIT_INTERRUPTED) from None


def _runs(config: Config, variants: str | None, seeds: str | None) -> list[Config]:
    """Return the settings of each run, without duplicates.

    Raises:
        UsageError: a seed is not a number.
        ConfigError: a variant is unknown, a seed is out of range, or no variant is named.
    """
    from vopcli.config.load import override

    names = [config.tuning.variant] if variants is None else options.split_names(variants) or []
    try:
        numbers = [config.training.seed] if seeds is None else [int(one) for one in seeds.split(",")]
    except ValueError:
        raise UsageError(
            f"{format_value(seeds)} is not a list of seeds", hint="write it like --seeds 0,1,2"
        ) from None
    labels = {"tuning.variant": "--variant", "training.seed": "--seed"}
    runs = [
        override(config, {"tuning.variant": name, "training.seed": number}, labels=labels)
        for name in names
        for number in numbers
    ]
    if not runs:
        raise ConfigError("no variant is named", hint=f"use one of {', '.join(Variant)}")
    return list(dict.fromkeys(runs))


def _show_plan(plan: "TrainPlan") -> None:
    rows = [
        _plan_row(name, value)
        for name, value in vars(plan).items()
        if name != "published" and value is not None
    ]
    if plan.published:
        rows.append(["published", format_published(plan.published)])
    console.print_table(("setting", "value"), rows)


def _plan_row(name: str, value: Any) -> list[str]:
    label = name.replace("_", " ").removeprefix("num ")
    if name.endswith("_bytes"):
        return [label.replace("bytes", "memory"), f"{value / 1e6:,.0f} MB"]
    return [label, str(value)]


def _show_summary(summary: "TrainSummary") -> None:
    plan, best = summary.plan, summary.selected
    names = [name for name in ("t2v R@1", "t2v R@5", "v2t R@1") if name in best.metrics]
    metrics = ", ".join(f"{name} {best.metrics[name]:.1f}" for name in names)
    state = f"epoch {best.epoch + 1} is the best" if plan.num_trained else "untrained"
    console.print_line(f"{console.printable(plan.folder)}: {state} on {best.on}: {metrics}")
    if plan.published:
        console.say(f"{plan.dataset}, {plan.variant}, {format_published(plan.published)}")
