"""Read the packets of a video stream without decoding: its frames and their presentation times."""

from __future__ import annotations

import itertools
import os
import stat
from array import array
from collections.abc import Callable, Generator, Iterable, Iterator
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any, Final, TypeAlias

import av
from av.audio.stream import AudioStream
from av.container import InputContainer
from av.packet import Packet
from av.stream import Disposition, Stream
from av.video.stream import VideoStream

from vopcli.errors import VideoError
from vopcli.files.s3 import RemoteFile, is_remote

# PyAV before 18 cannot tell a demuxer to leave a stream out.
_DISCARD: Final = getattr(av.stream, "Discard", None)
VideoPacket: TypeAlias = "Packet[VideoStream]"

# Packets of a smaller video are kept in memory, so that it is read once; of a larger one only their times.
HELD_BYTES: Final = 128 << 20
MAX_PACKETS: Final = 20_000_000

# Codecs whose decoding can begin at a packet flagged as a keyframe. Others (GIF, screen recorders) are
# decoded from the start.
SEEKABLE_CODECS: Final = frozenset({
    "h264", "hevc", "vvc", "vp8", "vp9", "av1", "libdav1d", "mpeg1video", "mpeg2video", "mpeg4", "msmpeg4v2",
    "msmpeg4v3", "msmpeg4", "h263", "flv", "wmv1", "wmv2", "wmv3", "vc1", "theora", "mjpeg", "prores",
    "dnxhd", "dvvideo", "rawvideo", "ffv1", "huffyuv", "vp6f", "vp6",
})  # fmt: skip

# Codecs whose decoders can skip single frames that no other frame refers to.
SKIPPING_CODECS: Final = frozenset({
    "h264", "hevc", "vp8", "mpeg1video", "mpeg2video", "mpeg4", "msmpeg4v2", "msmpeg4v3", "msmpeg4", "h263",
    "flv", "wmv1", "wmv2", "wmv3", "vc1",
})  # fmt: skip

# Playlists, image sequences and subtitles are FFmpeg inputs too, but no videos, and can refer to other files.
_CONTAINERS: Final = (
    "mov,matroska,webm,avi,mpegts,mpeg,mpegvideo,flv,live_flv,asf,ogg,rm,h264,hevc,vvc,m4v,gif,apng,mxf,nut,dv,wtv,"
    "ivf,obu,av1,vc1,mjpeg,nsv,gxf,swf,yuv4mpegpipe,dirac,h261,h263,cavsvideo,webp_pipe,bink,smk,roq,flic,amv,4xm,"
    "film_cpk,idcin,mtv,mve,thp,vmd,wc3movie,xmv,lxf,pmp,r3d,ty,viv,avs,avs2,avs3,evc,mpegtsraw,mpjpeg,rpl,sgi"
)
# Raw streams that FFmpeg takes many other files for, random bytes among them: the name has to say so too.
_GUESSED: Final = frozenset({"avs2", "avs3", "cavsvideo", "dirac", "evc", "h261", "h263", "m4v", "vvc"})
_OPTIONS: Final = {"protocol_whitelist": "file", "format_whitelist": _CONTAINERS}


class OptionalInts:
    """A list of integers or None, 8 bytes each: a film of two hours has 200,000 packets."""

    _NONE: Final = -(2**63)  # FFmpeg's own value for "no time"

    def __init__(self, values: Iterable[int | None] = ()) -> None:
        self._values = array("q")
        for value in values:
            self.append(value)

    def __len__(self) -> int:
        return len(self._values)

    def __getitem__(self, index: int) -> int | None:
        value = self._values[index]
        return None if value == self._NONE else value

    def __iter__(self) -> Iterator[int | None]:
        return (self[index] for index in range(len(self)))

    def append(self, value: int | None) -> None:
        """Add a value at the end."""
        self._values.append(self._NONE if value is None else value)


def _no_ints() -> array[int]:
    return array("q")


