"""Frames out of a store and out of videos: the same, and each to its own video."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tests.support.encoding import SHORT, SIZE, change, contents, request_for, run
from vopcli.config.choices import Fit
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
