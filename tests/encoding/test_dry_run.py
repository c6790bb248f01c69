"""A dry run of an encoding: the same counts and bytes as the real run, and nothing written or downloaded."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import h5py
import pytest
from typer.testing import CliRunner

from tests.support.encoding import change, request_for, run
from tests.support.videos import make_video
from vopcli.cli.app import app
from vopcli.config.load import override
from vopcli.encoding.dry_run import plan_encoding
from vopcli.encoding.request import EncodeSummary
from vopcli.errors import DataError, UsageError
from vopcli.progress import SilentProgress


def counts(summary: EncodeSummary) -> dict[str, object]:
    return {
        name: getattr(summary, name) for name in ("num_new", "num_changed", "num_copied", "num_unchanged")
    }


def test_a_dry_run_counts_what_the_run_then_does(videos: Path, weights: Path, tmp_path: Path) -> None:
    folder, index = tmp_path / "videos", tmp_path / "i.h5"
    shutil.copytree(videos, folder)
    request = request_for(folder, index, weights)
    request = replace(
        request, config=replace(request.config, data=replace(request.config.data, windows="0.3"))
    )
    small = override(request.config, {"encoding.thumbnails": False})
    plain = plan_encoding(replace(request, config=small), SilentProgress())
    planned = plan_encoding(request, SilentProgress())
    assert plain.num_bytes < planned.num_bytes
    assert not index.exists()
    done = run(request)
    assert counts(planned) == counts(done)
    assert planned.num_frames >= done.num_frames > 0  # repeats go through the model once
    with h5py.File(index) as file:
        [segment] = file["segments"].values()
        assert planned.num_bytes == sum(dataset.nbytes for dataset in segment.values())
    assert planned.estimate is not None
    assert (planned.estimate.num_files, planned.estimate.num_windows) == (3, 8)
    assert "model about" in planned.estimate.basis

    before = index.read_bytes()
    make_video(folder / "a.mp4", num_frames=20)
    make_video(folder / "new.mp4", num_frames=25)
    shutil.copyfile(folder / "below" / "b.mp4", folder / "copy.mp4")
    planned = plan_encoding(request, SilentProgress())
    assert index.read_bytes() == before
    assert counts(planned) == {"num_new": 1, "num_changed": 1, "num_copied": 1, "num_unchanged": 2}
    assert counts(run(request)) == counts(planned)
    nothing = plan_encoding(request, SilentProgress())
    assert (nothing.num_bytes, nothing.num_frames, nothing.num_unchanged) == (0, 0, 5)
    other = replace(request, config=override(request.config, {"backbone.activation": "gelu"}))
    with pytest.raises(UsageError, match="is quick_gelu, not gelu"):
        run(other)
    with pytest.raises(DataError, match="holds frames of sampling uniform:4, not uniform:2"):
        plan_encoding(change(request, sampling="uniform:2"), SilentProgress())


def test_frames_of_a_store_are_not_decoded(store: Path, weights: Path, tmp_path: Path) -> None:
    planned = plan_encoding(request_for(store, tmp_path / "i.h5", weights), SilentProgress())
    assert planned.estimate is not None
    assert planned.estimate.basis.startswith("frames are read from the store; model about")
    assert planned.estimate.basis.endswith(" s to load it")
    assert planned.estimate.hours * 3600 == pytest.approx((30 + 30 + 2) / 25, abs=0.1)


def test_weights_are_not_downloaded(videos: Path, tmp_path: Path) -> None:
    arguments = ["encode", str(videos), str(tmp_path / "i.h5"), "--dry-run", "--set", "data.workers=0"]
    done = CliRunner().invoke(app, arguments)
    assert done.exit_code == 0, done.stderr
    assert ": 3 new; 3 files, 0.00 hours of video, 0 windows, about 0 s (" in done.stdout
    assert "without the model, whose weights are not downloaded" in done.stdout
    document = json.loads(CliRunner().invoke(app, [*arguments, "--json"]).stdout)
    assert (document["num_new"], document["estimate"]["num_files"]) == (3, 3)
    assert not list(tmp_path.iterdir())
