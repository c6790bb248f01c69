"""Decode selected frames of a video with minimal work; the frames are the same as in a full decode.

Seek if there is a keyframe between two targets, skip frames that are neither targets nor reference frames,
and drain the decoder after a target instead of feeding more packets.
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
    check_pixels,
    packets_from,
    reason,
)

Skip = Literal["DEFAULT", "NONREF"]


class UnsoundPacketsError(Exception):
    """Decoding contradicts the packet table, or the packets have no times."""


@dataclass
class OpenVideo:
    """An open file, its packet table, and the decoding errors so far.

    Attributes:
        num_bad: packets that are damaged or could not be decoded.
        num_corrupt: frames that the decoder flagged as damaged, once the whole video was decoded.
        last_problem: the last error of the decoder.
    """

    path: str
    container: InputContainer
    stream: VideoStream
    table: PacketTable
    tick: Callable[[], None]
    max_pixels: int
    num_bad: int = 0
    num_corrupt: int = 0
    last_problem: str = ""

    def send(self, packet: VideoPacket | None) -> list[VideoFrame]:
        """Decode a packet, or drain the decoder with None; failed packets are counted and yield no frames.

        Raises:
            VideoError: a frame has too many pixels.
        """
        self.tick()
        codec = self.stream.codec_context
        try:
            frames = codec.decode(packet)
        except (av.FFmpegError, ValueError) as error:
            self.num_bad += packet is not None
            self.last_problem = reason(error)
            frames = []
            check_pixels(self.path, codec.width, codec.height, self.max_pixels)  # it may have grown
        for frame in frames:
            check_pixels(self.path, frame.width, frame.height, self.max_pixels)
        return frames

    def packets_from(self, start: int) -> Iterator[VideoPacket]:
        """Yield the packets from position ``start`` on, in decoding order."""
        return packets_from(self.container, self.stream, self.table, start, self.max_pixels)

    def restart(self) -> None:
        """Reset the decoder."""
        self.stream.codec_context.flush_buffers()


def decode_timed(video: OpenVideo, wanted: Sequence[int]) -> Iterator[tuple[int, VideoFrame]]:
    """Decode the frames of selected packets, identified by their presentation times.

    Args:
        video: an open video.
        wanted: positions of the packets, in presentation order.

    Yields:
        The index in ``wanted`` and the frame, each once.

    Raises:
        UnsoundPacketsError: packets have no times, or a frame is damaged or missing: the packet table of this
            video is wrong.
    """
    if not video.table.is_timed:
        raise UnsoundPacketsError
    return _TimedPass(video, wanted).run()


class _TimedPass:
    """One pass of `decode_timed`."""

    def __init__(self, video: OpenVideo, wanted: Sequence[int]) -> None:
        self.video = video
        self.wanted = wanted
        self.pts = video.table.pts
        self.pending = {self.pts[position]: index for index, position in enumerate(wanted)}
        self.targets = frozenset(wanted)
        self.keys = _key_positions(video)
        self.skip: Skip = "NONREF" if video.stream.codec_context.name in SKIPPING_CODECS else "DEFAULT"
        self.start_pts: int | None = None

    def run(self) -> Iterator[tuple[int, VideoFrame]]:
        starts = [self._start_of(position) for position in self.wanted]
        codec = self.video.stream.codec_context
        here = -1
        packets: Iterator[VideoPacket] = iter(())
        for index, target in enumerate(self.wanted):
            if here < 0 or starts[index] >= here:
                here = starts[index]
                packets = self.video.packets_from(here)
                self.start_pts = self.pts[here] if here > self.keys[0] else None
            while here <= target:
                codec.skip_frame = "DEFAULT" if here in self.targets else self.skip
                yield from self._deliver(self.video.send(next(packets, None)))
                here += 1
            if index + 1 == len(self.wanted) or starts[index + 1] >= here:
                yield from self._deliver(self.video.send(None))
                self.video.restart()
        if self.pending:
            raise UnsoundPacketsError

    def _start_of(self, target: int) -> int:
        """Return the last keyframe from which the target can be decoded.

        A frame that follows a keyframe in decoding order but precedes it in presentation order may refer to
        frames before the keyframe.
        """
        shown = self.pts[target]
        for place in range(bisect_right(self.keys, target) - 1, 0, -1):
            at = self.pts[self.keys[place]]
            if at is not None and shown is not None and at <= shown:
                return self.keys[place]
        return self.keys[0]

    def _deliver(self, frames: Sequence[VideoFrame]) -> Iterator[tuple[int, VideoFrame]]:
        for frame in frames:
            if self.start_pts is not None and frame.pts is not None and frame.pts >= self.start_pts:
                # Some files flag every packet as a keyframe; the decoder knows the frame type.
                if not frame.key_frame:
                    raise UnsoundPacketsError
                self.start_pts = None
            index = self.pending.pop(frame.pts, None)
            if index is not None:
                if frame.is_corrupt:
                    raise UnsoundPacketsError
                yield index, frame


def _key_positions(video: OpenVideo) -> list[int]:
    """Return the positions at which decoding can begin; the first is where it begins without seeking."""
    keys = [position for position, is_key in enumerate(video.table.is_keyframe) if is_key] or [0]
    return keys if video.stream.codec_context.name in SEEKABLE_CODECS else keys[:1]


def drop_lost_beginning(video: OpenVideo) -> None:
    """Remove frames at the start that cannot be decoded.

    A stream cut from a longer one may begin with frames that are presented before its first keyframe and
    refer to frames that were cut off. Only decoding shows whether they do.
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
    """Decode the whole video; yield the frames in the decoder's output order."""
    codec = video.stream.codec_context
    video.restart()
    codec.skip_frame = "DEFAULT"
    for packet in video.packets_from(0):
        yield from video.send(packet)
    with suppress(EOFError):
        yield from video.send(None)
    video.restart()
