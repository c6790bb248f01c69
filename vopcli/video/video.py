"""Decode only the sampled frames of a video, with PyAV on one thread."""

from __future__ import annotations

from array import array
from bisect import bisect_left
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Final

import av
import numpy as np

from vopcli.config.choices import DecodeRule, Fit, Resize
from vopcli.config.schema import DEFAULT_MAX_PIXELS
from vopcli.errors import VideoError
from vopcli.files.s3 import local_copy
from vopcli.video.collect import Collector, SampledFrames, undecodable
from vopcli.video.decoder import (
    OpenVideo,
    UnsoundPacketsError,
    decode_all,
    decode_timed,
    drop_lost_beginning,
)
from vopcli.video.packets import OptionalInts, increases, open_video, reason, scan
from vopcli.video.preprocess import jpeg_bytes
from vopcli.video.sampling import Sampling
from vopcli.video.timestamps import Timeline
from vopcli.video.video_file import WHOLE, TimeWindow
from vopcli.video.windows import WHOLE_ONLY, WindowRule

# A video with a smaller fraction of decodable frames is rejected as too damaged.
MIN_DECODABLE_RATIO: Final = 0.05
# So is a damaged one of whose sampled frames this fraction has a single colour: up to two levels apart.
MAX_FLAT_RATIO: Final = 0.5
_FLAT_LEVELS: Final = 2
MAX_WINDOWS: Final = 200_000  # 23 days of ten seconds
_LEAST_BYTES: Final = 1000  # of a window in a file; where the stated duration gives less, packets are read


@dataclass(frozen=True)
class FrameSpec:
    """How frames are taken from a video.

    Attributes:
        sampling: frames to select in each window.
        size: side of the square frames in pixels.
        resize: resize rule.
        fit: how a frame becomes a square.
        decode: "keyframes" takes the key frame nearest to each sampled frame.
        max_pixels: a video with larger frames is rejected before they are decoded.
    """

    sampling: Sampling
    size: int
    resize: Resize = Resize.BICUBIC
    fit: Fit = Fit.CROP
    decode: DecodeRule = DecodeRule.EXACT
    max_pixels: int = DEFAULT_MAX_PIXELS


def _no_tick() -> None:
    """Do nothing."""


def count_sampled(
    path: str,
    sampling: Sampling,
    windows: WindowRule | Sequence[TimeWindow],
    *,
    max_pixels: int = DEFAULT_MAX_PIXELS,
    tick: Callable[[], None] = _no_tick,
) -> list[tuple[TimeWindow, int]]:
    """Count the frames that `read_windows` returns for each window of a video.

    Packets are read only if the container states no duration, or one too long for the size of the file, or
    if the number of frames varies; windows of a rule that have no frames are then left out.

    Raises:
        VideoError: ``path`` is not a video, or has no frames, or none in the windows.
    """
    if isinstance(windows, WindowRule):
        rule, given = windows, None
        duration, num_bytes = _stated(path, max_pixels) if rule.seconds else (0.0, 0)
        # a damaged header may state years: 134,000 windows of a file of 14 kB took minutes and gigabytes
        if rule.count(duration or 0.0) > 2 + num_bytes / _LEAST_BYTES:
            duration = None
    else:
        rule, given, duration = WHOLE_ONLY, windows, 0.0
    if sampling.num_stored is not None and duration is not None:
        return [(window, sampling.num_stored) for window in given or rule.windows(duration)]
    with open_scanned(path, max_pixels, tick, hold=False) as video:
        timeline = timeline_of(video)
        duration = duration or float(timeline.seconds(-1))
        if rule.count(duration) > MAX_WINDOWS:
            raise VideoError(
                f"{path}: its frames span {duration / 86_400:,.0f} days, more than {MAX_WINDOWS:,} windows",
                hint="is it damaged? else use longer windows, or --windows whole",
            )
        chosen = _choose(video, timeline, sampling, given or rule.windows(duration))
        return [
            (window, sampling.num_stored or len(indices))
            for window, indices in chosen.items()
            if indices or given
        ]


def stated_duration(path: str, max_pixels: int = DEFAULT_MAX_PIXELS) -> float | None:
    """Return the duration in seconds that the container states; None if it states none.

    Raises:
        VideoError: ``path`` is not a video.
    """
    return _stated(path, max_pixels)[0]


def _stated(path: str, max_pixels: int) -> tuple[float | None, int]:
    """Return the stated duration in seconds, and the bytes of the file."""
    container, stream = open_video(path, max_pixels)
    with container:
        if stream.duration and stream.time_base:
            return float(stream.duration * stream.time_base), container.size
        return container.duration / av.time_base if container.duration else None, container.size


