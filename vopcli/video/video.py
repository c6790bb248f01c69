"""Decode the sampled frames of a video, and only those: PyAV, one thread, no frame of the rest in memory."""

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
from vopcli.errors import VideoError
from vopcli.video.colour import RgbConverter, clockwise_degrees, display_matrix
from vopcli.video.decoder import OpenVideo, decode_all, decode_timed, drop_lost_beginning
from vopcli.video.packets import open_video, reason, scan
from vopcli.video.preprocess import jpeg_bytes, resize_and_crop
from vopcli.video.sampling import WHOLE, Sampling, TimeWindow
from vopcli.video.timestamps import Timeline

# Of a video of which fewer frames than this share can be decoded, nothing is kept: it is noise, not a video.
LEAST_DECODABLE_RATIO: Final = 0.05


@dataclass(frozen=True)
class VideoInfo:
    """What a video is; width and height as displayed, after rotation."""

    duration_seconds: float
    fps: float
    width: int
    height: int
    rotation_degrees: int
    num_frames: int
    codec: str


@dataclass(frozen=True)
class SampledFrames:
    """The frames taken from one video.

    Attributes:
        frames: (F, S, S, 3) uint8 RGB.
        seconds: (F,) float64, when each is presented; the first frame the video presents is at 0.
        num_real: frames that are the video's own; the rest repeats the last of them.
        info: what the video is.
        num_bad_packets: packets that are damaged or could not be decoded.
        jpegs: the frames as JPEG files, where these were asked for; ``frames`` is then empty.
    """

    frames: NDArray[np.uint8]
    seconds: NDArray[np.float64]
    num_real: int
    info: VideoInfo
    num_bad_packets: int
    jpegs: tuple[bytes, ...] = ()


def _no_tick() -> None:
    """Do nothing: nobody watches whether decoding goes on."""


def count_sampled(
    path: str, sampling: Sampling, *, window: TimeWindow = WHOLE, tick: Callable[[], None] = _no_tick
) -> int:
    """Count the frames that `read_frames` will return, from the packets alone.

    Raises:
        VideoError: it is no video, or has no frame, or none in the window.
    """
    if sampling.num_stored is not None:
        return sampling.num_stored
    with _opened(path, tick, hold=False) as video:
        return len(_choose(video, _timeline(video), sampling, window))


def read_frames(
    path: str,
    sampling: Sampling,
    *,
    size: int,
    resize: Resize = Resize.BICUBIC,
    window: TimeWindow = WHOLE,
    tick: Callable[[], None] = _no_tick,
) -> SampledFrames:
    """Decode the sampled frames of a video, resize them and crop the middle square.

    Sampling runs over the frames that can be decoded. The packets tell which those are; where decoding shows
    otherwise (damage that the container does not tell of, packets without times), the video is decoded once
    from start to end to learn it.

    Args:
        path: a video file.
        sampling: which frames to take.
        size: side of the square in pixels.
        resize: how they are brought to it.
        window: the sampling sees the frames presented in it, and no others.
        tick: called now and then, to show that work goes on.

    Raises:
        VideoError: it is no video, too little of it can be decoded, or it has no frame in the window.
    """
    with _opened(path, tick, hold=True) as video:
        timeline = _timeline(video)
        chosen = _choose(video, timeline, sampling, window)
        distinct = sorted(set(chosen))
        shelf = _Shelf(size, resize, len(distinct))
        wanted = [video.table.order[index] for index in distinct]
        if not (video.table.is_timed and decode_timed(video, wanted, shelf.put)):
            return _read_damaged(video, sampling, (size, resize), window)
        return _sampled(video, sampling, shelf, timeline, chosen, len(chosen))


def _read_damaged(
    video: OpenVideo, sampling: Sampling, fit: tuple[int, Resize], window: TimeWindow
) -> SampledFrames:
    """Decode all once to see which frames come out, then once more to take the sampled ones.

    Raises:
        VideoError: too few come out, or none in the window.
    """
    num_expected = len(video.table.order)
    video.num_bad = 0
    outcome = [(frame.pts, frame.is_corrupt) for frame in decode_all(video)]
    clean = [place for place, (_, is_corrupt) in enumerate(outcome) if not is_corrupt]
    usable = clean or list(range(len(outcome)))
    if not usable or len(usable) < LEAST_DECODABLE_RATIO * num_expected:
        error = _undecodable(video, len(usable))
        raise error
    num_bad = video.num_bad
    timeline = _timeline(video, [outcome[place][0] for place in usable])
    chosen = _choose(video, timeline, sampling, window)
    places = {usable[index]: slot for slot, index in enumerate(sorted(set(chosen)))}
    shelf = _Shelf(*fit, len(places))
    for place, frame in enumerate(decode_all(video)):
        if place in places:
            shelf.put(places[place], frame)
        if place >= max(places):
            break
    video.num_bad = max(num_bad, video.table.num_bad)
    num_promised = len(chosen)
    if sampling.num_stored is None:
        num_promised = len(_choose(video, _timeline(video), sampling, window))
    return _sampled(video, sampling, shelf, timeline, chosen, num_promised)


