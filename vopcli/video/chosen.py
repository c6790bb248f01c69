"""Decode chosen frames of a video at their full size, in order of time."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from av.video.frame import VideoFrame
from numpy.typing import NDArray
from PIL import Image

from vopcli.errors import VideoError
from vopcli.video.colour import RgbConverter
from vopcli.video.decoder import OpenVideo, UnsoundPacketsError, decode_all, decode_timed
from vopcli.video.timestamps import Timeline
from vopcli.video.video import decodable_frames, open_scanned, timeline_of

Take = Callable[[int, VideoFrame], None]


def decode_chosen(
    video: OpenVideo, choose: Callable[[Timeline], Sequence[int]], begin: Callable[[Timeline], Take]
) -> None:
    """Decode frames of a video.

    Args:
        video: an open video.
        choose: returns the increasing indices of the frames to decode.
        begin: returns a function that is called with the index and the frame of each; called a second time,
            to start over, if decoding contradicts the packets.

    Raises:
        VideoError: too few frames can be decoded.
    """
    timeline = timeline_of(video)
    chosen = choose(timeline)
    take = begin(timeline)
    wanted = [video.table.order[index] for index in chosen]
    try:
        for number, frame in decode_timed(video, wanted):
            take(chosen[number], frame)
    except UnsoundPacketsError:
        pass
    else:
        return
    usable, timeline = decodable_frames(video)
    numbers = {usable[index]: index for index in choose(timeline)}
    take = begin(timeline)
    for number, frame in enumerate(decode_all(video)):
        if number in numbers:
            take(numbers[number], frame)


def read_stills(path: str, seconds: Sequence[float], size: tuple[int, int]) -> list[NDArray[np.uint8]]:
    """Decode the frames on the screen at given times, whole and upright.

    Args:
        path: a video file.
        seconds: times, the first frame being at 0; a time after the end means the last frame.
        size: width and height in pixels into which a frame is shrunk; smaller ones stay as they are.

    Returns:
        One (height, width, 3) uint8 RGB picture per time.

    Raises:
        VideoError: ``path`` is not a video, or too few of its frames can be decoded.
    """
    converter = RgbConverter()
    shown: list[int] = []
    stills: dict[int, NDArray[np.uint8]] = {}

    def choose(timeline: Timeline) -> list[int]:
        shown[:] = [timeline.shown_at(time) for time in seconds]
        return sorted(set(shown))

    def take(index: int, frame: VideoFrame) -> None:
        picture = Image.fromarray(converter.convert(frame))
        picture.thumbnail(size, Image.Resampling.LANCZOS)
        stills[index] = np.asarray(picture)

    with open_scanned(path, hold=True) as video:
        decode_chosen(video, choose, lambda _: take)
    if not stills.keys() >= set(shown):
        raise VideoError(f"{path}: some of its frames cannot be decoded", hint="is the file damaged?")
    return [stills[index] for index in shown]
