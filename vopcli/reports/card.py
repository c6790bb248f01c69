"""The model card of a run: its use and its results, the latter also as metadata that the hub reads."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Final

from vopcli.config.choices import TableFormat
from vopcli.config.load import to_dict
from vopcli.errors import DataError, FileError, UsageError
from vopcli.evaluation.published import DIRECTIONS
from vopcli.evaluation.results import EvalResult, read_results
from vopcli.evaluation.runs import Run, check_finished, read_run
from vopcli.files.atomic import atomic_path
from vopcli.methods.registry import METHODS
from vopcli.reports.formats import format_tables
from vopcli.reports.tables import results_table
from vopcli.weights.catalog import find_model

if TYPE_CHECKING:
    from huggingface_hub import EvalResult as HubResult

CARD_NAME: Final = "README.md"
_TASKS: Final = {"t2v": "text-to-video-retrieval", "v2t": "video-to-text-retrieval"}


def write_card(folder: Path, results: Sequence[Path], repository: str, *, overwrite: bool) -> Path:
    """Write the model card of a run into its folder, and return its path.

    Args:
        folder: a finished run.
        results: files of ``vop eval --json`` with results of this run; others in them are left out.
        repository: ``owner/name`` on the hub, for the commands of the card.
        overwrite: replace a card that exists.

    Raises:
        FileError: a file cannot be read or written, or the card exists.
        DataError: a file is damaged, or has no results of this run.
        UsageError: there are several results of one split.
    """
    check_finished(folder)
    run, path = read_run(folder), folder / CARD_NAME
    found = [result for file in results for result in _results_of(run, file)]
    measured = Counter((result.dataset, result.split) for result in found)
    if twice := [split for (_, split), count in measured.items() if count > 1]:
        raise UsageError(
            f"{', '.join(map(str, results))} have several results on the split {twice[0]}",
            hint="pass one of each split: the card's metadata have one value per metric",
        )
    text = model_card(run, found, repository)
    try:
        with atomic_path(path, is_new=not overwrite) as unfinished:
            unfinished.write_text(text, encoding="utf-8")
    except OSError as error:
        raise FileError(path, error) from error
    return path


def model_card(run: Run, results: Sequence[EvalResult], repository: str) -> str:
    """Return the card: metadata as YAML, then Markdown."""
    from huggingface_hub import ModelCardData

    variant, given = run.config.tuning.variant.value, run.config.backbone.model
    entry = find_model(given)
    weights = entry.name if entry else Path(given).name  # not the folders of this machine
    data = ModelCardData(
        base_model=(entry.repository or entry.hub_copy) if entry else None,
        library_name="vopcli",
        pipeline_tag="feature-extraction",
        tags=["video-retrieval", "text-to-video-retrieval", "clip", variant],
        model_name=repository,
        eval_results=list(_hub_results(run, results)),
    )
    measured = (
        f"Only the validation set was measured, {run.selected.on}; see the metadata of this card. "
        f"Epoch {run.selected.epoch + 1}: {run.selected.rule}.\n"
    )
    if results:
        table = results_table(results, [{} for _ in results])
        titles = [title for title, span in table.groups for _ in range(span)]
        columns = [": ".join(filter(None, names)) for names in zip(titles, table.columns, strict=True)]
        measured = format_tables([replace(table, columns=columns)], table.notes, TableFormat.MD)
    return f"""---
{data.to_yaml()}
---

# {repository.partition("/")[2]}

`{variant}` for CLIP {weights}, {run.num_trained:,} trained parameters: text-video retrieval with videos of
{run.num_frames} frames. Trained by `vop train` on {_trained_on(run)}.

## Use

```sh
pip install vopcli
vop encode videos/ idx.h5 --weights {weights} --adapter hf://{repository}
vop search "a dog playing with its tail" --index idx.h5
```

## Results

{measured}
## Settings

| setting | value |
| --- | --- |
{_settings(run)}
"""


def _results_of(run: Run, file: Path) -> list[EvalResult]:
    """Return the results of a run in a file.

    Raises:
        DataError: there are none, or the file is damaged.
    """
    results = read_results(file)
    own = [one for one in results if Path(one.target).resolve() == run.folder.resolve()]
    if not own:
        raise DataError(
            f"{file} has no results of {run.folder}, only of {', '.join(one.target for one in results)}",
            hint=f"measure it: vop eval {run.folder} --json",
        )
    return own


def _hub_results(run: Run, results: Sequence[EvalResult]) -> Iterator[HubResult]:
    from huggingface_hub import EvalResult as HubResult

    trained_on = run.config.data.dataset
    measured = {(trained_on, "validation", metric): value for metric, value in run.selected.metrics.items()}
    for result in results:
        for direction, metrics in zip(DIRECTIONS, (result.metrics.t2v, result.metrics.v2t), strict=True):
            for metric, value in metrics.by_name.items():
                measured[result.dataset, result.split, f"{direction} {metric}"] = value
    for (dataset, split, metric), value in measured.items():
        direction, _, short = metric.partition(" ")
        yield HubResult(
            task_type=_TASKS[direction],
            dataset_type=dataset.value if dataset else "custom",
            dataset_name=dataset.value if dataset else "own videos",
            dataset_split=split,
            metric_type=short,
            metric_value=round(value, 2),
        )


def _trained_on(run: Run) -> str:
    dataset = run.config.data.dataset
    captions = f"the captions of {dataset.value}" if dataset else "own captions"
    cut = "" if run.found_ratio == 1 else f", of whose videos {run.found_ratio:.1%} were found"
    return f"{captions}{cut} and {run.trained_on.sampling} frames"


def _settings(run: Run) -> str:
    training = run.config.training
    rows = {
        "epochs": training.epochs,
        "batch size": training.batch_size,
        "learning rate": training.lr if training.lr is not None else "default of the variant",
        "seed": run.seed,
    }
    tuning = to_dict(run.config)["tuning"]
    used = METHODS[run.config.tuning.variant].settings
    rows |= {name.replace("_", " "): tuning[name] for name in sorted(used)}
    return "\n".join(f"| {name} | {value} |" for name, value in rows.items())
