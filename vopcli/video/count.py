"""Count the frames of many videos before they are decoded, so that their space can be reserved."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from vopcli.config.schema import DEFAULT_MAX_PIXELS
from vopcli.errors import VideoError
from vopcli.progress import Progress
from vopcli.video.pool import DecodeJob, Workers, scan_videos
from vopcli.video.sampling import Sampling
from vopcli.video.video_file import WHOLE, TimeWindow, VideoFile
from vopcli.video.windows import WHOLE_ONLY, WindowRule


def count_frames(
    videos: Sequence[VideoFile],
    sampling: Sampling,
    rule: WindowRule = WHOLE_ONLY,
    *,
    workers: Workers,
    progress: Progress,
    windows_of: Callable[[str], tuple[TimeWindow, ...] | None] = lambda _: None,
    max_pixels: int = DEFAULT_MAX_PIXELS,
) -> tuple[list[tuple[VideoFile, list[tuple[TimeWindow, int]]]], list[tuple[VideoFile, str]]]:
    """Divide videos into windows, and count the frames that a sampling takes of each.

    Files are read only if windows or numbers depend on them.

    Args:
        videos: the videos.
        sampling: which frames are taken.
        rule: divides the videos into windows.
        workers: processes that read files; 0 reads in this process; or Ray.
        progress: receives a task while files are read.
        windows_of: maps the path of a video to its windows; None: by ``rule``.
        max_pixels: videos with larger frames fail.

    Returns:
        The videos with their windows and numbers of frames, in the given order, and those that failed, with
        the reasons.
    """
    counts: dict[int, list[tuple[TimeWindow, int]]] = {}
    failed: list[tuple[VideoFile, str]] = []
    jobs = []
    for key, video in enumerate(videos):
        windows = windows_of(video.path) or (None if rule.seconds else (WHOLE,))
        if windows and sampling.num_stored is not None:
            counts[key] = [(window, sampling.num_stored) for window in windows]
        else:
            jobs.append(DecodeJob(key, video.file, windows))
    if jobs:
        with progress.task("count frames", total=len(jobs), unit="videos") as task:
            for job, count in scan_videos(jobs, sampling, rule, workers=workers, max_pixels=max_pixels):
                if isinstance(count, VideoError):
                    video = videos[job.key]
                    failed.append((video, count.reason(job.path)))
                    task.fail(video.path, failed[-1][1])
                else:
                    counts[job.key] = count
                    task.advance()
    return [(videos[key], counts[key]) for key in sorted(counts)], failed
