"""Decode only the sampled frames of a video, with PyAV on one thread."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Final

import av
import numpy as np
from av.video.frame import VideoFrame
from numpy.typing import NDArray

from vopcli.config.choices import Resize
from vopcli.config.schema import DEFAULT_MAX_PIXELS
from vopcli.errors import VideoError
from vopcli.video.colour import RgbConverter, clockwise_degrees, display_matrix
from vopcli.video.decoder import OpenVideo, decode_all, decode_timed, drop_lost_beginning
from vopcli.video.packets import open_video, reason, scan
from vopcli.video.preprocess import jpeg_bytes, resize_and_crop
from vopcli.video.sampling import WHOLE, Sampling, TimeWindow
from vopcli.video.timestamps import Timeline

# A video with a smaller fraction of decodable frames is rejected as too damaged.
MIN_DECODABLE_RATIO: Final = 0.05


@dataclass(frozen=True)
class VideoInfo:
    """Properties of a video; width and height as displayed, after rotation."""

    duration_seconds: float
    fps: float
    width: int
    height: int
    rotation_degrees: int
    num_frames: int
    codec: str


@dataclass(frozen=True)
class SampledFrames:
    """The sampled frames of a video.

    Attributes:
        frames: (F, S, S, 3) uint8 RGB.
        seconds: (F,) float64 presentation times; the first frame of the video is at 0.
        num_real: number of frames that do not repeat the last one.
        info: properties of the video.
        num_bad_packets: packets that are damaged or could not be decoded.
        jpegs: the frames as JPEG files, if requested; ``frames`` is then empty.
    """

    frames: NDArray[np.uint8]
    seconds: NDArray[np.float64]
    num_real: int
    info: VideoInfo
    num_bad_packets: int
    jpegs: tuple[bytes, ...] = ()


def _no_tick() -> None:
    """Do nothing."""


def count_sampled(
    path: str,
    sampling: Sampling,
    *,
    window: TimeWindow = WHOLE,
    max_pixels: int = DEFAULT_MAX_PIXELS,
    tick: Callable[[], None] = _no_tick,
) -> int:
    """Count the frames that `read_frames` returns, from the packets alone.

    Raises:
        VideoError: ``path`` is not a video, or has no frames, or none in the window.
    """
    if sampling.num_stored is not None:
        return sampling.num_stored
    with open_scanned(path, max_pixels, tick, hold=False) as video:
        return len(_choose(video, timeline_of(video), sampling, window))


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
    """Decode the sampled frames of a video, resize them and crop the central square.

    Frames are sampled among those that can be decoded, according to the packets. If decoding contradicts the
    packets (damage that the container does not report, packets without times), the whole video is decoded
    once to find the decodable frames.

    Args:
        path: a video file.
        sampling: frames to select.
        size: side of the square in pixels.
        resize: resize rule.
        window: part of the video that frames are sampled from.
        max_pixels: a video with larger frames is rejected before they are decoded.
        tick: called regularly, to report that the work is not stalled.

    Raises:
        VideoError: ``path`` is not a video, is too large or damaged, or has no frames in the window.
    """
    with open_scanned(path, max_pixels, tick, hold=True) as video:
        timeline = timeline_of(video)
        chosen = _choose(video, timeline, sampling, window)
        distinct = sorted(set(chosen))
        buffer = _FrameBuffer(size, resize, len(distinct))
        wanted = [video.table.order[index] for index in distinct]
        if not (video.table.is_timed and decode_timed(video, wanted, buffer.put)):
            return _read_damaged(video, sampling, (size, resize), window)
        return _sampled(video, sampling, buffer, timeline, chosen, len(chosen))


def _read_damaged(
    video: OpenVideo, sampling: Sampling, fit: tuple[int, Resize], window: TimeWindow
) -> SampledFrames:
    """Decode the whole video to find the decodable frames, then again to take the sampled ones.

    Raises:
        VideoError: too few frames can be decoded, or none in the window.
    """
    usable, timeline = decodable_frames(video)
    num_bad = video.num_bad
    chosen = _choose(video, timeline, sampling, window)
    places = {usable[index]: slot for slot, index in enumerate(sorted(set(chosen)))}
    buffer = _FrameBuffer(*fit, len(places))
    for place, frame in enumerate(decode_all(video)):
        if place in places:
            buffer.put(places[place], frame)
        if place >= max(places):
            break
    video.num_bad = max(num_bad, video.table.num_bad)
    num_promised = len(chosen)
    if sampling.num_stored is None:
        num_promised = len(_choose(video, timeline_of(video), sampling, window))
    return _sampled(video, sampling, buffer, timeline, chosen, num_promised)


def decodable_frames(video: OpenVideo) -> tuple[list[int], Timeline]:
    """Decode the whole video; return the numbers of the undamaged frames among all decoded, and their times.

    If all frames are damaged, all are returned.

    Raises:
        VideoError: too few frames can be decoded.
    """
    video.num_bad = 0
    outcome = [(frame.pts, frame.is_corrupt) for frame in decode_all(video)]
    clean = [place for place, (_, is_corrupt) in enumerate(outcome) if not is_corrupt]
    usable = clean or list(range(len(outcome)))
    if not usable or len(usable) < MIN_DECODABLE_RATIO * len(video.table.order):
        error = _undecodable(video, len(usable))
        raise error
    return usable, timeline_of(video, [outcome[place][0] for place in usable])


def encode_jpegs(sampled: SampledFrames, quality: int) -> SampledFrames:
    """Replace the frames by JPEG files of ``quality`` (1 to 100)."""
    jpegs = tuple(jpeg_bytes(frame, quality) for frame in sampled.frames)
    return replace(sampled, frames=sampled.frames[:0], jpegs=jpegs)


class _FrameBuffer:
    """Converted frames of one video, in presentation order, each once."""

    def __init__(self, size: int, resize: Resize, num_frames: int) -> None:
        self.size, self.resize = size, resize
        self.frames = np.empty((num_frames, size, size, 3), np.uint8)
        self.converter = RgbConverter()
        self.first: VideoFrame | None = None

    def put(self, slot: int, frame: VideoFrame) -> None:
        """Convert a frame to upright RGB, resize and crop it."""
        if self.first is None:
            self.first = frame
        self.frames[slot] = resize_and_crop(self.converter.convert(frame), self.size, self.resize)


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
    container, stream = open_video(path, max_pixels)
    with container:
        table = scan(container, stream, tick=tick, hold=hold)
        video = OpenVideo(path, container, stream, table, tick, max_pixels, num_bad=table.num_bad)
        drop_lost_beginning(video)
        if not table.order:
            raise VideoError(f"{path}: its video stream has no frames", hint="copy or download it again")
        try:
            yield video
        except av.FFmpegError as error:
            raise VideoError(
                f"{path}: its frames cannot be converted ({reason(error)})", hint="is the file damaged?"
            ) from error


def _choose(video: OpenVideo, timeline: Timeline, sampling: Sampling, window: TimeWindow) -> list[int]:
    """Return the indices of the frames that a sampling selects within a window.

    Raises:
        VideoError: the window has no frames.
    """
    chosen = timeline.choose(sampling, window)
    if not chosen:
        raise VideoError(
            f"{video.path}: it has no frames in the window from {window}, the last is at "
            f"{float(timeline.seconds(-1)):g} s",
            hint="is it the complete video of the annotations?",
        )
    return chosen


def timeline_of(video: OpenVideo, pts: Sequence[int | None] | None = None) -> Timeline:
    """Return the times of the presentable frames, or of those with the given ``pts``.

    Without times in the container, frames are assumed to follow each other at its rate.
    """
    if pts is None:
        pts = [video.table.pts[position] for position in video.table.order]
    known = [value for value in pts if value is not None]
    rate = video.stream.average_rate or video.stream.guessed_rate or Fraction(25)
    if len(known) == len(pts) and sorted(set(known)) == known:
        return Timeline(known, video.table.time_base, rate)
    return Timeline(range(len(pts)), 1 / rate, rate)


def _sampled(
    video: OpenVideo,
    sampling: Sampling,
    buffer: _FrameBuffer,
    timeline: Timeline,
    chosen: Sequence[int],
    num_promised: int,
) -> SampledFrames:
    """Arrange the frames as sampled; repeat the last one up to the number that `count_sampled` returns."""
    num_real = len(chosen)
    num_frames = sampling.num_stored or num_promised
    last = np.minimum(np.arange(num_frames), num_real - 1)
    take = np.searchsorted(sorted(set(chosen)), chosen)[last]
    seconds = np.array([float(timeline.seconds(index)) for index in chosen])[last]
    frames = buffer.frames if np.array_equal(take, range(len(buffer.frames))) else buffer.frames[take]
    info = _info(video, buffer.first, timeline)
    return SampledFrames(frames, seconds, min(num_real, num_frames), info, video.num_bad)


def _info(video: OpenVideo, frame: VideoFrame | None, timeline: Timeline) -> VideoInfo:
    if frame is None:
        error = _undecodable(video, 0)
        raise error
    clockwise = clockwise_degrees(display_matrix(frame))
    width, height = (frame.height, frame.width) if clockwise % 180 else (frame.width, frame.height)
    num_frames, duration = len(timeline.ticks), duration_of(video, timeline)
    rate = num_frames / duration if duration else video.stream.average_rate or Fraction(0)
    codec = video.stream.codec_context.codec.canonical_name
    return VideoInfo(float(duration), float(rate), width, height, clockwise, num_frames, codec)


def duration_of(video: OpenVideo, timeline: Timeline) -> Fraction:
    """Return the seconds from the first frame to the end of the last one."""
    table, last = video.table, video.table.pts[video.table.order[-1]]
    tail = (table.end - last) * table.time_base if last is not None else Fraction(0)
    if tail <= 0 and len(timeline.ticks) > 1:
        tail = timeline.seconds(-1) / (len(timeline.ticks) - 1)
    return timeline.seconds(-1) + tail


def _undecodable(video: OpenVideo, num_decodable: int) -> VideoError:
    how_many = "none" if num_decodable == 0 else f"only {num_decodable}"
    because = f" ({video.last_problem})" if video.last_problem else ""
    return VideoError(
        f"{video.path}: {how_many} of its {len(video.table.order)} frames can be decoded{because}",
        hint="the file is damaged; copy or download it again",
    )
