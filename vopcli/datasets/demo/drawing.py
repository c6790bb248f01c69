"""Draw the scenes of the demo set and write them as video files (H.264 in MP4)."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from fractions import Fraction
from functools import cache
from pathlib import Path
from typing import Final

import av
import cv2
import numpy as np
from numpy.typing import NDArray

from vopcli.datasets.demo.scenes import DemoVideo, Scene
from vopcli.files.atomic import atomic_path

HEIGHT_PX: Final = 96
WIDTH_PX: Final = 128
FRAME_RATE: Final = 12
NUM_FRAMES: Final = 36  # 12 segments of 3: their middle frames are the same forwards and backwards
_OVERSAMPLING: Final = 4  # 4 x 4 points per pixel, for smooth edges
_CODEC_OPTIONS: Final = {"preset": "veryfast", "crf": "20", "threads": "1"}
# Videos are hazy, while the still images that demo-tiny was trained on are clear. Otherwise the vision
# prompts could only learn the direction of changes, which a mean over frames loses: those of plain VoP
# gained nothing over its text prompts alone. With haze they do, as on real videos.
_HAZE_CLARITY: Final = 0.5
_HAZE_LEVEL: Final = 100.0  # of 255; the image is added to it
_BT601: Final = 6  # colour matrix of small videos, stored in the file so that players need not guess


def draw_scene(scene: Scene, ground: NDArray[np.float32]) -> NDArray[np.uint8]:
    """Draw the shape on a background (H, W, 3) of `draw_background`; return (H, W, 3) uint8 RGB."""
    height, width = ground.shape[:2]
    corners = _outline(scene.shape) * scene.radius  # (N, 2)
    angle = np.deg2rad(scene.tilt_degrees)
    turn = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
    half = 0.5 * height * _OVERSAMPLING
    centre = np.array([0.5 * width * _OVERSAMPLING, half])
    points = (corners @ turn + (scene.x, scene.y)) * half + centre - 0.5  # (N, 2) in oversampled pixels
    stencil = np.zeros((height * _OVERSAMPLING, width * _OVERSAMPLING), np.uint8)
    cv2.fillPoly(stencil, [np.rint(points * 16.0).astype(np.int32)], 255, shift=4)
    cover = cv2.resize(stencil, (width, height), interpolation=cv2.INTER_AREA)[..., None] / np.float32(255.0)
    image = ground + (np.asarray(scene.rgb, np.float32) - ground) * cover
    return np.clip(np.rint(image), 0, 255).astype(np.uint8)


def draw_background(scene: Scene, *, height: int, width: int) -> NDArray[np.float32]:
    """Draw the background of a scene, plain or with a soft texture: (H, W, 3) float32 RGB in 0..255."""
    background = scene.background
    ground = np.full((height, width, 3), background.rgb, np.float32)
    if background.texture > 0.0:
        rng = np.random.default_rng(background.seed)
        coarse = rng.normal(0.0, background.texture, (7, 9, 1)).astype(np.float32)
        ground += cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC)[..., None]
    return np.clip(ground, 0.0, 255.0)


def draw_video(video: DemoVideo) -> list[NDArray[np.uint8]]:
    """Draw the frames of a video, with haze: `NUM_FRAMES` images (96, 128, 3) uint8 RGB.

    The reversed video has the same frames in reverse order.
    """
    ground = draw_background(video.start, height=HEIGHT_PX, width=WIDTH_PX)
    moments = [number / (NUM_FRAMES - 1) for number in range(NUM_FRAMES)]
    return [_through_haze(draw_scene(video.scene_at(moment), ground)) for moment in moments]


def write_video(path: Path, frames: Iterable[NDArray[np.uint8]]) -> None:
    """Write frames (H, W, 3) uint8 RGB with even H and W as an H.264 file.

    The same frames give the same bytes. The file is written atomically.

    Raises:
        FileError: the file cannot be written.
    """
    with atomic_path(path) as unfinished, av.open(str(unfinished), "w", format="mp4") as container:
        stream = container.add_stream("libx264", rate=Fraction(FRAME_RATE), options=dict(_CODEC_OPTIONS))
        stream.pix_fmt = "yuv420p"
        stream.codec_context.colorspace = _BT601
        for number, pixels in enumerate(frames):
            if not number:
                stream.height, stream.width = pixels.shape[:2]
            frame = av.VideoFrame.from_ndarray(pixels, format="rgb24")
            frame.pts = number
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))


def _through_haze(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Reduce the contrast of an image (H, W, 3) uint8 RGB, and make it paler."""
    return np.rint(image * np.float32(_HAZE_CLARITY) + np.float32(_HAZE_LEVEL)).astype(np.uint8)


@cache
def _outline(shape: str) -> NDArray[np.float64]:
    """Return the corners (N, 2) of a shape, whose area is about that of a circle of radius 0.9."""
    if shape == "circle":
        return _spokes(48, [0.92], first_degrees=0.0)
    if shape == "square":
        return _spokes(4, [1.16], first_degrees=45.0)
    if shape == "triangle":
        lower = np.array([0.0, 0.2])  # so that the middle of its height is at the position of the scene
        return _spokes(3, [1.3], first_degrees=-90.0) + lower
    return _spokes(10, [1.32, 0.5], first_degrees=-90.0)


def _spokes(count: int, radii: Sequence[float], *, first_degrees: float) -> NDArray[np.float64]:
    """Return ``count`` points around the centre, at distances that cycle through ``radii``."""
    angles = np.deg2rad(first_degrees + np.arange(count) * 360.0 / count)
    distances = np.resize(np.asarray(radii, float), count)
    return np.stack([np.cos(angles), np.sin(angles)], axis=1) * distances[:, None]
