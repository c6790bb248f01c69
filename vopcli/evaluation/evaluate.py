"""Evaluate runs, adapter files or the plain backbone on a split, t2v and v2t."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

import torch

from vopcli.clip.device import DTYPES, choose_device, choose_precision
from vopcli.clip.shape import ClipShape
from vopcli.config.choices import MEAN, Pooling, Variant, parse_pooling
from vopcli.config.schema import Config, TuningConfig
from vopcli.datasets.records import TEST
from vopcli.datasets.splits import CaptionedStore, TokenisedSplit, open_captioned_store, tokenise_split
from vopcli.errors import DataError
from vopcli.evaluation.embed import Embedded, embed, measure, rank_top
from vopcli.evaluation.published import comparable_dataset, published_metrics
from vopcli.evaluation.results import NUM_TOP, Answer, EvalResult
from vopcli.evaluation.runs import check_finished, is_run, read_run
from vopcli.evaluation.save_scores import BankSource, SaveRequest, open_bank, save_similarities
from vopcli.frames.recipe import other_frames
from vopcli.methods.adapter_file import ADAPTER_NAME, Adapter, check_backbone
from vopcli.methods.build import build_tuned, load_tuned
from vopcli.methods.hub import repository_of
from vopcli.methods.model import VideoTextModel
from vopcli.methods.modelscope import read_any_adapter
from vopcli.progress import Progress
from vopcli.resources import cache_folder
from vopcli.weights.reader import Weights, read_checked

ZERO_SHOT: Final = Variant.ZERO_SHOT.value


@dataclass(frozen=True)
class EvaluateRequest:
    """Models to evaluate, and the split to evaluate them on.

    Attributes:
        config: weights, frames, captions, and the rules of evaluation and pooling.
        targets: run folders, adapter files, or "zero-shot" for the plain backbone; empty: the newest run.
        split: name of the split.
        save: file for the scores of the only target; None: not saved.
    """

    config: Config
    targets: Sequence[str]
    split: str = "test"
    save: SaveRequest | None = None

    @property
    def pooling(self) -> Pooling:
        """The rule that pools the frames of a video."""
        return parse_pooling(self.config.search.pooling or "mean")


def evaluate(request: EvaluateRequest, progress: Progress) -> list[EvalResult]:
    """Evaluate each target.

    Raises:
        UsageError: no target is named and no run exists, or the request to save scores is invalid.
        DataError: a file is missing or damaged, or files do not fit each other.
    """
    config = request.config
    _ = request.pooling  # fail before the work
    targets = list(request.targets) or [newest_run(Path(config.training.output))]
    _check_there(targets)
    if request.save:
        request.save.check(len(targets), request.split)
    device = choose_device(config.backbone.device)
    dtype = DTYPES[choose_precision(config.training.precision, device)]

    def check(shape: ClipShape) -> tuple[CaptionedStore, list[Adapter]]:
        return _check_inputs(request, targets, shape, progress)

    weights, (data, adapters) = read_checked(
        config.backbone.model,
        check,
        cache=cache_folder(),
        progress=progress,
        activation=config.backbone.activation,
    )
    fingerprint = weights.fingerprint()
    for adapter in adapters:
        check_backbone(adapter, fingerprint, weights.name)
    has_bank = request.save is not None and request.save.num_bank > 0
    bank = open_bank(config, weights.shape) if has_bank else None
    results = []
    with progress.task("eval", total=len(targets), unit="models") as task:
        for target in targets:
            loaded = _load(target, weights, fingerprint, data, (device, dtype), progress)
            results.append(_measure(loaded, bank, request, dtype, progress))
            task.advance()
    return results


def _check_inputs(
    request: EvaluateRequest, targets: Sequence[str], shape: ClipShape, progress: Progress
) -> tuple[CaptionedStore, list[Adapter]]:
    """Open the data, and read all adapters, without tensors, before the first is evaluated.

    They are read again for evaluation, because several adapters of `full` would not fit into memory.
    """
    data = open_captioned_store(request.config, progress, shape=shape, split=request.split)
    adapters = []
    for target in targets:
        if target != ZERO_SHOT:
            adapter = read_any_adapter(Path(target), progress)
            _check_frames(target, adapter, data, progress)
            adapters.append(replace(adapter, tensors={}))
    return data, adapters


def newest_run(output: Path) -> str:
    """Return the run folder whose adapter was written last.

    Raises:
        DataError: `output` does not hold a finished run.
    """
    found, deeper = (
        sorted(output.glob(f"{below}/{ADAPTER_NAME}"), key=lambda path: path.stat().st_mtime_ns)
        for below in ("*", "*/*")
    )
    if not found:
        raise DataError(
            f"{output} does not hold a finished run",
            hint=f"name one, such as {deeper[-1].parent}, or the --preset that it was trained with"
            if deeper
            else "train one with `vop train`, or evaluate the plain backbone with `vop eval zero-shot`",
        )
    return str(found[-1].parent)


def _check_there(targets: Sequence[str]) -> None:
    """Check that all targets exist before the first is evaluated.

    Raises:
        DataError: a target does not exist, or is an unfinished run.
    """
    for target in targets:
        file = Path(target) / ADAPTER_NAME if Path(target).is_dir() else Path(target)
        if target != ZERO_SHOT and not file.exists() and not repository_of(target):
            check_finished(Path(target))
            raise DataError(
                f"{file} does not exist", hint="name run folders such as runs/*, adapters, or zero-shot"
            )


def _check_frames(target: str, adapter: Adapter, data: CaptionedStore, progress: Progress) -> None:
    """Warn if the frames differ from those of the training.

    Raises:
        DataError: the number of frames differs.
    """
    if adapter.num_frames != data.num_frames:
        raise DataError(
            f"{target} was trained on {adapter.num_frames} frames per video, "
            f"{data.store.path} holds {data.num_frames}",
            hint=f"make a store with `vop extract-frames --num-frames {adapter.num_frames}`",
        )
    if adapter.assumption:
        progress.warn(adapter.assumption)
    if differences := other_frames(adapter.recipe, data.store.recipe.middle.to_json()):
        progress.warn(
            f"{data.store.path} holds different frames from those of {target}: {'; '.join(differences)}"
        )


def _with_budget(
    target: str, adapter: Adapter, data: CaptionedStore, most_tokens: int, progress: Progress
) -> CaptionedStore:
    """Truncate captions as in the training, unless the settings name a limit, of at most ``most_tokens``."""
    if data.max_tokens is None:
        return replace(data, max_tokens=adapter.max_tokens)
    budget = min(data.max_tokens, most_tokens)
    if adapter.max_tokens not in {None, budget}:
        progress.warn(f"{target} was trained on captions of up to {adapter.max_tokens} tokens, not {budget}")
    return data


@dataclass(frozen=True)
class _Loaded:
    """A target on its device, and the data with captions truncated as it was trained."""

    target: str
    num_trained: int
    model: VideoTextModel
    data: CaptionedStore


def _load(
    target: str,
    weights: Weights,
    fingerprint: str,
    data: CaptionedStore,
    placement: tuple[torch.device, torch.dtype],
    progress: Progress,
) -> _Loaded:
    device, dtype = placement
    if target == ZERO_SHOT:
        untuned = TuningConfig(variant=Variant.ZERO_SHOT)
        model = build_tuned(weights, untuned, num_frames=data.num_frames, device=device, dtype=dtype)
        return _Loaded(target, 0, model.eval(), data)
    adapter = read_any_adapter(Path(target))
    model = load_tuned(weights, fingerprint, adapter, device=device, dtype=dtype)
    num_trained = sum(tensor.size for tensor in adapter.tensors.values())
    return _Loaded(
        target, num_trained, model, _with_budget(target, adapter, data, model.max_tokens, progress)
    )


def _measure(
    loaded: _Loaded,
    bank: BankSource | None,
    request: EvaluateRequest,
    dtype: torch.dtype,
    progress: Progress,
) -> EvalResult:
    model, data, folder = loaded.model, loaded.data, Path(loaded.target)
    captions = tokenise_split(data, data.annotations.split(request.split), max_tokens=model.max_tokens)
    embedded = embed(model, data.store, captions, dtype, progress=progress, pooling=request.pooling)
    tuning = model.tuning or TuningConfig(variant=Variant.ZERO_SHOT)
    given = request.config.data
    published_on = comparable_dataset(given.dataset, given.queries)
    is_plain = request.split == TEST and request.pooling == MEAN
    run = read_run(folder) if is_run(folder) else None
    result = EvalResult(
        target=loaded.target,
        num_trained=loaded.num_trained,
        tuning=tuning,
        dataset=given.dataset,
        split=request.split,
        queries=given.queries,
        pooling=str(request.pooling),
        weights=request.config.backbone.model,
        selected=replace(run.selected, metrics={}) if run else None,
        seed=run.seed if run else None,
        training=run.config.training if run else None,
        trained_on=run.trained_on if run else None,
        max_tokens=captions.max_tokens,
        num_cut_captions=captions.num_cut,
        num_duplicate_captions=len(captions.texts) - len(set(captions.texts)),
        data=captions.report,
        published=published_metrics(published_on, tuning) if published_on and is_plain else None,
        metrics=measure(embedded, captions, request.config.evaluation.ties),
        num_frames=data.num_frames,
        answers=_answers(embedded, captions),
    )
    if request.save:
        save_similarities(request.save, bank, model, result, (embedded, captions), dtype, progress)
    return result


def _answers(embedded: Embedded, captions: TokenisedSplit) -> list[Answer]:
    names = [video.name for video in captions.videos]
    top = rank_top(embedded, NUM_TOP).tolist()
    return [
        Answer(text, names[own], [names[video] for video in found])
        for text, own, found in zip(captions.texts, captions.owner, top, strict=True)
    ]
