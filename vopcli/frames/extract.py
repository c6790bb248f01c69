"""Decode videos once and keep their sampled frames in a frame store."""

from __future__ import annotations

import contextlib
import logging
import os
import time
from collections import defaultdict
from collections.abc import Generator
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Final

import numpy as np

from vopcli.errors import EXIT_SOME_FAILED, VideoError
from vopcli.files.s3 import is_remote
from vopcli.frames.open_store import check_room, opened, read_known
from vopcli.frames.plan import ExtractPlan, ExtractRequest, find, make_plan, warn_empty
from vopcli.frames.rows import Row, Status
from vopcli.frames.writer import FrameStoreWriter
from vopcli.progress import Progress, SilentProgress, Task
from vopcli.resources import num_workers
from vopcli.video.collect import SampledFrames
from vopcli.video.estimate import Estimate, estimate_work
from vopcli.video.pool import DecodeJob, Workers, decode_videos
from vopcli.video.ray_pool import opened_workers
from vopcli.video.video_file import relocate

_JPEG_QUALITY: Final = 95
_LOG: Final = logging.getLogger(__name__)


@dataclass
class ExtractSummary:
    """Summary of an extraction, or of a dry run.

    Attributes:
        store: the frame store.
        recipe: how its frames are made, in words.
        is_dry_run: nothing was written.
        num_found: videos found.
        num_new: videos decoded under a new name (in a dry run: to be decoded).
        num_changed: videos decoded again because their content or window changed.
        num_renamed: renamed videos, whose frames were kept.
        num_copies: videos with the content of another one, decoded once.
        num_unchanged: stored videos that are unchanged.
        num_vanished: stored videos whose files were deleted.
        num_frames: frames decoded.
        num_bytes: growth of the store.
        seconds: duration of the extraction.
        failed: path and reason of each video that failed in this run.
        failed_before: path and reason of each video that failed in an earlier run and was not retried.
        unreadable: name and reason of each file or folder that cannot be read.
        estimate: of a dry run.
    """

    store: str
    recipe: str
    is_dry_run: bool
    num_found: int
    num_new: int = 0
    num_changed: int = 0
    num_renamed: int = 0
    num_copies: int = 0
    num_unchanged: int = 0
    num_vanished: int = 0
    num_frames: int = 0
    num_bytes: int = 0
    seconds: float = 0.0
    failed: list[tuple[str, str]] = field(default_factory=list)
    failed_before: list[tuple[str, str]] = field(default_factory=list)
    unreadable: list[tuple[str, str]] = field(default_factory=list)
    estimate: Estimate | None = None

    def to_json(self) -> dict[str, Any]:
        """Return the summary as JSON values; bytes of names that are not UTF-8 are surrogates."""
        listed = {
            name: [{"video": path, "reason": error} for path, error in getattr(self, name)]
            for name in ("failed", "failed_before", "unreadable")
        }
        return asdict(self) | listed

    def __str__(self) -> str:
        """Summarise in one line."""
        counts = {
            "new": self.num_new,
            "changed": self.num_changed,
            "renamed": self.num_renamed,
            "copies": self.num_copies,
            "unchanged": self.num_unchanged,
            "failed": len(self.failed),
            "failed before (--retry-failed tries them again)": len(self.failed_before),
            "unreadable": len(self.unreadable),
            "in the store but no longer on the disk": self.num_vanished,
        }
        changes = ", ".join(f"{count} {name}" for name, count in counts.items() if count)
        work = f"{self.num_frames} frames, {self.num_bytes / 1e6:.1f} MB"
        if self.is_dry_run:
            return f"{self.store} would get {work} ({self.recipe}): {changes or 'nothing'}; {self.estimate}"
        return f"{self.store} got {work} in {self.seconds:.1f} s ({self.recipe}): {changes}"

    @property
    def exit_code(self) -> int:
        """0, or 4 if a video failed in this run or cannot be read."""
        return EXIT_SOME_FAILED if self.failed or self.unreadable else 0


