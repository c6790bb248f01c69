"""The benchmarks, one record each, and functions to read them from their folders.

A new benchmark needs a member of `DatasetName`, a record here, and a module with its reader.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Final, NamedTuple

from vopcli.config.choices import DatasetName, QueryUnit
from vopcli.datasets.benchmarks import activitynet, didemo, lsmdc, msrvtt, msvd, vatex
from vopcli.datasets.filter import find_files, keep_last_caption, note_overlaps, skip_videos
from vopcli.datasets.reading import find_annotation_file
from vopcli.datasets.records import TEST, TRAIN, VAL, AnnotatedSplit, Annotations
from vopcli.datasets.video_files import VideoFiles, find_video_files
from vopcli.errors import UsageError, format_value, nearest


def _by_stem(files: VideoFiles, video: str) -> tuple[str, ...]:
    return files.by_stem(video)


class Size(NamedTuple):
    """Published size of a split; a paragraph counts as one caption. None: not known."""

    videos: int | None
    captions: int | None


@dataclass(frozen=True)
class Benchmark:
    """Everything that is specific to one benchmark.

    Attributes:
        splits: names of its splits, in order.
        read: reads one split from the dataset's folder.
        sizes: published sizes of the splits, as far as known.
        read_sentences: reads one split with its sentences as captions; None: its captions are sentences.
        candidates: returns the files that match the name of a video.
        optional_lists: by split, the list file that not every release has.
        skip_lists: videos that other projects skip, by the name of the project.
        prefer: suffixes in order of preference, to choose among several files of one video.
    """

    splits: tuple[str, ...]
    read: Callable[[Path, str], AnnotatedSplit]
    sizes: Mapping[str, Size]
    read_sentences: Callable[[Path, str], AnnotatedSplit] | None = None
    candidates: Callable[[VideoFiles, str], tuple[str, ...]] = _by_stem
    optional_lists: Mapping[str, str] = field(default_factory=dict)
    skip_lists: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    prefer: tuple[str, ...] = ()


_MSRVTT_SUFFIXES: Final = (".mp4", ".webm")  # as in CLIP4Clip

BENCHMARKS: Final[Mapping[DatasetName, Benchmark]] = {
    DatasetName.MSRVTT_9K: Benchmark(
        msrvtt.SPLITS,
        msrvtt.read_9k,
        {TRAIN: Size(9000, 180_000), TEST: Size(1000, 1000)},
        prefer=_MSRVTT_SUFFIXES,
    ),
    DatasetName.MSRVTT_7K: Benchmark(
        msrvtt.SPLITS,
        msrvtt.read_7k,
        {TRAIN: Size(7010, 140_200), TEST: Size(1000, 1000)},
        prefer=_MSRVTT_SUFFIXES,
    ),
    DatasetName.DIDEMO: Benchmark(
        didemo.SPLITS,
        didemo.read,
        {TRAIN: Size(8392, 8392), VAL: Size(1065, 1065), TEST: Size(1004, 1004)},
        partial(didemo.read, unite=list),
        candidates=didemo.candidates,
        skip_lists={"dgl": didemo.DGL_SKIPPED},
    ),
    DatasetName.ACTIVITYNET: Benchmark(
        activitynet.SPLITS,
        activitynet.read,
        {TRAIN: Size(10_009, 10_009), TEST: Size(4917, 4917)},
        partial(activitynet.read, unite=list),
        candidates=activitynet.candidates,
        skip_lists={"dgl": activitynet.DGL_SKIPPED},
    ),
    DatasetName.LSMDC: Benchmark(
        lsmdc.SPLITS,
        lsmdc.read,
        # of train and val only the lines are published, and ids repeat
        {TRAIN: Size(None, 101_079), VAL: Size(None, 7408), TEST: Size(1000, 1000)},
        skip_lists={
            "x-pool": lsmdc.XPOOL_SKIPPED,
            "unbreakable": lsmdc.UNBREAKABLE_SKIPPED,
            "dgl": lsmdc.DGL_SKIPPED,
        },
    ),
    DatasetName.MSVD: Benchmark(
        msvd.SPLITS, msvd.read, {TRAIN: Size(1200, 48_774), VAL: Size(100, 4290), TEST: Size(670, 27_763)}
    ),
    DatasetName.VATEX: Benchmark(
        vatex.SPLITS,
        vatex.read,
        {TRAIN: Size(25_991, 259_910), VAL: Size(1500, 15_000), TEST: Size(1500, 15_000)},
        optional_lists=vatex.OPTIONAL_LISTS,
    ),
}

if missing := set(DatasetName) - set(BENCHMARKS):
    raise TypeError(f"BENCHMARKS has no record for {', '.join(sorted(missing))}")


def read_dataset(
    dataset: DatasetName,
    root: Path,
    *,
    splits: Collection[str] | None = None,
    skip_ids: Collection[str] = (),
    last_caption_only: bool = False,
    queries: QueryUnit = QueryUnit.CAPTIONS,
) -> Annotations:
    """Read the annotations of a benchmark, without looking for its videos.

    Args:
        dataset: the benchmark.
        root: folder of the annotation files under their published names, or of a folder ``annotations`` with
            them.
        splits: splits to read, so that files of the others may be missing; None: all.
        skip_ids: videos to skip, see `get_skip_list`.
        last_caption_only: keep only the last caption of each video, as X-Pool's reader of LSMDC does.
        queries: captions, or the sentences of a benchmark of paragraphs.

    Raises:
        UsageError: the benchmark has no such split.
        DataError: an annotation file is missing or malformed.
    """
    benchmark = BENCHMARKS[dataset]
    for split in splits or ():
        if split not in benchmark.splits:
            raise UsageError(
                f"{dataset.value} has no split {format_value(split)}",
                hint=nearest(split, benchmark.splits) or f"use one of {', '.join(benchmark.splits)}",
            )
    held = find_splits(dataset, root) if splits is None else splits
    wanted = [split for split in benchmark.splits if split in held]
    annotations = note_overlaps(
        Annotations(dataset.value, {split: _read_split(benchmark, root, split, queries) for split in wanted})
    )
    if skip_ids:
        annotations = skip_videos(annotations, skip_ids)
    return keep_last_caption(annotations) if last_caption_only else annotations


def _read_split(benchmark: Benchmark, root: Path, name: str, queries: QueryUnit) -> AnnotatedSplit:
    """Read a split, and note in its report if a truncated or another release gives it another size."""
    published = benchmark.sizes.get(name, Size(None, None))
    if queries is QueryUnit.SENTENCES and benchmark.read_sentences:
        split = benchmark.read_sentences(root, name)
        published = published._replace(captions=None)
    else:
        split = benchmark.read(root, name)
    report = split.report
    differences = [
        f"{count:,} {unit} instead of {expected:,}"
        for unit, count, expected in (
            ("videos", report.num_with_captions, published.videos),
            ("captions", report.num_captions, published.captions),
        )
        if expected not in {None, count}
    ]
    return replace(split, report=replace(report, other_size=", ".join(differences)))


def find_splits(dataset: DatasetName, root: Path) -> list[str]:
    """Return the splits of the release in ``root``, without optional ones that it lacks."""
    benchmark = BENCHMARKS[dataset]
    lists = benchmark.optional_lists
    return [
        split for split in benchmark.splits if split not in lists or find_annotation_file(root, lists[split])
    ]


def get_skip_list(dataset: DatasetName, project: str) -> tuple[str, ...]:
    """Return the videos that a project skips, such as "x-pool" of LSMDC.

    Raises:
        UsageError: the benchmark has no list of this project.
    """
    lists = BENCHMARKS[dataset].skip_lists
    if project not in lists:
        known = nearest(project, lists) or f"its lists: {', '.join(lists) or 'none'}"
        raise UsageError(f"{dataset.value} has no list of skipped videos {format_value(project)}", hint=known)
    return lists[project]


def find_dataset_files(
    annotations: Annotations,
    dataset: DatasetName,
    files: VideoFiles,
    *,
    store: str = "",
) -> Annotations:
    """Set the file, or the key in a frame store, of each video of a benchmark.

    Args:
        annotations: from `read_dataset`.
        dataset: the benchmark.
        files: from `index_dataset_files`, or from `index_dataset_keys` of a frame store.
        store: name of the frame store for messages.

    Returns:
        The videos with a file; the reports list the others.

    Raises:
        DataError: a video has several files, or none of the videos has one.
    """
    candidates = BENCHMARKS[dataset].candidates
    return find_files(annotations, lambda video: candidates(files, video), store=store)


def index_dataset_files(dataset: DatasetName, root: Path, *, prefer: Sequence[str] = ()) -> VideoFiles:
    """Index the videos below a folder; ``prefer`` overrides the benchmark's order of suffixes.

    Raises:
        DataError: ``root`` is not a folder, or has no files.
    """
    return find_video_files(root, prefer=(*prefer, *BENCHMARKS[dataset].prefer))


def index_dataset_keys(
    dataset: DatasetName, keys: Iterable[str], *, prefer: Sequence[str] = ()
) -> VideoFiles:
    """Index the keys of a frame store; ``prefer`` overrides the benchmark's order of suffixes."""
    return VideoFiles(keys, prefer=(*prefer, *BENCHMARKS[dataset].prefer))
