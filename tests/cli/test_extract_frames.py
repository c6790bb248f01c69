from __future__ import annotations

import json
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from typer.testing import CliRunner

from tests.support.clip import tiny_clip
from tests.support.extracting import MPEG4, contents, make_bad_video, make_videos, told, vop
from tests.support.models import write_model
from tests.support.videos import BAD, GOOD, drawn_number, make_video
from vopcli.cli.app import app
from vopcli.clip.shape import Preprocessing
from vopcli.config.choices import Fit, Resize
from vopcli.frames.recipe import Recipe
from vopcli.frames.store import FrameStore
from vopcli.video.find_videos import VIDEO_SUFFIXES

SMALL = ("--size", "32", "--workers", "0", "--quiet")


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_videos(tmp_path_factory.mktemp("videos"), 2)


def test_the_help_says_what_counts_as_a_video() -> None:
    shown = CliRunner().invoke(app, ["extract-frames", "--help"]).stdout
    assert all(f" {suffix}" in " ".join(shown.split()) for suffix in VIDEO_SUFFIXES)


def test_a_folder_into_a_store(folder: Path, tmp_path: Path) -> None:
    code, out, err = vop("extract-frames", folder, tmp_path / "out.h5", "--size", "32")
    assert code == 0
    assert out.startswith(f"{tmp_path / 'out.h5'} got 24 frames, 0.1 MB in ")
    assert out.endswith("(sampling uniform:12, windows auto, 32 x 32 pixels, raw): 2 new\n")
    assert "decode: 2/2 videos" in err
    assert list(contents(tmp_path / "out.h5")) == ["0.avi", "sub/1.avi"]


def test_json_is_one_document_on_stdout(folder: Path, tmp_path: Path) -> None:
    bad = make_bad_video(tmp_path)
    code, out, err = told("extract-frames", folder, bad, tmp_path / "out.h5", *SMALL, "--json")
    assert code == 4
    document = json.loads(out)
    assert len(out.splitlines()) == 1
    assert (document["num_new"], document["num_found"], document["is_dry_run"]) == (2, 3, False)
    (failed,) = document["failed"]
    assert failed["video"] == "text.mp4"
    assert "not a video" in failed["reason"]
    assert err == f"Failed: text.mp4: {failed['reason']}\n"
    again = told("extract-frames", folder, bad, tmp_path / "out.h5", *SMALL, "--json")
    assert (again[0], json.loads(again[1])["failed_before"], again[2]) == (0, [failed], "")
    again = told("extract-frames", folder, bad, tmp_path / "out.h5", *SMALL)
    assert (again[0], "1 failed before (--retry-failed tries them again)" in again[1]) == (0, True)


def test_frames_are_made_for_the_model(folder: Path, tmp_path: Path) -> None:
    pixels = Preprocessing(fit=Fit.SQUASH, resize=Resize.BILINEAR)
    weights = write_model(tmp_path / "m.safetensors", shape=replace(tiny_clip(), preprocessing=pixels))

    warnings = []

    def recipe_of(name: str, *options: str) -> Recipe:
        store = str(tmp_path / name)
        done = CliRunner().invoke(app, ["extract-frames", str(folder), store, "--workers", "0", *options])
        assert done.exit_code == 0, done.output
        warnings.append("takes frames of 35 pixels, not 20 as set by data.size" in done.stderr)
        return FrameStore.open(tmp_path / name).recipe

    made = recipe_of("a.h5", "--weights", str(weights))
    assert (made.size, made.fit, made.resize) == (35, Fit.SQUASH, Resize.BILINEAR)
    assert recipe_of("a.h5") == made  # a store keeps its own
    given = recipe_of("b.h5", "--weights", str(weights), "--fit", "crop", "--size", "20")
    assert (given.size, given.fit, given.resize) == (20, Fit.CROP, Resize.BILINEAR)
    known = recipe_of("c.h5", "--weights", "DFN5B-H/14@378px", "--num-frames", "1")  # not downloaded
    assert warnings == [False, False, True, False]
    assert (known.size, known.fit, known.resize) == (378, Fit.SQUASH, Resize.BICUBIC)


