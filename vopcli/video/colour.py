"""Convert decoded frames to upright RGB with FFmpeg's filters, bit-identical to FFmpeg."""

from __future__ import annotations

import math
import struct
from collections.abc import Sequence
from typing import Final, cast

import numpy as np
from av.filter import Graph
from av.filter.context import FilterContext
from av.sidedata.sidedata import SideData
from av.video.frame import VideoFrame
from numpy.typing import NDArray

_STRAIGHT: Final = (65536, 0, 0, 0, 65536, 0, 0, 0, 1 << 30)


class UprightConverter:
    """Rotates the frames of one video upright and converts them with FFmpeg's filters.

    The filter graph is rebuilt only if the frame format changes.
    """

    def __init__(self, filters: Sequence[tuple[str, str]]) -> None:
        """Prepare a converter.

        Args:
            filters: names and arguments of the filters that follow the rotation.
        """
        self.filters = filters
        self.format: tuple[object, ...] | None = None
        self.graph: Graph | None = None

    def apply(self, frame: VideoFrame) -> VideoFrame:
        """Rotate a frame upright and apply the filters.

        Uses the frame's colour matrix (BT.601, BT.709, ...) and range; BT.601 and limited range if it has
        none, like FFmpeg.

        Raises:
            av.FFmpegError: FFmpeg cannot convert this pixel format.
        """
        # The display matrix is read once per rotation: PyAV's side data refers to its frame and the frame to
        # its side data, so each frame would stay in memory until Python looks for such cycles.
        pixels = (frame.format.name, frame.colorspace, frame.color_range)
        current = (frame.width, frame.height, frame.rotation, *pixels)
        if self.graph is None or current != self.format:
            filters = [*_upright(display_matrix(frame)), *self.filters]
            self.graph, self.format = _build_graph(frame, filters), current
        self.graph.push(frame)
        return self.graph.vpull()


class RgbConverter(UprightConverter):
    """Converts the frames of one video to RGB."""

    def __init__(self) -> None:
        super().__init__([("scale", "flags=bicubic:threads=1"), ("format", "pix_fmts=rgb24")])

    def convert(self, frame: VideoFrame) -> NDArray[np.uint8]:
        """Convert a frame to (height, width, 3) uint8 RGB, rotated upright.

        Raises:
            av.FFmpegError: FFmpeg cannot convert this pixel format.
        """
        return self.apply(frame).to_ndarray().astype(np.uint8, copy=False)


def display_matrix(frame: VideoFrame) -> tuple[int, ...]:
    """Return the nine numbers of a frame's display matrix, which rotates and mirrors it."""
    stored = frame.side_data.get("DISPLAYMATRIX")
    return _STRAIGHT if stored is None else struct.unpack("=9i", bytes(cast("SideData", stored)))


def clockwise_degrees(matrix: tuple[int, ...]) -> int:
    """Return the clockwise rotation of a display matrix: 0, 90, 180 or 270; 0 for other angles."""
    first, second = math.hypot(matrix[0], matrix[3]), math.hypot(matrix[1], matrix[4])
    if not (first and second):
        return 0
    degrees = math.degrees(math.atan2(matrix[1] / second, matrix[0] / first))
    quarters = round(degrees / 90)
    return quarters * 90 % 360 if abs(degrees - quarters * 90) < 1 else 0


def _upright(matrix: tuple[int, ...]) -> list[tuple[str, str]]:
    """Return the filters that rotate and mirror a frame like a player."""
    degrees = clockwise_degrees(matrix)
    if degrees == 90:
        return [("transpose", "cclock_flip" if matrix[3] > 0 else "clock")]
    if degrees == 270:
        return [("transpose", "clock_flip" if matrix[3] < 0 else "cclock")]
    flips = [("hflip", "")] if degrees == 180 and matrix[0] < 0 else []
    return [*flips, ("vflip", "")] if matrix[4] < 0 else flips


def _build_graph(frame: VideoFrame, filters: Sequence[tuple[str, str]]) -> Graph:
    source = (
        f"video_size={frame.width}x{frame.height}:pix_fmt={frame.format.name}:time_base=1/1000:pixel_aspect=1/1"
        f":colorspace={int(frame.colorspace)}:range={int(frame.color_range)}"
    )
    graph = Graph()
    if hasattr(graph, "threads"):  # PyAV 18
        graph.threads = 1
    previous: FilterContext | None = None
    for name, arguments in [("buffer", source), *filters, ("buffersink", "")]:
        current = graph.add(name, arguments or None)
        if previous is not None:
            previous.link_to(current)
        previous = current
    graph.configure()
    return graph
