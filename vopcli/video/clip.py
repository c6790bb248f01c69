"""Cut a range of a video into a file of its own: exactly, or without re-encoding."""

from __future__ import annotations

import errno
import heapq
import math
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any, Final

import av
from av.container import OutputContainer
from av.packet import Packet
from av.video.frame import PictureType, VideoFrame

from vopcli.errors import FileError, VideoError
from vopcli.files.atomic import atomic_path, refuse_existing
from vopcli.video.chosen import Take, decode_chosen
from vopcli.video.collect import duration_of
from vopcli.video.colour import UprightConverter, clockwise_degrees, display_matrix
from vopcli.video.decoder import OpenVideo
from vopcli.video.packets import PacketTable, open_sound, reason
from vopcli.video.sound import SoundEncoder
from vopcli.video.timestamps import Timeline
from vopcli.video.video import open_scanned, timeline_of
from vopcli.video.video_file import TimeWindow

_FORMATS: Final = {
    ".mp4": "mp4", ".m4v": "mp4", ".mov": "mov", ".mkv": "matroska", ".webm": "webm", ".avi": "avi",
    ".wmv": "asf", ".asf": "asf", ".flv": "flv",
}  # fmt: skip
# x264 codes yuv420p in even sizes; without B-frames a clip begins at 0 without an edit list.
_PIXELS: Final = [
    ("crop", "trunc(iw/2)*2:trunc(ih/2)*2:0:0"),
    ("scale", "flags=bicubic:threads=1"),
    ("format", "pix_fmts=yuv420p"),
]
_X264: Final = {"crf": "18", "preset": "veryfast", "bf": "0"}
_LEAST_TICKS: Final = 10_000  # per second; the MP4 muxer doubles a coarser unit until it has as many


def clip_suffix(source: Path, *, copy: bool) -> str:
    """Return the suffix of the file that a clip of a video is written to."""
    if not copy:
        return ".mp4"
    return source.suffix.lower() if source.suffix.lower() in _FORMATS else ".mkv"


def cut_clip(
    source: str, target: Path, start: float, end: float, *, copy: bool = False, overwrite: bool = False
) -> tuple[float, float]:
    """Write the part of a video between two times, with its sound, to a file.

    The clip shows at each moment what the video shows then: a frame that is on the screen at ``start`` is its
    first one. Frames are turned upright, and cropped by a column or row if their size is odd.

    Args:
        source: a video file.
        target: the file to write; its suffix, one of ``clip_suffix``, selects the container.
        start: seconds, the first frame of the video being at 0; less than 0 means 0.
        end: seconds, exclusive; may be after the end of the video.
        copy: copy the packets without re-encoding, from the key frame before ``start``.
        overwrite: replace ``target`` if it exists.

    Returns:
        Start and end of the clip, in seconds of the video.

    Raises:
        VideoError: ``source`` cannot be decoded or copied, or has no frames in the range.
        FileError: ``target`` exists or cannot be written.
    """
    refuse_existing(target, overwrite=overwrite)
    window = TimeWindow(max(start, 0.0), end)
    with open_scanned(source, hold=True) as video, atomic_path(target, is_new=not overwrite) as temporary:
        try:
            return (_copy if copy else _encode)(video, temporary, _FORMATS[target.suffix], window)
        except (av.FFmpegError, ValueError) as error:
            if isinstance(error, OSError) and error.errno in {errno.ENOSPC, errno.EDQUOT}:
                raise FileError(target, error) from error
            hint = "cut it without --copy" if copy else "is the file damaged?"
            raise VideoError(f"{source}: no clip can be cut from it ({reason(error)})", hint=hint) from error


def _ends(video: OpenVideo, timeline: Timeline, window: TimeWindow) -> tuple[Fraction, Fraction]:
    """Return start and end of a window, in seconds, cut to the duration.

    Raises:
        VideoError: the window is empty or begins after the end of the video.
    """
    duration = duration_of(video, timeline)
    start = Fraction(window.start_seconds)
    end = duration if math.isinf(window.end_seconds) else min(Fraction(window.end_seconds), duration)
    if start >= end:
        raise VideoError(
            f"{video.path}: it has no frames from {window}, it ends at {float(duration):g} s",
            hint="has the file changed since it was encoded?",
        )
    return start, end


