"""Each benchmark from its published files to a table: check, extract, train, measure, as a user does it."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from tests.support.benchmarks import FPS, WRITERS, Release, write_benchmark
from tests.support.videos import drawn_number
from vopcli.cli.app import app
from vopcli.config.choices import DatasetName
from vopcli.evaluation.published import RESULTS, SOURCE
from vopcli.frames.store import FrameStore

RUNNER = CliRunner()
SETTINGS = "data: {{root: {root}, frames: out.h5, size: 48}}\nbackbone: {{weights: demo-tiny}}\n"
SHORT = ("--epochs", "1", "--batch-size", "4", "--split-layer", "2", "--quiet")
MSRVTT = DatasetName.MSRVTT_9K
OTHER_SIZE = 4  # the exit code of `vop data check`: the made-up releases are smaller than the published ones


def vop(*arguments: str) -> Result:
    return RUNNER.invoke(app, list(arguments))


def told(done: Result, *, code: int = 0) -> Any:
    assert done.exit_code == code, done.stderr
    return json.loads(done.stdout)


def refused(done: Result, code: int) -> str:
    """Check that a command failed with an error line and a hint, and return the error line."""
    assert (done.exit_code, done.stdout) == (code, ""), done.stderr
    error, hint = [line for line in done.stderr.splitlines() if not line.startswith("Usage: ")][-2:]
    assert (error[:7], hint[:6]) == ("Error: ", "Hint: ")
    return error


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "vop.yaml").write_text(SETTINGS.format(root="release"))
    return tmp_path


@pytest.fixture
def release(folder: Path) -> Release:
    return write_benchmark(MSRVTT, folder / "release")


def last_second(dataset: DatasetName, at: int) -> float:
    """Where the part ends that frames may come from, of the video at this place of its split."""
    if dataset is DatasetName.DIDEMO:
        return 31
    return math.ceil(9.4 + at) if dataset is DatasetName.ACTIVITYNET else math.inf


@pytest.mark.slow
@pytest.mark.parametrize("dataset", WRITERS)
def test_from_annotation_files_to_a_table(dataset: DatasetName, folder: Path) -> None:
    release = write_benchmark(dataset, folder / "release")
    preset = ("--preset", dataset.value)
    videos = {name: len(files) for name, files in release.files.items()}
    checked = told(vop("data", "check", *preset, "--json"), code=OTHER_SIZE)
    assert [split["without_file"] for split in checked["splits"].values()] == [[]] * len(videos)
    assert all(split["other_size"] for split in checked["splits"].values())
    counted = {name: (split["used"], split["captions"]) for name, split in checked["splits"].items()}
    assert counted == {name: (count, release.num_captions[name]) for name, count in videos.items()}

    assert vop("extract-frames", "out.h5", *preset, "--workers", "0", "--quiet").exit_code == 0
    check_frames(dataset, release, FrameStore.open(folder / "out.h5"))
    assert "Searched for videos in out.h5" in vop("data", "check", *preset).stderr

    published = {name: row for (name, variant), row in RESULTS.items() if variant.value == "C"}.get(dataset)
    words = f"published ({SOURCE}, test split): t2v R@1 {published['t2v']['R@1']}" if published else ""
    plan = told(vop("train", *preset, "--variant", "C", *SHORT, "--dry-run", "--json"))
    num_held = 0 if "val" in videos else 1
    assert (plan["num_train_videos"], plan["num_val_videos"]) == (8 - num_held, videos.get("val", 1))
    assert (plan["dataset"], plan["found_ratio"], plan["published"]) == (dataset.value, 1, published)
    done = vop("train", *preset, "--variant", "C", *SHORT)
    assert done.exit_code == 0, done.stderr
    assert words in done.stderr
    assert ("published (" in done.stderr) is bool(published)
    run = f"runs/{dataset.value}/C-seed0"
    summary = json.loads((folder / run / "summary.json").read_text())
    whole = {name: report["found_ratio"] for name, report in summary["data"].items()}
    assert whole == {name: 1 for name in videos if name != "test"}

    results = told(vop("eval", *preset, "zero-shot", run, "--json"))
    for result in results:
        assert (result["dataset"], result["data"]["found_ratio"]) == (dataset.value, 1)
        assert f"{videos['test']} videos instead of" in result["data"]["other_size"]
        assert result["t2v"]["num_queries"] == release.num_captions["test"]
        assert result["t2v"]["gallery_size"] == result["v2t"]["num_queries"] == videos["test"]
    assert results[1]["published"] == published
    table = vop("eval", *preset, "zero-shot", run)
    assert [row.split("\t")[0] for row in table.stdout.splitlines()] == ["zero-shot", run]
    assert words in table.stderr
    assert "INCOMPLETE" not in table.stderr
    assert f"Warning: {dataset.value}: test differs from the published size: 4 videos instead" in table.stderr
    assert "OTHER SIZE than published" in table.stderr

    (folder / "eval.json").write_text(json.dumps(results))
    check_report(folder, run, results[1], published)


def check_frames(dataset: DatasetName, release: Release, store: FrameStore) -> None:
    """Each listed video is there and no other, and its frames are spread over the part that counts."""
    stored = {video.path: video for video in store.videos}
    assert sorted(stored) == sorted(file for files in release.files.values() for file in files)
    for files in release.files.values():
        for at, file in enumerate(files):
            numbers = [drawn_number(frame) for frame in store.read(stored[file])]
            num_frames = min(stored[file].duration_seconds, last_second(dataset, at)) * FPS
            assert numbers == sorted(numbers)
            assert num_frames * 0.8 < numbers[-1] < num_frames


def check_report(folder: Path, run: str, result: Any, published: Any) -> None:
    """The finished table has the test's figures in place of the validation's, and the published beside."""
    rows = told(vop("report", run, "eval.json", "--html", "page.html", "--json"))
    assert [(row["label"], row["measured_on"][:5]) for row in rows] == [
        ("zero-shot", "test,"),
        ("C", "test,"),
    ]
    own = rows[1]["t2v"]["R@1"]
    assert own["mean"] == result["t2v"]["R@1"]
    assert own["published"] == (published and published["t2v"]["R@1"])
    finished = vop("report", run, "eval.json")
    assert finished.exit_code == 0
    labels = [line.split("\t")[1] for line in finished.stdout.splitlines()]
    assert labels.count("C") == labels.count("zero-shot") == 2, "one row a direction"
    assert (folder / "page.html").stat().st_size > 1000


def test_a_gallery_that_is_not_whole_is_refused_unless_allowed(folder: Path, release: Release) -> None:
    gone = [release.files["test"][2], release.files["train"][0], release.files["train"][5]]
    for file in gone:
        (folder / "release" / file).unlink()
    names = ("--dataset", "msrvtt-9k")
    checked = vop("data", "check", *names)
    assert checked.exit_code == 4
    assert [row.split("\t") for row in checked.stdout.splitlines()] == [
        ["train", "8", "9000", "8", "6", "6", "119", "2"],
        ["test", "4", "1000", "4", "3", "3", "3", "1"],
    ]
    assert "train: 2 missing: video0, video5\n" in checked.stderr
    assert told(vop("data", "check", *names, "--json"), code=4)["splits"]["test"]["without_file"] == [
        "video202"
    ]
    done = vop("extract-frames", "out.h5", *names, "--workers", "0", "--quiet")
    assert done.exit_code == 0
    assert "Warning: train: 2 videos have no file: video0, video5\n" in done.stderr
    assert "1 of 4 videos of msrvtt-9k are not in out.h5: test: video202" in refused(
        vop("eval", *names, "zero-shot"), 3
    )
    error = refused(vop("train", *names, "--variant", "VoP", *SHORT), 3)
    assert "2 of 8 videos of msrvtt-9k are not in out.h5: train: video0, video5" in error
    result = told(vop("eval", *names, "zero-shot", "--allow-missing", "--json"))
    assert (result["data"]["found_ratio"], result["t2v"]["gallery_size"]) == (0.75, 3)
    (folder / "eval.json").write_text(json.dumps(result))
    reported = vop("report", "eval.json")
    noted = (
        "test, other size — 3 queries, 3 videos, ties average, only 75.0 % of the videos, not the published"
    )
    assert noted in reported.stderr
    assert {line.split("\t")[-1] for line in reported.stdout.splitlines()} == {"test, other size", ""}
    assert "Other size: not the benchmark's published numbers" in reported.stderr
    shown = vop("eval", *names, "zero-shot", "--allow-missing")
    assert "INCOMPLETE: 1 videos are missing, 75.0 % were found" in shown.stderr
    done = vop(
        "train", *names, "--variant", "VoP", *SHORT, "--allow-missing", "--set", "training.val_share=0.3"
    )
    assert done.exit_code == 0, done.stderr
    assert "Warning: train: 2 videos are missing: video0, video5" in done.stderr
    summary = json.loads((folder / "runs/VoP-seed0/summary.json").read_text())
    assert summary["found_ratio"] == summary["data"]["train"]["found_ratio"] == 0.75
    assert (summary["num_train_videos"], summary["num_val_videos"]) == (4, 2)


def test_frames_of_another_part_are_refused_and_made_anew(folder: Path) -> None:
    release = write_benchmark(DatasetName.DIDEMO, folder / "release")
    names = ("--dataset", "didemo")
    test = [f"release/{file}" for file in release.files["test"]]
    extract = ("extract-frames", *test, "out.h5", "--workers", "0", "--quiet")
    assert vop(*extract).exit_code == 0
    error = refused(vop("eval", *names, "zero-shot"), 3)
    assert "has other parts of 4 videos than didemo annotates: " in error
    assert "(all of it, not 0 to 31 s)" in error
    assert "--split selects videos below the benchmark's folder" in refused(
        vop(*extract, *names, "--split", "test"), 2
    )
    again = vop(*extract, *names, "--json")
    assert told(again)["num_changed"] == 4
    assert "Warning: train: 8 videos have no file: " in again.stderr
    assert vop("eval", *names, "zero-shot", "--quiet").exit_code == 0
    assert "gone.h5 does not exist" in refused(vop("data", "check", *names, "--frames", "gone.h5"), 3)


def test_only_the_asked_splits_are_extracted(folder: Path, release: Release) -> None:
    names = ("--dataset", "msrvtt-9k", "--split", "test")
    (folder / "release" / "MSRVTT_data.json").unlink()
    plan = told(vop("extract-frames", "out.h5", *names, "--dry-run", "--json"))
    assert (plan["num_found"], plan["num_new"]) == (4, 4)
    assert vop("extract-frames", "out.h5", *names, "--workers", "0", "--quiet").exit_code == 0
    assert [video.path for video in FrameStore.open(folder / "out.h5").videos] == sorted(
        release.files["test"]
    )
    assert vop("eval", "--dataset", "msrvtt-9k", "zero-shot", "--quiet").exit_code == 0


def test_a_text_budget_cuts_captions_further(folder: Path, release: Release) -> None:
    names = ("--dataset", "msrvtt-9k")
    assert vop("extract-frames", "out.h5", *names, "--workers", "0", "--quiet").exit_code == 0
    whole, cut = (
        told(vop("eval", *names, "zero-shot", "--max-tokens", str(most), "--json")) for most in (32, 5)
    )
    assert (whole["num_cut_captions"], cut["num_cut_captions"]) == (0, 4)
    assert whole["t2v"]["ranks"] == told(vop("eval", *names, "zero-shot", "--json"))["t2v"]["ranks"]
    assert cut["t2v"]["num_tied_queries"] >= whole["t2v"]["num_tied_queries"]


@pytest.mark.parametrize(
    ("spoil", "arguments", "code", "error"),
    [
        ("", ("--root", "nowhere"), 3, "nowhere does not exist"),
        ("", ("--root", "vop.yaml"), 3, "vop.yaml is not a folder"),
        ("", ("--root", "."), 3, "MSRVTT_train.9k.csv is missing: not found in . and annotations"),
        ("", ("--dataset", "msrvtt"), 2, "'msrvtt' is not one of 'msrvtt-9k'"),
        ("", ("--split", "val"), 2, "msrvtt-9k has no split 'val'"),
        ("test list", (), 3, "MSRVTT_JSFUSION_test.csv is missing"),
        ("column", (), 3, "MSRVTT_train.9k.csv"),
        (
            "unknown ids",
            (),
            3,
            "none of the 2 videos of the split 'train' has a caption, such as 'video9998'",
        ),
        ("videos", (), 3, "none of the 12 videos of msrvtt-9k has a file, such as 'video0'"),
        ("skip", (), 2, "msrvtt-9k has no list of skipped videos 'gdl'"),
    ],
)
def test_what_is_wrong_is_one_line(
    folder: Path, release: Release, spoil: str, arguments: tuple[str, ...], code: int, error: str
) -> None:
    root = folder / "release"
    if spoil == "test list":
        (root / "MSRVTT_JSFUSION_test.csv").unlink()
    elif spoil == "column":
        (root / "MSRVTT_train.9k.csv").write_text("video\nvideo0\n")
    elif spoil == "unknown ids":
        (root / "MSRVTT_train.9k.csv").write_text("video_id\nvideo9998\nvideo9999\n")
    elif spoil == "videos":
        for file in (*release.files["train"], *release.files["test"]):
            (root / file).unlink()
    elif spoil == "skip":
        (folder / "vop.yaml").write_text(SETTINGS.format(root="release").replace("size", "skip: gdl, size"))
    named = ("--dataset", "msrvtt-9k", *arguments)
    for command in (("data", "check"), ("extract-frames", "new.h5")):
        assert error in refused(vop(*command, *named), code)
    assert not (folder / "new.h5").exists()


def test_an_id_without_captions_is_told_and_left_out(folder: Path, release: Release) -> None:
    path = folder / "release" / "MSRVTT_train.9k.csv"
    path.write_text(path.read_text() + "video9999\n")
    checked = vop("data", "check", "--dataset", "msrvtt-9k")
    assert checked.exit_code == OTHER_SIZE
    assert checked.stdout.splitlines()[0].split("\t")[:4] == ["train", "9", "9000", "8"]
    assert "train: 1 without captions: video9999\n" in checked.stderr


def test_videos_can_be_left_out_by_name(folder: Path, release: Release) -> None:
    (folder / "left out.txt").write_text("video1\nvideo203\n")
    (folder / "vop.yaml").write_text(
        SETTINGS.format(root="release").replace("size", "skip: left out.txt, size")
    )
    checked = told(vop("data", "check", "--dataset", "msrvtt-9k", "--json"), code=OTHER_SIZE)
    assert {name: split["skipped"] for name, split in checked["splits"].items()} == {
        "train": ["video1"],
        "test": ["video203"],
    }


def test_lsmdc_is_read_as_by_xpool_if_asked_for(folder: Path) -> None:
    write_benchmark(DatasetName.LSMDC, folder / "release")
    named = ("data", "check", "--dataset", "lsmdc", "--split", "train", "--json")
    assert told(vop(*named), code=OTHER_SIZE)["splits"]["train"]["captions"] == 9
    as_xpool = ("--set", "data.skip=x-pool", "--set", "data.last_caption_only=true")
    assert told(vop(*named, *as_xpool), code=OTHER_SIZE)["splits"]["train"]["captions"] == 8


def test_a_store_must_hold_the_videos_whatever_names_them(folder: Path, release: Release) -> None:
    named = ("--dataset", "msrvtt-9k")
    extract = ("--workers", "0", "--quiet")
    assert vop("extract-frames", "out.h5", *named, "--split", "train", *extract).exit_code == 0
    assert vop("train", *named, "--dry-run", *SHORT).exit_code == 0, "test videos are not needed to train"
    error = refused(vop("eval", *named, "zero-shot", "--allow-missing"), 3)
    assert "out.h5 has none of the 4 videos of msrvtt-9k, such as 'video200'" in error
    files = [*release.files["train"][:4], "gone.mp4"]
    lines = [{"video": file, "caption": "a thing"} for file in files]
    lines += [{"video": "gone too.mp4", "caption": "a thing", "split": "val"}]
    (folder / "captions.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    own = ("--captions", "captions.jsonl")
    error = refused(vop("eval", *own, "zero-shot", "--split", "train"), 3)
    assert "1 of 5 videos of captions.jsonl are not in out.h5: train: gone.mp4" in error
    result = told(vop("eval", *own, "zero-shot", "--split", "train", "--allow-missing", "--json"))
    assert (result["dataset"], result["published"], result["data"]["found_ratio"]) == (None, None, 0.8)
    error = refused(vop("train", *own, *SHORT), 3)
    assert "2 of 6 videos of captions.jsonl are not in out.h5: train: gone.mp4; val: gone too.mp4" in error
    error = refused(vop("train", *own, *SHORT, "--allow-missing"), 3)
    assert "out.h5 has none of the videos of the split 'val' of captions.jsonl" in error
    error = refused(vop("eval", *own, *named, "zero-shot"), 2)
    assert "data.dataset (msrvtt-9k) are both given: omit one" in error


def test_a_video_of_two_files_is_asked_about(folder: Path, release: Release) -> None:
    (folder / "release" / "video0.avi").write_bytes(b"another")
    named = ("data", "check", "--dataset", "msrvtt-9k")
    assert vop(*named).exit_code == OTHER_SIZE, "mp4 goes before, as in CLIP4Clip"
    (folder / "release" / "video0.mp4").write_bytes(b"a third")
    assert "video0 matches train/video0.mp4, video0.mp4" in refused(vop(*named), 3)
    text = SETTINGS.format(root="release").replace("size", 'prefer: "webm, avi", size')
    (folder / "vop.yaml").write_text(text)
    assert vop(*named).exit_code == OTHER_SIZE
