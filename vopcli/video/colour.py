"""Turn decoded frames into upright RGB with FFmpeg's own filters: its colours to the bit."""

from __future__ import annotations

import math
import struct
from typing import Final, cast

import numpy as np
from av.filter import Graph
from av.filter.context import FilterContext
from av.sidedata.sidedata import SideData
from av.video.frame import VideoFrame
from numpy.typing import NDArray

_STRAIGHT: Final = (65536, 0, 0, 0, 65536, 0, 0, 0, 1 << 30)


class RgbConverter:
    """Converts the frames of one video; filters are set up anew only where the frames change their form."""

    def __init__(self) -> None:
        self.form: tuple[object, ...] | None = None
        self.graph: Graph | None = None

    def convert(self, frame: VideoFrame) -> NDArray[np.uint8]:
        """Return a frame as (height, width, 3) uint8 RGB, turned upright.

        Matrix (BT.601, BT.709, ...) and range are those the frame names; where it names none, BT.601 and
        limited range, as FFmpeg takes it.

        Raises:
            av.FFmpegError: FFmpeg cannot convert this kind of frame.
        """
        matrix = display_matrix(frame)
        form = (frame.width, frame.height, frame.format.name, frame.colorspace, frame.color_range, matrix)
        if self.graph is None or form != self.form:
            self.graph, self.form = _build_graph(frame, matrix), form
        self.graph.push(frame)
        return self.graph.vpull().to_ndarray().astype(np.uint8, copy=False)


def display_matrix(frame: VideoFrame) -> tuple[int, ...]:
    """Return the nine numbers by which a file says how its pictures are to be turned."""
    stored = frame.side_data.get("DISPLAYMATRIX")
    return _STRAIGHT if stored is None else struct.unpack("=9i", bytes(cast("SideData", stored)))


def clockwise_degrees(matrix: tuple[int, ...]) -> int:
    """Return by how much a display matrix turns a frame: 0, 90, 180 or 270; askew angles count as 0."""
    first, second = math.hypot(matrix[0], matrix[3]), math.hypot(matrix[1], matrix[4])
    if not (first and second):
        return 0
    degrees = math.degrees(math.atan2(matrix[1] / second, matrix[0] / first))
    quarters = round(degrees / 90)
    return quarters * 90 % 360 if abs(degrees - quarters * 90) < 1 else 0


def _upright(matrix: tuple[int, ...]) -> list[tuple[str, str]]:
    """Return the filters that turn a frame as a player does, mirrored ones included."""
    degrees = clockwise_degrees(matrix)
    if degrees == 90:
        return [("transpose", "cclock_flip" if matrix[3] > 0 else "clock")]
    if degrees == 270:
        return [("transpose", "clock_flip" if matrix[3] < 0 else "cclock")]
    flips = [("hflip", "")] if degrees == 180 and matrix[0] < 0 else []
    return [*flips, ("vflip", "")] if matrix[4] < 0 else flips


def _build_graph(frame: VideoFrame, matrix: tuple[int, ...]) -> Graph:
    source = (
        f"video_size={frame.width}x{frame.height}:pix_fmt={frame.format.name}:time_base=1/1000:pixel_aspect=1/1"
        f":colorspace={int(frame.colorspace)}:range={int(frame.color_range)}"
    )
    filters = [
        ("buffer", source),
        *_upright(matrix),
        ("scale", "flags=bicubic:threads=1"),
        ("format", "pix_fmts=rgb24"),
    ]
    graph = Graph()
    if hasattr(graph, "threads"):  # PyAV 18
        graph.threads = 1
    previous: FilterContext | None = None
    for name, arguments in [*filters, ("buffersink", "")]:
        current = graph.add(name, arguments or None)
        if previous is not None:
            previous.link_to(current)
        previous = current
    graph.configure()
    return graph
