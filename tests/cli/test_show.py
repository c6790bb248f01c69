"""``vop search`` with clips, sheets, markers, players, formats and links, on real videos."""

from __future__ import annotations

import json
import os
import pty
import re
import shlex
import subprocess
import sys
from pathlib import Path
from urllib.parse import unquote

import numpy as np
import pytest
from typer.testing import CliRunner, Result

from tests.support.clip import tiny_clip
from tests.support.indexes import unit_rows
from tests.support.models import write_model
from tests.support.videos import drawn_number, ffmpeg_frames, make_video
from vopcli.cli.app import app
from vopcli.index.meta import IndexMeta
from vopcli.index.writer import EncodedVideo, IndexWriter, NewVideo, create_index
from vopcli.search.search import Index
from vopcli.weights.reader import read_weights

NAMES = ["a b#1%.mp4", "two.mp4", "gone.mp4"]
BEST = 2.2
SECONDS = [0.1, 0.3, BEST, 4.1, 4.3, 4.4, 4.5, 4.6, 4.7]  # bounds of frames 2 to 4: 0.2 and 4.2
RUNNER = CliRunner()


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with an index of two videos and one whose file is missing; 0.2 to 4.2 s match "a dog"."""
    here = tmp_path_factory.mktemp("shared")
    weights = write_model(here / "tiny.safetensors")
    width = tiny_clip().embed_dim
    create_index(here / "idx.h5", IndexMeta(str(weights), read_weights(weights).fingerprint(), {}, width))
    for name in NAMES[:2]:
        make_video(here / name, "-g", "50", num_frames=125)
    [query] = Index(here / "idx.h5", cache=here / "cache").encode(["a dog"])
    with IndexWriter(here / "idx.h5") as writer:
        writer.lay_out([NewVideo(str(here), name, 1, 2, num_frames=len(SECONDS)) for name in NAMES])
        for number, row in enumerate(unit_rows(3, width=width)):
            others = [0.3, 0.1, 0.3]  # of the row, in the frames that match
            matching = np.stack([query + other * row for other in others])
            matching /= np.linalg.norm(matching, axis=1, keepdims=True)
            frames = np.concatenate([-query[None], matching, np.repeat(-query[None], 5, axis=0)])
            writer.add([EncodedVideo(number, row, frames.astype("f2"), np.array(SECONDS), len(SECONDS), 5.0)])
    return here


@pytest.fixture
def folder(shared: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("VOP_INDEX", str(shared / "idx.h5"))
    monkeypatch.setenv("VOP_CACHE", str(shared / "cache"))
    return tmp_path


def vop(*arguments: str, stdin: str = "") -> Result:
    return RUNNER.invoke(app, ["search", *arguments], input=stdin)


def ranks() -> dict[str, int]:
    hits = json.loads(vop("a dog", "--json").stdout)["hits"]
    return {hit["path"]: hit["rank"] for hit in hits}


def test_clips_are_named_by_rank_video_and_start(folder: Path) -> None:
    result = vop("a dog", "--clips", "out", "--pad", "0.1")
    assert result.exit_code == 4  # one file is missing, the others are cut
    assert "gone.mp4: No such file" in result.stderr
    found = {path.name for path in (folder / "out").iterdir()}
    assert found == {f"{ranks()[name]}-{name.removesuffix('.mp4')}-0.2s.mp4" for name in NAMES[:2]}
    numbers = [drawn_number(frame) for frame in ffmpeg_frames(folder / "out" / sorted(found)[0])]
    assert numbers == list(range(2, 108))  # 0.2 - 0.1 to 4.2 + 0.1 s
    assert "00:00.1 to 00:04.3" in result.stderr
    again = vop("a dog", "--clips", "out", "--pad", "0.1")
    assert (again.exit_code, "exists already" in again.stderr) == (3, True)
    assert vop("a dog", "--clips", "out", "--overwrite").exit_code == 4


def test_copied_clips_say_their_real_range(folder: Path) -> None:
    result = vop("a dog", "--clips", "out", "--copy")
    assert "00:00.0 to 00:04." in result.stderr


def test_sheet_and_markers_list_each_hit(folder: Path) -> None:
    result = vop("a dog", "--sheet", "s.png", "--markers", "m.csv")
    assert result.exit_code == 4
    assert result.stderr.count("gone.mp4: No such file") == 1
    assert (folder / "s.png").stat().st_size > 10_000
    assert len((folder / "m.csv").read_text().splitlines()) == 4
    assert vop("a dog", "--markers", "m.fcpxml").exit_code == 4
    assert (folder / "m.fcpxml").read_text().count("<asset-clip") == 2


def test_open_runs_the_player_of_the_settings(folder: Path, shared: Path) -> None:
    script = folder / "player.py"
    script.write_text("import json, sys; json.dump(sys.argv[1:], open('said.json', 'w'))")
    player = f"{shlex.quote(sys.executable)} player.py {{start}} {{end}} {{file}}"
    (folder / "vop.yaml").write_text(f"search: {{player: {json.dumps(player)}}}\n")
    for name in NAMES[:2]:
        assert vop("a dog", "--open", str(ranks()[name])).exit_code == 0
        assert json.loads((folder / "said.json").read_text()) == ["0.2", "4.2", str(shared / name)]
    best = min(ranks(), key=lambda name: ranks()[name])
    for arguments in (["--open", "a dog"], ["a dog", "--open"], ["a dog", "--open", "--top", "1"]):
        result = vop(*arguments)
        assert (result.exit_code == 0) == (best != "gone.mp4"), result.stderr
    refused = vop("a dog", "--open", "4")
    assert (refused.exit_code, "hit 4 does not exist: the search found 3" in refused.stderr) == (2, True)


def test_formats_are_lines_or_end_in_nul(folder: Path, shared: Path) -> None:
    template = "{rank} {file}#t={start},{end} {best}"
    expected = [f"{rank} {shared / name}#t=0.2,4.2 2.2" for name, rank in ranks().items()]
    assert vop("a dog", "--format", template).stdout.splitlines() == expected
    assert vop("a dog", "--format", template, "-0").stdout.split("\0") == [*expected, ""]


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["a", "--pad", "1"], 2, "need --clips"),
        (["a", "--copy"], 2, "need --clips"),
        (["-", "--clips", "out"], 2, "take one query"),
        (["a", "--sheet", "s.pdf"], 2, "no known suffix"),
        (["a", "--markers", "m.xml"], 2, "no known suffix"),
        (["a", "--sheet", "here.png"], 3, "exists already"),
        (["a", "--format", "{name}"], 2, "unknown field"),
        (["a", "--format", "{file}", "--json"], 2, "exclude each other"),
        (["a", "--open", "--player", "mpv"], 2, "lacks {file}"),
    ],
)
def test_mistakes_are_found_before_the_search(
    folder: Path, arguments: list[str], code: int, said: str
) -> None:
    (folder / "here.png").touch()
    result = vop(*arguments, stdin="a dog\n")
    assert (result.exit_code, result.stdout) == (code, "")
    assert said in result.stderr
    assert len(result.stderr.splitlines()) <= 4


def on_a_terminal(*arguments: str) -> str:
    """The output of a search whose standard output is a terminal that shows no pictures."""
    reader, terminal = pty.openpty()
    command = [sys.executable, "-m", "vopcli", "search", "a dog", *arguments]
    environment = {**os.environ, "COLUMNS": "200", "TERM": "xterm"}
    done = subprocess.run(
        command, stdin=terminal, stdout=terminal, stderr=subprocess.PIPE, env=environment, check=True
    )
    os.close(terminal)
    text = os.read(reader, 1 << 16).decode() + done.stderr.decode()
    os.close(reader)
    return text


def test_paths_on_a_terminal_are_links(folder: Path, shared: Path) -> None:
    text = on_a_terminal()
    links = re.findall(r"\x1b\]8;[^;]*;(file://[^\x1b]*)\x1b\\", text)
    assert sorted(unquote(link.removeprefix("file://")) for link in links) == sorted(
        str(shared / n) for n in NAMES
    )
    assert any(link.endswith("/a%20b%231%25.mp4") for link in links)
    assert "\x1b]8" not in vop("a dog").stdout


def test_thumbnails_are_off_where_nothing_shows_them(folder: Path) -> None:
    result = vop("a dog", "--thumbnails")
    assert (result.exit_code, "no thumbnails: input and output are not a terminal" in result.stderr) == (
        0,
        True,
    )
    pytest.importorskip("textual_image", reason="needs the extra: pip install -e .[thumbnails]")
    assert "no thumbnails: this terminal shows no pictures" in on_a_terminal("--thumbnails")