def encode_jpegs(sampled: SampledFrames, quality: int) -> SampledFrames:
    """Return the same with JPEG files of ``quality`` (1 to 100) in place of the frames."""
    jpegs = tuple(jpeg_bytes(frame, quality) for frame in sampled.frames)
    return replace(sampled, frames=sampled.frames[:0], jpegs=jpegs)


class _Shelf:
    """Where the converted frames of one video are put, each once, in the order of their presentation."""

    def __init__(self, size: int, resize: Resize, num_frames: int) -> None:
        self.size, self.resize = size, resize
        self.frames = np.empty((num_frames, size, size, 3), np.uint8)
        self.converter = RgbConverter()
        self.first: VideoFrame | None = None

    def put(self, slot: int, frame: VideoFrame) -> None:
        """Convert one frame to RGB, upright, resized and cropped."""
        if self.first is None:
            self.first = frame
        self.frames[slot] = resize_and_crop(self.converter.convert(frame), self.size, self.resize)


@contextmanager
def _opened(path: str, tick: Callable[[], None], *, hold: bool) -> Iterator[OpenVideo]:
    """Open a video and scan its packets.

    Raises:
        VideoError: it cannot be opened, or has no frame.
    """
    container, stream = open_video(path)
    with container:
        table = scan(container, stream, tick=tick, hold=hold)
        video = OpenVideo(path, container, stream, table, tick, num_bad=table.num_bad)
        drop_lost_beginning(video)
        if not table.order:
            raise VideoError(
                f"{path}: it has a video stream without a single frame", hint="copy or download it again"
            )
        try:
            yield video
        except av.FFmpegError as error:
            raise VideoError(
                f"{path}: its pictures cannot be converted ({reason(error)})", hint="is the file damaged?"
            ) from error


def _choose(video: OpenVideo, timeline: Timeline, sampling: Sampling, window: TimeWindow) -> list[int]:
    """Return the indices of the frames that a sampling takes of those in the window.

    Raises:
        VideoError: there are none.
    """
    chosen = timeline.choose(sampling, window)
    if not chosen:
        raise VideoError(
            f"{video.path}: no frame of it lies in the window from {window}, the last is at "
            f"{float(timeline.seconds(-1)):g} s",
            hint="is it the whole video that the annotations mean?",
        )
    return chosen


def _timeline(video: OpenVideo, pts: Sequence[int | None] | None = None) -> Timeline:
    """Return the times of the presentable frames, or of those with the given ``pts``.

    Where the container has no times, the frames follow each other at its rate.
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
    shelf: _Shelf,
    timeline: Timeline,
    chosen: Sequence[int],
    num_promised: int,
) -> SampledFrames:
    """Put each frame where it was chosen, and fill up with the last where `count_sampled` says more."""
    num_real = len(chosen)
    num_frames = sampling.num_stored or num_promised
    last = np.minimum(np.arange(num_frames), num_real - 1)
    take = np.searchsorted(sorted(set(chosen)), chosen)[last]
    seconds = np.array([float(timeline.seconds(index)) for index in chosen])[last]
    frames = shelf.frames if np.array_equal(take, range(len(shelf.frames))) else shelf.frames[take]
    info = _info(video, shelf.first, timeline)
    return SampledFrames(frames, seconds, min(num_real, num_frames), info, video.num_bad)


def _info(video: OpenVideo, frame: VideoFrame | None, timeline: Timeline) -> VideoInfo:
    if frame is None:
        error = _undecodable(video, 0)
        raise error
    clockwise = clockwise_degrees(display_matrix(frame))
    width, height = (frame.height, frame.width) if clockwise % 180 else (frame.width, frame.height)
    table, last = video.table, video.table.pts[video.table.order[-1]]
    tail = (table.end - last) * table.time_base if last is not None else Fraction(0)
    num_frames = len(timeline.ticks)
    if tail <= 0 and num_frames > 1:
        tail = timeline.seconds(-1) / (num_frames - 1)
    duration = timeline.seconds(-1) + tail
    rate = num_frames / duration if duration else video.stream.average_rate or Fraction(0)
    codec = video.stream.codec_context.codec.canonical_name
    return VideoInfo(float(duration), float(rate), width, height, clockwise, num_frames, codec)


def _undecodable(video: OpenVideo, num_decodable: int) -> VideoError:
    how_many = "none" if num_decodable == 0 else f"only {num_decodable}"
    because = f" ({video.last_problem})" if video.last_problem else ""
    return VideoError(
        f"{video.path}: {how_many} of its {len(video.table.order)} frames can be decoded{because}",
        hint="the file is damaged; copy or download it again",
    )
