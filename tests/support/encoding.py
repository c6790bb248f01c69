"""Runs of encode in tests, and what an index then holds."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from tests.support.clip import tiny_clip
from tests.support.videos import make_video
from vopcli.config.choices import Precision
from vopcli.config.load import override
from vopcli.config.schema import BackboneConfig, Config, DataConfig, EncodingConfig
from vopcli.encoding.encode import encode
from vopcli.encoding.request import EncodeRequest, EncodeSummary
from vopcli.index.copy import copy_to_file
from vopcli.index.reader import VideoIndex
from vopcli.index.thumbnails import slots_of
from vopcli.progress import SilentProgress
from vopcli.search.stores import open_videos

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
    for video in map(index.video, index.rows()):
        frames, seconds = index.frames_of(video.row)
        slots = slots_of(index, video.row)
        pictures = b"" if slots is None else slots.tobytes()
        content = frames.tobytes() + pictures
        key = f"{video.path} from {video.window.start_seconds}" if video.is_part else video.path
        found[key] = (index.embedding_of(video.row).tobytes(), content, seconds.tolist())
    return found


def rows_of(engine: Path) -> dict[str, tuple[bytes, bytes, list[float]]]:
    """Contents of an index in a search engine, read through a copy to a file."""
    file = Path("back.h5")
    copy_to_file(open_videos(engine), file, SilentProgress(), overwrite=True)
    return contents(file)


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


def make_films(folder: Path) -> None:
    """Write two videos, one that cannot be decoded, and a film of five windows."""
    make_video(folder / "a.mp4", num_frames=30)
    make_video(folder / SHORT, "-vf", "negate", num_frames=2)
    make_video(folder / "film.mp4", "-g", "10", num_frames=100, fps="10")
    (folder / "bad.mp4").write_text("no video")


def requests_of_films(weights: Path, engine: Path) -> tuple[EncodeRequest, EncodeRequest]:
    """Requests of new films, for a file and for a search engine."""
    folder = Path("videos").absolute()
    folder.mkdir()
    make_films(folder)
    file = change(request_for(folder, Path("i.h5"), weights), windows="2", thumbnails=False)
    file = replace(file, config=override(file.config, {"data.workers": 0, "encoding.batch_size": 4}))
    return file, replace(file, index=engine)