def test_settings_come_from_vop_yaml_and_flags_come_first(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "vop.yaml").write_text("data: {size: 48, num_frames: 3, sampling: uniform}\n")
    options = ("--workers", "0", "--quiet")
    assert told("extract-frames", folder, "a.h5", *options, cwd=tmp_path)[0] == 0
    assert told("extract-frames", folder, "b.h5", *options, "--size", "32", cwd=tmp_path)[0] == 0
    assert (
        str(FrameStore.open(tmp_path / "a.h5").recipe)
        == "sampling uniform:3, windows auto, 48 x 48 pixels, raw"
    )
    assert (
        str(FrameStore.open(tmp_path / "b.h5").recipe)
        == "sampling uniform:3, windows auto, 32 x 32 pixels, raw"
    )
    code, _, err = told("extract-frames", folder, "b.h5", *options, cwd=tmp_path)
    assert code == 3
    assert err == (
        "Error: b.h5 holds frames of 32 x 32 pixels, not 48 x 48\n"
        "Hint: omit these options and settings, name another file, or use --overwrite\n"
    )


def test_dry_run_prints_the_plan(folder: Path, tmp_path: Path) -> None:
    code, out, err = told("extract-frames", folder, tmp_path / "out.h5", *SMALL, "--dry-run")
    assert (code, err) == (0, "")
    recipe = "sampling uniform:12, windows auto, 32 x 32 pixels, raw"
    plan, _, work = out.partition("; ")
    assert plan == f"{tmp_path / 'out.h5'} would get 24 frames, 0.1 MB ({recipe}): 2 new"
    assert work.startswith("2 files, 0.00 hours of video, 0 windows, about 0 s (estimated by decoding 24 fr")
    assert list(tmp_path.iterdir()) == []


def test_names_of_any_bytes(tmp_path: Path) -> None:
    """Spaces, a newline, bytes that are not UTF-8, a leading dash, and what could change a terminal."""
    names = [
        b"-dash.avi",
        b" a b .avi",
        b"two\nlines.avi",
        b"\xff\xfe.avi",
        b"\x1b[31mred.avi",
        "🎬.avi".encode(),
    ]
    folder = tmp_path / "videos"
    folder.mkdir()
    content = make_video(tmp_path / "one.avi", num_frames=12, width=64, height=48, codec=MPEG4).read_bytes()
    for number, name in enumerate(names):
        (folder / os.fsdecode(name)).write_bytes(content + bytes(number))
    for name in [b"bad\n.avi", b"bad\xff.avi"]:
        (folder / os.fsdecode(name)).write_text("no video")
    code, out, err = told("extract-frames", folder, tmp_path / "out.h5", *SMALL, "--json")
    assert code == 4
    stored = FrameStore.open(tmp_path / "out.h5").videos
    assert [os.fsencode(video.path) for video in stored] == sorted(names)
    assert out.isascii()
    failed = [os.fsencode(item["video"]) for item in json.loads(out)["failed"]]  # escaped, but not lost
    assert sorted(failed) == [b"bad\n.avi", b"bad\xff.avi"]
    assert len(err.splitlines()) == 2
    assert r"bad\n.avi" in err
    assert r"bad\xff.avi" in err
    shown = told("info", tmp_path / "out.h5")[1]
    assert r"bad\xff.avi" in shown
    assert "\x1b" not in shown

    options = [*SMALL, "--overwrite", "--"]
    assert told("extract-frames", *options, "-dash.avi", "../out.h5", cwd=folder)[0] == 0
    assert [video.path for video in FrameStore.open(tmp_path / "out.h5").videos] == ["-dash.avi"]
    assert told("extract-frames", *options, os.fsdecode(b"\xff\xfe.avi"), "../out.h5", cwd=folder)[0] == 0
    assert [os.fsencode(video.path) for video in FrameStore.open(tmp_path / "out.h5").videos] == [
        b"\xff\xfe.avi"
    ]


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["nowhere", "out.h5"], 3, "nowhere does not exist"),
        (["empty", "out.h5"], 3, "no video found in empty"),
        ([], 2, "Missing argument"),
        (["out.h5"], 2, "no videos are named"),
        (["empty", "film.mp4"], 2, "film.mp4, the last name, is a video"),
        (["empty", "out.h5", "--sampling", "often"], 2, "unknown sampling 'often'"),
        (["empty", "out.h5", "--size", "3"], 2, "--size"),
        (["empty", "out.h5", "--num-frames", "0"], 2, "--num-frames"),
        (["empty", "out.h5", "--codec", "gif"], 2, "--codec"),
        (["empty", "out.h5", "--workers", "-1"], 2, "--workers"),
    ],
)
def test_what_makes_no_sense_is_refused(
    tmp_path: Path, arguments: list[str], code: int, message: str
) -> None:
    (tmp_path / "empty").mkdir()
    returned, out, err = told("extract-frames", *arguments, cwd=tmp_path)
    assert (returned, out) == (code, "")
    first, *usage, last = err.splitlines()
    assert first.startswith("Error: ")
    assert message in first
    assert [line.partition(":")[0] for line in usage] in ([], ["Usage"])
    assert last.startswith("Hint: ")
    assert [item.name for item in tmp_path.iterdir()] == ["empty"]


