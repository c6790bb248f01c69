"""The common format of all annotation readers: captioned videos by split, and a report of removed videos."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

from vopcli.errors import DataError, UsageError, format_name, format_value, nearest
from vopcli.video.video_file import TimeWindow, range_name

TRAIN: Final = "train"
VAL: Final = "val"
TEST: Final = "test"

_MOST_NAMED: Final = 10


def format_names(names: Sequence[str], most: int = _MOST_NAMED) -> str:
    """Join the first ``most`` names, and add the number of the others."""
    rest = len(names) - most
    return ", ".join(map(format_name, names[:most])) + (f" and {rest} more" if rest > 0 else "")


@dataclass(frozen=True, slots=True)
class CaptionedVideo:
    """A video with its captions in one split.

    Attributes:
        video: name in the annotations.
        captions: one or more captions, unchanged and in the order of the annotations.
        window: the annotated part of the video; None: all of it.
        file: path relative to the searched folder, or key in the frame store; None before `find_files`.
        is_range: the captions describe ``window`` only, which has frames of its own.
    """

    video: str
    captions: tuple[str, ...]
    window: TimeWindow | None = None
    file: str | None = None
    is_range: bool = False

    @property
    def path(self) -> str:
        """The file, or before `find_files` the name in the annotations."""
        return self.video if self.file is None else self.file

    @property
    def key(self) -> str:
        """The name in the frame store: the path, with the times of a range."""
        return range_name(self.path, self.window) if self.is_range and self.window else self.path


@dataclass(frozen=True)
class SplitReport:
    """Counts of the videos of a split, and the videos that were removed.

    Attributes:
        split: name of the split.
        num_listed: distinct videos in the list of the split.
        num_with_captions: listed videos with a caption.
        num_with_file: of these, without the skipped ones, videos with a file; None before `find_files`.
        num_used: videos of the split after all filters.
        num_captions: captions of the used videos.
        without_captions: listed videos without captions, removed.
        without_file: videos with captions but without a file, removed.
        skipped: videos removed at the user's request.
        notes: irregularities, one line each.
        other_size: how the release differs in size from the published one; empty: it does not, or no size is
            published.
        num_ranges: listed ranges of videos; each counts as a video.
    """

    split: str
    num_listed: int
    num_with_captions: int
    num_with_file: int | None
    num_used: int
    num_captions: int
    without_captions: tuple[str, ...] = ()
    without_file: tuple[str, ...] = ()
    skipped: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    other_size: str = ""
    num_ranges: int = 0

    @property
    def is_complete(self) -> bool:
        """Whether the size is the published one and no file is missing; before `find_files` none is."""
        return not self.without_file and not self.other_size

    @property
    def found_ratio(self) -> float:
        """Fraction of the wanted videos with a file; 1 before `find_files`."""
        return found_ratio([self])

    def to_json(self) -> dict[str, Any]:
        """Return JSON values, for results that are printed or stored."""
        return {
            "listed": self.num_listed,
            "with_captions": self.num_with_captions,
            "with_file": self.num_with_file,
            "used": self.num_used,
            "captions": self.num_captions,
            "found_ratio": self.found_ratio,
            "without_captions": list(self.without_captions),
            "without_file": list(self.without_file),
            "skipped": list(self.skipped),
            "notes": list(self.notes),
            "other_size": self.other_size,
            "ranges": self.num_ranges,
        }


def iter_other_sizes(reports: Sequence[SplitReport]) -> Iterator[str]:
    """Yield a warning for each split that differs in size from the published one."""
    for report in reports:
        if report.other_size:
            yield f"{report.split} differs from the published size: {report.other_size}"


def found_ratio(reports: Sequence[SplitReport]) -> float:
    """Return the fraction of the wanted videos of some splits that have a file."""
    num_used = sum(report.num_used for report in reports)
    wanted = num_used + sum(len(report.without_file) for report in reports)
    return num_used / wanted if wanted else 1.0


@dataclass(frozen=True)
class Queries:
    """Captions as queries, with the gallery that they are searched in.

    Attributes:
        texts: captions, grouped by video in the order of the dataset.
        owners: for each text the index of its video in ``videos``, ascending.
        videos: the gallery, without duplicates.
    """

    texts: tuple[str, ...]
    owners: tuple[int, ...]
    videos: tuple[str, ...]


@dataclass(frozen=True)
class AnnotatedSplit:
    """The distinct videos of a split, in the order of the dataset, with a report."""

    videos: tuple[CaptionedVideo, ...]
    report: SplitReport

    def queries(self) -> Queries:
        """Return the captions as queries, and the gallery."""
        texts = tuple(caption for video in self.videos for caption in video.captions)
        owners = tuple(at for at, video in enumerate(self.videos) for _ in video.captions)
        return Queries(texts, owners, tuple(video.key for video in self.videos))


@dataclass(frozen=True)
class Annotations:
    """The splits of a dataset.

    Attributes:
        name: name of the dataset, or of the caption file.
        splits: splits by name, in the order of the dataset.
        notes: irregularities that concern all splits, one line each.
    """

    name: str
    splits: Mapping[str, AnnotatedSplit]
    notes: tuple[str, ...] = ()

    def split(self, name: str) -> AnnotatedSplit:
        """Return one split.

        Raises:
            UsageError: no split has this name.
        """
        if name not in self.splits:
            held = ", ".join(f"{split} ({len(one.videos)} videos)" for split, one in self.splits.items())
            raise UsageError(
                f"{self.name} has no split {format_value(name)}",
                hint=nearest(name, self.splits) or f"use one of its splits: {held}",
            )
        return self.splits[name]

    @property
    def reports(self) -> list[SplitReport]:
        """The report of each split."""
        return [split.report for split in self.splits.values()]

    def windows(self) -> dict[str, TimeWindow | None]:
        """Return the annotated part of each video by its key, for all splits together.

        Raises:
            DataError: two splits annotate different parts of a video.
        """
        found: dict[str, TimeWindow | None] = {}
        for split in self.splits.values():
            for video in split.videos:
                if found.setdefault(video.key, video.window) != video.window:
                    raise DataError(
                        f"{self.name} annotates two different parts of {format_value(video.key)}",
                        hint="its splits contradict each other: download the annotation files again",
                    )
        return found


def build_split(
    split: str,
    listed: Sequence[str],
    captions: Mapping[str, Sequence[str]],
    *,
    windows: Mapping[str, TimeWindow] | None = None,
    notes: Sequence[str] = (),
) -> AnnotatedSplit:
    """Combine the listed videos of a split with their captions.

    Args:
        split: name of the split.
        listed: its videos without duplicates, in the order of the dataset.
        captions: captions by video; other videos are ignored.
        windows: annotated part of each video; None: all of it.
        notes: irregularities found so far.

    Raises:
        DataError: none of the listed videos has a caption.
    """
    videos = tuple(
        CaptionedVideo(video, tuple(captions[video]), None if windows is None else windows[video])
        for video in listed
        if captions.get(video)
    )
    if listed and not videos:
        raise DataError(
            f"none of the {len(listed)} videos of the split {format_value(split)} has a caption, "
            f"such as {format_value(listed[0])}",
            hint="check that the list of videos and the caption file are of the same release",
        )
    without = tuple(video for video in listed if not captions.get(video))
    num_captions = sum(len(video.captions) for video in videos)
    report = SplitReport(
        split=split,
        num_listed=len(listed),
        num_with_captions=len(videos),
        num_with_file=None,
        num_used=len(videos),
        num_captions=num_captions,
        without_captions=without,
        notes=(*notes, *_caption_notes(videos)),
    )
    return AnnotatedSplit(videos, report)


def join_sentences(sentences: Sequence[str]) -> list[str]:
    """Join the sentences of a video into a list of one paragraph; empty without sentences."""
    return [" ".join(sentences)] if sentences else []


def _caption_notes(videos: Sequence[CaptionedVideo]) -> list[str]:
    notes = []
    repeated = sum(len(video.captions) - len(set(video.captions)) for video in videos)
    if repeated:
        notes.append(f"{repeated} captions are duplicates of another of their video: kept")
    owners: dict[str, int] = {}
    for video in videos:
        for caption in set(video.captions):
            owners[caption] = owners.get(caption, 0) + 1
    shared = sum(1 for count in owners.values() if count > 1)
    if shared:
        notes.append(f"{shared} captions occur with more than one video")
    empty = [video.video for video in videos if not all(caption.strip() for caption in video.captions)]
    if empty:
        notes.append(f"{len(empty)} videos have an empty caption: kept ({format_names(empty)})")
    return notes


def note_caption_counts(split: AnnotatedSplit, usual: int) -> AnnotatedSplit:
    """Add a note about videos with another number of captions than the ``usual`` one of the dataset."""
    odd = [f"{one.video} has {len(one.captions)}" for one in split.videos if len(one.captions) != usual]
    if not odd:
        return split
    note = f"{len(odd)} videos do not have {usual} captions: {format_names(odd)}"
    return add_notes(split, note)


def add_notes(split: AnnotatedSplit, *notes: str) -> AnnotatedSplit:
    """Return the split with more notes in its report."""
    return replace(split, report=replace(split.report, notes=(*split.report.notes, *notes)))