def _origin(video: OpenVideo, timeline: Timeline) -> Fraction:
    """Return the time of the first frame on the clock of the container, which its sound shares."""
    if timeline.unit == video.table.time_base:
        return timeline.ticks[0] * timeline.unit
    return (video.stream.start_time or 0) * video.table.time_base


def _encode(video: OpenVideo, file: Path, form: str, window: TimeWindow) -> tuple[float, float]:
    """Decode the frames and the sound of a window and encode them.

    Raises:
        VideoError: too few frames can be decoded, or none in the window.
    """
    encoders: list[_ClipEncoder] = []

    def choose(timeline: Timeline) -> range:
        start, end = (float(time) for time in _ends(video, timeline, window))
        return range(timeline.shown_at(start), timeline.shown_at(math.nextafter(end, 0)) + 1)

    def begin(timeline: Timeline) -> Take:
        for encoder in encoders:
            encoder.abandon()
        start, end = _ends(video, timeline, window)
        encoders[:] = [_ClipEncoder(video, file, form, (start, end), _origin(video, timeline))]
        return lambda index, frame: encoders[0].put(max(timeline.seconds(index) - start, Fraction(0)), frame)

    try:
        decode_chosen(video, choose, begin)
        encoders[0].finish()
    finally:
        for encoder in encoders:
            encoder.abandon()
    return float(encoders[0].start), float(encoders[0].end)


class _ClipEncoder:
    """Writes frames, and the sound between them, to a file."""

    def __init__(
        self, video: OpenVideo, file: Path, form: str, ends: tuple[Fraction, Fraction], origin: Fraction
    ) -> None:
        self.video = video
        self.start, self.end = ends
        self.origin = origin
        self.output: OutputContainer = av.open(
            str(file), "w", format=form, container_options={"movflags": "faststart"}
        )
        self.converter = UprightConverter(_PIXELS)
        self.stream: Any = None
        self.sound: SoundEncoder | None = None
        ticks = video.table.time_base.denominator
        while ticks < _LEAST_TICKS:
            ticks *= 2
        self.unit = Fraction(1, ticks)
        self.last: Packet[Any] | None = None

    def put(self, seconds: Fraction, frame: VideoFrame) -> None:
        """Encode a frame that appears at a time of the clip, and the sound up to it."""
        picture = self.converter.apply(frame)
        if self.stream is None:
            self._add_streams(frame, picture)
        picture.pts, picture.time_base = round(seconds / self.unit), self.unit
        picture.pict_type = PictureType.NONE  # that of the video is not that of the clip
        self._write(self.stream.encode(picture))
        if self.sound:
            self.sound.advance(seconds)

    def finish(self) -> None:
        """Write the end of the file.

        Raises:
            VideoError: no frame was put.
        """
        if self.stream is None:
            raise VideoError(f"{self.video.path}: its frames cannot be decoded", hint="is the file damaged?")
        self._write(self.stream.encode(None))
        if self.last is not None:
            if self.last.pts is not None:
                self.last.duration = max(round((self.end - self.start) / self.unit) - self.last.pts, 1)
            self.output.mux(self.last)
        if self.sound:
            self.sound.finish()
        self.output.close()

    def abandon(self) -> None:
        """Release the files."""
        if self.sound:
            self.sound.close()
        self.output.close()

    def _add_streams(self, frame: VideoFrame, picture: VideoFrame) -> None:
        source = self.video.stream
        self.stream = self.output.add_stream("libx264", rate=source.average_rate or 25, options=_X264)
        context = self.stream.codec_context
        context.width, context.height, context.pix_fmt = picture.width, picture.height, picture.format.name
        context.time_base = self.unit
        context.color_range, context.colorspace = int(picture.color_range), int(picture.colorspace)
        context.color_primaries = source.codec_context.color_primaries
        context.color_trc = source.codec_context.color_trc
        aspect = source.sample_aspect_ratio
        if aspect:
            is_turned = clockwise_degrees(display_matrix(frame)) % 180 != 0
            context.sample_aspect_ratio = 1 / aspect if is_turned else aspect
        window = (self.origin + self.start, self.origin + self.end)
        self.sound = SoundEncoder.of(self.video.path, self.output, *window)

    def _write(self, packets: list[Packet[Any]]) -> None:
        """Write each packet once the next is known, so that the last one can be given its duration."""
        for packet in packets:
            if self.last is not None:
                self.output.mux(self.last)
            self.last = packet


