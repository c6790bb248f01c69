"""Wrong calls: each ends with its documented exit code, and names the mistake in at most four lines."""

from __future__ import annotations

import os
import shlex
from pathlib import Path

import pytest
from typer.testing import CliRunner

from tests.support.indexes import make_index
from vopcli.cli.app import app

# arguments, exit code, words in stderr; in a folder with a store out.h5, an index i.h5, weights and captions
CALLS = [
    ("serach x", 2, "Did you mean 'search'"),
    ("--nonsense", 2, "No such option"),
    ("search", 2, "Missing argument 'QUERY'"),
    ("search ''", 2, "the query is empty"),
    ("search somebody rides a bicycle", 2, 'vop search "somebody rides a bicycle"'),
    ("search red bicycle", 2, "bicycle is neither a folder nor a video"),
    ("search x i.h5", 2, "name an index with --index i.h5"),
    ("search x src --index i.h5", 2, "--index and SRC exclude each other"),
    ("search x none", 2, "check the name of the folder"),
    ("search 'x y' none", 3, "none is neither a folder nor a video"),
    ("search x no/ne", 3, "no/ne is neither a folder nor a video"),
    ("index ls out.h5", 3, "out.h5 is a frame store, not an index"),
    ("index ls gone.h5", 3, "gone.h5 does not exist"),
    ("index rm i.h5", 2, "Missing argument 'PATH...'"),
    ("index rm i.h5 b.mp4", 2, "did you mean a.mp4?"),
    ("search x --index gone.h5", 3, "gone.h5 does not exist"),
    ("search x --index oout.h5", 3, "did you mean out.h5?"),
    ("search x --index none/i.h5", 3, "the folder none does not exist"),
    ("search x --index .", 3, "is a folder"),
    ("search x --index out.h5", 3, "out.h5 is a frame store, not an index"),
    ("search x --index captions.jsonl", 3, "is not an HDF5 file"),
    (
        "search x --index i.h5 --top 0",
        2,
        "--top must be from 1 to 1000000000, not 0\nHint: see `vop search --help`",
    ),
    ("search x --index i.h5 --top many", 2, "Error: --top must be a whole number, not 'many'\n"),
    ("search x --index i.h5 --longer x", 2, "Error: --longer must be a number, not 'x'\n"),
    ("search x --index i.h5 --longer -1", 2, "Error: --longer must be at least 0, not -1.0\n"),
    ("search x --index i.h5 --longer", 2, "see `vop search --help`"),
    ("search x --index i.h5 --adapter a.safetensors", 2, "--adapter is for pictures and videos"),
    ("serve i.h5 --port 70000", 2, "Error: --port must be from 0 to 65535, not 70000\n"),
    ("search x --index i.h5 --tpo 3", 2, "--top"),
    ("search x --index i.h5 --json --jsonl", 2, "exclude each other"),
    ("search x --index i.h5 --norm qbb", 2, "did you mean qb?"),
    ("search x --index i.h5 --norm qb", 3, "query bank"),
    ("search x --index i.h5 --pooling most", 2, "unknown pooling 'most'"),
    ("search x --index i.h5 --pooling top-0", 2, "unknown pooling"),
    ("search x --index i.h5 --weights nothing", 2, "no model is called 'nothing'"),
    ("search x --index i.h5 --weights gone.pt", 3, "gone.pt does not exist"),
    ("search x --index i.h5 --config gone.yaml", 3, "gone.yaml does not exist"),
    ("search x --set search.topp=3", 2, "did you mean top?"),
    ("search x --set top", 2, "is not an assignment"),
    ("encode", 2, "Missing argument"),
    ("encode src i.h5 --weights ~nobody-of-that-name/x", 3, "does not exist"),
    ("encode films", 2, "no index is named: films"),
    ("encode src", 2, "no index is named: src, the last name, is a folder"),
    ("encode idx.h5", 2, "no videos are named, only the index idx.h5"),
    ("encode i.h5", 2, "no videos are named"),
    ("encode a.mp4 b.mp4", 2, "b.mp4, the last name, is a video"),
    ("encode src captions.jsonl", 2, "captions.jsonl, the last name, is another file"),
    ("encode i.h5 new.h5", 3, "i.h5 is an index, not a frame store"),
    ("encode src out.h5", 3, "out.h5 is a frame store, not an index"),
    ("encode gone new.h5", 3, "gone does not exist"),
    ("encode src new.h5 --weights ViT-B/33", 2, "did you mean ViT-B/32"),
    ("encode src new.h5 --weights gone.pt", 3, "gone.pt does not exist"),
    ("encode src new.h5 --weights RN50", 3, "ResNet"),
    ("encode src new.h5 --device toaster", 2, "toaster"),
    ("encode src new.h5 --sampling often", 2, "often"),
    ("encode src new.h5 --batch-size 0", 2, "--batch-size must be from 1"),
    ("encode src new.h5 --adapter gone", 3, "gone"),
    ("encode src new.h5 --preset msvdd", 2, "did you mean msvd"),
    ("extract-frames", 2, "Missing argument"),
    ("extract-frames new.h5", 2, "no videos are named, only the frame store new.h5"),
    ("extract-frames src", 2, "no frame store is named: src, the last name, is a folder"),
    ("extract-frames src i.h5", 3, "i.h5 is an index, not a frame store"),
    ("extract-frames gone new.h5", 3, "gone does not exist"),
    ("extract-frames src new.h5 --size 3", 2, "--size must be from 16"),
    ("extract-frames src new.h5 --split train", 2, "--split needs a benchmark"),
    ("extract-frames new.h5 --dataset msvd", 2, "data.root"),
    ("extract-frames new.h5 --dataset msvdd --root .", 2, "did you mean msvd?"),
    ("train --variant P+G", 2, "--variant cannot be 'P+G' (did you mean"),
    ("train --seed -1", 2, "--seed must be from 0"),
    ("train --seeds a", 2, "is not a list of seeds"),
    ("train --lr -1", 2, "--lr must be from"),
    ("train --epochs 0", 2, "--epochs must be from 1"),
    ("train --frames gone.h5", 3, "gone.h5 does not exist"),
    ("train --frames i.h5", 3, "i.h5 is an index, not a frame store"),
    ("train --captions caption.jsonl", 3, "did you mean captions.jsonl?"),
    ("train --set data.captions=", 2, "neither captions nor a benchmark"),
    ("train --dataset msvd", 2, "data.root"),
    ("train --resume --overwrite", 2, "exclude each other"),
    ("train --weights nothing", 2, "no model is called"),
    ("train --preset msrvtt", 2, "did you mean msrvtt-"),
    ("train extra", 2, "too many arguments: extra"),
    ("eval", 3, "does not hold a finished run"),
    ("eval gone", 3, "gone does not exist"),
    ("eval zero-shot --split tset", 2, "did you mean test?"),
    ("eval zero-shot --weights nothing", 2, "no model is called"),
    ("eval zero-shot --frames i.h5", 3, "is an index, not a frame store"),
    ("eval captions.jsonl", 3, "captions.jsonl is not an adapter file"),
    ("eval zero-shot --ties fair", 2, "'fair' is not one of"),
    ("compare", 2, "Missing argument"),
    ("compare gone.json", 3, "gone.json does not exist"),
    ("compare captions.jsonl", 3, "captions.jsonl"),
    ("rescore", 2, "Missing argument"),
    ("rescore i.h5", 3, "i.h5 is an index, not saved scores"),
    ("rescore gone.h5", 3, "gone.h5 does not exist"),
    ("report gone", 3, "gone"),
    ("report gone --frames out.h5", 2, "--frames needs a page"),
    ("info", 2, "Missing argument 'FILE'"),
    ("info a b", 2, "too many arguments: b"),
    ("info gone.h5", 3, "gone.h5 does not exist"),
    ("methods --weights nothing", 2, "no model is called"),
    ("data check --dataset msvd", 2, "data.root"),
    ("data chekc", 2, "Did you mean 'check'"),
    ("weights get ViT-B/33", 2, "did you mean ViT-B/32"),
    ("weights show gone.pt", 3, "gone.pt does not exist"),
    ("weights convert tiny.safetensors", 2, "Missing argument 'OUT.safetensors'"),
    ("weights convert tiny.safetensors b.pt", 2, "does not end in .safetensors"),
    ("config show --set a.b=2", 2, "see `vop config show --help`"),
    ("config show --preset msvdd", 2, "did you mean msvd?"),
    ("info i.h5 --log-file none/a.log", 3, "none"),
]