def extract(request: ExtractRequest, progress: Progress) -> ExtractSummary:
    """Add new and changed videos to a frame store; create the store if it does not exist.

    Args:
        request: sources, store and settings.
        progress: receives counts of videos, and failures.

    Returns:
        A summary.

    Raises:
        UsageError: an option is invalid.
        DataError: a source or the store is missing, damaged, in use, or does not match the request; or the
            disk is full.
        VideoError: a video failed in a strict run; finished videos are kept.
    """
    began = time.monotonic()
    _ = request.recipe  # refuse invalid options before reading anything
    data = replace(request.data, ray=None) if request.dry_run else request.data
    with opened_workers(data, progress) as workers:
        summary = _extract(request, workers, progress)
    summary.seconds = time.monotonic() - began
    return summary


def _extract(request: ExtractRequest, workers: Workers, progress: Progress) -> ExtractSummary:
    found, unreadable = find(request)
    if request.strict and unreadable:
        raise VideoError(
            f"{unreadable[0][0]} {unreadable[0][1]}", hint="omit --strict to continue with the others"
        )
    if request.dry_run:
        recipe, known, num_free = read_known(request)
        plan = make_plan(request, recipe, known, found, workers, progress)
        summary = _summary(request, plan, len(found))
        summary.num_new, summary.num_changed = len(plan.changes.new), len(plan.changes.changed)
        summary.num_copies += len(plan.changes.duplicates)
        summary.num_frames, summary.num_bytes = plan.num_frames, plan.num_bytes(num_free)
        spec = recipe.frame_spec(request.data.max_pixels)
        summary.estimate = estimate_work(plan.to_decode, spec, workers=num_workers(request.data.workers))
    else:
        if request.overwrite:  # an interrupted replacement may hold failures
            request = replace(request, retry_failed=True)
        with opened(request, found, progress) as (writer, keep):
            plan = make_plan(request, writer.recipe, writer.known, found, workers, progress)
            summary = _summary(request, plan, len(found))
            check_room(request.store, plan.num_bytes(writer.num_free))
            size = writer.num_bytes
            run = _Run(request, plan, writer, summary, workers)
            if num_damaged := writer.drop_damaged_rows():
                progress.note(
                    f"{request.store} had {num_damaged} damaged rows: their videos are extracted again"
                )
            keep()
            run.decode(progress)
            summary.num_bytes = writer.num_bytes - size
    summary.unreadable = unreadable
    return summary


def _summary(request: ExtractRequest, plan: ExtractPlan, num_found: int) -> ExtractSummary:
    """Summarise the decisions of the plan; decoded videos are counted later."""
    changes = plan.changes
    _LOG.debug("videos: %d found, %d to decode, as %s", num_found, len(plan.to_decode), plan.recipe)
    return ExtractSummary(
        store=os.fspath(request.store),
        recipe=str(plan.recipe),
        is_dry_run=request.dry_run,
        num_found=num_found,
        num_renamed=len(changes.renamed),
        num_copies=len(changes.copies),
        num_unchanged=len(changes.unchanged) + len(changes.same_content),
        num_vanished=len(changes.deleted),
        failed=[(video.path, error) for video, error in plan.failed],
        failed_before=plan.failed_before,
    )


