"""``vop search QUERY FOLDER``: new videos are indexed first; without new ones torch is not loaded."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from tests.support.videos import make_video
from vopcli.cli.app import app
from vopcli.cli.choose_index import format_age
from vopcli.index.reader import VideoIndex
from vopcli.index.writer import IndexWriter


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("made")
    make_video(folder / "a.mp4", num_frames=8)
    make_video(folder / "b.mp4", "-vf", "negate", num_frames=8)
    (folder / "bad.mp4").write_text("no video")
    return folder


@pytest.fixture
def films(made: Path, tmp_path: Path) -> Path:
    """Videos below the current folder, which this process decodes."""
    (tmp_path / "vop.yaml").write_text("data: {workers: 0}\n")
    return shutil.copytree(made, tmp_path / "films")


def vop(*arguments: str | Path) -> Result:
    return CliRunner().invoke(app, list(map(str, arguments)))


def paths(result: Result) -> list[str]:
    assert result.exit_code == 0, result.stderr
    return sorted(hit["path"] for hit in json.loads(result.stdout)["hits"])


def loaded(*arguments: str | Path) -> set[str]:
    """The modules that a command loads, in a process of its own."""
    code = (
        "import sys; from vopcli.cli.app import app; sys.argv = ['vop', *sys.argv[1:]]\n"
        "try: app()\n"
        "except SystemExit as end: assert not end.code, end.code\n"
        "print('\\n', *sys.modules)"
    )
    command = [sys.executable, "-c", code, *map(str, arguments)]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    return set(done.stdout.splitlines()[-1].split())


def test_a_folder_is_indexed_once_and_then_only_what_changes(films: Path, weights: Path) -> None:
    first = vop("search", "a dog", films, "--weights", weights, "--json")
    assert paths(first) == ["a.mp4", "b.mp4"]
    assert "Failed: bad.mp4: " in first.stderr
    assert "1 of 3 videos failed and are not searched" in first.stderr
    index = films / ".vop" / "index.h5"
    before = index.read_bytes()
    again = vop("search", "a dog", films, "--json")
    assert json.loads(again.stdout) == json.loads(first.stdout)
    assert again.stderr == "1 of 3 videos failed and are not searched\n"
    assert not {"torch", "av", "cv2"} & loaded("search", "a dog", films)
    assert index.read_bytes() == before
    (films / "a.mp4").rename(films / "c.mp4")
    (films / "b.mp4").unlink()
    make_video(films / "d.mp4", "-vf", "hflip", num_frames=8)
    assert paths(vop("search", "a dog", films, "--json")) == ["c.mp4", "d.mp4"]  # with the model of the index
    assert VideoIndex(index).meta.weights == str(weights)


def test_words_of_an_unquoted_query_are_explained_beside_index_too(films: Path, weights: Path) -> None:
    vop("encode", films, "i.h5", "--weights", weights)
    result = vop("search", "a", "bicycle", "--index", "i.h5")
    assert result.exit_code == 2
    assert 'vop search "a bicycle"' in result.stderr
    both = vop("search", "a bicycle", films, "--index", "i.h5")
    assert (both.exit_code, "exclude each other" in both.stderr) == (2, True)


def test_a_missing_index_of_the_settings_names_the_option() -> None:
    Path("vop.yaml").write_text("search: {index: gone.h5}")
    Path("q.jsonl").touch()
    for command in (["search", "a dog"], ["moments", "q.jsonl"]):
        result = vop(*command)
        assert result.exit_code == 3
        assert "gone.h5, the index of VOP_INDEX or vop.yaml, does not exist" in result.stderr
        assert "--index" in result.stderr


def test_the_index_of_the_current_folder_is_found_and_its_age_is_said(films: Path, weights: Path) -> None:
    vop("search", "a dog", films, "--weights", weights)
    os.chdir(films)
    result = vop("search", "a dog", "--json")
    assert (paths(result), result.stderr) == (["a.mp4", "b.mp4"], "Index: .vop/index.h5\n")
    (films / "a.mp4").touch()
    two_days_ago = time.time() - 2 * 86400
    os.utime(films / ".vop" / "index.h5", (two_days_ago, two_days_ago))
    said = vop("search", "a dog").stderr
    assert "1 videos are new or changed since the index was updated 2 days ago" in said
    assert vop("search", "a dog", ".").exit_code == 0
    assert vop("search", "a dog").stderr == "Index: .vop/index.h5\n"


def test_single_videos_have_an_index_in_the_cache(films: Path, weights: Path, tmp_path: Path) -> None:
    result = vop("search", "a dog", films / "b.mp4", "--weights", weights, "--json")
    assert paths(result) == ["b.mp4"]
    assert not (films / ".vop").exists()
    assert len(list((tmp_path / "cache" / "indexes").iterdir())) == 1


def test_while_another_process_writes_the_last_state_answers(films: Path, weights: Path) -> None:
    vop("search", "a dog", films, "--weights", weights)
    (films / "a.mp4").touch()
    with IndexWriter(films / ".vop" / "index.h5"):
        result = vop("search", "a dog", films, "--json")
    assert paths(result) == ["a.mp4", "b.mp4"]
    assert "is being updated by another process" in result.stderr


def test_a_folder_without_videos_or_model_is_left_as_it_was(films: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    for call in (["a dog", tmp_path / "empty"], ["a dog", films, "--weights", "gone.pt"]):
        assert vop("search", *call).exit_code == 3
    assert sorted(path.name for path in films.iterdir()) == ["a.mp4", "b.mp4", "bad.mp4"]
    assert list((tmp_path / "empty").iterdir()) == []


def test_an_unfinished_index_says_so(films: Path, weights: Path) -> None:
    vop("encode", films, "i.h5", "--weights", weights)
    (films / "e.mp4").touch()
    with IndexWriter(Path("i.h5")) as writer:
        video = next(writer.index.videos())
        from vopcli.index.writer import NewVideo

        writer.lay_out([NewVideo(video.root, "e.mp4", 0, 1, num_frames=2)])
    assert "1 videos are not encoded yet" in vop("search", "a dog", "--index", "i.h5").stderr


@pytest.mark.parametrize(
    ("seconds", "said"),
    [(5, "less than a minute"), (61, "1 minute"), (7300, "2 hours"), (86400, "1 day"), (260000, "3 days")],
)
def test_age(seconds: float, said: str) -> None:
    assert format_age(seconds) == said