@pytest.mark.parametrize(("call", "code", "words"), CALLS, ids=[call for call, _, _ in CALLS])
def test_a_wrong_call_is_explained(folder: Path, call: str, code: int, words: str) -> None:
    (folder / "src").mkdir()
    (folder / "src" / "a.mp4").touch()
    make_index(folder / "i.h5", ["a.mp4"])
    (folder / "cache").mkdir()  # a search may keep its text tower there
    before = sorted(folder.iterdir())
    done = CliRunner().invoke(app, shlex.split(call))
    assert (done.exit_code, done.stdout) == (code, ""), done.stderr
    assert words in done.stderr
    assert isinstance(done.exception, SystemExit)  # no traceback
    lines = done.stderr.splitlines()
    assert len(lines) <= 4
    assert any(line.startswith("Error: ") for line in lines)
    assert sorted(folder.iterdir()) == before  # nothing is created


@pytest.mark.parametrize("name", ["~nobody-of-that-name/x", "x" * 300])
def test_paths_of_settings_that_cannot_be_are_one_line(folder: Path, name: str) -> None:
    below = folder / "below"
    below.mkdir()
    os.chdir(below)  # a found file names paths relative to its own folder
    settings = "backbone: {weights: tiny.safetensors}\ndata: {captions: captions.jsonl, frames: FRAMES}\n"
    for cache, frames in ((name, "out.h5"), (str(folder / "cache"), name)):
        (folder / "vop.yaml").write_text(settings.replace("FRAMES", frames))
        done = CliRunner().invoke(app, ["eval", "zero-shot"], env={"VOP_CACHE": cache})
        assert (done.exit_code, done.stdout) == (3, ""), done.stderr
        error, hint = done.stderr.splitlines()
        assert (error[:7], hint[:6]) == ("Error: ", "Hint: ")
