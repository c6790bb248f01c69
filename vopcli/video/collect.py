"""Assemble the frames of a video's windows from decoded frames, each window as soon as it is complete."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction

import numpy as np
from av.video.frame import VideoFrame
from numpy.typing import NDArray

from vopcli.config.choices import Fit, Resize
from vopcli.errors import VideoError
from vopcli.video.colour import RgbConverter, clockwise_degrees, display_matrix
from vopcli.video.decoder import OpenVideo
from vopcli.video.preprocess import fit_frame
from vopcli.video.timestamps import Timeline
from vopcli.video.video_file import WHOLE, TimeWindow


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
        window: the sampled part of the video.
        sha256: hash of the file, if requested, with the last window.
    """

    frames: NDArray[np.uint8]
    seconds: NDArray[np.float64]
    num_real: int
    info: VideoInfo
    num_bad_packets: int
    jpegs: tuple[bytes, ...] = ()
    window: TimeWindow = WHOLE
    sha256: bytes = b""


class Collector:
    """Converts decoded frames, and yields each window once its last frame is converted.

    Attributes:
        missing: indices of the frames to decode, increasing.
        done: windows that were yielded.
    """

    def __init__(
        self,
        video: OpenVideo,
        timeline: Timeline,
        chosen: Mapping[TimeWindow, Sequence[int]],
        square: tuple[int, Resize, Fit],
    ) -> None:
        self.video, self.timeline, self.chosen, self.square = video, timeline, chosen, square
        self.missing = sorted({index for indices in chosen.values() for index in indices})
        self.done: set[TimeWindow] = set()
        self._converter = RgbConverter()
        self._frames: dict[int, NDArray[np.uint8]] = {}  # those that windows in progress need
        self._users: dict[int, list[TimeWindow]] = defaultdict(list)
        self._left = {window: len(set(indices)) for window, indices in chosen.items()}
        for window, indices in chosen.items():
            for index in set(indices):
                self._users[index].append(window)

    def collect(
        self,
        decoded: Iterable[tuple[int, VideoFrame]],
        promised: int | Mapping[TimeWindow, int] | None,
    ) -> Iterator[SampledFrames]:
        """Yield the windows of decoded frames, given as positions in `missing` with the frames.

        Args:
            decoded: the frames, each once.
            promised: number of frames that a window must have, for all or by window; None: as chosen.

        Raises:
            VideoError: there are no frames.
        """
        info, last = None, list(self.chosen)[-1]
        for number, frame in decoded:
            info = info or _info(self.video, frame, self.timeline)
            index = self.missing[number]
            self._frames[index] = fit_frame(self._converter.convert(frame), *self.square)
            for window in list(self._users[index]):
                self._left[window] -= 1
                if not self._left[window] and window != last:
                    yield self._assemble(window, info, promised)
        if info is None:
            error = undecodable(self.video, 0)
            raise error
        for window in [window for window in self.chosen if window not in self.done]:
            yield self._assemble(window, info, promised if self.chosen[window] else 0)

    def _assemble(
        self, window: TimeWindow, info: VideoInfo, promised: int | Mapping[TimeWindow, int] | None
    ) -> SampledFrames:
        """Arrange the frames as sampled; repeat the last one up to the promised number."""
        chosen = self.chosen[window]
        num_frames = promised[window] if isinstance(promised, Mapping) else promised
        num_frames = len(chosen) if num_frames is None else num_frames
        taken = [chosen[min(k, len(chosen) - 1)] for k in range(num_frames)]
        size = self.square[0]
        frames = (
            np.stack([self._frames[index] for index in taken])
            if taken
            else np.empty((0, size, size, 3), np.uint8)
        )
        seconds = np.array([float(self.timeline.seconds(index)) for index in taken])
        self.done.add(window)
        for index in set(chosen):
            self._users[index].remove(window)
            if not self._users[index]:
                del self._frames[index]
        num_real = min(len(chosen), num_frames)
        return SampledFrames(frames, seconds, num_real, info, self.video.num_bad, window=window)


def _info(video: OpenVideo, frame: VideoFrame, timeline: Timeline) -> VideoInfo:
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


def undecodable(video: OpenVideo, num_decodable: int) -> VideoError:
    """Return the error of a video of which too few frames can be decoded."""
    how_many = "none" if num_decodable == 0 else f"only {num_decodable}"
    because = f" ({video.last_problem})" if video.last_problem else ""
    return VideoError(
        f"{video.path}: {how_many} of its {len(video.table.order)} frames can be decoded{because}",
        hint="the file is damaged; copy or download it again",
    )