def read_frames(
    path: str,
    sampling: Sampling,
    *,
    size: int,
    resize: Resize = Resize.BICUBIC,
    window: TimeWindow = WHOLE,
    max_pixels: int = DEFAULT_MAX_PIXELS,
    tick: Callable[[], None] = _no_tick,
) -> SampledFrames:
    """Decode the sampled frames of one window of a video; see `read_windows`."""
    spec = FrameSpec(sampling, size, resize, max_pixels=max_pixels)
    return next(read_windows(path, [window], spec, tick=tick))


def read_windows(
    path: str, windows: Sequence[TimeWindow], spec: FrameSpec, *, tick: Callable[[], None] = _no_tick
) -> Iterator[SampledFrames]:
    """Decode the sampled frames of a video in one pass, and resize them to squares.

    Frames are sampled among those that can be decoded, according to the packets. If decoding contradicts the
    packets (damage that the container does not report, packets without times), the whole video is decoded
    once to find the decodable frames.

    Args:
        path: a video file.
        windows: parts of the video, all different; usually the whole video last.
        spec: how frames are taken.
        tick: called regularly, to report that the work is not stalled.

    Yields:
        The frames of each window, as soon as the last one is decoded; none if the window has no frames.
        The last window of ``windows`` is yielded last: once it is there, all others are. Memory is that of
        the windows in progress.

    Raises:
        VideoError: ``path`` is not a video, is too large or damaged, or has no frames in any of the windows.
    """
    with open_scanned(path, spec.max_pixels, tick, hold=True) as video:
        timeline = timeline_of(video)
        chosen = _choose(video, timeline, spec.sampling, windows)
        if spec.decode is DecodeRule.KEYFRAMES and video.table.is_timed:
            chosen = _nearest_keyframes(video, timeline, chosen)
        collector = Collector(video, timeline, chosen, (spec.size, spec.resize, spec.fit))
        wanted = [video.table.order[index] for index in collector.missing]
        try:
            for sampled in collector.collect(decode_timed(video, wanted), spec.sampling.num_stored):
                _check_flat(video, sampled, windows[-1])
                yield sampled
        except UnsoundPacketsError:
            left = [window for window in windows if window not in collector.done]
            yield from _read_damaged(video, spec, left)


def _read_damaged(
    video: OpenVideo, spec: FrameSpec, windows: Sequence[TimeWindow]
) -> Iterator[SampledFrames]:
    """Decode the whole video to find the decodable frames, then again to take the sampled ones.

    Raises:
        VideoError: too few frames can be decoded, or none in the windows.
    """
    usable, timeline = decodable_frames(video)
    num_bad, sampling = video.num_bad, spec.sampling
    chosen = _choose(video, timeline, sampling, windows)
    promised: int | dict[TimeWindow, int] | None = sampling.num_stored
    if promised is None:
        by_packets = timeline_of(video)
        promised = {window: len(by_packets.choose(sampling, window)) for window in windows}
    collector = Collector(video, timeline, chosen, (spec.size, spec.resize, spec.fit))
    places = {usable[index]: number for number, index in enumerate(collector.missing)}
    last = max(places)
    found = (
        (places[place], frame)
        for place, frame in zip(range(last + 1), decode_all(video), strict=False)
        if place in places
    )
    for collected in collector.collect(found, promised):
        sampled = replace(collected, num_bad_packets=max(num_bad, video.table.num_bad))
        _check_flat(video, sampled, windows[-1])
        yield sampled


def _check_flat(video: OpenVideo, sampled: SampledFrames, last: TimeWindow) -> None:
    """Reject a damaged video if half of its frames have a single colour, like those that decoders make up.

    Without a sign of damage, such frames count as content of the video. Of a video with several
    windows, the frames of the last one are checked, which is usually the whole video.

    Raises:
        VideoError: the frames are flat and the video is damaged.
    """
    if sampled.window != last or not (sampled.num_bad_packets or video.num_corrupt):
        return
    real = sampled.frames[: sampled.num_real]
    num_flat = sum(int(np.ptp(frame, axis=(0, 1)).max()) <= _FLAT_LEVELS for frame in real)
    if num_flat and num_flat >= MAX_FLAT_RATIO * len(real):
        raise VideoError(
            f"{video.path}: {num_flat} of its {len(real)} sampled frames have a single colour, and "
            f"{sampled.num_bad_packets} packets and {video.num_corrupt} frames are damaged",
            hint="the file is damaged; copy or download it again",
        )


