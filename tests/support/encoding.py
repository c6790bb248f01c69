"""Runs of encode in tests, and what an index then holds."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from tests.support.clip import tiny_clip
from vopcli.config.choices import Precision
from vopcli.config.load import override
from vopcli.config.schema import BackboneConfig, Config, DataConfig, EncodingConfig
from vopcli.encoding.encode import encode
from vopcli.encoding.request import EncodeRequest, EncodeSummary
from vopcli.index.reader import VideoIndex
from vopcli.index.thumbnails import slots_of
from vopcli.progress import SilentProgress

SIZE = tiny_clip().image_resolution
SHORT = "short ü.mp4"  # of 2 frames, where the others have 30


def request_for(source: Path, index: Path, weights: Path) -> EncodeRequest:
    config = Config(
        BackboneConfig(str(weights), "cpu"),
        DataConfig(sampling=None if source.suffix == ".h5" else "uniform:4", workers=0),
        encoding=EncodingConfig(Precision.FP32),
    )
    return EncodeRequest([source], index, config)


def run(request: EncodeRequest) -> EncodeSummary:
    return encode(request, SilentProgress())


def contents(path: Path) -> dict[str, tuple[bytes, bytes, list[float]]]:
    index = VideoIndex(path)
    found = {}
    for video in index.videos():
        frames, seconds = index.frames_of(video.row)
        slots = slots_of(index, video.row)
        pictures = b"" if slots is None else slots.tobytes()
        content = frames.tobytes() + pictures
        found[video.path] = (index.embedding_of(video.row).tobytes(), content, seconds.tolist())
    return found


def change(request: EncodeRequest, **values: object) -> EncodeRequest:
    """Replace attributes of the request, and the settings below."""
    settings = {"weights": "backbone.weights", "device": "backbone.device", "sampling": "data.sampling"}
    settings |= {
        "beta": "encoding.beta",
        "fit": "data.fit",
        "windows": "data.windows",
        "resize": "data.resize",
        "thumbnails": "encoding.thumbnails",
    }
    given = {settings[name]: values.pop(name) for name in settings if name in values}
    return replace(request, config=override(request.config, given), **values)  # type: ignore[arg-type]
