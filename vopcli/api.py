"""The Python API: the commands as functions.

Settings are a mapping such as ``{"training.epochs": 3}``, with the names of ``vop.yaml``, or the path of such
a file. Nothing is read from the current folder unless it is named. Without ``progress`` a function is silent.
Videos are decoded in processes that import the main script: a script calls these functions below
``if __name__ == "__main__":``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vopcli.config.load import load_config, override
from vopcli.config.schema import Config
from vopcli.files.s3 import named_path
from vopcli.progress import Progress, SilentProgress

if TYPE_CHECKING:
    from vopcli.encoding.request import EncodeSummary
    from vopcli.evaluation.results import EvalResult
    from vopcli.frames.extract import ExtractSummary
    from vopcli.training.summary import TrainSummary

PathLike = str | Path
Settings = Mapping[str, Any] | PathLike | None


def extract_frames(
    sources: PathLike | Sequence[PathLike],
    store: PathLike,
    settings: Settings = None,
    *,
    overwrite: bool = False,
    retry_failed: bool = False,
    progress: Progress | None = None,
) -> ExtractSummary:
    """Decode videos into a frame store; add new and changed videos to an existing one.

    Args:
        sources: folders, videos, and lists of videos; or ``s3://bucket/folder``.
        store: the frame store to create or extend.
        settings: of the section ``data``, such as ``data.sampling`` and ``data.size``; ranges of
            ``data.captions`` get frames of their own.
        overwrite: replace the store instead of extending it.
        retry_failed: retry videos that failed in an earlier run.
        progress: receives progress and warnings.

    Returns:
        The number of videos by outcome, and the reason of each failure.

    Raises:
        ConfigError: a setting is unknown or has a wrong value.
        DataError: a source or the store is missing, damaged or in use.

    Examples:
        >>> summary = vopcli.extract_frames("videos", "out.h5", {"data.size": 48})
        >>> summary.num_new, summary.failed
        (20, [])
    """
    from vopcli.datasets.benchmark import add_ranges
    from vopcli.frames.extract import extract
    from vopcli.frames.plan import ExtractRequest

    request = ExtractRequest(
        _paths(sources),
        Path(store),
        _config(settings).data,
        overwrite=overwrite,
        retry_failed=retry_failed,
    )
    progress = progress or SilentProgress()
    return extract(add_ranges(request, progress), progress)


def encode(
    sources: PathLike | Sequence[PathLike],
    index: PathLike,
    settings: Settings = None,
    *,
    adapter: PathLike | None = None,
    prune: bool = False,
    overwrite: bool = False,
    progress: Progress | None = None,
) -> EncodeSummary:
    """Encode videos into an index; add new and changed videos to an existing one.

    Args:
        sources: one frame store; or folders, videos, and lists of videos; or ``s3://bucket/folder``.
        index: the index to create or extend.
        settings: such as ``backbone.weights`` and ``encoding.batch_size``.
        adapter: adapter file or run folder; None: the plain backbone.
        prune: remove videos that are no longer in the sources.
        overwrite: replace the index instead of extending it.
        progress: receives progress and warnings.

    Returns:
        The number of videos by outcome, and the reason of each failure.

    Raises:
        ConfigError: a setting is unknown or has a wrong value.
        WeightsError: the weights are missing or damaged.
        DataError: a source or the index is missing, damaged or in use, or made with another model.

    Examples:
        >>> vopcli.encode("out.h5", "idx.h5", {"backbone.weights": "demo-tiny"}).num_videos
        20
    """
    from vopcli.encoding.encode import encode as encode_videos
    from vopcli.encoding.request import EncodeRequest

    request = EncodeRequest(
        _paths(sources),
        Path(index),
        _config(settings),
        adapter=None if adapter is None else Path(adapter),
        prune=prune,
        overwrite=overwrite,
    )
    return encode_videos(request, progress or SilentProgress())


def train(
    settings: Settings = None,
    *,
    resume: bool = False,
    overwrite: bool = False,
    progress: Progress | None = None,
) -> TrainSummary:
    """Tune one variant with one seed on captioned videos.

    Args:
        settings: such as ``data.frames``, ``data.captions``, ``tuning.variant`` and ``training.epochs``.
        resume: resume an interrupted run.
        overwrite: replace an existing run.
        progress: receives progress and warnings.

    Returns:
        The run folder, the number of trained parameters, and the metrics of the selected epoch.

    Raises:
        ConfigError: a setting is unknown or has a wrong value.
        WeightsError: the weights are missing or damaged.
        DataError: the frame store, the captions or the run folder is missing, damaged or in use.

    Examples:
        >>> run = vopcli.train("vop.yaml")
        >>> run.plan.folder
        'runs/VoP-seed0'
    """
    from vopcli.training.prepare import TrainRequest, check_requests, prepare
    from vopcli.training.train import run

    progress = progress or SilentProgress()
    request = TrainRequest(_config(settings), resume=resume, overwrite=overwrite)
    check_requests([request], progress)
    return run(prepare(request, progress), progress)


def evaluate(
    targets: PathLike | Sequence[PathLike],
    settings: Settings = None,
    *,
    split: str = "test",
    progress: Progress | None = None,
) -> list[EvalResult]:
    """Measure text-to-video and video-to-text retrieval.

    Args:
        targets: run folders, adapter files, or "zero-shot" for the plain backbone.
        settings: such as ``data.frames``, ``data.captions`` and ``evaluation.ties``.
        split: of the captions.
        progress: receives progress and warnings.

    Returns:
        One result per target.

    Raises:
        ConfigError: a setting is unknown or has a wrong value.
        DataError: a file is missing or damaged, or the files do not fit each other.

    Examples:
        >>> for result in vopcli.evaluate(["zero-shot", "runs/VoP-seed0"], "vop.yaml"):
        ...     print(result.target, result.metrics.t2v.num_queries)
        zero-shot 6
        runs/VoP-seed0 6
    """
    from vopcli.evaluation.evaluate import EvaluateRequest
    from vopcli.evaluation.evaluate import evaluate as measure

    request = EvaluateRequest(_config(settings), [str(path) for path in _paths(targets)], split)
    return measure(request, progress or SilentProgress())


def _paths(given: PathLike | Sequence[PathLike]) -> list[Path]:
    return [named_path(path) for path in ([given] if isinstance(given, str | Path) else given)]


def _config(settings: Settings) -> Config:
    """Resolve settings.

    Raises:
        FileError: the settings file cannot be read.
        ConfigError: a setting is unknown or has a wrong value.
    """
    if isinstance(settings, str | Path):
        return load_config(Path(settings))
    return override(Config(), settings or {})
