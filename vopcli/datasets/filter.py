"""Filter annotated videos: by available files, and by lists of videos to skip."""

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
from vopcli.errors import DataError, format_name, format_value


def iter_overlaps(annotations: Annotations) -> Iterator[tuple[str, str, str]]:
    """Yield each pair of splits that share videos, the earlier first, with a note that names the videos."""
    for (earlier, one), (later, other) in itertools.combinations(annotations.splits.items(), 2):
        shared = sorted({video.path for video in one.videos} & {video.path for video in other.videos})
        if shared:
            yield (
                earlier,
                later,
                f"{len(shared)} videos are in '{earlier}' and in '{later}': {format_names(shared)}",
            )


def note_overlaps(annotations: Annotations) -> Annotations:
    """Add a note to each split about its videos that are also in an earlier split."""
    noted = dict(annotations.splits)
    for _, later, note in iter_overlaps(annotations):
        noted[later] = add_notes(noted[later], note)
    return replace(annotations, splits=noted)


def skip_videos(annotations: Annotations, skip_ids: Collection[str]) -> Annotations:
    """Remove videos by name; the reports list them.

    Unknown names are ignored, since published lists of broken videos cover several releases.
    """
    wanted = frozenset(skip_ids)
    return _replace_splits(annotations, lambda split: _skip(split, wanted))


def _skip(split: AnnotatedSplit, skip_ids: frozenset[str]) -> AnnotatedSplit:
    skipped = tuple(one.video for one in split.videos if one.video in skip_ids)
    kept = tuple(one for one in split.videos if one.video not in skip_ids)
    report = replace(split.report, skipped=(*split.report.skipped, *skipped))
    return AnnotatedSplit(kept, _update_counts(report, kept))


def keep_last_caption(annotations: Annotations) -> Annotations:
    """Keep only the last caption of each video, as X-Pool's reader of LSMDC does."""

    def keep(split: AnnotatedSplit) -> AnnotatedSplit:
        videos = tuple(replace(one, captions=one.captions[-1:]) for one in split.videos)
        return AnnotatedSplit(videos, _update_counts(split.report, videos))

    return _replace_splits(annotations, keep)


FindFile = Callable[[str], Sequence[str]]


def find_files(annotations: Annotations, candidates: FindFile, *, store: str = "") -> Annotations:
    """Set the file of each video, and remove videos without one; the reports list them.

    Args:
        annotations: videos by their names in the annotations.
        candidates: returns the files that match the name of a video.
        store: name of the searched frame store for messages; empty: a folder was searched.

    Raises:
        DataError: a video has several files, or none of the videos has one.
    """
    ambiguous: list[str] = []

    def find(split: AnnotatedSplit) -> AnnotatedSplit:
        found, missing = [], []
        for one in split.videos:
            files = candidates(one.video)
            if len(files) > 1:
                ambiguous.append(f"{format_name(one.video)} matches {format_names(files, 3)}")
            elif files:
                found.append(replace(one, file=files[0]))
            else:
                missing.append(one.video)
        report = replace(split.report, num_with_file=len(found), without_file=tuple(missing))
        return AnnotatedSplit(tuple(found), _update_counts(report, found))

    result = _replace_splits(annotations, find)
    if ambiguous:
        raise DataError(
            f"{len(ambiguous)} videos of {annotations.name} have more than one file: "
            f"{format_names(ambiguous, 3)}",
            hint="use a folder with one file for each video, or set data.prefer to a suffix",
        )
    missing = [name for report in result.reports for name in report.without_file]
    if missing and not any(report.num_used for report in result.reports):
        none = f"none of the {len(missing)} videos of {annotations.name}"
        problem, hint = f"{none} has a file", "pass the folder of the videos, which may be in subfolders"
        if store:
            problem = f"{store} has {none}"
            hint = "add them with `vop extract-frames`, or pass another store with --frames"
        raise DataError(f"{problem}, such as {format_value(missing[0])}", hint=hint)
    return result


def require_complete(
    annotations: Annotations, splits: Collection[str] | None = None, *, store: str = ""
) -> None:
    """Check that every video has a file.

    Args:
        annotations: from `find_files`.
        splits: splits to check; None: all.
        store: name of the searched frame store for messages; empty: a folder was searched.

    Raises:
        DataError: a video of one of the ``splits`` has no file.
    """
    reports = [one for one in annotations.reports if splits is None or one.split in splits]
    missing = [f"{one.split}: {format_names(one.without_file)}" for one in reports if one.without_file]
    if missing:
        count = sum(len(one.without_file) for one in reports)
        wanted = count + sum(one.num_used for one in reports)
        lack = f"are not in {store}" if store else "have no file"
        what, add = "videos", "add the files"
        if any(one.num_ranges for one in reports):
            what, add = "videos and ranges", how_to_add_ranges(annotations, store)
        raise DataError(
            f"{count} of {wanted} {what} of {annotations.name} {lack}: {'; '.join(missing)}",
            hint=f"{add}, or pass --allow-missing and report the fraction that was found",
        )


def how_to_add_ranges(annotations: Annotations, store: str) -> str:
    """Return the command that adds ranges of a caption file to a frame store, as a hint."""
    return f"add them with `vop extract-frames VIDEOS... {store} --captions {annotations.name}`"


def _update_counts(report: SplitReport, videos: Sequence[CaptionedVideo]) -> SplitReport:
    num_captions = sum(len(one.captions) for one in videos)
    return replace(report, num_used=len(videos), num_captions=num_captions)


def _replace_splits(
    annotations: Annotations, change: Callable[[AnnotatedSplit], AnnotatedSplit]
) -> Annotations:
    return replace(annotations, splits={name: change(one) for name, one in annotations.splits.items()})
