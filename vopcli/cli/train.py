"""``vop train``: tune a variant, or several with several seeds, on captioned videos."""

import dataclasses
from typing import TYPE_CHECKING, Annotated, Any

import typer

from vopcli.cli import console, options
from vopcli.config.choices import ContextModule, Sides, Variant
from vopcli.config.schema import Config
from vopcli.errors import EXIT_INTERRUPTED, ConfigError, DataError, UsageError
from vopcli.evaluation.published import format_published
from vopcli.progress import Progress

if TYPE_CHECKING:
    from vopcli.training.summary import TrainPlan, TrainSummary
    from vopcli.training.train import TrainRequest

_VARIANTS = " ".join(variant.value for variant in Variant)


def train(
    *,
    variant: Annotated[
        str | None, typer.Option(metavar="NAME,...", help=f"Tuning methods, of: {_VARIANTS}. Default: P+F.")
    ] = None,
    seeds: Annotated[
        str | None, typer.Option("--seeds", "--seed", metavar="N,...", help="Seeds of the runs. Default: 0.")
    ] = None,
    preset: options.Preset = None,
    frames: options.Frames = None,
    captions: options.Captions = None,
    dataset: options.Dataset = None,
    root: options.Root = None,
    allow_missing: options.AllowMissing = None,
    max_tokens: options.MaxTokens = None,
    output: Annotated[str | None, typer.Option(metavar="DIR", help="Folder of the run folders.")] = None,
    epochs: Annotated[int | None, typer.Option(help="Passes over the captions. Default: 5.")] = None,
    batch_size: Annotated[int | None, typer.Option(help="Videos, and negatives, of a step.")] = None,
    micro_batch: Annotated[
        int | None, typer.Option(help="Videos on the device at a time; the negatives stay all.")
    ] = None,
    auto_batch: Annotated[
        bool | None, typer.Option("--auto-batch", help="Halve that number where memory gives out.")
    ] = None,
    lr: Annotated[float | None, typer.Option(help="Peak learning rate; each variant has its own.")] = None,
    augment: Annotated[
        bool | None,
        typer.Option(
            "--augment/--no-augment",
            help="Random crops and flips; a flip turns left into right, so off unless no caption says so.",
        ),
    ] = None,
    checkpointing: Annotated[
        bool | None, typer.Option("--checkpointing", help="Recompute layers: less memory, more time.")
    ] = None,
    compile_towers: Annotated[
        bool | None, typer.Option("--compile", help="torch.compile the towers, for long runs on a GPU.")
    ] = None,
    prompt_length: Annotated[int | None, typer.Option(help="Prompts of a layer. Default: 8.")] = None,
    specific_length: Annotated[int | None, typer.Option(help="Of these, specific ones. Default: 4.")] = None,
    split_layer: Annotated[
        int | None, typer.Option(help="Layers before the joint ones of F. Default: 8.")
    ] = None,
    context_module: Annotated[ContextModule | None, typer.Option(help="Reader of the frames in C.")] = None,
    sides: Annotated[Sides | None, typer.Option(help="Towers that get prompts.")] = None,
    layers: Annotated[
        str | None, typer.Option(metavar="1-6|1,3|all", help="Layers that get prompts, counted from 1.")
    ] = None,
    weights: options.Weights = None,
    device: options.Device = "auto",
    precision: options.PrecisionSetting = None,
    config: options.ConfigFile = None,
    assignments: options.Assignments = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with a run that was stopped.")] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say what would be done, and do nothing.")
    ] = False,
    overwrite: options.Overwrite = False,
    quiet: options.Quiet = False,
    as_json: options.Json = False,
) -> None:
    """Tune CLIP on captioned videos by one of the paper's methods.

    Settings come from a preset, then vop.yaml, then --set, then the other options; the last one counts. Each
    run has a folder of its own, named after the variant and the seed, with the adapter of the best epoch on
    the validation set. Several variants or seeds, with commas between them, give a table of means and
    deviations.
    """
    given: dict[str, dict[str, Any]] = {
        "backbone": {"weights": weights},
        "data": {
            "frames": frames,
            "captions": captions,
            "dataset": dataset,
            "root": root,
            "allow_missing": allow_missing,
            "max_tokens": max_tokens,
        },
        "tuning": {
            "prompt_length": prompt_length,
            "specific_length": specific_length,
            "split_layer": split_layer,
            "context_module": context_module,
            "sides": sides,
            "layers": layers,
        },
        "training": {
            "output": output,
            "epochs": epochs,
            "batch_size": batch_size,
            "micro_batch": micro_batch,
            "auto_batch": auto_batch,
            "lr": lr,
            "augment": augment,
            "checkpointing": checkpointing,
            "compile": compile_towers,
            "precision": precision,
        },
    }
    from vopcli.config.load import load_config, override

    base = override(load_config(config, preset=preset), {}, assignments or ())
    runs = _runs(base, given, variant, seeds)
    from vopcli.training.train import TrainRequest

    requests = [TrainRequest(one, device, resume=resume, overwrite=overwrite) for one in runs]
    _do(requests, console.progress(quiet=quiet), dry_run=dry_run, as_json=as_json)


