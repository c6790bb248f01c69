"""Encoding straight into Milvus gives the rows of an HDF5 index, and follows its rules."""

from __future__ import annotations

import json
import multiprocessing
import os
import shutil
import signal
from dataclasses import replace
from pathlib import Path

import pytest
from typer.testing import CliRunner

from tests.support.encoding import SHORT, change, contents, request_for, run
from tests.support.models import write_model
from tests.support.progress import Interrupting
from tests.support.videos import make_video
from vopcli.cli.app import app
from vopcli.config.load import override
from vopcli.encoding.encode import encode
from vopcli.encoding.request import EncodeRequest
from vopcli.errors import DataError
from vopcli.index.copy import copy_to_file
from vopcli.index.leftovers import failures_of
from vopcli.progress import SilentProgress
from vopcli.search.stores import open_videos

ENGINE = Path("milvus:i.db")
Content = dict[str, tuple[bytes, bytes, list[float]]]


def rows() -> Content:
    """Copy the index from Milvus to a file, and return the rows of that."""
    file = Path("back.h5")
    copy_to_file(open_videos(ENGINE), file, SilentProgress(), overwrite=True)
    return contents(file)


@pytest.fixture(scope="module")
def videos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two videos, one that cannot be decoded, and a film of windows."""
    folder = tmp_path_factory.mktemp("videos")
    make_video(folder / "a.mp4", num_frames=30)
    make_video(folder / SHORT, "-vf", "negate", num_frames=2)
    make_video(folder / "film.mp4", "-g", "10", num_frames=100, fps="10")
    (folder / "bad.mp4").write_text("no video")
    return folder


@pytest.fixture
def requests(videos: Path, weights: Path) -> tuple[EncodeRequest, EncodeRequest]:
    """Requests of the same, for a file and for Milvus."""
    folder = Path(shutil.copytree(videos, "videos")).absolute()
    file = change(request_for(folder, Path("i.h5"), weights), windows="2", thumbnails=False)
    file = replace(file, config=override(file.config, {"data.workers": 0, "encoding.batch_size": 4}))
    return file, replace(file, index=ENGINE)


@pytest.mark.slow
def test_rows_and_rules_are_those_of_a_file(requests: tuple[EncodeRequest, EncodeRequest]) -> None:
    file, folder = requests[0], requests[0].sources[0]
    for number in range(3):
        found = [run(request) for request in requests]
        plain = [replace(summary, index=file.index, seconds=0.0) for summary in found]
        assert plain[0] == plain[1]
        assert rows() == contents(file.index)
        assert failures_of(open_videos(ENGINE)).keys() == {"bad.mp4"}
        if number == 0:  # next: new, changed, renamed
            assert found[1].num_new == 3
            make_video(folder / "new.mp4", "-vf", "hflip", num_frames=12)
            make_video(folder / "film.mp4", "-g", "10", "-vf", "vflip", num_frames=60, fps="10")
            (folder / "a.mp4").rename(folder / "b.mp4")
        elif number == 1:
            assert (found[1].num_new, found[1].num_changed, found[1].num_copied) == (1, 1, 1)
    (folder / "b.mp4").unlink()
    (folder / "bad.mp4").unlink()
    pruned = [run(replace(request, prune=True)) for request in requests]
    assert pruned[1].num_pruned == pruned[0].num_pruned == 1
    assert rows() == contents(file.index)
    assert not failures_of(open_videos(ENGINE))


class _Killing(Interrupting):
    def advance(self, amount: int = 1) -> None:
        try:
            super().advance(amount)
        except KeyboardInterrupt:
            os.kill(os.getpid(), signal.SIGKILL)


def encode_and_die(request: EncodeRequest) -> None:
    encode(request, _Killing(after=4 + 4 + 4))


@pytest.mark.slow
def test_a_killed_run_is_continued(requests: tuple[EncodeRequest, EncodeRequest]) -> None:
    whole, engine = run(requests[0]), requests[1]
    child = multiprocessing.get_context("spawn").Process(target=encode_and_die, args=(engine,))
    child.start()
    child.join(120)
    assert child.exitcode == -signal.SIGKILL
    assert 0 < sum(1 for _ in open_videos(ENGINE).rows()) < 8
    result = CliRunner().invoke(app, ["search", "a dog", "--index", str(ENGINE)])
    assert "milvus:i.db is not complete: run `vop encode` or `vop index copy` again" in result.stderr
    assert 0 < run(engine).num_frames < whole.num_frames
    assert rows() == contents(requests[0].index)
    again = change(engine, overwrite=True)
    with pytest.raises(KeyboardInterrupt):
        encode(again, Interrupting(after=4 + 4 + 4))
    assert 0 < run(again).num_frames < whole.num_frames
    assert rows() == contents(requests[0].index)


@pytest.mark.slow
def test_a_model_that_does_not_fit_is_refused(
    requests: tuple[EncodeRequest, EncodeRequest], tmp_path: Path
) -> None:
    run(requests[1])
    before = rows()
    other = write_model(tmp_path / "other.safetensors", seed=1)
    with pytest.raises(DataError, match=r"milvus:i\.db was made with another model"):
        run(change(requests[1], weights=str(other)))
    assert rows() == before
    assert run(change(requests[1], weights=str(other), overwrite=True)).num_new == 3
    assert rows() != before


def test_the_command(videos: Path, weights: Path) -> None:
    command = ["encode", str(videos), str(ENGINE), "--weights", str(weights), "--device", "cpu", "--json"]
    command += ["--sampling", "uniform:2", "--workers", "0"]
    runner = CliRunner()
    plan = json.loads(runner.invoke(app, [*command, "--dry-run"]).stdout)
    assert (plan["num_new"], Path("i.db").exists()) == (3, False)
    Path("bank.txt").write_text("a dog\na cat\n")
    result = runner.invoke(app, [*command, "--querybank", "bank.txt"])
    done = json.loads(result.stdout)
    assert (result.exit_code, done["num_new"], done["index"]) == (4, 3, "milvus:i.db")
    assert [one["path"] for one in done["failures"]] == ["bad.mp4"]
    again = json.loads(runner.invoke(app, command).stdout)
    assert (again["num_unchanged"], again["num_frames"], len(again["failed_before"])) == (3, 0, 1)
    found = runner.invoke(app, ["search", "a dog", "--index", str(ENGINE), "--norm", "qb", "--paths"])
    assert len(found.stdout.splitlines()) == 3
