"""Frames out of a store and out of videos: the same, and each to its own video."""

from __future__ import annotations

import contextlib
import resource
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tests.support.encoding import SHORT, SIZE, change, contents, request_for, run
from tests.support.system_calls import Call, replaced
from tests.support.videos import make_video
from vopcli.config.choices import Fit, Resize
from vopcli.config.load import override
from vopcli.config.schema import DataConfig
from vopcli.errors import DataError, UsageError
from vopcli.frames.extract import ExtractRequest, extract
from vopcli.index.reader import VideoIndex
from vopcli.index.writer import create_index
from vopcli.progress import SilentProgress
from vopcli.video.video_file import TimeWindow


def test_encoding_takes_the_middle_candidates(videos: Path, weights: Path, tmp_path: Path) -> None:
    plain = request_for(videos, tmp_path / "plain.h5", weights)
    run(plain)
    run(change(plain, index=tmp_path / "many.h5", sampling="uniform:4x3"))
    assert contents(tmp_path / "many.h5") == contents(tmp_path / "plain.h5")
    assert VideoIndex(tmp_path / "many.h5").meta.recipe["sampling"] == "uniform:4"


def test_another_window_of_the_same_file_is_encoded_again(
    videos: Path, weights: Path, tmp_path: Path
) -> None:
    path, index = tmp_path / "frames.h5", tmp_path / "i.h5"
    plain = ExtractRequest([videos / "a.mp4"], path, DataConfig(num_frames=4, size=SIZE, workers=0))
    embeddings = []
    for windows in ({"a.mp4": TimeWindow(0.0, 0.4)}, {"a.mp4": TimeWindow(0.8, 1.2)}, {}):
        extract(replace(plain, annotated=windows), SilentProgress())
        assert run(request_for(path, index, weights)).num_frames == 4
        assert run(request_for(path, index, weights)).num_unchanged == 1
        embeddings.append(contents(index)["a.mp4"][0])
    assert len(set(embeddings)) == 3


def test_whole_frames_by_store_and_by_videos(videos: Path, weights: Path, tmp_path: Path) -> None:
    store, direct, index = tmp_path / "frames.h5", tmp_path / "direct.h5", tmp_path / "store.h5"
    data = DataConfig(num_frames=4, size=SIZE, workers=0, fit=Fit.SQUASH)
    extract(ExtractRequest([videos], store, data), SilentProgress())
    request = change(request_for(videos, direct, weights), fit=Fit.SQUASH)
    run(request)
    run(request_for(store, index, weights))
    assert VideoIndex(index).meta.recipe == VideoIndex(direct).meta.recipe
    for path, (embedding, _, _) in contents(direct).items():
        other = np.frombuffer(contents(index)[path][0], np.float32)
        np.testing.assert_allclose(np.frombuffer(embedding, np.float32), other, atol=1e-6)

    assert run(change(request, fit=None)).num_unchanged == 3  # an index keeps its own
    with pytest.raises(DataError, match="holds frames of fit squash, not crop"):
        run(change(request, fit=Fit.CROP))
    with pytest.raises(UsageError, match="frames fitted by squash, not pad"):
        run(change(request_for(store, index, weights), fit=Fit.PAD))


def test_frames_are_resized_as_asked_or_as_those_of_the_index(
    videos: Path, weights: Path, tmp_path: Path
) -> None:
    store, index = tmp_path / "frames.h5", tmp_path / "store.h5"
    data = DataConfig(num_frames=4, size=SIZE, workers=0, resize=Resize.LEGACY_TENSOR)
    extract(ExtractRequest([videos], store, data), SilentProgress())
    run(request_for(store, index, weights))
    request = change(request_for(videos, tmp_path / "direct.h5", weights), resize=Resize.LEGACY_TENSOR)
    run(request)
    for path, (embedding, _, _) in contents(request.index).items():
        other = np.frombuffer(contents(index)[path][0], np.float32)
        np.testing.assert_allclose(np.frombuffer(embedding, np.float32), other, atol=1e-6)

    assert run(request_for(videos, index, weights)).num_unchanged == 3
    with pytest.raises(DataError, match="holds frames of resize legacy-tensor, not bicubic"):
        run(change(request, resize=Resize.BICUBIC))
    with pytest.raises(UsageError, match="frames resized by legacy-tensor, not bicubic"):
        run(change(request_for(store, index, weights), resize=Resize.BICUBIC))