@dataclass
class PacketTable:
    """The packets of a stream in decoding order.

    Attributes:
        pts: presentation time of each packet, in units of ``time_base``; None if the container has none.
        dts: decoding time of each packet, likewise.
        sizes: bytes of each packet.
        offsets: offset of each packet in the file; None if unknown.
        is_keyframe: for each packet 1 if decoding can begin there, else 0.
        order: positions of the presentable packets, in presentation order.
        held: the packets, or None if they are too large to keep.
        num_bad: packets that the container reports as damaged.
        has_made_up_times: whether the container lacks presentation times although frames are reordered.
        end: pts at which the presentation of the last frame ends.
    """

    time_base: Fraction
    pts: OptionalInts = field(default_factory=OptionalInts)
    dts: OptionalInts = field(default_factory=OptionalInts)
    sizes: array[int] = field(default_factory=_no_ints)
    offsets: OptionalInts = field(default_factory=OptionalInts)
    is_keyframe: bytearray = field(default_factory=bytearray)
    order: array[int] = field(default_factory=_no_ints)
    held: list[VideoPacket] | None = field(default_factory=list)
    num_bad: int = 0
    end: int = 0
    has_made_up_times: bool = False

    def drop_before(self, start: int) -> None:
        """Remove the frames presented before ``start``, in units of ``time_base``, from `order`."""
        shown = ((self.pts[position], position) for position in self.order)
        self.order = array("q", (position for pts, position in shown if pts is None or pts >= start))

    def find(self, packet: VideoPacket, last: int) -> int | None:
        """Return the position of a packet, at most ``last``; None if it is not there.

        The search goes backwards: a seek ends a few packets before the position that it is for.
        """
        wanted = packet.dts, packet.size, packet.pos
        for position in range(last, -1, -1):
            if (self.dts[position], self.sizes[position], self.offsets[position]) == wanted:
                return position
        return None

    @property
    def is_timed(self) -> bool:
        """Whether each presentable packet has a presentation time of its own."""
        if self.has_made_up_times:
            return False
        return increases(self.pts[position] for position in self.order)


def increases(times: Iterable[int | None]) -> bool:
    """Return whether all times are known and each is later than the one before."""
    before = None
    for time in times:
        if time is None or (before is not None and time <= before):
            return False
        before = time
    return True


def open_video(path: str, max_pixels: int) -> tuple[InputContainer, VideoStream]:
    """Open a file and its best video stream, for decoding on one thread.

    Args:
        path: a file.
        max_pixels: the decoder refuses larger frames before it allocates them.

    Raises:
        VideoError: ``path`` is not a regular file, not readable, not a video, has no video stream, or its
            frames have more than ``max_pixels`` pixels.
    """
    container = _open(path)
    try:
        _check_guess(container, path)
        stream = _best_stream(container, path)
        check_pixels(path, stream.codec_context.width, stream.codec_context.height, max_pixels)
    except VideoError:
        container.close()
        raise
    _read_only(container, stream)
    stream.codec_context.thread_count = 1
    stream.codec_context.options = {"max_pixels": str(max_pixels)}
    return container, stream


def open_sound(path: str) -> tuple[InputContainer, AudioStream | None]:
    """Open a file and its best audio stream; None if it has none that can be decoded.

    Raises:
        VideoError: ``path`` is not a regular file, not readable, or not a video.
    """
    container = _open(path)
    known = [stream for stream in container.streams.audio if stream.codec_context is not None]
    if not known:
        return container, None
    stream = max(known, key=lambda s: bool(s.disposition & Disposition.default))
    _read_only(container, stream)
    return container, stream


def _open(path: str) -> InputContainer:
    """Open a file.

    Raises:
        VideoError: ``path`` is not a regular file, not readable, or not a video.
        StorageError: ``path`` is on S3, which does not answer, or refuses.
    """
    if is_remote(path):
        source: Any = RemoteFile(path)
    else:
        _check_file(path)
        source = os.path.abspath(path)  # noqa: PTH100  it cannot be mistaken for a protocol ("concat:...")
    try:
        return av.open(source, container_options=_OPTIONS, metadata_errors="replace")
    except (av.FFmpegError, ValueError) as error:
        problem = (
            "ends before its first frame" if isinstance(error, EOFError) else "not a video that can be read"
        )
        raise VideoError(f"{path}: {problem} ({reason(error)})", hint=_hint(error)) from error


def _read_only(container: InputContainer, stream: Stream) -> None:
    """Skip the packets of all other streams."""
    if _DISCARD is not None:
        for other in container.streams:
            if other.index != stream.index:
                other.discard = _DISCARD.all


def check_pixels(path: str, width: int, height: int, max_pixels: int) -> None:
    """Check the size of a frame: a small file can contain frames that fill the memory.

    Raises:
        VideoError: the frame has more than ``max_pixels`` pixels.
    """
    if width * height > max_pixels:
        raise VideoError(
            f"{path}: its frames of {width} x {height} pixels exceed the limit of {max_pixels} pixels",
            hint=f"if there is enough memory, use --max-pixels {width * height}",
        )


