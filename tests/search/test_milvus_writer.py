"""Encoding straight into Milvus gives the rows of an HDF5 index, and follows its rules."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from typer.testing import CliRunner

from tests.support.encoding import change, contents, make_films, requests_of_films, rows_of, run
from tests.support.indexes import META, encoded_video, new_videos, unit_rows
from tests.support.models import write_model
from tests.support.progress import Interrupting
from tests.support.videos import make_video
from vopcli.cli.app import app
from vopcli.encoding.encode import encode
from vopcli.encoding.query_bank import bank_tensors
from vopcli.encoding.request import EncodeRequest
from vopcli.errors import BusyError, DataError
from vopcli.index.leftovers import failures_of
from vopcli.progress import SilentProgress
from vopcli.search.stores import open_videos, store_of
from vopcli.video.video_file import TimeWindow

ENGINE = Path("milvus:i.db")


@pytest.fixture
def requests(weights: Path) -> tuple[EncodeRequest, EncodeRequest]:
    return requests_of_films(weights, ENGINE)


@pytest.mark.slow
def test_rows_and_rules_are_those_of_a_file(requests: tuple[EncodeRequest, EncodeRequest]) -> None:
    file, folder = requests[0], requests[0].sources[0]
    for number in range(3):
        found = [run(request) for request in requests]
        plain = [replace(summary, index=file.index, seconds=0.0) for summary in found]
        assert plain[0] == plain[1]
        assert rows_of(ENGINE) == contents(file.index)
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
    assert rows_of(ENGINE) == contents(file.index)
    assert not failures_of(open_videos(ENGINE))


@pytest.mark.slow
def test_an_interrupted_run_is_continued(requests: tuple[EncodeRequest, EncodeRequest]) -> None:
    whole = run(requests[0])
    for engine in (requests[1], change(requests[1], overwrite=True)):
        with pytest.raises(KeyboardInterrupt):
            encode(engine, Interrupting(after=4 + 4 + 4))
        assert 0 < sum(1 for _ in open_videos(ENGINE).rows()) < 8
        result = CliRunner().invoke(app, ["search", "a dog", "--index", str(ENGINE)])
        assert "milvus:i.db is not complete: run `vop encode` or `vop index copy` again" in result.stderr
        assert 0 < run(engine).num_frames < whole.num_frames
        assert rows_of(ENGINE) == contents(requests[0].index)


@pytest.mark.slow
def test_a_model_that_does_not_fit_is_refused(
    requests: tuple[EncodeRequest, EncodeRequest], tmp_path: Path
) -> None:
    run(requests[1])
    before = rows_of(ENGINE)
    other = write_model(tmp_path / "other.safetensors", seed=1)
    with pytest.raises(DataError, match=r"milvus:i\.db was made with another model"):
        run(change(requests[1], weights=str(other)))
    assert rows_of(ENGINE) == before
    assert run(change(requests[1], weights=str(other), overwrite=True)).num_new == 3
    assert rows_of(ENGINE) != before


def test_the_command(tmp_path: Path, weights: Path) -> None:
    make_films(tmp_path)
    command = ["encode", str(tmp_path), str(ENGINE), "--weights", str(weights), "--device", "cpu", "--json"]
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


def test_two_writers_keep_the_rows_and_values_of_each_other() -> None:
    films, plain = (store_of(ENGINE) for _ in range(2))
    assert films
    assert plain
    windows = films.create(META, {}, SilentProgress(), overwrite=False)
    with pytest.raises(BusyError, match=r"^another command has created milvus:i\.db meanwhile$"):
        plain.create(META, {}, SilentProgress(), overwrite=False)
    videos = plain.extend()
    with videos, windows:  # the one that has no windows ends last
        windows.lay_out([replace(new_videos(["film.mp4"])[0], window=TimeWindow(0.0, 10.0), is_part=True)])
        videos.lay_out(new_videos(["a.mp4"]))
        videos.add([encoded_video(0)])
        index = videos.current()
        rows = list(index.rows())
        windows.add([encoded_video(0)])
        videos.rewrite(rows, bank_tensors(index, rows, unit_rows(600), 15.0))
    index = open_videos(ENGINE)
    assert [index.video(row).path for row in index.rows()] == ["film.mp4", "a.mp4"]
    assert index.has_windows
    assert index.bank_tensors
