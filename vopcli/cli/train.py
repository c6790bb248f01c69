"""``vop train``: tune variants on captioned videos."""

import dataclasses
from typing import TYPE_CHECKING, Annotated, Any

import typer

from vopcli.cli import console, options
from vopcli.config.choices import Variant
from vopcli.config.schema import Config
from vopcli.errors import EXIT_INTERRUPTED, ConfigError, DataError, UsageError, format_value
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
    resume: Annotated[bool, typer.Option("--resume", help="Resume an interrupted run.")] = False,
    dry_run: options.DryRun = False,
    overwrite: options.Overwrite = False,
    quiet: options.Quiet = False,
    as_json: options.Json = False,
) -> None:
    """Tune CLIP on captioned videos by a method of the VoP paper.

    Options override --set, which overrides vop.yaml, which overrides the preset. Each run has its own folder,
    named after variant and seed, with the adapter of the epoch that is best on the validation set. Several
    variants or seeds give a table of means and standard deviations.
    """
    runs = _runs(config, variants, seeds)
    from vopcli.training.prepare import TrainRequest
    from vopcli.training.processes import LostProcessError, joined
    from vopcli.training.train import follow

    requests = [TrainRequest(run, resume=resume, overwrite=overwrite) for run in runs]
    with joined() as processes:
        if processes.is_first:
            progress = console.progress(quiet=quiet)
            _do(requests, progress, processes, dry_run=dry_run, as_json=as_json)
        else:
            try:
                for request in requests:
                    follow(request, processes, dry_run=dry_run)
            except (KeyboardInterrupt, LostProcessError) as error:  # the first process tells
                is_lost = isinstance(error, LostProcessError)
                raise typer.Exit(LostProcessError.exit_code if is_lost else EXIT_INTERRUPTED) from None


def _do(
    requests: "list[TrainRequest]",
    progress: Progress,
    processes: "Processes",
    *,
    dry_run: bool,
    as_json: bool,
) -> None:
    from vopcli.reports.groups import mean_table
    from vopcli.training.prepare import check_requests

    if not dry_run:
        check_requests(requests, progress)
    documents, runs = [], []
    for request in requests:
        if dry_run:
            plan = _plan(request, progress, processes)
            documents.append(dataclasses.asdict(plan))
            if not as_json:
                _show_plan(plan)
        else:
            summary = _run(request, progress, processes)
            documents.append(summary.to_json())
            runs.append((summary.plan.variant, summary.plan.num_trained, summary.selected.metrics))
            if not as_json:
                _show_summary(summary)
    if as_json:
        console.print_json(documents if len(documents) > 1 else documents[0])
    elif len(runs) > 1:
        console.print_table(*mean_table(runs))


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
    runs = [
        override(config, {"tuning.variant": name, "training.seed": number})
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
