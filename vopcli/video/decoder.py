"""Decode chosen frames of a video with as little work as gives the same pictures as decoding all of it.

Seek only where a keyframe lies between two targets, never decode a frame that is neither a target nor
referred to, and stop feeding where the decoder can be drained instead.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Literal

import av
from av.container import InputContainer
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from vopcli.video.packets import (
    SEEKABLE_CODECS,
    SKIPPING_CODECS,
    PacketTable,
    VideoPacket,
    packets_from,
    reason,
)

Skip = Literal["DEFAULT", "NONREF"]
Take = Callable[[int, VideoFrame], None]


@dataclass
class OpenVideo:
    """An open file, its packet table and what decoding found wrong so far."""

    path: str
    container: InputContainer
    stream: VideoStream
    table: PacketTable
    tick: Callable[[], None]
    num_bad: int = 0
    last_problem: str = ""

    def send(self, packet: VideoPacket | None) -> list[VideoFrame]:
        """Decode one packet, or drain the decoder with None; one that fails is counted and gives no frame."""
        self.tick()
        try:
            return self.stream.codec_context.decode(packet)
        except (av.FFmpegError, ValueError) as error:
            self.num_bad += packet is not None
            self.last_problem = reason(error)
            return []

    def restart(self) -> None:
        """Make the decoder forget what it has seen."""
        self.stream.codec_context.flush_buffers()


def decode_timed(video: OpenVideo, wanted: Sequence[int], take: Take) -> bool:
    """Decode the frames of chosen packets, which are told by their times.

    Args:
        video: an open video whose packets all have times.
        wanted: positions of the packets, in the order of presentation.
        take: called with an index into ``wanted`` and the frame, once for each frame that came out.

    Returns:
        Whether all frames came out, undamaged. If not, the packets do not tell the truth about this video.
    """
    return _TimedPass(video, wanted, take).run()


class _TimedPass:
    """One pass of `decode_timed`."""

    def __init__(self, video: OpenVideo, wanted: Sequence[int], take: Take) -> None:
        self.video = video
        self.wanted = wanted
        self.take = take
        self.pts = video.table.pts
        self.pending = {self.pts[position]: index for index, position in enumerate(wanted)}
        self.targets = frozenset(wanted)
        self.keys = _key_positions(video)
        self.skip: Skip = "NONREF" if video.stream.codec_context.name in SKIPPING_CODECS else "DEFAULT"
        self.is_sound = True
        self.start_pts: int | None = None

    def run(self) -> bool:
        starts = [self._start_of(position) for position in self.wanted]
        codec = self.video.stream.codec_context
        here = -1
        packets: Iterator[VideoPacket] = iter(())
        for index, target in enumerate(self.wanted):
            if here < 0 or starts[index] >= here:
                here = starts[index]
                packets = packets_from(self.video.container, self.video.stream, self.video.table, here)
                self.start_pts = self.pts[here] if here > self.keys[0] else None
            while here <= target:
                codec.skip_frame = "DEFAULT" if here in self.targets else self.skip
                self._deliver(self.video.send(next(packets, None)))
                here += 1
            if index + 1 == len(self.wanted) or starts[index + 1] >= here:
                self._deliver(self.video.send(None))
                self.video.restart()
            if not self.is_sound:
                return False
        return not self.pending

    def _start_of(self, target: int) -> int:
        """Return the last keyframe from which the target can be decoded.

        A frame that is sent after a keyframe but shown before it may refer to frames before the keyframe.
        """
        shown = self.pts[target]
        for place in range(bisect_right(self.keys, target) - 1, 0, -1):
            at = self.pts[self.keys[place]]
            if at is not None and shown is not None and at <= shown:
                return self.keys[place]
        return self.keys[0]

    def _deliver(self, frames: Sequence[VideoFrame]) -> None:
        for frame in frames:
            if self.start_pts is not None and frame.pts is not None and frame.pts >= self.start_pts:
                # Some files call every packet a keyframe; the decoder knows better.
                self.is_sound = self.is_sound and frame.key_frame
                self.start_pts = None
            index = self.pending.pop(frame.pts, None)
            if index is not None:
                self.is_sound = self.is_sound and not frame.is_corrupt
                self.take(index, frame)


def _key_positions(video: OpenVideo) -> list[int]:
    """Return where decoding may begin; the first entry is where it has to begin."""
    keys = [position for position, is_key in enumerate(video.table.is_keyframe) if is_key] or [0]
    return keys if video.stream.codec_context.name in SEEKABLE_CODECS else keys[:1]


def drop_lost_beginning(video: OpenVideo) -> None:
    """Strike out frames at the start that the decoder will not give.

    A stream cut from a longer one may begin with frames that are shown before its first keyframe and refer to
    what was cut off. Whether they do, only the decoder knows.
    """
    table = video.table
    key = table.pts[table.is_keyframe.index(True)] if True in table.is_keyframe else None
    first = table.pts[table.order[0]] if table.order else None
    if key is None or first is None or first >= key:
        return
    frame = next(decode_all(video), None)
    video.restart()
    if frame is not None and frame.pts is not None:
        table.drop_before(frame.pts)


def decode_all(video: OpenVideo) -> Iterator[VideoFrame]:
    """Yield every frame the decoder gives, in its order, from the first packet on."""
    codec = video.stream.codec_context
    video.restart()
    codec.skip_frame = "DEFAULT"
    for packet in packets_from(video.container, video.stream, video.table, 0):
        yield from video.send(packet)
    with suppress(EOFError):
        yield from video.send(None)
    video.restart()
