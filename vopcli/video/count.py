"""Count the frames of many videos before they are decoded, so that their space can be reserved."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from vopcli.config.schema import DEFAULT_MAX_PIXELS
from vopcli.errors import VideoError
from vopcli.progress import Progress
from vopcli.video.pool import DecodeJob, scan_videos
from vopcli.video.sampling import WHOLE, Sampling, TimeWindow
from vopcli.video.video_file import VideoFile


def count_frames(
    videos: Sequence[VideoFile],
    sampling: Sampling,
    *,
    workers: int,
    progress: Progress,
    window_of: Callable[[str], TimeWindow] = lambda _: WHOLE,
    max_pixels: int = DEFAULT_MAX_PIXELS,
) -> tuple[list[tuple[VideoFile, int]], list[tuple[VideoFile, str]]]:
    """Count the frames that a sampling takes of each video; packets are read only if the number varies.

    Args:
        videos: the videos.
        sampling: which frames are taken.
        workers: processes that read packets; 0 reads in this process.
        progress: gets a task while packets are read.
        window_of: maps the path of a video to the part of it that is sampled.
        max_pixels: videos with larger frames fail.

    Returns:
        The videos with their numbers of frames, in the given order, and those that failed, with the reasons.
    """
    if sampling.num_stored is not None:
        return [(video, sampling.num_stored) for video in videos], []
    counts: dict[int, int] = {}
    failed: list[tuple[VideoFile, str]] = []
    jobs = (DecodeJob(key, video.file, window_of(video.path)) for key, video in enumerate(videos))
    with progress.task("count frames", total=len(videos), unit="videos") as task:
        for job, count in scan_videos(jobs, sampling, workers=workers, max_pixels=max_pixels):
            if isinstance(count, VideoError):
                video = videos[job.key]
                failed.append((video, count.reason(job.path)))
                task.fail(video.path, failed[-1][1])
            else:
                counts[job.key] = count
                task.advance()
    return [(videos[key], counts[key]) for key in sorted(counts)], failed
