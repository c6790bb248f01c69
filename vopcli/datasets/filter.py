"""Which of the annotated videos are used: those that have a file and were not to be skipped."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import replace

from vopcli.datasets.records import (
    AnnotatedSplit,
    Annotations,
    CaptionedVideo,
    SplitReport,
    add_notes,
    format_names,
)
from vopcli.errors import DataError


def iter_overlaps(annotations: Annotations) -> Iterator[tuple[str, str, str]]:
    """Yield two splits that share videos, the earlier first, and a note that names these."""
    for (earlier, one), (later, other) in itertools.combinations(annotations.splits.items(), 2):
        shared = sorted({video.key for video in one.videos} & {video.key for video in other.videos})
        if shared:
            yield (
                earlier,
                later,
                f"{len(shared)} videos are in {earlier!r} and in {later!r}: {format_names(shared)}",
            )


def note_overlaps(annotations: Annotations) -> Annotations:
    """Note the videos that an earlier split has too: what was trained on is no test."""
    noted = dict(annotations.splits)
    for _, later, note in iter_overlaps(annotations):
        noted[later] = add_notes(noted[later], note)
    return replace(annotations, splits=noted)


def skip_videos(annotations: Annotations, skip_ids: Collection[str]) -> Annotations:
    """Leave out videos by name; the report says which.

    Names that are in no split do no harm: published lists of broken videos name those of other releases too.
    """
    wanted = frozenset(skip_ids)
    return _replace_splits(annotations, lambda split: _skip(split, wanted))


def _skip(split: AnnotatedSplit, skip_ids: frozenset[str]) -> AnnotatedSplit:
    skipped = tuple(one.video for one in split.videos if one.video in skip_ids)
    kept = tuple(one for one in split.videos if one.video not in skip_ids)
    report = replace(split.report, skipped=(*split.report.skipped, *skipped))
    return AnnotatedSplit(kept, _recounted(report, kept))


def keep_last_caption(annotations: Annotations) -> Annotations:
    """Keep a video's last caption alone: what readers do that store captions by video (X-Pool's of LSMDC)."""

    def keep(split: AnnotatedSplit) -> AnnotatedSplit:
        videos = tuple(replace(one, captions=one.captions[-1:]) for one in split.videos)
        return AnnotatedSplit(videos, _recounted(split.report, videos))

    return _replace_splits(annotations, keep)


FindFile = Callable[[str], Sequence[str]]


def find_files(annotations: Annotations, candidates: FindFile, *, store: str = "") -> Annotations:
    """Give each video its file, and leave out those that have none; the report says which.

    Args:
        annotations: videos as the annotations name them.
        candidates: the files that may be a video of this name.
        store: the frame store that was searched, to be named; empty: a folder was.

    Raises:
        DataError: two files may be the same video, no video has a file, or a file is missing and ``strict``
            was asked for.
    """
    ambiguous: list[str] = []

    def find(split: AnnotatedSplit) -> AnnotatedSplit:
        found, missing = [], []
        for one in split.videos:
            files = candidates(one.video)
            if len(files) > 1:
                ambiguous.append(f"{one.video} is {' or '.join(files[:3])}")
            elif files:
                found.append(replace(one, file=files[0]))
            else:
                missing.append(one.video)
        report = replace(split.report, num_with_file=len(found), without_file=tuple(missing))
        return AnnotatedSplit(tuple(found), _recounted(report, found))

    result = _replace_splits(annotations, find)
    if ambiguous:
        raise DataError(
            f"{len(ambiguous)} videos of {annotations.name} have more than one file: "
            f"{format_names(ambiguous, 3)}",
            hint="name the folder that holds each video once, or say with data.prefer which suffix counts",
        )
    missing = [name for report in result.reports for name in report.without_file]
    if missing and not any(report.num_used for report in result.reports):
        raise DataError(
            f"{store} holds none of the {len(missing)} videos of {annotations.name}, such as {missing[0]!r}"
            if store
            else f"no file was found for any of the {len(missing)} videos of {annotations.name}, "
            f"such as {missing[0]!r}",
            hint="fill it with `vop extract-frames`, or name another with --frames"
            if store
            else "name the folder that holds the videos, in whatever folders below it",
        )
    return result


def require_complete(
    annotations: Annotations, splits: Collection[str] | None = None, *, store: str = ""
) -> None:
    """Refuse a dataset that files are missing of.

    Args:
        annotations: with files.
        splits: those that have to be complete; None: all.
        store: the frame store that was searched, to be named; empty: a folder was.

    Raises:
        DataError: a file is missing in one of the ``splits``.
    """
    reports = [one for one in annotations.reports if splits is None or one.split in splits]
    missing = [f"{one.split}: {format_names(one.without_file)}" for one in reports if one.without_file]
    if missing:
        count = sum(len(one.without_file) for one in reports)
        wanted = count + sum(one.num_used for one in reports)
        lack = f"are not in {store}" if store else "have no file"
        raise DataError(
            f"{count} of {wanted} videos of {annotations.name} {lack}: {'; '.join(missing)}",
            hint="add the files, or say --allow-missing and report the share that was found",
        )


def _recounted(report: SplitReport, videos: Sequence[CaptionedVideo]) -> SplitReport:
    num_captions = sum(len(one.captions) for one in videos)
    return replace(report, num_used=len(videos), num_captions=num_captions)


def _replace_splits(
    annotations: Annotations, change: Callable[[AnnotatedSplit], AnnotatedSplit]
) -> Annotations:
    return replace(annotations, splits={name: change(one) for name, one in annotations.splits.items()})