def decodable_frames(video: OpenVideo) -> tuple[list[int], Timeline]:
    """Decode the whole video; return the numbers of the undamaged frames among all decoded, and their times.

    If all frames are damaged, all are returned.

    Raises:
        VideoError: too few frames can be decoded.
    """
    video.num_bad = 0
    outcome = [(frame.pts, frame.is_corrupt) for frame in decode_all(video)]
    video.num_corrupt = sum(is_corrupt for _, is_corrupt in outcome)
    clean = [place for place, (_, is_corrupt) in enumerate(outcome) if not is_corrupt]
    usable = clean or list(range(len(outcome)))
    if not usable or len(usable) < MIN_DECODABLE_RATIO * len(video.table.order):
        error = undecodable(video, len(usable))
        raise error
    return usable, timeline_of(video, OptionalInts(outcome[place][0] for place in usable))


def encode_jpegs(sampled: SampledFrames, quality: int) -> SampledFrames:
    """Replace the frames by JPEG files of ``quality`` (1 to 100)."""
    jpegs = tuple(jpeg_bytes(frame, quality) for frame in sampled.frames)
    return replace(sampled, frames=sampled.frames[:0], jpegs=jpegs)


def _nearest_keyframes(
    video: OpenVideo, timeline: Timeline, chosen: Mapping[TimeWindow, Sequence[int]]
) -> dict[TimeWindow, list[int]]:
    """Replace each frame by the key frame that is nearest in time, the earlier of two."""
    keys = [i for i, position in enumerate(video.table.order) if video.table.is_keyframe[position]]
    if not keys:
        return {window: list(indices) for window, indices in chosen.items()}
    ticks = timeline.ticks

    def nearest(index: int) -> int:
        after = bisect_left(keys, index)
        around = keys[max(after - 1, 0) : after + 1]
        return min(around, key=lambda key: abs(ticks[key] - ticks[index]))

    return {window: [nearest(index) for index in indices] for window, indices in chosen.items()}


@contextmanager
def open_scanned(
    path: str,
    max_pixels: int = DEFAULT_MAX_PIXELS,
    tick: Callable[[], None] = _no_tick,
    *,
    hold: bool,
) -> Iterator[OpenVideo]:
    """Open a video and scan its packets.

    Args:
        path: a video file.
        max_pixels: a video with larger frames is rejected before they are decoded.
        tick: called regularly, to report that the work is not stalled.
        hold: keep the packets of a small file in memory, for decoding.

    Raises:
        VideoError: ``path`` cannot be opened, or has no frames.
    """
    with local_copy(path, tick) as file:
        container, stream = open_video(file, max_pixels)
        with container:
            table = scan(container, stream, tick=tick, hold=hold)
            video = OpenVideo(file, container, stream, table, tick, max_pixels, num_bad=table.num_bad)
            drop_lost_beginning(video)
            if not table.order:
                raise VideoError(f"{file}: its video stream has no frames", hint="copy or download it again")
            try:
                yield video
            except av.FFmpegError as error:
                raise VideoError(
                    f"{file}: its frames cannot be converted ({reason(error)})", hint="is the file damaged?"
                ) from error


def _choose(
    video: OpenVideo, timeline: Timeline, sampling: Sampling, windows: Sequence[TimeWindow]
) -> dict[TimeWindow, list[int]]:
    """Return the indices of the frames that a sampling selects within each window.

    Raises:
        VideoError: no window has frames.
    """
    chosen = {window: timeline.choose(sampling, window) for window in windows}
    if not any(chosen.values()):
        raise VideoError(
            f"{video.path}: it has no frames in the window from {windows[0]}, the last is at "
            f"{float(timeline.seconds(-1)):g} s",
            hint="is it the complete video of the annotations?",
        )
    return chosen


def timeline_of(video: OpenVideo, pts: OptionalInts | None = None) -> Timeline:
    """Return the times of the presentable frames, or of those with the given ``pts``.

    Without times in the container, frames are assumed to follow each other at its rate.
    """
    if pts is None:
        pts = OptionalInts(video.table.pts[position] for position in video.table.order)
    rate = video.stream.average_rate or video.stream.guessed_rate or Fraction(25)
    if increases(pts):
        return Timeline(array("q", (time for time in pts if time is not None)), video.table.time_base, rate)
    return Timeline(range(len(pts)), 1 / rate, rate)
