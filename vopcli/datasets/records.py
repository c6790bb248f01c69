"""What every reader of annotations gives: captioned videos of a split, and a report of what was left out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

from vopcli.errors import DataError, UsageError
from vopcli.video.sampling import TimeWindow

TRAIN: Final = "train"
VAL: Final = "val"
TEST: Final = "test"

_MOST_NAMED: Final = 10


def format_names(names: Sequence[str], most: int = _MOST_NAMED) -> str:
    """Join the first ``most`` names, and count the rest."""
    rest = len(names) - most
    return ", ".join(names[:most]) + (f" and {rest} more" if rest > 0 else "")


@dataclass(frozen=True, slots=True)
class CaptionedVideo:
    """A video and the captions it has in one split.

    Attributes:
        video: what the annotations call it.
        captions: at least one, in the order of the annotations, each as it was written.
        window: the part of the video they speak of; None: all of it.
        file: where the video is, relative to the folder, or its key in the frame store, that was searched for
            it; None until `find_files` has looked.
    """

    video: str
    captions: tuple[str, ...]
    window: TimeWindow | None = None
    file: str | None = None

    @property
    def key(self) -> str:
        """The file, or what the annotations call the video as long as none was looked for."""
        return self.video if self.file is None else self.file


@dataclass(frozen=True)
class SplitReport:
    """What became of the videos of a split.

    Attributes:
        split: name of the split.
        num_listed: different videos that the split names.
        num_with_captions: of these, those with a caption.
        num_with_file: of these, less the skipped ones, those with a file; None: files were not looked for.
        num_used: videos that the split holds now.
        num_captions: captions they have.
        without_captions: listed videos that no caption is given for, left out.
        without_file: videos with captions that no file was found for, left out.
        skipped: videos left out because the user said so.
        notes: irregularities, a line each.
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

    @property
    def is_complete(self) -> bool:
        """Whether no file is missing, as far as files were looked for."""
        return not self.without_file

    @property
    def found_ratio(self) -> float:
        """Share of the wanted videos for which a file was found; 1 where none was looked for."""
        return found_ratio([self])

    def as_json(self) -> dict[str, Any]:
        """Return plain values, for a result that is printed or stored."""
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
        }


def found_ratio(reports: Sequence[SplitReport]) -> float:
    """Return the share of the wanted videos of some splits for which a file was found."""
    num_used = sum(report.num_used for report in reports)
    wanted = num_used + sum(len(report.without_file) for report in reports)
    return num_used / wanted if wanted else 1.0


@dataclass(frozen=True)
class Queries:
    """Captions to be searched for, and the gallery they are searched in.

    Attributes:
        texts: captions; those of one video stand together, the videos in the order of the dataset.
        owners: for each text the position in ``videos`` of the video it belongs to, rising.
        videos: the gallery, each video once.
    """

    texts: tuple[str, ...]
    owners: tuple[int, ...]
    videos: tuple[str, ...]


@dataclass(frozen=True)
class AnnotatedSplit:
    """The videos of a split, in the order of the dataset, each once, and what was left out."""

    videos: tuple[CaptionedVideo, ...]
    report: SplitReport

    def queries(self) -> Queries:
        """Return the captions to be searched for, and the gallery."""
        texts = tuple(caption for video in self.videos for caption in video.captions)
        owners = tuple(at for at, video in enumerate(self.videos) for _ in video.captions)
        return Queries(texts, owners, tuple(video.key for video in self.videos))


@dataclass(frozen=True)
class Annotations:
    """The splits of a dataset.

    Attributes:
        name: of the dataset, or of the file.
        splits: by name, in the order of the dataset.
        notes: irregularities that concern all splits, a line each.
    """

    name: str
    splits: Mapping[str, AnnotatedSplit]
    notes: tuple[str, ...] = ()

    def split(self, name: str) -> AnnotatedSplit:
        """Return one split.

        Raises:
            UsageError: there is none of this name.
        """
        if name not in self.splits:
            held = ", ".join(f"{split} ({len(one.videos)} videos)" for split, one in self.splits.items())
            raise UsageError(f"{self.name} has no split {name!r}", hint=f"its splits: {held}")
        return self.splits[name]

    @property
    def reports(self) -> list[SplitReport]:
        """The report of each split."""
        return [split.report for split in self.splits.values()]

    def windows(self) -> dict[str, TimeWindow | None]:
        """Return each video's key and the part of it to take frames from, for all splits together.

        Raises:
            DataError: the splits want different parts of one video.
        """
        found: dict[str, TimeWindow | None] = {}
        for split in self.splits.values():
            for video in split.videos:
                if found.setdefault(video.key, video.window) != video.window:
                    raise DataError(
                        f"{self.name} wants two different parts of {video.key}",
                        hint="its splits contradict each other: get the annotation files again",
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
    """Put together the videos that a split lists and their captions.

    Args:
        split: name of the split.
        listed: its videos, each once, in the order of the dataset.
        captions: of these videos, and perhaps of others.
        windows: the part of a video that counts, where it is not all of it.
        notes: irregularities met so far.

    Raises:
        DataError: not one of the listed videos has a caption.
    """
    videos = tuple(
        CaptionedVideo(video, tuple(captions[video]), None if windows is None else windows[video])
        for video in listed
        if captions.get(video)
    )
    if listed and not videos:
        raise DataError(
            f"none of the {len(listed)} videos of the split {split!r} has a caption, such as {listed[0]!r}",
            hint="do the list of videos and the file of captions belong together?",
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


def _caption_notes(videos: Sequence[CaptionedVideo]) -> list[str]:
    notes = []
    repeated = sum(len(video.captions) - len(set(video.captions)) for video in videos)
    if repeated:
        notes.append(f"{repeated} captions repeat another of the same video: kept")
    owners: dict[str, int] = {}
    for video in videos:
        for caption in set(video.captions):
            owners[caption] = owners.get(caption, 0) + 1
    shared = sum(1 for count in owners.values() if count > 1)
    if shared:
        notes.append(f"{shared} captions stand at more than one video")
    empty = [video.video for video in videos if not all(caption.strip() for caption in video.captions)]
    if empty:
        notes.append(f"{len(empty)} videos have an empty caption: kept ({format_names(empty)})")
    return notes


def note_caption_counts(split: AnnotatedSplit, usual: int) -> AnnotatedSplit:
    """Note the videos that have another number of captions than is ``usual`` for the dataset."""
    odd = [f"{one.video} has {len(one.captions)}" for one in split.videos if len(one.captions) != usual]
    if not odd:
        return split
    note = f"{len(odd)} videos have another number of captions than {usual}: {format_names(odd)}"
    return add_notes(split, note)


def add_notes(split: AnnotatedSplit, *notes: str) -> AnnotatedSplit:
    """Add notes to the report."""
    return replace(split, report=replace(split.report, notes=(*split.report.notes, *notes)))