def _do(requests: "list[TrainRequest]", progress: Progress, *, dry_run: bool, as_json: bool) -> None:
    from vopcli.reports.groups import mean_table
    from vopcli.training.train import check

    if not dry_run:
        check(requests, progress)
    documents, runs = [], []
    for request in requests:
        if dry_run:
            plan = _plan(request, progress)
            documents.append(dataclasses.asdict(plan))
            if not as_json:
                _show_plan(plan)
        else:
            summary = _run(request, progress)
            documents.append(summary.to_json())
            runs.append((summary.plan.variant, summary.plan.num_trained, summary.selected.metrics))
            if not as_json:
                _show_summary(summary)
    if as_json:
        console.print_json(documents if len(documents) > 1 else documents[0])
    elif len(runs) > 1:
        console.print_table(*mean_table(runs))


def _plan(request: "TrainRequest", progress: Progress) -> "TrainPlan":
    from vopcli.training.train import check, plan, prepare

    try:
        check([request], progress)
    except DataError as error:  # an existing run folder does not keep the plan from being shown
        progress.warn(str(error))
    return plan(prepare(request, progress))


def _run(request: "TrainRequest", progress: Progress) -> "TrainSummary":
    from vopcli.training.train import prepare, run

    try:
        return run(prepare(request, progress), progress)
    except KeyboardInterrupt:
        console.say(
            "Interrupted. What was finished is kept; the same command with --resume goes on from there."
        )
        raise typer.Exit(EXIT_INTERRUPTED) from None


def _runs(
    base: Config, given: dict[str, dict[str, Any]], variants: str | None, seeds: str | None
) -> list[Config]:
    """Return the settings of each run that was asked for; one that is named twice is one run.

    Raises:
        UsageError: a variant or seed that is none.
        ConfigError: a value out of range.
    """
    from vopcli.config.load import override

    names = [base.tuning.variant] if variants is None else options.names(variants) or []
    try:
        numbers = [base.training.seed] if seeds is None else [int(one) for one in seeds.split(",")]
    except ValueError:
        raise UsageError(f"{seeds!r} is no list of seeds", hint="such as --seeds 0,1,2") from None
    chosen = [(name, number) for name in names for number in numbers]
    runs = []
    for name, number in chosen:
        sections = {**given, "tuning": {**given["tuning"], "variant": name}}
        sections["training"] = {**given["training"], "seed": number}
        runs.append(override(base, sections))
    runs = list(dict.fromkeys(runs))
    if not runs:
        raise ConfigError("no variant is named", hint=f"known are {_VARIANTS}")
    return runs


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