def _copy(video: OpenVideo, file: Path, form: str, window: TimeWindow) -> tuple[float, float]:
    """Copy the packets of a window, from the key frame before it.

    Raises:
        VideoError: the packets have no times, or the window has no frames.
    """
    table, timeline = video.table, timeline_of(video)
    if not table.is_timed or timeline.unit != table.time_base:
        raise VideoError(f"{video.path}: its packets have no times to cut at", hint="cut it without --copy")
    start, end = _ends(video, timeline, window)
    origin = timeline.ticks[0] * timeline.unit
    pts = [time if time is not None else timeline.ticks[0] for time in table.pts]
    first, stop = _packet_range(table, pts, origin + start, origin + end)
    begun = pts[first] * table.time_base
    shown = [position for position in table.order if first <= position < stop and pts[position] >= pts[first]]
    after = [pts[position] for position in table.order if pts[position] > pts[shown[-1]]]
    ended = after[0] * table.time_base if after else origin + duration_of(video, timeline)
    kept = set(shown)
    container, sound = open_sound(video.path)
    with container, av.open(str(file), "w", format=form) as output:
        pictures = (
            packet
            for position, packet in enumerate(video.packets_from(first), first)
            if position < stop and (position in kept or pts[position] >= pts[first])
        )
        tracks: list[Iterator[tuple[Fraction, int, Packet[Any]]]] = [
            _retimed(pictures, output.add_stream_from_template(video.stream, opaque=True), begun, ended, 0)
        ]
        if sound is not None:
            container.seek(int(begun / (sound.time_base or 1)), stream=sound)
            stream = output.add_stream_from_template(sound, opaque=True)
            tracks.append(_retimed(container.demux(sound), stream, begun, ended, 1))
        for _, _, packet in heapq.merge(*tracks, key=lambda item: item[:2]):
            output.mux(packet)
    return float(begun - origin), float(ended - origin)


def _packet_range(table: PacketTable, pts: list[int], start: Fraction, end: Fraction) -> tuple[int, int]:
    """Return the half-open range of the packets that show a window without a gap, in decoding order."""
    unit = table.time_base
    keys = [at for at, is_key in enumerate(table.is_keyframe) if is_key and pts[at] * unit <= start]
    first = keys[-1] if keys else 0
    stop, top = first + 1, end
    while True:  # a frame that others refer to is decoded before those that are shown before it
        later = [at for at in range(stop, len(pts)) if pts[at] * unit < top]
        if not later:
            return first, stop
        stop = later[-1] + 1
        top = max(pts[first:stop]) * unit


def _retimed(
    packets: Iterator[Packet[Any]], stream: Any, begun: Fraction, ended: Fraction, track: int
) -> Iterator[tuple[Fraction, int, Packet[Any]]]:
    """Yield the packets of a range with times that count from its start, and their place in the file."""
    last_dts: int | None = None
    for packet in packets:
        unit = packet.time_base
        if packet.pts is None or unit is None or packet.size == 0:
            continue
        if track and packet.pts * unit >= ended:
            return
        if packet.pts * unit < begun:
            continue
        shift = round(begun / unit)
        packet.pts -= shift
        place = packet.pts if packet.dts is None else packet.dts - shift
        # Matroska has no decoding times; FFmpeg's guess of the first ones is none, but they have to increase.
        missing = packet.pts - math.ceil(1 / unit) if last_dts is None else last_dts + 1
        packet.dts = last_dts = missing if packet.dts is None else place
        packet.stream = stream
        yield place * unit, track, packet
