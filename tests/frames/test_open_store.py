"""Which store an extraction writes: none is replaced or extended that does not fit the request."""

from __future__ import annotations

import shutil
from pathlib import Path
from types import SimpleNamespace

import pytest

from tests.support.extracting import NAMES, contents, counts, run
from vopcli.errors import BusyError, DataError, FileError, UsageError
from vopcli.frames.store import FrameStore


def test_overwrite_makes_the_store_anew(folder: Path, store: Path) -> None:
    run(folder, store)
    (folder / "0.avi").unlink()
    assert counts(run(folder, store, overwrite=True, num_frames=3)) == {"num_new": 3}
    assert list(contents(store)) == NAMES[1:]
    assert str(FrameStore.open(store).recipe.sampling) == "uniform:3"
    assert sorted(item.name for item in store.parent.iterdir()) == ["out.h5", "videos"]


def test_another_recipe_is_refused(folder: Path, store: Path) -> None:
    run(folder, store, sampling="uniform:3")
    for options, message in [
        ({"num_frames": 12}, "sampling uniform:3, not uniform:12"),
        ({"sampling": "fps:1"}, "sampling uniform:3, not fps:1"),
        ({"size": 48}, "frames of 32 x 32 pixels, not 48 x 48"),
        ({"codec": "jpeg"}, "codec raw, not jpeg"),
    ]:
        for dry_run in (False, True):
            with pytest.raises(DataError, match=message) as caught:
                run(folder, store, **options, dry_run=dry_run)
            assert "--overwrite" in caught.value.hint
    assert counts(run(folder, store, size=None)) == {"num_unchanged": 4}
    assert counts(run(folder, store, num_frames=3, codec="raw")) == {"num_unchanged": 4}


def test_a_store_named_like_a_video_or_not_a_store(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"2\.avi has the name of a video"):
        run(folder / "0.avi", folder / "2.avi", overwrite=True)
    (tmp_path / "notes").write_text("precious")
    with pytest.raises(DataError, match="is not an HDF5 file"):
        run(folder, tmp_path / "notes")
    with pytest.raises(DataError, match="is not a frame store and is not overwritten"):
        run(folder, tmp_path / "notes", overwrite=True)
    assert (tmp_path / "notes").read_text() == "precious"
    with pytest.raises(FileError, match="is a folder"):
        run(folder, tmp_path)
    with pytest.raises(UsageError, match="unknown sampling 'sometimes'"):
        run(folder, tmp_path / "x.h5", sampling="sometimes")


def test_a_damaged_store_is_refused_and_may_be_overwritten(folder: Path, store: Path) -> None:
    run(folder, store)
    store.write_bytes(store.read_bytes()[:100_000])
    with pytest.raises(DataError, match=r"is truncated|is damaged|cannot be read"):
        run(folder, store)
    assert counts(run(folder, store, overwrite=True)) == {"num_new": 4}


def test_a_store_in_use_is_not_overwritten(folder: Path, store: Path) -> None:
    from vopcli.frames.writer import FrameStoreWriter

    run(folder, store)
    with FrameStoreWriter(store):
        for options in ({}, {"overwrite": True}):
            with pytest.raises(BusyError, match="in use by another process"):
                run(folder, store, **options)
        assert run(folder, store, dry_run=True).num_unchanged == 4  # readers take no lock
    assert contents(store)


def test_no_room_is_said_before_it_starts(folder: Path, store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=5_000_000))
    with pytest.raises(DataError, match=r"out\.h5 needs 13 MB, and its disk has 5 MB left") as caught:
        run(folder, store, size=256, num_frames=16)
    assert "--codec jpeg" in caught.value.hint
    assert not store.exists()


def test_a_store_in_a_folder_that_does_not_exist_yet(folder: Path, tmp_path: Path) -> None:
    run(folder, tmp_path / "new" / "folder" / "out.h5", dry_run=True)
    assert not (tmp_path / "new").exists()
    run(folder, tmp_path / "new" / "folder" / "out.h5")
    assert len(contents(tmp_path / "new" / "folder" / "out.h5")) == 4