# Every bad input, in one folder each for speed


@pytest.fixture(scope="session")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The files that decode with some trouble, and those that do not."""
    place = tmp_path_factory.mktemp("corpus")
    awkward = [
        "edit-list.mp4", "variable-rate.mp4", "rotated-90.mp4", "rotated-180.mp4", "rotated-270.mp4",
        "odd-size.mp4", "one-frame.mp4", "ten-bit.mp4", "interlaced.mp4", "alpha.mov", "mpeg-ts.ts",
        "lying-count.avi", "truncated.mp4", "truncated.webm",
    ]  # fmt: skip
    makers: dict[str, Callable[[Path], object]] = {name: GOOD[name] for name in awkward}
    makers |= {name: maker for name, (maker, _) in BAD.items() if name not in {"missing.mp4", "folder.mp4"}}
    for name, make in makers.items():
        (place / "made" / name).mkdir(parents=True)
        make(place / "made" / name / name)
    (place / "videos").mkdir()
    for name in makers:
        (place / "made" / name / name).rename(place / "videos" / name)
    return place / "videos"


def test_bad_files_are_named_with_their_reasons_and_never_stored_as_black(
    corpus: Path, tmp_path: Path
) -> None:
    files = sorted(corpus.iterdir())
    code, out, err = vop("extract-frames", *files, tmp_path / "out.h5", "--workers", "2", "--quiet", "--json")
    document = json.loads(out)
    assert code == 4
    said = {item["video"]: item["reason"] for item in document["failed"]}
    said |= {Path(item["video"]).name: item["reason"] for item in document["unreadable"]}
    assert said.keys() == BAD.keys() - {"missing.mp4", "folder.mp4"}
    assert all(BAD[name][1] in reason for name, reason in said.items())
    assert len(err.splitlines()) == len(said)
    store = FrameStore.open(tmp_path / "out.h5")
    assert {video.path for video in store.videos} == {file.name for file in files} - said.keys()
    for video in store.videos:
        numbers = [drawn_number(frame) for frame in store.read(video)]
        assert numbers == sorted(numbers)
        assert numbers[0] >= 0
        assert len(set(numbers)) == video.num_real
        assert 1 <= video.num_real <= 12
    assert {video.path: video.rotation_degrees for video in store.videos}["rotated-90.mp4"] in {90, 270}
    assert store.verify() == []


def test_candidates_from_vop_yaml_and_the_flag(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "vop.yaml").write_text("data: {size: 32, num_frames: 3, candidates: 3, sampling: xpool}\n")
    options = ("--workers", "0", "--quiet")
    assert told("extract-frames", folder, "a.h5", *options, cwd=tmp_path)[0] == 0
    assert told("extract-frames", folder, "b.h5", *options, "--candidates", "1", cwd=tmp_path)[0] == 0
    recipes = [str(FrameStore.open(tmp_path / name).recipe.sampling) for name in ("a.h5", "b.h5")]
    assert recipes == ["xpool:3x3", "xpool:3"]
    code, _, err = told("extract-frames", folder, "c.h5", *options, "--candidates", "4", cwd=tmp_path)
    assert (code, err.splitlines()[0]) == (
        2,
        "Error: the number of candidates, 4, is even: evaluation needs a middle one",
    )
    code, _, err = told("extract-frames", folder, "c.h5", *options, "--sampling", "clip4clip", cwd=tmp_path)
    assert code == 2
    assert "has no segments, so it cannot keep 3 candidates" in err
    assert not (tmp_path / "c.h5").exists()