def test_an_index_of_an_earlier_version_has_cropped_frames(
    videos: Path, weights: Path, tmp_path: Path
) -> None:
    request = request_for(videos, tmp_path / "i.h5", weights)
    run(change(request, index=tmp_path / "now.h5"))
    meta = VideoIndex(tmp_path / "now.h5").meta
    earlier = {name: value for name, value in meta.recipe.items() if name != "fit"}
    create_index(request.index, replace(meta, recipe=earlier), {})
    assert run(request).num_new == 3
    with pytest.raises(DataError, match="holds frames of fit crop, not squash"):
        run(change(request, fit=Fit.SQUASH))


def test_videos_give_what_their_store_gives(store: Path, videos: Path, weights: Path, tmp_path: Path) -> None:
    run(request_for(store, tmp_path / "store.h5", weights))
    run(request_for(videos, tmp_path / "videos.h5", weights))
    through_store, direct = contents(tmp_path / "store.h5"), contents(tmp_path / "videos.h5")
    assert direct.keys() == through_store.keys()
    for path, (embedding, _, seconds) in direct.items():
        other = np.frombuffer(through_store[path][0], np.float32)
        np.testing.assert_allclose(np.frombuffer(embedding, np.float32), other, atol=1e-6)
        assert seconds == through_store[path][2]
    # so one can be continued with the other, and finds nothing to do
    summary = run(request_for(videos, tmp_path / "store.h5", weights))
    assert (summary.num_unchanged, summary.num_new, summary.num_frames) == (3, 0, 0)
    assert contents(tmp_path / "store.h5") == through_store
    hashes = [
        {video.path: video.sha256 for video in VideoIndex(tmp_path / f"{name}.h5").videos()}
        for name in ("store", "videos")
    ]
    assert hashes[0] == hashes[1]


def test_rates_give_videos_numbers_of_frames_of_their_own(
    videos: Path, weights: Path, tmp_path: Path
) -> None:
    request = change(request_for(videos, tmp_path / "i.h5", weights), sampling="fps:5")
    run(request)
    index = VideoIndex(request.index)
    counts = {video.path: video.num_frames for video in index.videos()}
    assert counts == {"a.mp4": 6, "below/b.mp4": 6, SHORT: 1}
    (row,) = (video.row for video in index.videos() if video.path == "a.mp4")
    np.testing.assert_allclose(index.frames_of(row)[1], np.arange(6) / 5, atol=1e-9)
    assert index.meta.recipe["sampling"] == "fps:5"
    # the index remembers its rule, and refuses another
    assert run(change(request, sampling=None)).num_unchanged == 3
    with pytest.raises(DataError, match="sampling fps:5, not uniform:4") as raised:
        run(change(request, sampling="uniform:4"))
    assert "--overwrite" in raised.value.hint
    assert run(change(request, sampling="uniform:4", overwrite=True)).num_new == 3