class _Run:
    """Decodes the videos of a plan: workers decode and hash, this process writes."""

    def __init__(
        self,
        request: ExtractRequest,
        plan: ExtractPlan,
        writer: FrameStoreWriter,
        summary: ExtractSummary,
        workers: Workers,
    ) -> None:
        self.request = request
        self.plan = plan
        self.writer = writer
        self.summary = summary
        self.rows, num_frames = plan.rows()
        self.numbers = {
            (row.path, row.window): number
            for number, row in enumerate(self.rows)
            if row.status is Status.PENDING
        }
        self.duplicates: dict[str, list[str]] = defaultdict(list)
        for video, path in plan.changes.duplicates:
            self.duplicates[path].append(video.path)
        self.changed = {video.path for video in plan.changes.changed}
        self.workers = workers
        self.max_pixels = request.data.max_pixels
        self.task: Task = SilentProgress()
        if self.rows:
            writer.lay_out(self.rows, num_frames)

    def decode(self, progress: Progress) -> None:
        """Decode and write; raise VideoError at the first failure of a strict run."""
        for path, error in self.plan.failed_before:
            self._stop_if_strict(path, error)
        num_videos, num_copies = len(self.plan.to_decode), len(self.plan.changes.duplicates)
        total = sum(len(windows) for _, windows in self.plan.to_decode) + num_copies
        if not total and not self.plan.failed:
            return
        unit = "videos" if total == num_videos + num_copies else "windows"
        with contextlib.ExitStack() as stack:
            self.task = stack.enter_context(progress.task("decode", total=total, unit=unit))
            for video, error in self.plan.failed:
                self._fail_duplicates(video.path, error)
                self._stop_if_strict(video.path, error)
            left = [len(windows) for _, windows in self.plan.to_decode]
            for key, sampled in stack.enter_context(contextlib.closing(self._decoded())):
                video, windows = self.plan.to_decode[key]
                if not left[key]:  # an earlier window failed, and the video with it
                    continue
                left[key] -= 1
                if isinstance(sampled, VideoError):
                    self.task.advance(left[key])
                    left[key] = 0
                    error = sampled.reason(video.file)
                    self._fail(self.numbers[video.path, windows[-1][0]], error)
                    self._fail_duplicates(video.path, error)
                    self._stop_if_strict(video.path, error)
                elif len(sampled.seconds):
                    self._put(self.numbers[video.path, sampled.window], sampled)
                else:  # the video is shorter than its container states, or a range is
                    if sampled.window in self.request.ranges.get(video.path, ()):
                        warn_empty(video, sampled.window, progress)
                    self.task.advance()

    def _decoded(self) -> Generator[tuple[int, SampledFrames | VideoError], None, None]:
        """Decode the videos; yield the position of each in the plan, with the frames of a window."""
        recipe = self.plan.recipe
        rows = [self.rows[self.numbers[video.path, windows[-1][0]]] for video, windows in self.plan.to_decode]
        jobs = (
            DecodeJob(key, video.file, tuple(window for window, _ in windows), not rows[key].sha256)
            for key, (video, windows) in enumerate(self.plan.to_decode)
        )
        results: Any = decode_videos(
            jobs,
            recipe.frame_spec(self.max_pixels),
            workers=self.workers,
            jpeg_quality=_JPEG_QUALITY if recipe.codec == "jpeg" else None,
        )
        with contextlib.closing(results):
            for job, sampled in results:
                change = _change(rows[job.key]) if isinstance(sampled, SampledFrames) else None
                yield job.key, change or sampled

    def _put(self, number: int, sampled: SampledFrames) -> None:
        info = sampled.info
        row = replace(
            self.rows[number],
            sha256=self.rows[number].sha256 or sampled.sha256,
            duration_seconds=info.duration_seconds,
            fps=info.fps,
            width=info.width,
            height=info.height,
            rotation_degrees=info.rotation_degrees,
            num_real=sampled.num_real,
            num_bad_packets=sampled.num_bad_packets,
        )
        frames: Any = sampled.frames
        if sampled.jpegs:
            frames = [np.frombuffer(jpeg, np.uint8) for jpeg in sampled.jpegs]
        row = self.writer.put_frames(number, row, frames, sampled.seconds)
        self.task.advance()
        self.summary.num_frames += row.num_frames
        if row.is_part:
            return
        if row.path in self.changed:
            self.summary.num_changed += 1
        else:
            self.summary.num_new += 1
        for path in self.duplicates.get(row.path, []):
            number = self.numbers[path, row.window]
            self.writer.put_row(number, relocate(row, self.rows[number]))
            self.summary.num_copies += 1
            self.task.advance()

    def _fail(self, number: int, error: str) -> None:
        row = self.rows[number]
        self.writer.put_row(number, replace(row, status=Status.FAILED, error=error))
        self.summary.failed.append((row.path, error))
        self.task.fail(row.path, error)

    def _fail_duplicates(self, path: str, error: str) -> None:
        for duplicate in self.duplicates.get(path, []):
            self._fail(self.numbers[duplicate, self.plan.window_of(duplicate)], error)

    def _stop_if_strict(self, path: str, error: str) -> None:
        if self.request.strict:
            raise VideoError(
                f"{path}: {error}", hint="omit --strict to continue with the others; finished videos are kept"
            )


def _change(row: Row) -> VideoError | None:
    """Return an error if a file has changed since it was planned; an object on S3 is read as a whole."""
    if is_remote(row.file):
        return None
    try:
        status = os.stat(row.file)  # noqa: PTH116  (a name of any bytes)
    except OSError as error:
        return VideoError(f"{row.file}: deleted while it was read ({error.strerror})")
    if (status.st_size, status.st_mtime_ns) != (row.size, row.mtime_ns):
        return VideoError(f"{row.file}: changed while it was read", hint="run the command again")
    return None