def scan(
    container: InputContainer, stream: VideoStream, *, tick: Callable[[], None], hold: bool
) -> PacketTable:
    """Read all packets of a stream without decoding any.

    Args:
        container: an open file at its start.
        stream: the stream to read.
        tick: called regularly, to report that the work is not stalled.
        hold: keep the packets in memory unless they are too large.
    """
    table = PacketTable(stream.time_base or Fraction(1, 1000))
    table.has_made_up_times = container.format.name == "avi" and bool(stream.codec_context.has_b_frames)
    held_bytes = 0
    presentable, shown = array("q"), array("q")
    has_begun = False
    last_dts = 0
    for packet in _demux(container, stream):
        position = len(table.pts)
        if position % 256 == 0:
            tick()
        if position >= MAX_PACKETS:
            break
        if table.held is not None:
            held_bytes += packet.size
            table.held.append(packet)
            if not hold or held_bytes > HELD_BYTES:
                table.held = None
        table.pts.append(packet.pts)
        table.dts.append(packet.dts)
        table.sizes.append(packet.size)
        table.offsets.append(packet.pos)
        table.is_keyframe.append(packet.is_keyframe)
        table.num_bad += packet.is_corrupt
        has_begun = has_begun or packet.is_keyframe
        last_dts = last_dts + 1 if packet.dts is None else packet.dts
        if has_begun and not (packet.is_discard or packet.is_corrupt) and _shows_frame(packet, stream):
            shown_at = last_dts if packet.pts is None else packet.pts
            presentable.append(position)
            shown.append(shown_at)
            end = shown_at + (packet.duration or 0)
            table.end = max(table.end, end) if position else end
    table.order = array("q", (presentable[k] for k in sorted(range(len(shown)), key=shown.__getitem__)))
    return table


def packets_from(
    container: InputContainer, stream: VideoStream, table: PacketTable, start: int, max_pixels: int
) -> Iterator[VideoPacket]:
    """Yield the packets from position ``start`` on, in decoding order."""
    if table.held is not None:
        yield from table.held[start:]
    elif start == 0 or not (yield from _packets_after_seek(container, stream, table, start)):
        # Some containers cannot seek by time, or not exactly: read from the start instead.
        again, same_stream = open_video(container.name, max_pixels)
        with again:
            yield from itertools.islice(_demux(again, same_stream), start, None)


def _packets_after_seek(
    container: InputContainer, stream: VideoStream, table: PacketTable, start: int
) -> Generator[VideoPacket, None, bool]:
    """Yield the packets from ``start`` on and return True; return False if the seek misses it."""
    dts = table.dts[start]
    time = table.pts[start] if dts is None else dts
    if time is None:
        return False
    try:
        container.seek(time, stream=stream, backward=True)
    except (av.FFmpegError, OSError):
        return False
    packets = _demux(container, stream)
    first = next(packets, None)
    if first is None:
        return False
    here = table.find(first, start)
    if here is None:
        return False
    yield from itertools.islice(itertools.chain([first], packets), start - here, None)
    return True


def reason(error: BaseException) -> str:
    """Return FFmpeg's error message without the error number and path."""
    return getattr(error, "strerror", None) or str(error)


def _demux(container: InputContainer, stream: VideoStream) -> Iterator[VideoPacket]:
    """Yield the stream's packets; a damaged container ends where it cannot be read any further."""
    failures = 0
    while failures < 16:
        try:
            for packet in container.demux(stream):
                if packet.size:
                    yield packet
        except IndexError:
            return  # PyAV fails at the end if a damaged file added a stream while being read
        except (av.FFmpegError, ValueError):
            failures += 1
        else:
            return


def _shows_frame(packet: VideoPacket, stream: VideoStream) -> bool:
    """Whether a packet is presented as a frame: VP8 has packets that are only references."""
    if stream.codec_context.name in {"vp8", "libvpx"}:
        return bool(bytes(memoryview(packet)[:1])[0] & 0x10)
    return True


def _check_file(path: str) -> None:
    try:
        status = os.stat(path)  # noqa: PTH116
    except OSError as error:
        raise VideoError(
            f"{path}: {error.strerror}", hint="does the file still exist, and is it readable?"
        ) from error
    if not stat.S_ISREG(status.st_mode):
        raise VideoError(f"{path}: not a regular file", hint="name a video file")
    if status.st_size == 0:
        raise VideoError(f"{path}: the file is empty", hint="copy or download it again")


def _check_guess(container: InputContainer, path: str) -> None:
    name, suffix = container.format.name, os.path.splitext(path)[1]  # noqa: PTH122
    if name in _GUESSED and suffix[1:].lower() not in {name, *container.format.extensions}:
        raise VideoError(
            f"{path}: not a video that can be read (its bytes could be a raw {name} stream)",
            hint=f"if it is one, give it the suffix .{name}",
        )


def _best_stream(container: InputContainer, path: str) -> VideoStream:
    pictures = [s for s in container.streams.video if not s.disposition & Disposition.attached_pic]
    known = [s for s in pictures if s.codec_context is not None]
    if not pictures:
        raise VideoError(
            f"{path}: it has no video stream, only audio or data", hint="name a file with a video stream"
        )
    if not known:
        raise VideoError(f"{path}: its video codec is not supported", hint="convert it to H.264, for example")
    return max(known, key=lambda s: (bool(s.disposition & Disposition.default), s.width * s.height))


def _hint(error: BaseException) -> str:
    if isinstance(error, PermissionError):
        return "check the permissions of the file"
    return "is it a complete video? A truncated MP4 has no index and cannot be read"