def test_bad_videos_are_listed_and_the_rest_is_done(videos: Path, weights: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(videos, tmp_path / "videos")
    (folder / "text.mp4").write_text("no video")
    (folder / "empty.mp4").write_bytes(b"")
    for sampling in ("uniform:4", "fps:5"):
        request = change(request_for(folder, tmp_path / f"{sampling[:3]}.h5", weights), sampling=sampling)
        summary = run(request)
        assert sorted(path for path, _ in summary.failures) == ["empty.mp4", "text.mp4"]
        assert all(reason and str(folder) not in reason for _, reason in summary.failures)
        assert (summary.num_new, summary.num_videos) == (3, 3)
        assert run(replace(request, prune=True)).num_videos == 3


def rows_of(index: Path) -> list[tuple[str, float, bytes]]:
    """The path, start and embedding of each row that a search finds; the start of a whole video is -1."""
    opened = VideoIndex(index)
    rows = [(opened.video(row), opened.embedding_of(row).tobytes()) for row in opened.rows()]
    return sorted((v.path, v.window.start_seconds if v.is_part else -1.0, bits) for v, bits in rows)


class Stopping:
    """Raises KeyboardInterrupt at a given sync of a file; each journal step has four syncs."""

    def __init__(self, after: int) -> None:
        self.left = after

    def __call__(self, _name: str, _call: Call) -> Call:
        def counted(_descriptor: int) -> None:
            self.left -= 1
            if self.left == 0:
                raise KeyboardInterrupt

        return counted


@pytest.mark.slow
@pytest.mark.parametrize("is_store", [False, True])
@pytest.mark.parametrize("is_renamed", [False, True])
def test_copying_a_film_may_stop_at_any_moment(
    weights: Path, tmp_path: Path, *, is_store: bool, is_renamed: bool
) -> None:
    folder, store, index = tmp_path / "films", tmp_path / "frames.h5", tmp_path / "i.h5"
    folder.mkdir()
    make_video(folder / "film.mp4", "-g", "10", num_frames=1200, fps="10", width=32, height=32)
    data = DataConfig(sampling="uniform", num_frames=1, size=SIZE, workers=0, windows="0.4")
    filling = ExtractRequest([folder], store, data, overwrite=True)
    extract(filling, SilentProgress())
    request = change(request_for(folder, index, weights), windows="0.4", sampling="uniform:1")
    request = replace(request, sources=[store if is_store else folder])
    run(request)
    film = [row for _, *row in rows_of(index)]
    assert 256 < len(film) < 400  # more than are copied in one step
    names = ["film.mp4", "second.mp4", "third.mp4"]
    for name in names[1:]:
        shutil.copyfile(folder / "film.mp4", folder / name)
    if is_renamed:
        (folder / names.pop(0)).unlink()
    extract(filling, SilentProgress())

    before = index.read_bytes()
    for syncs in range(1, 40, 5):
        index.write_bytes(before)
        stopping = Stopping(after=syncs)
        with contextlib.suppress(KeyboardInterrupt), replaced(stopping, ["fdatasync"]):
            run(request)
        found = rows_of(index)
        assert {(start, bits) for _, start, bits in found} == {(start, bits) for start, bits in film}
        assert len(found) <= len(names) * len(film)
        run(request)
        assert rows_of(index) == sorted((name, *row) for name in names for row in film)
        if stopping.left > 0:
            break
    assert syncs > 12


def test_a_file_that_another_source_has_is_copied_and_kept(
    videos: Path, weights: Path, tmp_path: Path
) -> None:
    index = tmp_path / "i.h5"
    other = tmp_path / "other"
    other.mkdir()
    shutil.copyfile(videos / "a.mp4", other / "z.mp4")
    extract(
        ExtractRequest([other], tmp_path / "z.h5", DataConfig(num_frames=4, size=SIZE, workers=0)),
        SilentProgress(),
    )
    run(request_for(videos, index, weights))
    assert run(request_for(tmp_path / "z.h5", index, weights)).num_copied == 1
    assert contents(index).keys() == {"a.mp4", "below/b.mp4", SHORT, "z.mp4"}


def test_without_workers_this_process_decodes(videos: Path, weights: Path, tmp_path: Path) -> None:
    request = request_for(videos, tmp_path / "i.h5", weights)
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert run(request).num_new == 3
    assert resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime == before.ru_utime
    config = override(request.config, {"data.workers": 1})
    run(replace(request, config=config, index=tmp_path / "other.h5"))
    assert resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime > before.ru_utime
    assert contents(tmp_path / "i.h5") == contents(tmp_path / "other.h5")
